"""A floor for classes of nuclei: where haematoxylin is, by Otsu's threshold; which class, by the hue of the stain.

Nuclei are found as by `otsu`, without learning. Their class is told by one number a pixel, the angle of its colour in
the hue–saturation–density plane (van der Laak et al., Cytometry 39(4), 2000), smoothed: a Gaussian and a prior for
each class, fitted to the pixels of the training masks (scikit-learn's GaussianNB). Shape and surroundings play no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter

from allinsam_core.data.case import Case
from study.extras import imported
from study.methods import MethodSettings
from study.multiclass import ClassMethod, ClassSettings, class_table
from study.rivals.otsu import Otsu, OtsuSettings
from study.rivals.stain import density

if TYPE_CHECKING:
    from study.config import Run


class HueSettings(MethodSettings):
    """sigma: Gaussian smoothing of haematoxylin and colour, pixels."""

    kind: Literal["hue"] = "hue"
    sigma: float = 1.5

    def build(self, run: Run, device: str) -> Hue:
        classes = getattr(run, "classes", None)
        if classes is None:
            raise ValueError("model 'hue' tells classes apart, and the run has none; expected classes, or model otsu")
        return Hue(self, classes)


class Hue(ClassMethod):
    """One Gaussian of the hue a class."""

    def __init__(self, settings: HueSettings, classes: ClassSettings) -> None:
        self.settings, self.classes = settings, classes
        self.nuclei = Otsu(OtsuSettings(sigma=settings.sigma))
        self.bayes = imported("sklearn.naive_bayes").GaussianNB()

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        """Learn from the training masks' pixels."""
        hues, kinds = [], []
        for case in train:
            inside = case.instances > 0
            hues.append(hue(case.image, self.settings.sigma)[inside])
            kinds.append(class_table(case, self.classes.names)[case.instances[inside]])
        self.bayes.fit(np.concatenate(hues)[:, None], np.concatenate(kinds))
        return {}

    def predict_maps(self, image: np.ndarray) -> np.ndarray:
        """(C, H, W) float32; a class that training did not show has probability 0."""
        seen = self.bayes.predict_proba(hue(image, self.settings.sigma).reshape(-1, 1))
        share = np.zeros((len(self.classes.names), *image.shape[:2]), np.float32)
        share[self.bayes.classes_ - 1] = seen.T.reshape(-1, *image.shape[:2])
        return share * self.nuclei.predict(image)


def hue(image: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W) float64, radians in (−π, π]: the angle of the smoothed colour in the HSD plane. image: (H, W, 3) uint8.

    A stain that absorbs red alone has angle 0; the seam at π lies opposite, away from haematoxylin.
    """
    red, green, blue = gaussian_filter(density(image).reshape(image.shape), (sigma, sigma, 0)).transpose(2, 0, 1)
    mean = np.maximum((red + green + blue) / 3, 1e-6)
    return np.arctan2((green - blue) / (np.sqrt(3) * mean), red / mean - 1)
