"""Detection of nuclei of which only the position and the class are known: predicted points against true ones.

- ``f1_point_<class>``: F1 = 2 TP / (n_truth + n_pred) of one class, predictions and truth of other classes left out.
  TP are one-to-one pairs closer than a distance (Abousamra et al., ICCV 2021, MCSpatNet: 6 px at 20×, 3.05 µm).
- ``f1_point_mean``: its mean over the classes.
- ``f1_point_any``: the same with all nuclei as one class, i.e. detection without classification.
- confusion: pairs of all nuclei as one class, by true and predicted class; the last row holds predictions without a
  truth, the last column truth without a prediction.

The pairs are the largest possible number of pairs, of these those of the smallest total distance (Hungarian method,
Kuhn 1955). The authors' script (TopoXLab/MCSpatNet, `03_eval_localization_fscore.py`) is greedy instead: every true
point, in turn, takes the nearest prediction that is still free, ``rule="greedy"``. Over several images the counts are
added first and F1 is taken of the sums, as there. A class that is neither in truth nor in prediction has no F1 (NaN).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

Rule = Literal["optimal", "greedy"]
DISTANCE = 3.05  # µm: 6 px at 0.508 µm, the largest distance of the data set's authors
BINS = 10  # of a reliability table


@dataclass(frozen=True, eq=False)
class Points:
    """Nuclei as points. xy: (N, 2) float, pixels. kinds: (N,) integers 0 … C − 1. confidence: (N,) in [0, 1]."""

    xy: np.ndarray
    kinds: np.ndarray
    confidence: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.xy)
        if self.xy.shape != (n, 2) or self.kinds.shape != (n,) or self.confidence.shape != (n,):
            raise ValueError(
                f"points are {self.xy.shape}, {self.kinds.shape} and {self.confidence.shape}, "
                "expected (N, 2), (N,) and (N,)"
            )


@dataclass(frozen=True, eq=False)
class Counts:
    """What is counted in an image, or in several together.

    truth, pred, hits: (C + 1,) int, of each class and of any. confusion: (C + 1, C + 1) int. reliability:
    (C, BINS, 3) float, of the predictions of a class whose confidence lies in a bin: how many, the sum of their
    confidences, and how many have a partner of their class.
    """

    truth: np.ndarray
    pred: np.ndarray
    hits: np.ndarray
    confusion: np.ndarray
    reliability: np.ndarray


def pairs(pred: np.ndarray, truth: np.ndarray, distance: float, rule: Rule = "optimal") -> np.ndarray:
    """One-to-one pairs closer than `distance`: (K, 2) indices, of pred and of truth, by truth.

    pred: (N, 2), truth: (M, 2), in the unit of distance.
    """
    if not len(pred) or not len(truth):
        return np.zeros((0, 2), int)
    apart = cdist(truth, pred)
    if rule == "greedy":
        return _greedy(apart, distance)
    near = apart < distance
    worth = np.where(near, apart - distance * (min(apart.shape) + 1), 0.0)  # one pair more outweighs any distances
    rows, columns = linear_sum_assignment(worth)
    kept = near[rows, columns]
    return np.stack([columns[kept], rows[kept]], axis=1)


def _greedy(apart: np.ndarray, distance: float) -> np.ndarray:
    apart, found = apart.copy(), []
    for row in range(len(apart)):
        column = int(apart[row].argmin())
        if apart[row, column] < distance:
            found.append((column, row))
            apart[:, column] = np.inf
    return np.array(found, int).reshape(-1, 2)


def count(pred: Points, truth: Points, classes: int, distance: float, rule: Rule = "optimal") -> Counts:
    """Compare the points of one image. distance: pixels. classes: C."""
    hit = np.zeros(len(pred.xy), bool)
    hits = []
    for kind in range(classes):
        own, wanted = np.flatnonzero(pred.kinds == kind), np.flatnonzero(truth.kinds == kind)
        found = pairs(pred.xy[own], truth.xy[wanted], distance, rule)
        hit[own[found[:, 0]]] = True
        hits.append(len(found))
    any_class = pairs(pred.xy, truth.xy, distance, rule)
    confusion = np.zeros((classes + 1, classes + 1), int)
    np.add.at(confusion, (truth.kinds[any_class[:, 1]], pred.kinds[any_class[:, 0]]), 1)
    truths, preds = (np.bincount(points.kinds, minlength=classes) for points in (truth, pred))
    confusion[:-1, -1] = truths - confusion[:-1].sum(1)
    confusion[-1, :-1] = preds - confusion[:-1, :-1].sum(0)
    reliability = np.zeros((classes, BINS, 3))
    bins = np.minimum((pred.confidence * BINS).astype(int), BINS - 1)
    np.add.at(reliability, (pred.kinds, bins), np.stack([np.ones(len(hit)), pred.confidence, hit], axis=1))
    return Counts(
        np.append(truths, len(truth.xy)),
        np.append(preds, len(pred.xy)),
        np.append(hits, len(any_class)),
        confusion,
        reliability,
    )


def f1(hits: np.ndarray, truth: np.ndarray, pred: np.ndarray) -> np.ndarray:
    """2 TP / (n_truth + n_pred), of any shape; NaN where there is neither truth nor prediction."""
    both = np.asarray(truth) + np.asarray(pred)
    return np.where(both > 0, 2 * np.asarray(hits) / np.maximum(both, 1), np.nan)


def calibration_error(reliability: np.ndarray) -> float:
    """Expected calibration error (Naeini et al., AAAI 2015): Σ over bins of n/N · |mean confidence − precision|.

    reliability: (BINS, 3) of one class, as in `Counts`. NaN without predictions.
    """
    n, confidence, hits = reliability.T
    return float(np.abs(confidence - hits).sum() / n.sum()) if n.sum() else float("nan")


def points_of(labels: np.ndarray, prob: np.ndarray) -> Points:
    """Nuclei as points at their centroids, each of the class with the largest mean probability over its pixels.

    labels: (H, W) integers, 0 = background. prob: (C, H, W) in [0, 1]. That mean is the confidence; of equal classes
    the earlier is taken. In order of label.
    """
    sums = np.stack([np.bincount(labels.ravel(), values.ravel()) for values in prob])
    area = np.bincount(labels.ravel())
    present = np.flatnonzero(area[1:]) + 1
    means = sums[:, present] / area[present]
    rows, columns = np.indices(labels.shape)
    xy = [np.bincount(labels.ravel(), at.ravel())[present] / area[present] for at in (columns, rows)]
    kinds = means.argmax(axis=0) if len(present) else np.zeros(0, int)
    return Points(np.stack(xy, axis=1), kinds, means.max(axis=0) if len(present) else np.zeros(0))


def true_points(labels: np.ndarray, kinds: np.ndarray) -> Points:
    """True nuclei at their centroids, in order of label, with confidence 1.

    labels: (H, W) integers, 0 = background, a nucleus may be one pixel. kinds: (largest label + 1,), label → class.
    """
    found = points_of(labels, np.ones((1, *labels.shape)))
    present = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
    return Points(found.xy, np.asarray(kinds)[present], found.confidence)
