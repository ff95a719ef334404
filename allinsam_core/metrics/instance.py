"""Instance metrics of one label map against another, all read off one overlap table.

Definitions (A, B are nuclei as sets of pixels; IoU = |A∩B| / |A∪B|):

- ``aji_kumar``: aggregated Jaccard index, Kumar et al., IEEE TMI 2017, algorithm 1, as the authors' MATLAB
  v1.0 computes it. Every truth nucleus takes the prediction of largest IoU (equal IoU: the lower label); a
  prediction may serve several truth nuclei. ΣI / ΣU, where ΣU also gets each unmatched truth nucleus and each
  prediction never taken.
- ``aji_plus``: the same sums over the one-to-one pairing that maximises the total IoU (Graham et al.,
  HoVer-Net, 2019).
- ``dq``, ``sq``, ``pq``: panoptic quality, Kirillov et al., CVPR 2019, pairs with IoU > 0.5 (unique without a
  choice).
- ``f1_instance_50``, ``ap_50``, ``true_positives``: one-to-one pairs with IoU ≥ 0.5; F1 = 2 TP / (n_truth +
  n_pred), AP = TP / (TP + FP + FN). They differ from ``dq`` only where an IoU is exactly one half.

HoVer-Net's evaluation adds 1e-6 to the union when it ranks pairs and to TP in ``sq``; both are kept so that
the values are the same numbers (``benchmarks/metrics.py`` checks it): ``sq`` of one perfect nucleus is 1 / (1
+ 1e-6).

Empty maps: both empty is agreement and every metric is 1; one empty, and every metric is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

EPSILON = 1e-6  # HoVer-Net's guard against division by zero; it also decides ties between equal ratios
DENSE_CELLS = 1 << 23  # largest overlap table counted directly: 2900 × 2900 labels, 64 MiB of counts


@dataclass(frozen=True, slots=True)
class InstanceScores:
    """Scores in [0, 1] and counts of nuclei; the module's docstring defines each field."""

    aji_kumar: float
    aji_plus: float
    pq: float
    dq: float
    sq: float
    f1_instance_50: float
    ap_50: float
    n_truth: int
    n_pred: int
    true_positives: int


class _Overlaps(NamedTuple):
    """Areas in pixels of the nuclei in label order, and the overlapping pairs sorted by (truth, pred)."""

    truth_area: np.ndarray  # (n_truth,) int64
    pred_area: np.ndarray  # (n_pred,) int64
    truth: np.ndarray  # (pairs,) int64, index into truth_area
    pred: np.ndarray  # (pairs,) int64, index into pred_area
    inter: np.ndarray  # (pairs,) int64, pixels in common
    union: np.ndarray  # (pairs,) int64


def evaluate(pred: np.ndarray, truth: np.ndarray) -> InstanceScores:
    """Score a label map against the true one.

    pred, truth: (H, W) any integer dtype, 0 = background, each other value one nucleus (gaps and
    non-contiguous memory are fine, a nucleus need not be connected). Raises ValueError on other dtypes,
    negative labels or different shapes.
    """
    overlaps = _overlaps(_checked(pred, "pred"), _checked(truth, "truth"))
    n_truth, n_pred = len(overlaps.truth_area), len(overlaps.pred_area)
    if n_truth == 0 and n_pred == 0:
        return InstanceScores(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0, 0, 0)
    dq, sq = _detection_and_segmentation_quality(overlaps)
    hits = _true_positives(overlaps)
    iou = overlaps.inter / (overlaps.union + EPSILON)
    return InstanceScores(
        aji_kumar=_aggregated_jaccard(overlaps, _largest_iou_pairs(overlaps, iou)),
        aji_plus=_aggregated_jaccard(overlaps, _one_to_one_pairs(overlaps, iou)),
        pq=dq * sq,
        dq=dq,
        sq=sq,
        f1_instance_50=2 * hits / (n_truth + n_pred),
        ap_50=hits / (n_truth + n_pred - hits),
        n_truth=n_truth,
        n_pred=n_pred,
        true_positives=hits,
    )


def _checked(labels: np.ndarray, name: str) -> np.ndarray:
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{name} is {labels.dtype}, expected an integer label map; "
            "label the components of a mask first (skimage.measure.label)"
        )
    if labels.ndim != 2 or labels.size == 0:
        raise ValueError(f"{name} has shape {labels.shape}, expected a non-empty (H, W)")
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise ValueError(f"{name} has the negative label {labels.min()}, expected 0 = background and positive labels")
    return labels


