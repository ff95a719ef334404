"""Stain separation and normalisation to a template (Vahadane et al., IEEE TMI 35(8), 2016).

An image's optical density is written as amounts of two stains times their colours, both non-negative and the amounts
sparse; a normalised image has its own amounts, rescaled, in the template's colours. The colours are learnt by
scikit-learn's dictionary learning on a sample of tissue pixels (the authors used SPAMS); given the colours, the
amounts of two stains have a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.color import rgb_from_hed

from study.extras import imported

SPARSITY = 0.1  # λ of Vahadane et al., eq. 4
PIXELS = 4000  # sampled to learn the colours
TISSUE = 0.15  # smallest mean optical density of a pixel of tissue


@dataclass(frozen=True)
class Stains:
    """vectors: (2, 3) float64, unit optical densities in RGB, haematoxylin first. amounts: (2,) 99th percentiles."""

    vectors: np.ndarray
    amounts: np.ndarray


def density(image: np.ndarray) -> np.ndarray:
    """Optical density (N, 3) float64, natural logarithm, of the pixels of an image (H, W, 3) uint8."""
    return -np.log(np.maximum(image.reshape(-1, 3), 1) / 255.0)


def separate(image: np.ndarray, seed: int = 0) -> Stains | None:
    """The stains of an image (H, W, 3) uint8; None where it has less than 1 % tissue."""
    tissue = density(image)
    tissue = tissue[tissue.mean(axis=1) > TISSUE]
    if 100 * len(tissue) < image[..., 0].size:
        return None
    rng = np.random.default_rng(seed)
    start = rgb_from_hed[:2] / np.linalg.norm(rgb_from_hed[:2], axis=1, keepdims=True)
    learner = imported("sklearn.decomposition").MiniBatchDictionaryLearning(
        2,
        alpha=SPARSITY,
        fit_algorithm="cd",
        positive_code=True,
        positive_dict=True,
        dict_init=start,
        batch_size=256,
        max_iter=10,
        random_state=seed,
    )
    vectors = learner.fit(tissue[rng.integers(len(tissue), size=PIXELS)]).components_
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    vectors = vectors[np.argsort(-vectors[:, 0])]  # haematoxylin takes more of the red
    return Stains(vectors, np.percentile(decompose(tissue, vectors), 99, axis=0))


def decompose(pixels: np.ndarray, vectors: np.ndarray, sparsity: float = SPARSITY) -> np.ndarray:
    """The amounts a ≥ 0 (N, 2) that minimise ½‖pixel − a·vectors‖² + sparsity · Σa, exactly.

    pixels: (N, 3) optical densities; vectors: (2, 3) of unit length. Where the solution without the sign constraint
    has a negative amount, one stain alone explains the pixel best.
    """
    aligned = pixels @ vectors.T - sparsity  # (N, 2): what each stain alone would get
    both = aligned @ np.linalg.pinv(vectors @ vectors.T)
    alone = np.maximum(aligned, 0)
    alone[np.arange(len(alone)), alone.argmin(axis=1)] = 0
    return np.where((both >= 0).all(axis=1, keepdims=True), both, alone)


def normalise(image: np.ndarray, template: Stains, seed: int = 0) -> np.ndarray:
    """The image (H, W, 3) uint8 in the template's colours and strength; unchanged where it has hardly any tissue."""
    own = separate(image, seed)
    if own is None:
        return image
    amounts = decompose(density(image), own.vectors) * (template.amounts / np.maximum(own.amounts, 1e-9))
    painted = 255 * np.exp(-amounts @ template.vectors)
    return np.rint(painted).astype(np.uint8).reshape(image.shape)
