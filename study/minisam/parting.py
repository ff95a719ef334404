"""How the shipped SAMs part nuclei and which they keep, without training: `python -m study.minisam.parting`.

Chosen for each by the search of `study.tuning`, on images from which neither has learnt: every second of MoNuSeg's
training images, and the stained images of DSB2018 that pre-training held out, about as many, rescaled as it rescales
them. What is chosen is `allinsam_core.model.KEPT`. MoNuSeg's six validation images, and the half of DSB2018's stained
test images that no part of this study trains on, show what it gives, beside Otsu's threshold on the stain, whose nuclei
are parted by the same search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch

from allinsam_core.annotation.predict import MINI_SPACING
from allinsam_core.annotation.sam import SHIPPED, weights_checksum
from allinsam_core.data.case import Case
from allinsam_core.learning.instances import InstanceSettings, dropped, parted
from allinsam_core.metrics import instance, pixel
from allinsam_core.model import Base, base_sam, zero_shot
from study import records
from study.datasets import dsb2018_test, monuseg
from study.minisam.corpus import CorpusSettings, stained_parts
from study.minisam.recolour import at_nucleus_size
from study.rivals.otsu import Otsu, OtsuSettings
from study.root import data_root, resolved
from study.tuning import KEEPING, PARTING, Example, tuned

EVERY = 2  # of MoNuSeg's training images, the first of so many
METRICS = ("f1_instance_50", "aji_kumar", "pq")
NAME = "parting"
OTSU = "otsu"
CHOSEN_ON = ("monuseg", "dsb2018")


def images(root: Path) -> dict[str, list[Case]]:
    """What the choice is made on and what shows its result, by source. root: the folder of all data."""
    settings = CorpusSettings()
    held_out, _ = stained_parts(settings, root)
    unread = [at_nucleus_size(case, settings.nucleus) for case in dsb2018_test.load(root, "held_out")]
    return {
        "monuseg": monuseg.load(root, "train")[::EVERY],
        "dsb2018": [replace(case, spacing=MINI_SPACING) for case in held_out],
        "val": monuseg.load(root, "val"),
        "dsb2018_test": [replace(case, spacing=MINI_SPACING) for case in unread],
    }


def found(name: str, cases: Sequence[Case]) -> list[Example]:
    """What a shipped SAM, or Otsu's threshold, gives for each image, beside the truth."""
    if name == OTSU:
        floor = Otsu(OtsuSettings())
        return [Example(floor.predict(case.image)[None], case.instances, case.spacing) for case in cases]
    model = zero_shot(base_sam(name), cast(Base, name))
    return [Example(model.maps(case.image, case.spacing)[0], case.instances, case.spacing) for case in cases]


def choose(names: Sequence[str], results: Path) -> Path:
    """Choose, and write the record with a row for each of the names, image and setting; returns its folder."""
    watch = records.Stopwatch()
    used = images(data_root())
    usual = InstanceSettings()
    chosen: dict[str, InstanceSettings] = {}
    rows: list[dict[str, Any]] = []
    with watch.measure("fit"):
        for name in names:
            shown = {part: found(name, cases) for part, cases in used.items()}
            seen = [each for part in CHOSEN_ON for each in shown[part]]
            chosen[name] = tuned(seen, seen, usual)
            print(f"{name}: {chosen[name]}", flush=True)
            rows += rows_of(name, used, shown, {"usual": usual, "chosen": chosen[name]})
    config = {
        "bases": {name: weights_checksum(base_sam(name)) for name in names if name in SHIPPED},
        "every": EVERY,
        "values": {**{str(maps): values for maps, values in PARTING.items()}, "kept": KEEPING},
    }
    record = records.make(
        NAME, config, data=used, modules=("study.minisam.parting",), watch=watch,
        chosen={name: settings.model_dump(mode="json") for name, settings in chosen.items()},
    )  # fmt: skip
    return records.save(record, results / "mini_sam" / NAME, rows=pd.DataFrame(rows))


def rows_of(
    name: str,
    used: Mapping[str, Sequence[Case]],
    shown: Mapping[str, Sequence[Example]],
    settings: Mapping[str, InstanceSettings],
) -> list[dict[str, Any]]:
    """The scores of each image of each source, with each of the settings."""
    return [
        {"base": name, "part": part, "image": case.name, "settings": label}
        | {"dice": pixel.evaluate(each.maps[0], each.truth > 0).dice}
        | {metric: getattr(scores, metric) for metric in METRICS}
        for part, examples in shown.items()
        for case, each in zip(used[part], examples, strict=True)
        for label, own in settings.items()
        for scores in [scored(each, own)]
    ]


def scored(example: Example, settings: InstanceSettings) -> instance.InstanceScores:
    """Scores of what is kept of the example's nuclei."""
    labels = dropped(parted(example.maps, settings), example.maps[0], settings, example.spacing)
    return instance.evaluate(labels, example.truth)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(choose((*SHIPPED, OTSU), resolved("results")))
