"""One instance map out of masks that overlap, with an account of every instance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from allinsam_core.annotation.predict import BoxMask


def merge(
    masks: Sequence[BoxMask], shape: tuple[int, int], labels: Sequence[int] | None = None
) -> tuple[np.ndarray, pd.DataFrame]:
    """Paint the masks into one map. A pixel goes to the mask with the highest predicted IoU; of equals to the
    smaller one, of equal sizes to the earlier box.

    shape: (H, W). labels: the value of each mask in the map, different and > 0; by default box index + 1.
    Returns instances (H, W), uint16 while every label fits, else int32, and one row per mask in order: instance
    (label), box (index), score, area (px of the mask), kept (px in the map), lost (share of the area that went to
    others; 1 for an empty mask). A mask that lost everything is absent from the map and has kept 0.
    """
    values = np.arange(1, len(masks) + 1) if labels is None else np.asarray(labels, dtype=np.int64).reshape(-1)
    if len(values) != len(masks) or len(np.unique(values)) != len(values) or (values < 1).any():
        raise ValueError(f"{len(values)} labels for {len(masks)} masks; expected one each, different and > 0")
    top = int(values.max(initial=0))
    instances = np.zeros(shape, dtype=np.uint16 if top <= np.iinfo(np.uint16).max else np.int32)
    score = np.array([m.score for m in masks], dtype=np.float64)
    area = np.array([np.count_nonzero(m.mask) for m in masks], dtype=np.int64)
    best_first = np.lexsort((np.arange(len(masks)), area, -score))
    for index in best_first[::-1]:  # the best is painted last, over the others
        m = masks[index]
        height, width = m.mask.shape
        instances[m.top : m.top + height, m.left : m.left + width][m.mask] = values[index]
    kept = np.bincount(instances.ravel(), minlength=top + 1)[values] if len(masks) else np.zeros(0, dtype=np.int64)
    provenance = pd.DataFrame(
        {
            "instance": values,
            "box": np.arange(len(masks)),
            "score": score,
            "area": area,
            "kept": kept,
            "lost": 1 - kept / np.maximum(area, 1),
        }
    )
    return instances, provenance
