"""Reading segmentation maps and telling label maps, masks and probability maps apart.

The rule of ``recognise``, in this order:

1. bool, or only the values 0 and 1, or only 0 and the dtype's largest integer: **binary**.
2. float within [0, 1]: **probability**; float with only whole numbers ≥ 0: **labels**.
3. integers wider than 8 bits: **labels**.
4. 8-bit integers could be either. **labels** if the values are those of a numbering (at least a quarter of
1..max
   occurs) and each of them is about one region (at most 2 equal-valued 4-connected regions per value);
   otherwise **probability**, 255 = 1.

A folder is of one kind (``common_kind``): among label or probability maps, one that happens to hold only two
values is read like the others. An explicit kind overrides the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.measure import label

Kind = Literal["labels", "binary", "probability"]
SUFFIXES = (".png", ".tif", ".tiff", ".npy")


def read(path: Path) -> np.ndarray:
    """The (H, W) array of a png, tif, tiff or npy file in its own dtype: 16-bit and 32-bit labels survive.

    Axes of length one are dropped, and three or four equal colour channels become one; anything else that is
    not a single plane, and any file that cannot be read, is a ValueError naming the file.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: suffix '{path.suffix}', expected one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        if suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif suffix == ".png":
            values = _read_png(path)
        else:
            values = tifffile.imread(path)
    except Exception as error:  # decoders raise whatever they like on broken files
        raise ValueError(f"{path}: cannot be read as {suffix} ({error}); write the file again") from error
    return _plane(np.asarray(values), path)


def recognise(values: np.ndarray, path: Path) -> Kind:
    """The kind of one (H, W) map by the module's rule; path is for the error on values that fit no kind."""
    if values.dtype == bool:
        return "binary"
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{path}: dtype {values.dtype}, expected bool, integer or float")
    low, high = values.min(), values.max()
    if not (low >= 0 and np.isfinite(high)):  # NaN fails too
        raise ValueError(f"{path}: values from {low} to {high}, expected finite values ≥ 0 with 0 = background")
    top = 1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    if any(np.all((values == 0) | (values == foreground)) for foreground in (1, top)):
        return "binary"
    if values.dtype.kind == "f":
        if high <= 1:
            return "probability"
        if np.all(values == np.floor(values)):
            return "labels"
        raise ValueError(f"{path}: {values.dtype} up to {high}, expected probabilities in [0, 1] or whole labels")
    if values.dtype.itemsize > 1 or _is_numbering(values):
        return "labels"
    return "probability"


def common_kind(kinds: Mapping[Path, Kind]) -> Kind:
    """The one kind of a folder's files; ValueError naming two if label and probability maps are mixed."""
    found = set(kinds.values())
    if {"labels", "probability"} <= found:
        labels, prob = (next(p for p, k in kinds.items() if k == kind) for kind in ("labels", "probability"))
        raise ValueError(
            f"{labels} looks like a label map, {prob} like a probability map; expected one kind: state it with --kind"
        )
    for kind in ("labels", "probability"):
        if kind in found:
            return kind
    return "binary"


def as_labels(values: np.ndarray, path: Path) -> np.ndarray:
    """A map read as labels: (H, W) of an integer dtype."""
    if values.min() < 0:
        raise ValueError(f"{path}: lowest label {values.min()}, expected 0 = background and positive labels")
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "f" and not np.all(values == np.floor(values)):
        raise ValueError(f"{path}: {values.dtype} with fractions, expected whole labels; is it a probability map?")
    return values.astype(np.int64)


def as_probability(values: np.ndarray, path: Path) -> np.ndarray:
    """A map read as probability: (H, W) float in [0, 1]; 8-bit values are divided by 255."""
    if values.dtype == np.uint8:
        return values / np.float32(255)
    if values.dtype.kind in "bf" and values.min() >= 0 and values.max() <= 1:
        return values.astype(np.float32) if values.dtype.kind == "b" else values
    raise ValueError(
        f"{path}: {values.dtype} from {values.min()} to {values.max()}, "
        "expected probabilities: 8-bit, or float in [0, 1]"
    )


def components(mask: np.ndarray) -> np.ndarray:
    """(H, W) int32 labels of the 4-connected components of an (H, W) bool mask."""
    return ndimage.label(mask)[0]


def _read_png(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        if image.mode == "P":  # a palette of greys holds values, one of colours shows labels
            palette = np.reshape(np.array(image.getpalette("RGB"), dtype=np.uint8), (-1, 3))
            return np.asarray(image.convert("L") if (palette == palette[:, :1]).all() else image)
        return np.asarray(image)


def _plane(values: np.ndarray, path: Path) -> np.ndarray:
    shape = values.shape
    if values.ndim == 3 and shape[2] in (3, 4) and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim > 2:
        values = values.squeeze()
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{path}: shape {shape}, expected one plane (H, W); save the map without colours")
    return values


def _is_numbering(values: np.ndarray) -> bool:
    present = np.flatnonzero(np.bincount(values.ravel())[1:]) + 1
    _, regions = label(values, background=0, connectivity=1, return_num=True)
    return 4 * len(present) >= present[-1] and regions <= 2 * len(present)
