"""Which nuclei the shipped SAMs keep of those that they find without training: `python -m study.minisam.parting`.

Chosen on MoNuSeg's 24 training images, from none of which they have learnt, by the search of `study.tuning`; the six
validation images show what it gives. The record has both; `allinsam_core.model.PARTING` has what was chosen.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from allinsam_core.annotation.sam import SHIPPED, weights_checksum
from allinsam_core.learning.instances import InstanceSettings, dropped, parted
from allinsam_core.metrics import instance
from allinsam_core.model import Base, base_sam, zero_shot
from study import records
from study.datasets import monuseg
from study.root import data_root, resolved
from study.tuning import KEEPING, Example, kept

EVERY = 2  # of the training images, the first of so many
METRICS = ("f1_instance_50", "aji_kumar", "pq")


def choose(base: str, results: Path) -> Path:
    """Choose the settings of one shipped SAM and write their record; returns its folder."""
    watch = records.Stopwatch()
    sam = base_sam(base)
    model = zero_shot(sam, cast(Base, base))
    used = {"train": monuseg.load(data_root(), "train")[::EVERY], "val": monuseg.load(data_root(), "val")}
    with watch.measure("predict"):
        shown = {
            split: [Example(model.maps(case.image, case.spacing)[0], case.instances, case.spacing) for case in part]
            for split, part in used.items()
        }
    plain = InstanceSettings()
    with watch.measure("fit"):
        chosen = kept(shown["train"], plain)
    rows = [
        {"image": case.name, "settings": name, **{metric: getattr(scores, metric) for metric in METRICS}}
        for name, settings in (("usual", plain), ("chosen", chosen))
        for case, each in zip(used["val"], shown["val"], strict=True)
        for scores in [instance.evaluate(_nuclei(each, settings), each.truth)]
    ]
    config = {"base": base, "sha256": weights_checksum(sam), "every": EVERY, "values": KEEPING}
    record = records.make(
        f"parting-{base}", config, data=used, modules=("study.minisam.parting",), watch=watch,
        chosen=chosen.model_dump(mode="json"),
    )  # fmt: skip
    return records.save(record, results / "mini_sam" / f"parting-{base}", rows=pd.DataFrame(rows))


def _nuclei(example: Example, settings: InstanceSettings) -> np.ndarray:
    return dropped(parted(example.maps, settings), example.maps[0], settings, example.spacing)


if __name__ == "__main__":
    for name in SHIPPED:
        print(choose(name, resolved("results")))
