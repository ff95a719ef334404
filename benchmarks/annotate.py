"""Boxes per second of box → mask, once an image is embedded.

    python benchmarks/annotate.py [--threads 2] [--boxes 500] [--at-least 300] [--json FILE]

A seeded, randomly initialised mini-SAM (speed does not depend on the weights) answers the boxes of a noise image of
1000×1000 px at 0.25 µm/px. Embedding, decoding and merging are timed apart, on the clock and in processor time: on a
machine that does other work too, only the latter tells. `boxes_per_encoder_pass` is a ratio of processor times, boxes
decoded in the time that one window takes to embed, and carries over between machines. The exit status is 1 below
--at-least boxes per second on the clock.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.merge import merge
from allinsam_core.annotation.predict import BoxAnnotator, default_field

SIZE = 1000


def seconds(work: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """Shortest of `repeats` runs, on the clock and of the processors."""
    clock, processor = [], []
    for _ in range(repeats):
        start, busy = time.perf_counter(), time.process_time()
        work()
        clock.append(time.perf_counter() - start)
        processor.append(time.process_time() - busy)
    return min(clock), min(processor)


def measure(count: int) -> dict[str, float]:
    """Seconds and ratios for `count` boxes of 12 to 32 px."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    sam = sams.build("mini")
    image = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    sides = rng.integers(12, 33, (count, 2))
    corner = rng.integers(0, SIZE - 32, (count, 2))
    boxes = np.hstack([corner, corner + sides]).astype(np.float32)
    annotator = BoxAnnotator(sam, default_field(sam, 0.25))
    annotator.set_image(image)
    embed, embed_cpu = seconds(lambda: annotator.embed(boxes), 1)
    decode, decode_cpu = seconds(lambda: annotator.predict(boxes))
    masks = annotator.predict(boxes)
    merging, merging_cpu = seconds(lambda: merge(masks, (SIZE, SIZE)))
    few = boxes[:20]
    _, single_cpu = seconds(lambda: [annotator.predict(few[i : i + 1]) for i in range(len(few))])
    window = torch.zeros(1, 3, sam.image_encoder.img_size, sam.image_encoder.img_size)
    with torch.no_grad():
        _, encoder_cpu = seconds(lambda: sam.image_encoder(window), 5)
    return {
        "boxes": count,
        "embed_s": embed,
        "decode_s": decode,
        "merge_s": merging,
        "boxes_per_second": count / (decode + merging),
        "boxes_per_second_with_embedding": count / (embed + decode + merging),
        "embed_cpu_s": embed_cpu,
        "decode_cpu_s": decode_cpu,
        "boxes_per_cpu_second": count / (decode_cpu + merging_cpu),
        "encoder_pass_cpu_s": encoder_cpu,
        "boxes_per_encoder_pass": count / (decode_cpu + merging_cpu) * encoder_cpu,
        "batched_over_single": single_cpu / len(few) * count / decode_cpu,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--boxes", type=int, default=500)
    parser.add_argument("--at-least", type=float, default=0.0, help="boxes per second")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measure(options.boxes)
    print(f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}")
    for name, value in found.items():
        print(f"{name:34} {value:10.4g}")
    if options.json:
        options.json.write_text(json.dumps({"threads": options.threads, **found}, indent=1) + "\n")
    return int(found["boxes_per_second"] < options.at_least)


if __name__ == "__main__":
    sys.exit(main())
