"""What the drawing convention of the truth does to scores, measured on given images.

The same nuclei circulate as masks that differ by a pixel: polygons filled without the −1 px shift of MATLAB's pixel
centres, and masks whose area is about 8 % smaller. `perfect` scores the official truth itself against each variant;
`prediction` scores one fixed prediction. This module also keeps the record of `aji_names`: both need the same
predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import expand_labels, find_boundaries

from allinsam_core.data.case import Case
from allinsam_core.metrics import instance, pixel
from study.audit import aji_names

THIN_AREA = 0.92  # of the official area: the test masks of the circulating copy
METRICS = ("dice", "jaccard", "iou_column", "precision", "recall", "aji_kumar")
GEOMETRY_RECORD = Path("audit") / "label_geometry.csv"
NAMES_RECORD = Path("audit") / "aji_names.csv"

Predict = Callable[[np.ndarray], np.ndarray]


def official(truth: np.ndarray) -> np.ndarray:
    return truth


def shifted(truth: np.ndarray) -> np.ndarray:
    """One pixel to the right and down, as without the −1 px shift; (H, W) labels."""
    moved = np.zeros_like(truth)
    moved[1:, 1:] = truth[:-1, :-1]
    return moved


def thinner(truth: np.ndarray) -> np.ndarray:
    """The deepest `THIN_AREA` of the foreground pixels: the outermost are gone, nucleus by nucleus alike."""
    foreground = np.flatnonzero(truth)
    depth = distance_transform_edt(~find_boundaries(truth, mode="inner")).ravel()[foreground]
    gone = foreground[np.argsort(depth, kind="stable")[: round((1 - THIN_AREA) * len(foreground))]]
    thin = truth.copy()
    thin.flat[gone] = 0
    return thin


def thicker(truth: np.ndarray) -> np.ndarray:
    """Every nucleus one pixel wider, where there is room."""
    return np.asarray(expand_labels(truth, 1))


GEOMETRIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "official": official,
    "shifted by 1 px": shifted,
    "8 % thinner": thinner,
    "shifted and thinner": lambda truth: thinner(shifted(truth)),
    "1 px thicker": thicker,
}


def measure(cases: Iterable[Case], predict: Predict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both records: label geometry (image × geometry × what is scored), and the five AJIs (image × name).

    predict: image (H, W, 3) uint8 → instance labels (H, W), called once an image.
    """
    geometry, names = [], []
    for case in cases:
        found = predict(case.image)
        names += [{"image": case.name, "name": n, "value": v} for n, v in aji_names.five(found, case.instances).items()]
        for title, draw in GEOMETRIES.items():
            truth = draw(case.instances)
            for scored, labels in (("perfect", case.instances), ("prediction", found)):
                scores = pixel.evaluate(labels > 0, truth)
                values = {m: getattr(scores, m) for m in METRICS if m != "aji_kumar"}
                values["aji_kumar"] = instance.evaluate(labels, truth).aji_kumar
                geometry.append({"image": case.name, "geometry": title, "scored": scored, **values})
    return pd.DataFrame(geometry), pd.DataFrame(names)


def read(path: Path) -> pd.DataFrame:
    """A record of `measure`. FileNotFoundError says how to make it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such record; make it with `allinsam book audit-labels` and commit it")
    return pd.read_csv(path)
