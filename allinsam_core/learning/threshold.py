"""A threshold chosen on validation images, for probabilities that run high or low everywhere.

The paper's judge marks a pixel as nucleus from probability 0.5 on. The fair remedy for a method whose probabilities
do not mean what they say: take the threshold t with the largest mean Dice on the validation images, and divide every
pixel's odds by those of t, so that t becomes 0.5. Metrics and watershed then stay as they are for all methods.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

LEVELS = 256  # probabilities are judged as 8-bit images


def choose(predicted: Iterable[tuple[np.ndarray, np.ndarray]], cautious: bool = False) -> float:
    """The threshold in (0, 1) with the largest mean Dice; of several the one nearest to 0.5.

    cautious: of all that are within one standard error of the best (Breiman et al. 1984, §3.4.3; here of the
    differences, image by image) the one nearest to 0.5. A single image tells nothing about others and leaves 0.5.

    predicted: per image its probability (H, W) float in [0, 1] and its true mask (H, W) bool. Candidates are the 255
    edges between 8-bit levels, 0.5 among them. Raises ValueError without images.
    """
    dices = [_dice_from_each_edge(prob, truth) for prob, truth in predicted]
    if not dices:
        raise ValueError("no validation image, expected at least one; a threshold cannot be chosen without")
    mean = np.mean(dices, axis=0)
    edges = (np.arange(1, LEVELS) - 0.5) / (LEVELS - 1)
    if cautious and len(dices) == 1:
        return 0.5
    behind = np.stack(dices)[:, [mean.argmax()]] - dices
    error = behind.std(axis=0, ddof=1) / np.sqrt(len(dices)) if cautious else 0
    best = np.flatnonzero(behind.mean(axis=0) <= error) if cautious else np.flatnonzero(mean == mean.max())
    return float(min(edges[best], key=lambda edge: abs(edge - 0.5)))


def _dice_from_each_edge(prob: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice of prob ≥ edge, for edges 1 to 255: (255,). Two empty masks agree, as in `metrics.pixel`."""
    levels = np.floor(prob * (LEVELS - 1) + 0.5).astype(np.int64)
    marked, hits = (
        np.cumsum(np.bincount(chosen, minlength=LEVELS)[::-1])[::-1][1:] for chosen in (levels.ravel(), levels[truth])
    )
    both = marked + np.count_nonzero(truth)
    return np.where(both > 0, 2 * hits / np.maximum(both, 1), 1.0)


def rescaled(prob: np.ndarray, threshold: float) -> np.ndarray:
    """Probabilities whose odds are divided by those of `threshold`, which becomes 0.5; 0 and 1 stay. float32."""
    if threshold == 0.5:
        return prob
    above, below = prob * (1 - threshold), (1 - prob) * threshold
    return (above / (above + below)).astype(np.float32)
