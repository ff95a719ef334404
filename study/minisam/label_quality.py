"""How good weak labels are: against the truth, nucleus by nucleus, and by nucleus size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from allinsam_core.annotation.boxes import BoxLaw
from allinsam_core.data.case import Case
from study.weak import reference


@dataclass(frozen=True, eq=False)
class LabelQuality:
    """dice, jaccard: pixels of the whole image. nuclei: one row per box, in order of label, with the columns

    label; truth_area, weak_area (px); instance_iou of the box's mask with the object it was drawn around;
    area_ratio = weak / truth; excess, missing: pixels too many and too few, as shares of the true area.
    """

    name: str
    dice: float
    jaccard: float
    nuclei: pd.DataFrame

    @property
    def mean_instance_iou(self) -> float:
        """Mean over boxes; a box without a mask counts 0. NaN without boxes."""
        return float(self.nuclei["instance_iou"].mean())


def quality(truth: Case, weak: Case, box_law: BoxLaw = "tight") -> LabelQuality:
    """Compare weak labels with the truth they were made from. box_law: that of the boxes (`WeakSettings`).

    Boxes and masks are matched by label, so no matching can flatter: a mask on the neighbour counts as a miss.
    """
    from allinsam_core.metrics import pixel  # metrics come after annotation; only the study knows both

    if truth.instances.shape != weak.instances.shape:
        raise ValueError(
            f"{weak.name}: weak labels are {weak.instances.shape}, truth {truth.name} is {truth.instances.shape}; "
            "expected the same image"
        )
    scores = pixel.evaluate(weak.mask, truth.mask)
    return LabelQuality(truth.name, scores.dice, scores.jaccard, nuclei(reference(truth, box_law), weak.instances))


def nuclei(truth: np.ndarray, weak: np.ndarray) -> pd.DataFrame:
    """The table of `LabelQuality`. truth, weak: (H, W) integers ≥ 0 with the same numbering, 0 = background.

    A weak label that the truth lacks is an error: the two do not belong together.
    """
    count = int(max(truth.max(initial=0), weak.max(initial=0))) + 1
    truth_area = np.bincount(truth.ravel(), minlength=count)
    weak_area = np.bincount(weak.ravel(), minlength=count)
    both = np.bincount(truth.ravel()[truth.ravel() == weak.ravel()], minlength=count)
    strange = np.flatnonzero((weak_area > 0) & (truth_area == 0))
    if len(strange):
        raise ValueError(f"weak labels {strange[:5].tolist()} are not in the truth; expected the labels of its boxes")
    label = np.flatnonzero(truth_area[1:]) + 1
    wanted, found, hit = truth_area[label], weak_area[label], both[label]
    return pd.DataFrame(
        {
            "label": label,
            "truth_area": wanted,
            "weak_area": found,
            "instance_iou": hit / (wanted + found - hit),
            "area_ratio": found / wanted,
            "excess": (found - hit) / wanted,
            "missing": (wanted - hit) / wanted,
        }
    )


def by_size(table: pd.DataFrame, groups: int = 4) -> pd.DataFrame:
    """Quality by nucleus size: `groups` groups of nearly equal number, from the smallest true area to the largest.

    Columns: smallest, largest (px), nuclei, instance_iou, area_ratio, excess, missing (means), and
    lost: share of boxes whose instance IoU is under 0.5. Groups that ties leave empty are left out.
    """
    rank = table["truth_area"].rank(method="first")
    group = ((rank.to_numpy() - 1) * groups // max(1, len(table))).astype(int)
    return (
        table.assign(lost=table["instance_iou"] < 0.5)
        .groupby(group)
        .agg(
            smallest=("truth_area", "min"),
            largest=("truth_area", "max"),
            nuclei=("label", "size"),
            instance_iou=("instance_iou", "mean"),
            area_ratio=("area_ratio", "mean"),
            excess=("excess", "mean"),
            missing=("missing", "mean"),
            lost=("lost", "mean"),
        )
        .rename_axis("group")
    )
