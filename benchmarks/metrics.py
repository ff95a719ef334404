"""Time and compare the metrics with HoVer-Net's reference functions.

    git clone https://github.com/vqdang/hover_net
    python benchmarks/metrics.py --reference hover_net [--json FILE]

The reference is loaded from the given checkout; none of its code is part of this project. One run draws seeded
1000×1000 label maps of 450 and 1000 nuclei, times each reference function and `instance.evaluate` (which returns
all of its metrics at once) and compares the values. The exit status is 1 if a value differs.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import platform
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from skimage.draw import ellipse
from skimage.measure import label

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from allinsam_core.metrics import instance, pixel

SIZE = 1000
TOLERANCE = 1e-12


def nuclei(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction, (1000, 1000) int32 label maps: ellipses, then moved, lost, split and invented ones.

    Both are renumbered 1..n without gaps, which the reference requires.
    """
    rng = np.random.default_rng(seed)
    truth, pred = np.zeros((2, SIZE, SIZE), dtype=np.int32)
    place = rng.uniform(10, SIZE - 10, (count, 2))
    radii = rng.uniform(6, 14, (count, 2)) * np.sqrt(450 / count)
    turn = rng.uniform(0, np.pi, count)
    fate = rng.uniform(size=count)
    for i in range(count):
        truth[ellipse(*place[i], *radii[i], shape=truth.shape, rotation=turn[i])] = i + 1
        if fate[i] < 0.08:  # lost, and something else invented
            pred[ellipse(*rng.uniform(10, SIZE - 10, 2), *radii[i], shape=pred.shape)] = i + 1
            continue
        moved, grown = place[i] + rng.normal(0, 1.5, 2), radii[i] * rng.uniform(0.8, 1.2)
        rows, columns = ellipse(*moved, *grown, shape=pred.shape, rotation=turn[i])
        pred[rows, columns] = i + 1
        if fate[i] > 0.92:  # split in two
            pred[rows[rows > moved[0]], columns[rows > moved[0]]] = count + i + 1
    return tuple(np.unique(m, return_inverse=True)[1].reshape(m.shape).astype(np.int32) for m in (truth, pred))  # type: ignore[return-value]


def load_reference(folder: Path) -> types.ModuleType:
    """HoVer-Net's metrics/stats_utils.py as a module; the cv2 it imports and does not use may be missing."""
    file = folder / "metrics" / "stats_utils.py"
    if not file.is_file():
        raise SystemExit(f"{file} is not there: give the root of a checkout of https://github.com/vqdang/hover_net")
    if importlib.util.find_spec("cv2") is None:
        sys.modules["cv2"] = types.ModuleType("cv2")
    spec = importlib.util.spec_from_file_location("hover_net_stats_utils", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timed(function: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """The function's value and the median of its wall-clock seconds."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = function()
        seconds.append(time.perf_counter() - start)
    return value, float(np.median(seconds))


def compare(reference: types.ModuleType, count: int, seed: int, repeats: int) -> list[dict[str, Any]]:
    """One row per reference function: its seconds, ours for all metrics together, the ratio, the largest difference."""
    truth, pred = nuclei(count, seed)
    instance.evaluate(pred, truth)  # warm up
    ours, seconds = timed(lambda: instance.evaluate(pred, truth), 15 * repeats)
    dice, dice_seconds = timed(lambda: pixel.evaluate(pred > 0, truth).dice, 5 * repeats)
    functions: dict[str, tuple[Callable[[], Any], Any, float]] = {
        "get_fast_aji": (lambda: reference.get_fast_aji(truth, pred), ours.aji_kumar, seconds),
        "get_fast_aji_plus": (lambda: reference.get_fast_aji_plus(truth, pred), ours.aji_plus, seconds),
        "get_fast_pq": (lambda: reference.get_fast_pq(truth, pred)[0], [ours.dq, ours.sq, ours.pq], seconds),
        "get_dice_1": (lambda: reference.get_dice_1(truth, pred), dice, dice_seconds),
    }
    rows = []
    for name, (function, value, our_seconds) in functions.items():
        theirs, their_seconds = timed(function, repeats)
        rows.append(
            {
                "nuclei": ours.n_truth,
                "predicted": ours.n_pred,
                "reference": name,
                "reference_ms": 1e3 * their_seconds,
                "ours_ms": 1e3 * our_seconds,
                "ratio": their_seconds / our_seconds,
                "difference": float(np.max(np.abs(np.subtract(theirs, value)))),
                "value": np.asarray(value).tolist(),
            }
        )
    return rows


def small_maps(reference: types.ModuleType, cases: int, seed: int) -> dict[str, float]:
    """The largest difference over many small random maps, where ties and crowded overlaps are common."""
    rng = np.random.default_rng(seed)
    worst = dict.fromkeys(("aji_kumar", "aji_plus", "dq", "sq", "pq"), 0.0)
    for _ in range(cases):
        shape = tuple(rng.integers(4, 14, 2))
        kind, values = rng.integers(3), int(rng.integers(2, 9))
        truth, pred = rng.integers(0, values, (2, *shape))
        if kind == 1:  # connected pieces
            truth, pred = label(truth, connectivity=1), label(pred, connectivity=1)
        elif kind == 2:  # a few pixels changed
            pred = np.where(rng.uniform(size=shape) < 0.2, pred, truth)
        truth[0, 0] = pred[0, 0] = 0  # the reference needs background and at least one nucleus
        truth[-1, -1], pred[-1, -1] = truth[-1, -1] or 1, pred[-1, -1] or 1
        ours = dataclasses.asdict(instance.evaluate(pred, truth))
        truth, pred = reference.remap_label(truth), reference.remap_label(pred)
        theirs = dict(zip(("dq", "sq", "pq"), reference.get_fast_pq(truth, pred)[0], strict=True))
        theirs |= {"aji_kumar": reference.get_fast_aji(truth, pred)}
        theirs |= {"aji_plus": reference.get_fast_aji_plus(truth, pred)}
        worst = {name: max(worst[name], abs(float(theirs[name]) - ours[name])) for name in worst}
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="root of a HoVer-Net checkout")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--seed", type=int, default=2025)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small-cases", type=int, default=2000)
    options = parser.parse_args()

    reference = load_reference(options.reference)
    rows = [row for n in (450, 1000) for row in compare(reference, n, options.seed, options.repeats)]
    for row in rows:
        print(
            f"{row['nuclei']:5d} nuclei  {row['reference']:18s} {row['reference_ms']:8.1f} ms   "
            f"ours {row['ours_ms']:6.2f} ms   {row['ratio']:6.1f}×   difference {row['difference']:.1e}"
        )
    small = small_maps(reference, options.small_cases, options.seed)
    print(f"{options.small_cases} small random maps, largest difference:", small)
    equal = max([*small.values(), *(row["difference"] for row in rows)]) <= TOLERANCE
    print("values identical" if equal else "VALUES DIFFER")
    if options.json:
        record = {
            "size": SIZE,
            "seed": options.seed,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "machine": platform.machine(),
            "rows": rows,
            "small_cases": options.small_cases,
            "small_largest_difference": small,
            "identical": equal,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
