"""Five numbers that have been called AJI, of one prediction against one truth.

Only `aji_kumar` follows the definition's authors. The others differ in what a nucleus is, and in whether a predicted
nucleus may answer for two true ones; none is wrong as a measure, but they are not each other.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from allinsam_core.metrics import instance

NAMES: dict[str, str] = {
    "jaccard": "pixel Jaccard index of the binary maps, as the released evaluator's `aji` and the printed ADJ",
    "aji_kumar": "aggregated Jaccard index as published; a prediction may be used again",
    "aji_greedy": "the same, but a prediction is used once: the first true nucleus in label order takes it",
    "aji_plus": "the same over the best one-to-one pairing",
    "aji_components": "as published, but nuclei are the connected components of the predicted mask",
}


def five(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """The five numbers, keys as in `NAMES`.

    labels, truth: (H, W) integers, 0 = background, each other value one nucleus. Components are 4-connected, those of
    `labels > 0`. ValueError for what `metrics.instance.evaluate` refuses.
    """
    scores = instance.evaluate(labels, truth)
    components, _ = ndimage.label(labels > 0)
    return {
        "jaccard": _jaccard(labels > 0, truth > 0),
        "aji_kumar": scores.aji_kumar,
        "aji_greedy": aji_greedy(labels, truth),
        "aji_plus": scores.aji_plus,
        "aji_components": instance.evaluate(components, truth).aji_kumar,
    }


def aji_greedy(labels: np.ndarray, truth: np.ndarray) -> float:
    """ΣI / ΣU where each truth nucleus, in label order, takes the free prediction of largest IoU.

    labels, truth as in `five`. Depends on the order of the labels, which no metric should. 1 where both are empty.
    """
    area_pred, area_true = np.bincount(labels.ravel()), np.bincount(truth.ravel())
    free = np.ones(len(area_pred), bool)
    free[0] = False
    inter_sum = union_sum = 0
    for label in np.flatnonzero(area_true[1:]) + 1:
        inter = np.bincount(labels[truth == label], minlength=len(area_pred)) * free
        union = area_true[label] + area_pred - inter
        best = int(np.argmax(inter / np.maximum(union, 1)))
        if inter[best] == 0:
            union_sum += int(area_true[label])
            continue
        free[best] = False
        inter_sum, union_sum = inter_sum + int(inter[best]), union_sum + int(union[best])
    union_sum += int(area_pred[free].sum())
    return inter_sum / union_sum if union_sum else 1.0


def _jaccard(pred: np.ndarray, truth: np.ndarray) -> float:
    union = int((pred | truth).sum())
    return int((pred & truth).sum()) / union if union else 1.0
