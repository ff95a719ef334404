"""Stain separation, checked against images that were painted from known stains."""

from __future__ import annotations

import numpy as np
import pytest

from study.rivals import stain

HE = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
HE = HE / np.linalg.norm(HE, axis=1, keepdims=True)
PURPLE = np.array([[0.80, 0.55, 0.25], [0.20, 0.80, 0.56]])
PURPLE = PURPLE / np.linalg.norm(PURPLE, axis=1, keepdims=True)


def painted(vectors: np.ndarray, strength: float = 1.0, seed: int = 0) -> np.ndarray:
    """60 × 60 px: mostly eosin, a quarter haematoxylin, each amount drawn anew."""
    rng = np.random.default_rng(seed)
    nucleus = rng.random((60, 60)) < 0.25
    amounts = np.stack([nucleus * rng.uniform(0.8, 1.6, (60, 60)), ~nucleus * rng.uniform(0.4, 0.9, (60, 60))], axis=-1)
    return np.rint(255 * np.exp(-strength * amounts @ vectors)).astype(np.uint8)


def test_the_stains_that_an_image_was_painted_with_are_found() -> None:
    for vectors in (HE, PURPLE):
        found = stain.separate(painted(vectors))
        assert found is not None
        cosines = (found.vectors * vectors).sum(axis=1)
        assert cosines.min() > 0.98  # haematoxylin first


def test_amounts_solve_the_sparse_problem() -> None:
    # orthogonal stains: each amount is the projection less the sparsity, never negative
    vectors = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    pixels = np.array([[0.5, 0.3, 0.9], [0.05, 0.4, 0], [0, 0, 1]])
    np.testing.assert_allclose(stain.decompose(pixels, vectors, 0.1), [[0.4, 0.2], [0, 0.3], [0, 0]], atol=1e-12)
    # stains at an angle: no small change within the constraint does better
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 1, (50, 3))
    found = stain.decompose(pixels, HE, 0.1)
    assert (found >= 0).all()

    def cost(amounts: np.ndarray) -> np.ndarray:
        return 0.5 * ((pixels - amounts @ HE) ** 2).sum(axis=1) + 0.1 * amounts.sum(axis=1)

    for change in ([0.01, 0], [-0.01, 0], [0, 0.01], [0, -0.01], [0.01, -0.01], [-0.01, 0.01]):
        assert (cost(np.maximum(found + change, 0)) >= cost(found) - 1e-12).all()


def test_a_normalised_image_has_the_templates_colours_and_strength() -> None:
    template = stain.separate(painted(PURPLE, strength=1.3, seed=1))
    assert template is not None
    image = painted(HE)
    result = stain.normalise(image, template)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    target, before = painted(PURPLE, strength=1.3), image  # the same amounts in the template's stains
    far = np.abs(before.astype(float) - target).mean()
    near = np.abs(result.astype(float) - target).mean()
    assert near < 0.4 * far


@pytest.mark.parametrize("value", [255, 250])
def test_an_empty_slide_has_no_stains_and_stays_as_it_is(value: int) -> None:
    empty = np.full((30, 30, 3), value, np.uint8)
    assert stain.separate(empty) is None
    assert stain.normalise(empty, stain.Stains(HE, np.ones(2))) is empty
