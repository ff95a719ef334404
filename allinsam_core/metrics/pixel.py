"""Pixel metrics of one probability map or mask against the true mask.

p = [prob ≥ threshold], g = truth, over all pixels of one image (definitions of the paper's evaluators):

- ``dice`` = 2|p∩g| / (|p|+|g|), the same number as the binary F1.
- ``jaccard`` = |p∩g| / |p∪g|; the paper's column "ADJ".
- ``iou_column`` = mean over image columns x of |p_x∩g_x| / max(|p_x∪g_x|, 1e-8); the paper's column "IoU". A
  column without foreground in either map counts 0, as in the paper's evaluator.
- ``precision`` = |p∩g| / |p|, ``recall`` = |p∩g| / |g|.
- ``auc``: area under the ROC curve of prob, ties counted half. NaN where truth has a single class.
- ``best_f1``: largest F1 over all thresholds of this image's precision-recall curve, an oracle's choice and
  so never below ``dice`` where anything is predicted. NaN where truth is empty. The released
  evaluator's 1e-10 in the denominator is left out.
- ``f1_pixel_macro``: mean of the F1 of foreground and the F1 of background; Table 1's "F1" as the paper's
  code has it.

Empty maps: agreeing on "nothing there" is perfect, so dice, jaccard, precision and recall are 1 when p and g
are both empty (and the background's F1 is 1 when both are full); any other 0/0 is 0, as in scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNION_FLOOR = 1e-8


@dataclass(frozen=True, slots=True)
class PixelScores:
    """Scores in [0, 1], or NaN where undefined; the module's docstring defines each field."""

    dice: float
    jaccard: float
    iou_column: float
    precision: float
    recall: float
    auc: float
    best_f1: float
    f1_pixel_macro: float


def evaluate(prob: np.ndarray, truth: np.ndarray, threshold: float = 0.5, *, eight_bit: bool = False) -> PixelScores:
    """Score a probability map or mask against the true mask.

    prob: (H, W) float in [0, 1], bool mask, or uint8 probabilities 0..255 (divided by 255). Other integers
    must be a 0/1 mask. truth: (H, W) bool or label map, nonzero = nucleus. threshold: foreground is prob ≥
    threshold. eight_bit: round prob × 255 half up first, as a saved 8-bit map would be (0.5 → 128 →
    foreground). Raises ValueError naming the argument whose shape, dtype or range is wrong.
    """
    prob, truth = _probability(prob), _mask(truth)
    if prob.shape != truth.shape:
        raise ValueError(f"prob is {prob.shape} and truth {truth.shape}, expected one shape; resize one first")
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}, expected a value in [0, 1]")
    if eight_bit and prob.dtype != np.uint8:
        prob = np.floor(prob * 255.0 + 0.5).astype(np.uint8)
    if prob.dtype == np.uint8:
        foreground = prob >= np.searchsorted(np.arange(256) / 255, threshold)
        ranks = _ranks_of_levels(prob, truth)
    else:
        foreground = prob >= threshold
        ranks = _ranks_of_values(prob, truth)

    both, either = foreground & truth, foreground | truth
    hits, n_pred, n_truth = (int(np.count_nonzero(mask)) for mask in (both, foreground, truth))
    n_union = n_pred + n_truth - hits
    dice = _ratio(2 * hits, n_pred + n_truth, both_empty=n_union == 0)
    background = 2 * (truth.size - n_union), 2 * truth.size - n_pred - n_truth
    dice_background = _ratio(*background, both_empty=background[1] == 0)
    column_hits, column_union = (_in_columns(mask) for mask in (both, either))
    return PixelScores(
        dice=dice,
        jaccard=_ratio(hits, n_union, both_empty=n_union == 0),
        iou_column=float(np.mean(column_hits / np.maximum(column_union, UNION_FLOOR))),
        precision=_ratio(hits, n_pred, both_empty=n_union == 0),
        recall=_ratio(hits, n_truth, both_empty=n_union == 0),
        auc=_area_under_roc(ranks),
        best_f1=_best_f1(ranks),
        f1_pixel_macro=(dice + dice_background) / 2,
    )


