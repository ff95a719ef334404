"""Which nuclei a segmentation gets wrong, in what way, and what each way costs.

A true nucleus is found where a predicted one has IoU ≥ 1/2 with it, one to one, as in `f1_instance_50`. What is not
found is told apart by areas (half of an object or more "lies in" another):

- `merged`: it lies in a predicted object in which another true nucleus lies too
- `split`: two predicted objects or more lie in it, and together cover half of it
- `misshapen`: else, predicted objects cover half of it, or half of the largest one lies in it
- `missed`: else

and a predicted object of which less than half lies on true nuclei is `invented`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from allinsam_core.metrics import instance

Kind = Literal["merged", "split", "misshapen", "missed", "invented"]
KINDS: tuple[Kind, ...] = ("merged", "split", "misshapen", "missed", "invented")


@dataclass(frozen=True)
class Errors:
    """found, merged, split, misshapen, missed: values of true nuclei; invented: of predicted ones. Sorted int64."""

    found: np.ndarray
    merged: np.ndarray
    split: np.ndarray
    misshapen: np.ndarray
    missed: np.ndarray
    invented: np.ndarray


def classify(pred: np.ndarray, truth: np.ndarray) -> Errors:
    """Sort the nuclei of two label maps (H, W), integers, 0 = background. Raises ValueError on different shapes."""
    common, of_truth, of_pred, true_area, pred_area = _overlaps(pred, truth)
    found = _found(common, of_truth, of_pred, true_area, pred_area)
    in_pred = 2 * common >= true_area[of_truth]  # the true nucleus lies in the predicted object
    in_truth = 2 * common >= pred_area[of_pred]  # the other way round
    tenants = np.bincount(of_pred[in_pred], minlength=len(pred_area))

    def any_of(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(of_truth[chosen], minlength=len(true_area)) > 0

    def covered(chosen: np.ndarray) -> np.ndarray:
        return 2 * np.bincount(of_truth[chosen], common[chosen], minlength=len(true_area)) >= true_area

    parts = np.bincount(of_truth[in_truth], minlength=len(true_area))
    merged = any_of(in_pred & (tenants[of_pred] > 1))
    split = (parts > 1) & covered(in_truth)
    misshapen = covered(np.ones(len(common), bool)) | any_of(in_truth)
    there = true_area > 0
    lost = there & ~found
    on_nuclei = np.bincount(of_pred, common, minlength=len(pred_area))
    invented = 2 * on_nuclei < pred_area
    chosen = (
        there & found,
        lost & merged,
        lost & ~merged & split,
        lost & ~merged & ~split & misshapen,
        lost & ~merged & ~split & ~misshapen,
        invented,
    )
    return Errors(*(np.flatnonzero(which) for which in chosen))


def _overlaps(pred: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of every overlapping pair: pixels in common, true label, predicted label; then areas by label (0: background)."""
    if pred.shape != truth.shape:
        raise ValueError(f"pred is {pred.shape} and truth {truth.shape}, expected one shape; resize the labels first")
    width = int(pred.max(initial=0)) + 1
    pairs, common = np.unique(truth.astype(np.int64) * width + pred, return_counts=True)
    of_truth, of_pred = np.divmod(pairs, width)
    true_area, pred_area = np.bincount(of_truth, common), np.bincount(of_pred, common, minlength=width)
    true_area[0] = pred_area[0] = 0
    both = (of_truth > 0) & (of_pred > 0)
    return common[both], of_truth[both], of_pred[both], true_area, pred_area


def _found(
    common: np.ndarray, of_truth: np.ndarray, of_pred: np.ndarray, true_area: np.ndarray, pred_area: np.ndarray
) -> np.ndarray:
    """By label, whether a true nucleus is found. Two of IoU = 1/2 can share an object: the first is found."""
    hit = 3 * common >= true_area[of_truth] + pred_area[of_pred]  # IoU ≥ 1/2
    found, taken = np.zeros(len(true_area), bool), np.zeros(len(pred_area), bool)
    for nucleus, object_ in zip(of_truth[hit], of_pred[hit], strict=True):
        found[nucleus] |= not taken[object_]
        taken[object_] = True
    return found


def repaired(pred: np.ndarray, truth: np.ndarray, kind: Kind) -> np.ndarray:
    """The predicted labels (H, W) int64 with one kind of error put right.

    Invented objects go. Nuclei of the other kinds come with their true pixels, and what lay in them (half of it or
    more) goes before.
    """
    wrong, labels = getattr(classify(pred, truth), kind), pred.astype(np.int64)
    if kind == "invented":
        return np.where(np.isin(labels, wrong), 0, labels)
    place = np.isin(truth, wrong)
    inside = np.bincount(labels[place], minlength=labels.max() + 1)
    kept = np.where((2 * inside >= np.bincount(labels.ravel()))[labels], 0, labels)
    return np.where(place, truth + labels.max(), kept)


def costs(pred: np.ndarray, truth: np.ndarray) -> dict[Kind, float]:
    """What each kind of error costs: by how much `f1_instance_50` grows where it alone is put right."""
    now = instance.evaluate(pred, truth).f1_instance_50
    return {kind: instance.evaluate(repaired(pred, truth, kind), truth).f1_instance_50 - now for kind in KINDS}