def _overlaps(pred: np.ndarray, truth: np.ndarray) -> _Overlaps:
    """Count the pixels of every (truth, pred) pair of labels in one pass over the image."""
    if pred.shape != truth.shape:
        raise ValueError(f"pred is {pred.shape} and truth {truth.shape}, expected one shape; resize the labels first")
    rows, columns = int(truth.max()) + 1, int(pred.max()) + 1
    if rows * columns > DENSE_CELLS:  # large label values: number the labels without gaps
        truth, rows = _ranked(truth)
        pred, columns = _ranked(pred)
    if rows * columns <= DENSE_CELLS:
        key = truth.astype(np.uint32).ravel()  # narrow keys: the pass over the image is bound by memory
        key *= np.uint32(columns)
        key += pred.astype(np.uint32).ravel()
        counts = np.bincount(key[key != 0])  # background in both maps counts for nothing
        cells = np.flatnonzero(counts)
        counts = counts[cells]
    else:
        cells, counts = np.unique(truth.astype(np.int64) * columns + pred, return_counts=True)
    row, column = np.divmod(cells, columns)
    row_area = np.bincount(row, counts, minlength=rows).astype(np.int64)[1:]
    column_area = np.bincount(column, counts, minlength=columns).astype(np.int64)[1:]

    both = (row > 0) & (column > 0)
    row, column, inter = row[both] - 1, column[both] - 1, counts[both]
    union = row_area[row] + column_area[column] - inter
    row_present, column_present = row_area > 0, column_area > 0
    row_index, column_index = np.cumsum(row_present) - 1, np.cumsum(column_present) - 1
    return _Overlaps(
        row_area[row_present], column_area[column_present], row_index[row], column_index[column], inter, union
    )


def _ranked(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """The map renumbered 0 (background), 1, 2, ... in the order of its labels, and the count of numbers."""
    if int(labels.max()) < 4 * labels.size:
        present = np.bincount(labels.ravel().astype(np.int64, copy=False)) > 0
        present[0] = True
        ranks = np.cumsum(present) - 1
        return ranks[labels], int(ranks[-1]) + 1
    nucleus = labels != 0
    values, inverse = np.unique(labels[nucleus], return_inverse=True)
    ranked = np.zeros(labels.shape, dtype=np.int64)
    ranked[nucleus] = inverse + 1
    return ranked, len(values) + 1


def _largest_iou_pairs(overlaps: _Overlaps, iou: np.ndarray) -> np.ndarray:
    """(pairs,) bool: for every truth nucleus its prediction of largest IoU, the lower label among equals."""
    order = np.lexsort((overlaps.pred, -iou, overlaps.truth))
    _, first = np.unique(overlaps.truth[order], return_index=True)
    chosen = np.zeros(len(iou), dtype=bool)
    chosen[order[first]] = True
    return chosen


def _one_to_one_pairs(overlaps: _Overlaps, iou: np.ndarray) -> np.ndarray:
    """(pairs,) bool: the one-to-one pairing of largest total IoU.

    A pair in which neither nucleus overlaps anything else is in every such pairing; only the rest needs
    solving.
    """
    rivals = np.bincount(overlaps.truth)[overlaps.truth] + np.bincount(overlaps.pred)[overlaps.pred]
    chosen = rivals == 2
    contested = np.flatnonzero(~chosen)
    if len(contested):
        rows, row = np.unique(overlaps.truth[contested], return_inverse=True)
        columns, column = np.unique(overlaps.pred[contested], return_inverse=True)
        pair = np.full((len(rows), len(columns)), -1)
        pair[row, column] = contested
        gain = np.zeros(pair.shape)
        gain[row, column] = iou[contested]
        solved = pair[linear_sum_assignment(gain, maximize=True)]
        chosen[solved[solved >= 0]] = True
    return chosen


def _aggregated_jaccard(overlaps: _Overlaps, chosen: np.ndarray) -> float:
    """ΣI / ΣU over the chosen pairs, every nucleus outside them adding its area to ΣU."""
    truth, pred = overlaps.truth[chosen], overlaps.pred[chosen]
    alone_truth = np.delete(overlaps.truth_area, truth).sum()
    alone_pred = np.delete(overlaps.pred_area, pred).sum()
    return float(overlaps.inter[chosen].sum() / (overlaps.union[chosen].sum() + alone_truth + alone_pred))


def _detection_and_segmentation_quality(overlaps: _Overlaps) -> tuple[float, float]:
    matched = 2 * overlaps.inter > overlaps.union
    hits = int(matched.sum())
    false_pred, false_truth = len(overlaps.pred_area) - hits, len(overlaps.truth_area) - hits
    iou = overlaps.inter[matched] / overlaps.union[matched]
    return hits / (hits + 0.5 * false_pred + 0.5 * false_truth), float(iou.sum() / (hits + EPSILON))


def _true_positives(overlaps: _Overlaps) -> int:
    """Size of the largest one-to-one pairing with IoU ≥ 1/2.

    IoU = 1/2 can be shared only as two halves of one nucleus, and the halves then overlap nothing else, so
    keeping one pair per truth nucleus and one per prediction is a largest pairing.
    """
    matched = 2 * overlaps.inter >= overlaps.union
    _, first = np.unique(overlaps.truth[matched], return_index=True)
    return len(np.unique(overlaps.pred[matched][first]))
