"""What the tests of box prompts look at beside the masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from allinsam_core.annotation.predict import BoxAnnotator

LowRes = Callable[[BoxAnnotator, np.ndarray], tuple[np.ndarray, np.ndarray]]


@pytest.fixture
def low_res() -> LowRes:
    """SAM's raw answers to the boxes (N, 4) of the current image: logits (N, s, s) and predicted IoUs (N,)."""

    @torch.no_grad()
    def answers(annotator: BoxAnnotator, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        windows = annotator._windows(boxes)
        found = {}
        for rows, _ in annotator._chunks(windows):
            low, scores = annotator._decode(boxes[rows], [windows[row] for row in rows])
            found |= {row: (low[at, 0].numpy(), float(scores[at])) for at, row in enumerate(rows)}
        logits, scores = zip(*(found[row] for row in range(len(boxes))), strict=True)
        return np.stack(logits), np.array(scores)

    return answers
