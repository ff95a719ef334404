"""Losses in closed form. At logit 0 every probability is 1/2."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from allinsam_core.learning import losses

ZERO = torch.zeros(1, 1, 4, 4)
HALF = torch.cat([torch.ones(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)], dim=2)  # 8 of 16 pixels


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bce", log(2)),
        ("soft_iou", 1 - 4 / (8 + 8 - 4)),
        ("dice", 1 - (2 * 4 + 1) / (8 + 8 + 1)),
        ("bce_iou", log(2) + 2 / 3),
        ("bce_dice", log(2) + 8 / 17),
    ],
)
def test_values_at_indifference(name: str, expected: float) -> None:
    assert float(losses.LOSSES[name](ZERO, HALF)) == pytest.approx(expected, abs=1e-6)


def test_focal_at_indifference_and_when_sure() -> None:
    # weights 1/4 on foreground, 3/4 on background, (1 − 1/2)² each
    assert float(losses.focal(ZERO, HALF)) == pytest.approx(0.5 * 0.25 * log(2), abs=1e-6)
    assert float(losses.focal(40 * (2 * HALF - 1), HALF)) == pytest.approx(0, abs=1e-6)
    wrong = float(losses.focal(-10 * (2 * HALF - 1), HALF))
    assert wrong == pytest.approx(0.5 * 10 * (1 / (1 + exp(-10))) ** 2, rel=1e-3)


@pytest.mark.parametrize("name", ["soft_iou", "dice"])
def test_region_losses_are_means_over_images_not_over_the_batch(name: str) -> None:
    loss = losses.LOSSES[name]
    sure = 40 * (2 * HALF - 1)
    both = loss(torch.cat([ZERO, sure]), torch.cat([HALF, HALF]))
    assert float(both) == pytest.approx((float(loss(ZERO, HALF)) + float(loss(sure, HALF))) / 2, abs=1e-6)
    assert float(loss(sure, HALF)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", [*losses.LOSSES, "focal"])
@pytest.mark.parametrize("logit", [-1e4, -100.0, 100.0, 1e4])
@pytest.mark.parametrize("foreground", ["half", "none", "all"])
def test_values_and_gradients_are_finite_at_extreme_logits(name: str, logit: float, foreground: str) -> None:
    target = {"half": HALF, "none": torch.zeros_like(HALF), "all": torch.ones_like(HALF)}[foreground]
    logits = torch.full((1, 1, 4, 4), logit, requires_grad=True)
    value = getattr(losses, name)(logits, target)
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_released_validation_loss_passes_the_sigmoid_twice() -> None:
    twice = losses.double_sigmoid(losses.bce)
    # sigmoid(0) = 1/2, taken for a logit: −log σ(1/2) on foreground, −log(1 − σ(1/2)) on background
    expected = (log(1 + exp(-0.5)) + log(1 + exp(0.5))) / 2
    assert float(twice(ZERO, HALF)) == pytest.approx(expected, abs=1e-6)
    perfect = 40 * (2 * HALF - 1)
    assert float(losses.bce(perfect, HALF)) < 1e-6
    # even a perfect map keeps −log σ(1) and −log(1 − σ(0))
    assert float(twice(perfect, HALF)) == pytest.approx((log(1 + exp(-1)) + log(2)) / 2, abs=1e-6)


def test_loss_of_the_instance_maps_by_hand() -> None:
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[0, 1, 2] = 3  # a pixel is its own centre and deepest place: both maps are 0 there, 1 on the other 15
    far = torch.full((1, 2, 4, 4), 50.0)  # maps of 1: wrong at that pixel alone
    for outside in (0.1, 1.0):
        settings = losses.MapSettings(weight=3, outside=outside)
        assert float(losses.distances(far, labels, settings)) == pytest.approx(3 / (1 + 15 * outside))
        assert float(losses.distances(-far, labels, settings)) == pytest.approx(3 * 15 * outside / (1 + 15 * outside))
    half = far.clone()
    half[:, 1] = 0  # one map of 1, the other of 1/2
    inside_alone = losses.MapSettings(outside=0)
    assert float(losses.distances(half, labels, inside_alone)) == pytest.approx((1 + 1 / 4) / 2)
    assert float(losses.distances(half, torch.zeros_like(labels), inside_alone)) == 0  # nothing to learn from
