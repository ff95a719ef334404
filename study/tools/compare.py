"""A trained model beside what needs no training: the SAM as it is, and Otsu's threshold of haematoxylin.

All three find the nuclei of any class. Each has its threshold chosen on the validation images, so that the comparison
is not one of thresholds; where there are test images, they decide, else the validation images, which flatter all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from allinsam_core.data.case import Case
from allinsam_core.learning import threshold
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.model import Description, Model
from allinsam_core.nuclei import score, separate
from study.rivals.otsu import Otsu, OtsuSettings

NAMES = ("trained", "zero-shot", "Otsu")


@dataclass(frozen=True)
class Comparison:
    """split: of the images compared on. images: their names. dice, aji: method → one value an image."""

    split: str
    images: tuple[str, ...]
    dice: dict[str, list[float]]
    aji: dict[str, list[float]]

    def rows(self) -> list[dict[str, Any]]:
        """One row a method and image, for the record."""
        return [
            {"method": name, "split": self.split, "image": image, "dice": dice, "aji_kumar": aji}
            for name in NAMES
            for image, dice, aji in zip(self.images, self.dice[name], self.aji[name], strict=True)
        ]

    def lines(self) -> Iterator[str]:
        """A table to print."""
        yield f"scores on {len(self.images)} {self.split} images (all nuclei, mean)"
        yield f"{'':<12}{'dice':>8}{'aji_kumar':>12}"
        for name in NAMES:
            yield f"{name:<12}{np.mean(self.dice[name]):>8.3f}{np.mean(self.aji[name]):>12.3f}"

    def warnings(self) -> Iterator[str]:
        """Where training did not help."""
        for name in NAMES[1:]:
            behind = [m for m, values in (("dice", self.dice), ("aji_kumar", self.aji)) if _ahead(values, name)]
            if behind:
                yield (
                    f"warning: training did not help: {name} is as good or better in {', '.join(behind)}; "
                    "annotate more images, train for more steps, or stay with it"
                )
        if self.split == "val":
            yield "note: the validation images chose steps and thresholds; name test images in --table for a fair score"


def _ahead(values: dict[str, list[float]], name: str) -> bool:
    return float(np.mean(values[name])) >= float(np.mean(values["trained"]))


def compare(model: Model, plain: Model, cases: Sequence[Case]) -> Comparison:
    """Score all three. plain: the same SAM without training (`model.zero_shot`). cases: with splits."""
    spacing = model.about.spacing
    otsu = Otsu(OtsuSettings(sigma=OtsuSettings().sigma * 0.25 / spacing))
    predict = {
        "zero-shot": lambda image: plain.maps(image, spacing)[0],
        "Otsu": lambda image: otsu.predict(image)[None],
    }
    val = [case for case in cases if case.split == "val"]
    judged = [case for case in cases if case.split == "test"] or val
    dice: dict[str, list[float]] = {name: [] for name in NAMES}
    aji: dict[str, list[float]] = {name: [] for name in NAMES}

    of = {"zero-shot": plain.about, "Otsu": plain.about.model_copy(update={"parting": InstanceSettings()})}

    def add(name: str, maps: np.ndarray, about: Description, case: Case) -> None:
        scores = score(separate(maps, about, spacing).instances, case.instances)
        dice[name].append(scores.pixel.dice)
        aji[name].append(scores.instance.aji_kumar)

    for case in judged:
        add("trained", model.maps(case.image, spacing), model.about, case)
    for name, method in predict.items():
        seen = {case.name: method(case.image) for case in {c.name: c for c in (*val, *judged)}.values()}
        cut = threshold.choose(((seen[case.name][0], case.mask) for case in val), cautious=True)
        for case in judged:
            prob, *distances = seen[case.name]
            add(name, np.stack([threshold.rescaled(prob, cut), *distances])[None], of[name], case)
    return Comparison(judged[0].split, tuple(case.name for case in judged), dice, aji)
