"""A declared part of the training data: the 4 % and 0.5 % of the paper's Tables 2 and 3.

The paper does not say how the parts were cut. One 200 × 200 px crop of each of the 24 training images is exactly 4 %,
three such crops exactly 0.5 %: rule "crops". Whole images (one of 24 is 4.17 %) are the other reading. Rule "patients"
gives all images of some patients, where several come from one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError

CROP = 200
"""Side of a crop in pixels that makes 4 % and 0.5 % of 24 images whole numbers of crops."""

Rule = Literal["crops", "whole_image", "patients"]


def subset(cases: Sequence[Case], fraction: float, seed: int, rule: Rule = "crops", crop: int = CROP) -> list[Case]:
    """The given fraction of `cases`, the same for the same seed; 1.0 gives all of them under either rule.

    crops: round(fraction × pixels in all cases / crop²) crops, half up, spread evenly: no image gives its second crop
    before every image gave one, and so on. An image's crops are cells of one crop-sized grid at a seeded offset, so
    they never overlap. whole_image: round(fraction × number of cases) images, at least one, whatever share that is.
    patients: all images of round(fraction × number of patients) patients, at least one. Under all rules a smaller
    fraction is contained in a larger one of the same seed (but not in 1.0's whole images).
    Raises DataError when the fraction gives no crop, more crops than fit, or no nucleus at all.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction {fraction}, expected more than 0 and at most 1")
    if rule not in get_args(Rule):
        raise ValueError(f"rule {rule!r}, expected one of {', '.join(get_args(Rule))}")
    if not cases:
        raise DataError("no case to take a fraction of, expected at least one")
    if fraction == 1:
        return list(cases)
    rng = np.random.default_rng(seed)
    order = [cases[i] for i in rng.permutation(len(cases))]
    if rule == "crops":
        chosen = _crops(order, fraction, rng, crop)
    elif rule == "whole_image":
        chosen = order[: max(1, _round(fraction * len(cases)))]
    else:
        patients = list(dict.fromkeys(case.patient for case in order))
        some = patients[: max(1, _round(fraction * len(patients)))]
        chosen = [case for case in order if case.patient in some]
    if not any(case.mask.any() for case in chosen):
        raise DataError(
            f"{', '.join(case.name for case in chosen)}: fraction {fraction} with seed {seed} holds no nucleus, "
            "nothing can be learnt from it; choose another seed"
        )
    return chosen


def _crops(order: list[Case], fraction: float, rng: np.random.Generator, crop: int) -> list[Case]:
    count = _round(fraction * sum(case.instances.size for case in order) / crop**2)
    if count == 0:
        raise DataError(f"fraction {fraction} of {len(order)} images is less than half a {crop} px crop; ask for more")
    queues = [_cells(case, rng, crop) for case in order]
    if count > (room := sum(map(len, queues))):
        raise DataError(f"fraction {fraction} needs {count} crops of {crop} px, only {room} fit; use whole images")
    rounds = range(max(map(len, queues)))
    spread = [(case, queue[i]) for i in rounds for case, queue in zip(order, queues, strict=True) if i < len(queue)]
    return [case.crop(top, left, crop) for case, (top, left) in spread[:count]]


def _cells(case: Case, rng: np.random.Generator, crop: int) -> list[tuple[int, int]]:
    """All cells (top, left) of the image's grid in seeded order; empty when the image is smaller than a crop."""
    height, width = case.instances.shape
    top, left = (int(rng.integers(side % crop + 1)) for side in (height, width))
    cells = [(top + r, left + c) for r in range(0, height - crop + 1, crop) for c in range(0, width - crop + 1, crop)]
    return [cells[i] for i in rng.permutation(len(cells))]


def _round(value: float) -> int:
    """Half up, with a guard against 2.4999999999999996; Python's round would send 0.5 to 0."""
    return math.floor(value + 0.5 + 1e-9)
