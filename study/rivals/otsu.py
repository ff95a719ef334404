"""A floor that costs nothing: stain deconvolution (Ruifrok & Johnston 2001) and Otsu's threshold (1979).

No training. The haematoxylin amount is smoothed and squashed so that Otsu's threshold of the image lies at
probability 0.5; touching nuclei are parted by the same watershed as for every other method.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import expit
from skimage.color import rgb2hed
from skimage.filters import threshold_otsu

from allinsam_core.data.case import Case
from allinsam_core.learning.method import Method
from study.methods import MethodSettings

if TYPE_CHECKING:
    from study.config import Run


class OtsuSettings(MethodSettings):
    """sigma: Gaussian smoothing of the haematoxylin amount, pixels."""

    kind: Literal["otsu"] = "otsu"
    sigma: float = 1.5

    def build(self, run: Run, device: str) -> Otsu:
        return Otsu(self)


class Otsu(Method):
    """No training; every image has its own threshold."""

    def __init__(self, settings: OtsuSettings) -> None:
        self.settings = settings

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        return {}

    def predict(self, image: np.ndarray) -> np.ndarray:
        amount = gaussian_filter(rgb2hed(image)[..., 0], self.settings.sigma)
        spread = amount.std()
        if spread < 1e-6:  # a flat image; its deconvolution differs by rounding only
            return np.zeros(amount.shape, np.float32)
        return expit(4 * (amount - threshold_otsu(amount)) / spread).astype(np.float32)