def _probability(prob: np.ndarray) -> np.ndarray:
    """prob as float32/float64 in [0, 1] or as uint8 levels of 1/255."""
    prob = np.asarray(prob)
    if prob.ndim != 2 or prob.size == 0:
        raise ValueError(f"prob has shape {prob.shape}, expected a non-empty (H, W)")
    if prob.dtype == bool:
        return prob.astype(np.uint8) * np.uint8(255)
    low, high = prob.min(), prob.max()
    if prob.dtype == np.uint8:
        if high == 1:
            raise ValueError(
                "prob is uint8 with maximum 1: a 0/1 mask or probabilities below 1/255? "
                "Pass a mask as bool (prob > 0), probabilities as float (prob / 255)"
            )
        return prob
    if not (low >= 0 and high <= 1):  # NaN fails too
        raise ValueError(
            f"prob is {prob.dtype} with values from {low} to {high}, expected finite values in [0, 1]; "
            "pass a label map as bool (labels > 0), logits through a sigmoid"
        )
    if prob.dtype.kind == "f":
        return prob.astype(np.float32 if prob.dtype.itemsize <= 4 else np.float64, copy=False)
    if prob.dtype.kind in "iu":
        return prob.astype(np.uint8) * np.uint8(255)
    raise ValueError(f"prob is {prob.dtype}, expected float, bool or uint8")


def _mask(truth: np.ndarray) -> np.ndarray:
    truth = np.asarray(truth)
    mask = truth != 0
    if truth.dtype.kind not in "biu" and not np.array_equal(truth, mask):
        raise ValueError(f"truth is {truth.dtype} with values other than 0 and 1, expected bool or a label map")
    return mask


def _in_columns(mask: np.ndarray) -> np.ndarray:
    """Pixels of a bool mask (H, W) in each column: (W,) integers."""
    return np.add.reduce(mask.view(np.uint8), axis=0, dtype=np.uint32)


def _ratio(part: int, whole: int, *, both_empty: bool) -> float:
    if both_empty:
        return 1.0
    return part / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class _Ranks:
    """How positives lie among negatives: one entry for each value that positives have, ascending.

    positives: how many have the value; below, tied: negatives of lower and of the same value; negatives: of all values.
    """

    positives: np.ndarray
    below: np.ndarray
    tied: np.ndarray
    negatives: int


def _ranks_of_levels(prob: np.ndarray, truth: np.ndarray) -> _Ranks:
    """From 8-bit levels, by counting them."""
    positives = np.bincount(prob[truth], minlength=256)
    negatives = np.bincount(prob.ravel(), minlength=256) - positives
    present = positives > 0
    below = np.cumsum(negatives) - negatives
    return _Ranks(positives[present], below[present], negatives[present], int(negatives.sum()))


def _ranks_of_values(prob: np.ndarray, truth: np.ndarray) -> _Ranks:
    """From floats, exact, by a single sort.

    Non-negative IEEE floats order like their bit patterns. Shifted left by one, the pattern loses its sign
    (so that -0.0 is 0.0) and carries the pixel's class in its last bit through the sort.
    """
    bits: np.ndarray = prob.ravel().view(np.uint32 if prob.dtype == np.float32 else np.uint64)
    keys = (bits << 1) | truth.ravel()
    keys.sort()
    place = np.flatnonzero((keys & 1).astype(bool))
    values = keys[place]
    order = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])  # positives of lower values
    first, values = place[order], values[order]
    start = first.copy()  # of the value, negatives included, which come before its positives
    mixed = keys[first - 1] == values - 1
    start[mixed] = np.searchsorted(keys, values[mixed] - 1)
    return _Ranks(np.diff(order, append=len(place)), start - order, first - start, len(keys) - len(place))


def _area_under_roc(ranks: _Ranks) -> float:
    """Mann-Whitney: the share of (nucleus, background) pixel pairs in the right order, ties counting half."""
    n_positive = int(ranks.positives.sum())
    if n_positive == 0 or ranks.negatives == 0:
        return float("nan")
    return int(ranks.positives @ (2 * ranks.below + ranks.tied)) / (2 * n_positive * ranks.negatives)


def _best_f1(ranks: _Ranks) -> float:
    """The largest F1 is that of a value which positives have: from any other on there are as many hits, or fewer."""
    if not len(ranks.positives):
        return float("nan")
    upto = np.cumsum(ranks.positives)
    hits = upto[-1] - upto + ranks.positives
    predicted = hits + (ranks.negatives - ranks.below)
    return 2 * float(np.max(hits / (predicted + upto[-1])))
