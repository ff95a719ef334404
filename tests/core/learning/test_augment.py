"""Training crops: deterministic, aligned with their labels, of the size the network wants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from allinsam_core.data.case import Case
from allinsam_core.learning.augment import AugmentSettings, Batch, CropSampler, restain

Make = Callable[..., Case]
NOTHING = AugmentSettings(turns=False, zoom=0, stain=0, shift=0, blur=0, noise=0)
TURNS = NOTHING.model_copy(update={"turns": True})


def label_of_colour(batch: Batch) -> torch.Tensor:
    return (batch.image[:, 2] * 255 / 60).round().long()


def test_a_batch_is_a_function_of_seed_and_step(coded: Make) -> None:
    cases = [coded(60, 80), coded(90, 50)]

    def draw(seed: int, step: int) -> Batch:
        return CropSampler(cases, 32, 24, 3, seed, AugmentSettings(colour=0.1, on_nuclei=0.5, blur=0.5))(step)

    first, again = draw(5, 7), draw(5, 7)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.instances, again.instances)
    assert first.names == again.names
    assert not torch.equal(first.image, draw(5, 8).image)
    assert not torch.equal(first.image, draw(6, 7).image)


def test_shapes_types_and_the_mask(coded: Make) -> None:
    batch = CropSampler([coded(60, 80)], 32, 24, 3, 0, AugmentSettings())(0)
    assert (batch.image.shape, batch.image.dtype) == ((3, 3, 24, 24), torch.float32)
    assert (batch.instances.shape, batch.instances.dtype) == ((3, 24, 24), torch.int64)
    assert (batch.mask.shape, batch.mask.dtype) == ((3, 1, 24, 24), torch.float32)
    assert torch.equal(batch.mask[:, 0] == 1, batch.instances > 0)
    assert 0 <= float(batch.image.min()) < float(batch.image.max()) <= 1


def test_without_augmentation_a_crop_is_cut_from_the_image_as_it_is(coded: Make) -> None:
    case = coded(60, 80)
    batch = CropSampler([case], 32, 32, 8, 0, NOTHING)(0)
    places = set()
    for image, labels in zip((batch.image * 255).round().int(), batch.instances, strict=True):
        top, left = int(image[0, 0, 0]) // 2, int(image[1, 0, 0]) // 2
        places.add((top, left))
        window = (slice(top, top + 32), slice(left, left + 32))
        assert np.array_equal(image.permute(1, 2, 0).numpy(), case.image[window])
        assert np.array_equal(labels.numpy(), case.instances[window])
    assert len(places) > 4


def test_labels_turn_with_the_image(coded: Make) -> None:
    batch = CropSampler([coded(60, 80)], 32, 32, 64, 0, TURNS)(0)
    assert torch.equal(label_of_colour(batch), batch.instances)
    red, green = batch.image[:, 0], batch.image[:, 1]
    down = torch.sign(red[:, -1, 0] - red[:, 0, 0]), torch.sign(red[:, 0, -1] - red[:, 0, 0])
    right = torch.sign(green[:, -1, 0] - green[:, 0, 0]), torch.sign(green[:, 0, -1] - green[:, 0, 0])
    poses = {tuple(int(v) for v in pose) for pose in zip(*down, *right, strict=True)}
    assert len(poses) == 8  # four quarter turns, each mirrored or not


def test_zoomed_crops_keep_their_size_and_stay_aligned(coded: Make) -> None:
    settings = NOTHING.model_copy(update={"zoom": 0.4})
    batch = CropSampler([coded(200, 200)], 64, 96, 16, 0, settings)(0)
    assert batch.instances.shape == (16, 96, 96)
    agree = (label_of_colour(batch) == batch.instances).float().mean((1, 2))
    assert (agree > 0.7).all()  # all but the blocks' interpolated rims
    shifted = (label_of_colour(batch)[:, 4:] == batch.instances[:, :-4]).float().mean((1, 2))
    assert (agree > shifted + 0.1).all()
    # 64 px times exp(±0.4), seen through 96: the red gradient of 2 per pixel is scaled by 64 exp(z) / 96
    slope = (batch.image[:, 0, 60, 0] - batch.image[:, 0, 20, 0]) * 255 / 40 / 2 * 96 / 64
    slope = slope[(slope > 0) & (slope < 2)]
    assert np.exp(-0.41) < slope.min() < 0.9
    assert 1.1 < slope.max() < np.exp(0.41)


@pytest.mark.parametrize("shape", [(20, 80), (80, 20), (9, 7), (32, 32)])
def test_a_small_case_is_continued_by_reflection(coded: Make, shape: tuple[int, int]) -> None:
    batch = CropSampler([coded(*shape)], 48, 48, 4, 0, NOTHING)(0)
    assert batch.instances.shape == (4, 48, 48)
    assert torch.equal(label_of_colour(batch), batch.instances)
    jumps = (
        (batch.image[:, :2] * 255).round().diff(dim=2).abs().amax((2, 3)),
        (batch.image[:, :2] * 255).round().diff(dim=3).abs().amax((2, 3)),
    )
    assert max(float(j.max()) for j in jumps) <= 2  # no seam: neighbours stay neighbours


def test_windows_on_nuclei_hold_one_and_others_need_not() -> None:
    instances = np.zeros((200, 200), np.uint16)
    instances[150:153, 20:23] = 7
    case = Case("lonely", np.full((200, 200, 3), 200, np.uint8), instances, 0.25, "test")

    def hits(rate: float) -> int:
        batch = CropSampler([case], 16, 16, 40, 0, NOTHING.model_copy(update={"on_nuclei": rate}))(0)
        return int((batch.instances == 7).any(2).any(1).sum())

    assert hits(1.0) == 40
    assert hits(0.0) < 5
    empty = Case("empty", case.image, np.zeros_like(instances), 0.25, "test")
    assert not CropSampler([empty], 16, 16, 4, 0, NOTHING.model_copy(update={"on_nuclei": 1}))(0).mask.any()


def test_cases_are_drawn_by_area_or_by_the_weights_given(coded: Make) -> None:
    cases = [coded(40, 40, name="small"), coded(80, 60, name="large")]  # 1600 : 4800
    by_area = CropSampler(cases, 16, 16, 400, 0, NOTHING)(0).names
    assert by_area.count("large") / 400 == pytest.approx(0.75, abs=0.07)
    assert set(CropSampler(cases, 16, 16, 50, 0, NOTHING, weights=[1, 0])(0).names) == {"small"}


def test_no_case_is_an_error() -> None:
    with pytest.raises(ValueError, match="no training cases"):
        CropSampler([], 16, 16, 1, 0, NOTHING)


def test_restaining_by_nothing_is_the_identity() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 50, 3)).astype(np.uint8)
    result = restain(image, np.random.default_rng(1), NOTHING)
    assert result.dtype == np.uint8
    assert np.abs(result.astype(int) - image).max() <= 1


def test_restaining_changes_amounts_within_its_bounds() -> None:
    # one stain alone: haematoxylin at density 0.5 becomes 0.5 · f + shift, f in 1 ± 0.2, its ratios kept
    from skimage.color import hed_from_rgb, rgb_from_hed

    grey = np.rint(256 * 10 ** -(0.5 * rgb_from_hed[0]) - 1).astype(np.uint8)
    image = np.broadcast_to(grey, (4, 4, 3)).copy()
    settings = NOTHING.model_copy(update={"stain": 0.2})
    factors = []
    for seed in range(40):
        result = restain(image, np.random.default_rng(seed), settings)[0, 0]
        amounts = -np.log10((result.astype(float) + 1) / 256) @ hed_from_rgb
        assert amounts[1:] == pytest.approx([0, 0], abs=0.02)
        factors.append(amounts[0] / 0.5)
    assert 0.78 < min(factors) < 0.85
    assert 1.15 < max(factors) < 1.22


def test_noise_and_blur_stay_within_their_bounds() -> None:
    flat = Case("flat", np.full((64, 64, 3), 128, np.uint8), np.zeros((64, 64), np.uint16), 0.25, "test")
    noisy = CropSampler([flat], 32, 32, 20, 0, NOTHING.model_copy(update={"noise": 0.05}))(0)
    spread = noisy.image.flatten(1).std(dim=1)
    assert float(spread.max()) < 0.052
    assert float(spread.max()) > 0.03
    assert float(spread.min()) < 0.02
    dot = Case(
        "dot", np.pad(np.full((1, 1, 3), 255, np.uint8), ((8, 8), (8, 8), (0, 0))), flat.instances[:17, :17], 1, "t"
    )
    sharp = CropSampler([dot], 17, 17, 1, 0, NOTHING)(0)
    soft = CropSampler([dot], 17, 17, 1, 0, NOTHING.model_copy(update={"blur": 1}))(0)
    assert float(sharp.image.max()) == 1
    assert 0.1 < float(soft.image.max()) < 1
    assert float(soft.image.sum()) == pytest.approx(3, rel=0.01)
