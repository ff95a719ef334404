from __future__ import annotations

import numpy as np
from skimage.color import rgb_from_hed

from study.rivals.otsu import Otsu, OtsuSettings


def stained(amount: np.ndarray) -> np.ndarray:
    """An image of pure haematoxylin, `amount` in optical density."""
    return np.rint(255 * 10.0 ** -(amount[..., None] * rgb_from_hed[0])).astype(np.uint8)


def test_dark_blue_discs_are_found() -> None:
    rows, columns = np.mgrid[:80, :80]
    disc = (np.hypot(rows - 25, columns - 25) < 12) | (np.hypot(rows - 58, columns - 50) < 9)
    prob = Otsu(OtsuSettings()).predict(stained(0.1 + 0.6 * disc))
    assert (prob.shape, prob.dtype) == ((80, 80), np.float32)
    found = prob >= 0.5
    assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.95
    assert prob[25, 25] > 0.9
    assert prob[2, 77] < 0.1


def test_eosin_alone_is_not_a_nucleus() -> None:
    haematoxylin, eosin = np.zeros((60, 60)), np.zeros((60, 60))
    haematoxylin[10:30, 10:30] = 0.6
    eosin[35:55, 35:55] = 0.9
    density = haematoxylin[..., None] * rgb_from_hed[0] + eosin[..., None] * rgb_from_hed[1]
    prob = Otsu(OtsuSettings(sigma=1)).predict(np.rint(255 * 10.0**-density).astype(np.uint8))
    assert prob[20, 20] > 0.9
    assert prob[45, 45] < 0.2


def test_a_flat_image_holds_nothing() -> None:
    for value in (0, 200, 255):
        assert not Otsu(OtsuSettings()).predict(np.full((20, 20, 3), value, np.uint8)).any()
