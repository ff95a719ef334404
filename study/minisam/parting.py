"""Which nuclei the shipped SAMs keep of those that they find without training: `python -m study.minisam.parting`.

Chosen by the search of `study.tuning` on images from which they have not learnt: every second of MoNuSeg's training
images, and the stained images of DSB2018 that their pre-training held out, about as many, rescaled as it rescales them.
MoNuSeg's six validation images show what it gives. One choice for all shipped SAMs: `allinsam_core.model.KEPT`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pandas as pd

from allinsam_core.annotation.predict import MINI_SPACING
from allinsam_core.annotation.sam import SHIPPED, weights_checksum
from allinsam_core.data.case import Case
from allinsam_core.learning.instances import InstanceSettings, dropped, parted
from allinsam_core.metrics import instance
from allinsam_core.model import Base, base_sam, zero_shot
from study import records
from study.datasets import monuseg
from study.minisam.corpus import CorpusSettings, stained_parts
from study.root import data_root, resolved
from study.tuning import KEEPING, Example, kept

EVERY = 2  # of MoNuSeg's training images, the first of so many
METRICS = ("f1_instance_50", "aji_kumar", "pq")
NAME = "parting"


def images(root: Path) -> dict[str, list[Case]]:
    """What the choice is made on, by source, and MoNuSeg's validation images. root: the folder of all data."""
    held_out, _ = stained_parts(CorpusSettings(), root)
    return {
        "monuseg": monuseg.load(root, "train")[::EVERY],
        "dsb2018": [replace(case, spacing=MINI_SPACING) for case in held_out],
        "val": monuseg.load(root, "val"),
    }


def found(base: str, cases: Sequence[Case]) -> list[Example]:
    """What a shipped SAM gives for each image, beside the truth."""
    model = zero_shot(base_sam(base), cast(Base, base))
    return [Example(model.maps(case.image, case.spacing)[0], case.instances, case.spacing) for case in cases]


def choose(bases: Sequence[str], results: Path) -> Path:
    """Choose, and write the record with a row for each SAM, image and setting; returns its folder."""
    watch = records.Stopwatch()
    used = images(data_root())
    with watch.measure("predict"):
        shown = {(base, name): found(base, part) for base in bases for name, part in used.items()}
    usual = InstanceSettings()
    with watch.measure("fit"):
        chosen = kept([each for (_, name), part in shown.items() if name != "val" for each in part], usual)
    rows = [
        {"base": base, "part": name, "image": case.name, "settings": label}
        | {metric: getattr(scores, metric) for metric in METRICS}
        for (base, name), part in shown.items()
        for case, each in zip(used[name], part, strict=True)
        for label, settings in (("usual", usual), ("chosen", chosen))
        for scores in [scored(each, settings)]
    ]
    config = {"bases": {base: weights_checksum(base_sam(base)) for base in bases}, "every": EVERY, "values": KEEPING}
    record = records.make(
        NAME, config, data=used, modules=("study.minisam.parting",), watch=watch, chosen=chosen.model_dump(mode="json")
    )
    return records.save(record, results / "mini_sam" / NAME, rows=pd.DataFrame(rows))


def scored(example: Example, settings: InstanceSettings) -> instance.InstanceScores:
    """Scores of what is kept of the example's nuclei."""
    labels = dropped(parted(example.maps, settings), example.maps[0], settings, example.spacing)
    return instance.evaluate(labels, example.truth)


if __name__ == "__main__":
    print(choose(tuple(SHIPPED), resolved("results")))
