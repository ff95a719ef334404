"""Pixel metrics of a megapixel: the present ranks of positives against counting every value."""

from __future__ import annotations

import dataclasses

import numpy as np

from allinsam_core.metrics import pixel
from benchmarks.ratio import Row, compare


def by_values(prob: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """AUC and best F1 from the counts of both classes at every distinct value: the former way, exact too."""
    if prob.dtype == np.uint8:
        negatives, positives = np.bincount(prob.ravel() + truth.ravel() * np.uint16(256), minlength=512).reshape(2, 256)
    else:
        keys = np.sort((prob.ravel().view(np.uint32) << 1) | truth.ravel())
        values = keys >> 1
        last = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
        positives = np.diff(np.cumsum(keys & 1, dtype=np.int64)[last], prepend=0)
        negatives = np.diff(last, prepend=-1) - positives
    below = 2 * np.cumsum(negatives) - negatives
    auc = int((positives * below).sum()) / (2 * int(negatives.sum()) * int(positives.sum()))
    hits = np.cumsum(positives[::-1])
    predicted = hits + np.cumsum(negatives[::-1])
    return auc, float(np.max(2 * hits / (predicted + positives.sum())))


def measure(quick: bool) -> list[Row]:
    """All pixel metrics of an image of 1000 × 1000 px, from float32 and from 8 bit."""
    rng = np.random.default_rng(0)
    side = 300 if quick else 1000
    y, x = np.mgrid[:side, :side]
    truth = (y % 40 - 20) ** 2 + (x % 40 - 20) ** 2 < 150
    prob = (1 / (1 + np.exp(-(3 * truth - 1.5 + rng.normal(0, 1, truth.shape))))).astype(np.float32)
    rows = []
    for name, given, limit in (
        ("pixel metrics, float32", prob, 0.030),
        ("pixel metrics, 8 bit", np.floor(prob * 255 + 0.5).astype(np.uint8), 0.005),
    ):
        row = compare(
            f"{name}, {side} × {side} px",
            lambda given=given: by_values(given, truth),
            lambda given=given: pixel.evaluate(given, truth),
            3 if quick else 15,
            lambda old, new: max(abs(old[0] - new.auc), abs(old[1] - new.best_f1)),
            tolerance=1e-12,
            difference_of="AUC and best F1, absolute",
            limit=limit,
            note="before: AUC and best F1 alone, from counts of every value; now: all eight metrics",
        )
        rows.append(row)
    return [dataclasses.replace(row, limit=None) for row in rows] if quick else rows
