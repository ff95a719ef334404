"""Fluorescence images of nuclei rendered as if stained with haematoxylin and eosin.

DSB2018 holds many more nuclei in fluorescence than in stained tissue. Their shapes and chromatin are real;
their colours become H&E's by Beer–Lambert's law: the fluorescence signal is taken as haematoxylin, and
smooth random fields as eosin. Used for pre-training only; the result is labelled as rendered.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter, zoom
from skimage.color import rgb_from_hed
from skimage.transform import resize

from allinsam_core.data.case import Case


def as_stained(case: Case, seed: int) -> Case:
    """A fluorescence case as H&E-like brightfield; same truth. Deterministic in (case, seed)."""
    rng = np.random.default_rng([seed, *case.name.encode()[:16]])
    signal = case.image.max(axis=2).astype(np.float32)
    low, high = np.percentile(signal, (2, 99.7))
    signal = np.clip((signal - low) / max(high - low, 1), 0, 1.2) ** rng.uniform(0.5, 1.1)
    height, width = signal.shape
    texture = sum(
        amplitude * _noise(rng, (height, width), scale) for amplitude, scale in ((0.5, 24), (0.3, 8), (0.2, 3))
    )
    cytoplasm = gaussian_filter(signal, rng.uniform(3, 10))
    eosin = rng.uniform(0.1, 0.5) * np.clip(0.7 + texture, 0, None) + rng.uniform(0, 0.3) * cytoplasm
    haematoxylin = rng.uniform(0.5, 1.3) * signal + rng.uniform(0, 0.25) * np.clip(0.3 + texture, 0, None)
    stains = rgb_from_hed[:2] * np.exp(rng.normal(0, 0.15, (2, 3)))
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    density = np.stack([haematoxylin, eosin], axis=-1) @ stains
    image = np.clip(np.rint(rng.uniform(225, 255) * 10.0**-density), 0, 255).astype(np.uint8)
    return replace(case, image=image, source=f"{case.source}-rendered", name=f"{case.name}-rendered-{seed}")


def _noise(rng: np.random.Generator, shape: tuple[int, int], scale: int) -> np.ndarray:
    """Smooth zero-mean field of unit deviation with features of about `scale` pixels."""
    coarse = rng.normal(size=(shape[0] // scale + 3, shape[1] // scale + 3))
    return zoom(coarse, scale, order=1)[: shape[0], : shape[1]]


def at_nucleus_size(case: Case, diameter: float) -> Case:
    """The case rescaled so that its median nucleus has this equivalent diameter (pixels)."""
    area = np.bincount(case.instances.ravel())[1:]
    area = area[area > 0]
    if not area.size:
        return case
    factor = float(np.clip(diameter / np.median(np.sqrt(4 * area / np.pi)), 0.4, 2.5))
    shape = tuple(max(16, round(n * factor)) for n in case.instances.shape)
    image = resize(case.image, shape, order=1, anti_aliasing=factor < 1, preserve_range=True)
    labels = resize(case.instances, shape, order=0, anti_aliasing=False, preserve_range=True)
    return replace(
        case,
        image=np.rint(image).astype(np.uint8),
        instances=labels.astype(np.uint16),
        spacing=case.spacing / factor,
    )
