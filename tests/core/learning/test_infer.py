"""Tiles against the whole, on networks whose reach is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from allinsam_core.learning import infer
from allinsam_core.learning.infer import probability


class Pixelwise(nn.Module):
    """logit = 8 · (red − 1/2), whatever the neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(tuple(image.shape))
        return 8 * (image[:, :1] - 0.5)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (100, 150, 3)).astype(np.uint8)


def by_hand(image: np.ndarray) -> np.ndarray:
    return expit(8 * (image[..., 0] / 255 - 0.5))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_tiled_equals_whole_for_a_pixelwise_network(picture: np.ndarray, overlap: float) -> None:
    model = Pixelwise()
    prob = probability(model, picture, field=32, size=32, overlap=overlap, batch=3)
    assert (prob.shape, prob.dtype) == ((100, 150), np.float32)
    assert np.allclose(prob, by_hand(picture), atol=1e-5)
    assert {shape[1:] for shape in model.seen} == {(3, 32, 32)}
    assert max(shape[0] for shape in model.seen) == 3


def test_overlapping_tiles_leave_no_seams_for_a_network_that_looks_around(picture: np.ndarray) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 1, 3, padding=1)
    nn.init.constant_(model.weight, 0.5)
    nn.init.constant_(model.bias, -6.5)
    whole = torch.sigmoid(model(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255))[0, 0].detach().numpy()
    inner = (slice(2, -2), slice(2, -2))
    blended = np.abs(probability(model, picture, 32, 32, overlap=0.5) - whole)[inner]
    butted = np.abs(probability(model, picture, 32, 32, overlap=0.0) - whole)[inner]
    assert butted.max() > 0.3  # without overlap the tiles' zero padding shows
    assert blended.max() < 0.05  # even along the border of the image, where all windows weigh little


def test_a_resampled_window_sees_the_same_field() -> None:
    rows = np.linspace(0, 255, 120)
    image = np.repeat(np.repeat(rows[:, None, None], 90, 1), 3, 2).astype(np.uint8)
    for size in (16, 64):
        model = Pixelwise()
        prob = probability(model, image, field=40, size=size, overlap=0.25)
        assert prob.shape == (120, 90)
        assert {shape[2:] for shape in model.seen} == {(size, size)}
        assert np.abs(prob - by_hand(image)).max() < 0.06


@pytest.mark.parametrize("shape", [(100, 150), (30, 200), (20, 20), (5, 9)])
def test_an_image_smaller_than_a_window(picture: np.ndarray, shape: tuple[int, int]) -> None:
    image = np.resize(picture, (*shape, 3))
    prob = probability(Pixelwise(), image, field=128, size=128)
    assert prob.shape == shape
    assert np.allclose(prob, by_hand(image), atol=1e-5)


def test_views_and_read_only_images_are_fine(picture: np.ndarray) -> None:
    turned = picture[::-1, ::-1]
    assert np.allclose(probability(Pixelwise(), turned, 64, 64), by_hand(turned), atol=1e-5)
    fixed = picture.copy()
    fixed.flags.writeable = False
    assert np.allclose(probability(Pixelwise(), fixed, 64, 64), by_hand(fixed), atol=1e-5)


def test_the_network_is_in_evaluation_mode_and_leaves_no_graph(picture: np.ndarray) -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Dropout(0.9))
    model.train()
    first, second = (probability(model, picture, 64, 64) for _ in range(2))
    assert np.array_equal(first, second)
    assert not model.training


@pytest.mark.parametrize("shape", [(100, 150), (64, 65), (40, 40)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_tiles_are_monais_bit_for_bit(picture: np.ndarray, shape: tuple[int, int], overlap: float) -> None:
    from monai.inferers import sliding_window_inference

    torch.manual_seed(0)
    model = nn.Conv2d(3, 1, 5, padding=2)
    image = np.resize(picture, (*shape, 3))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    weights = infer._weights(40) if overlap else torch.ones(40, 40)
    with torch.no_grad():
        theirs = sliding_window_inference(
            pixels, 40, 3, lambda x: model(x).sigmoid(), overlap=overlap, roi_weight_map=weights
        )
    assert np.array_equal(probability(model, image, 40, 40, overlap, 3), theirs[0, 0].numpy())  # type: ignore[index]


def test_several_maps_at_once_are_those_of_each_channel(picture: np.ndarray) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 3, 3, padding=1)
    found = infer.maps(model, picture, 32, 48, activate=torch.tanh)
    assert (found.shape, found.dtype) == ((3, 100, 150), np.float32)
    for channel in range(3):
        alone = nn.Conv2d(3, 1, 3, padding=1)
        alone.load_state_dict({k: v[channel : channel + 1] for k, v in model.state_dict().items()})
        assert np.allclose(found[channel], infer.maps(alone, picture, 32, 48, activate=torch.tanh)[0], atol=1e-6)
        assert np.allclose(
            probability(alone, picture, 32, 48), infer.maps(alone, picture, 32, 48, activate=torch.sigmoid)[0]
        )
    assert found.min() < 0  # tanh, not a sigmoid
