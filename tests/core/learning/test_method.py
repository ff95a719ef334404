"""The networks' common method: loss, validation over whole images, prediction. One real MoNuSeg case, where it lies."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from allinsam_core.annotation.attention import FoldedAttention
from allinsam_core.annotation.sam import Attention, Sam
from allinsam_core.data.case import Case
from allinsam_core.learning import losses
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.method import NetworkMethod, WindowSettings
from allinsam_core.learning.train import History, TrainSettings

WINDOW = WindowSettings(field=16, size=16)
NOTHING = AugmentSettings(turns=False, zoom=0, stain=0, shift=0, blur=0, noise=0)


class Red(nn.Module):
    """logit = a · red + b; starts at 8 · red − 4."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([8.0, -4.0]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.weights[0] * image[:, :1] + self.weights[1]


def case(red: np.ndarray, labels: np.ndarray) -> Case:
    image = np.zeros((*red.shape, 3), np.uint8)
    image[..., 0] = red
    return Case("case", image, labels.astype(np.uint16), 0.25, "test")


@pytest.fixture
def halves() -> Case:
    """Left half red, the upper half nuclei."""
    red = np.zeros((20, 20), np.uint8)
    red[:, :10] = 255
    labels = np.zeros((20, 20), np.uint16)
    labels[:10] = 1
    return case(red, labels)


def method(**more: object) -> NetworkMethod:
    settings = {"train": TrainSettings(steps=2), "augment": NOTHING, "device": "cpu", **more}
    return NetworkMethod(Red(), WINDOW, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["same", "double_sigmoid"])
def test_validation_by_hand(halves: Case, kind: str) -> None:
    scores = method(loss="bce", validation_loss=kind).validate([halves])
    assert scores["dice"] == pytest.approx(0.5)  # 100 of 200 and 200 pixels
    logits = torch.where(torch.from_numpy(halves.image[..., 0]) > 0, 4.0, -4.0)[None, None]
    truth = torch.from_numpy(halves.mask)[None, None].float()
    expected = losses.bce(logits.sigmoid() if kind == "double_sigmoid" else logits, truth)
    assert scores["loss"] == pytest.approx(float(expected), abs=1e-5)


def test_validation_is_a_mean_over_images(halves: Case) -> None:
    perfect = case(halves.image[..., 0], halves.image[..., 0] > 0)
    one = method()
    assert one.validate([halves, perfect])["dice"] == pytest.approx(0.75)
    both = one.validate([halves, perfect])["loss"]
    assert both == pytest.approx((one.validate([halves])["loss"] + one.validate([perfect])["loss"]) / 2)


def test_fitting_reports_what_happened_and_changes_the_weights(halves: Case, tmp_path: Path) -> None:
    settings = TrainSettings(steps=4, batch_size=2, learning_rate=0.1, validate_every=2)
    one = method(train=settings)
    told = one.fit([halves], [halves], tmp_path)
    assert [v["step"] for v in told["validations"]] == [2, 4]
    assert told["losses"][0][0] == 0
    assert told["seconds"] > 0
    assert told["peak_memory"] > 0
    assert not torch.equal(one.model.weights, Red().weights)


def test_training_crops_may_be_magnified_otherwise(
    halves: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allinsam_core.learning import method as module

    asked: list[tuple[int, int]] = []

    class Sampler(module.CropSampler):
        def __init__(self, cases: list, field: int, size: int, *more: object) -> None:
            asked.append((field, size))
            super().__init__(cases, field, size, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "CropSampler", Sampler)
    one = method()
    one.fit([halves], [halves], tmp_path / "same")
    one.window = WINDOW.model_copy(update={"train_field": 8})
    one.fit([halves], [halves], tmp_path / "other")
    assert asked == [(16, 16), (8, 16)]


def test_the_seed_decides_crops_and_dropout_and_looks_are_at_the_validation_images(
    halves: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allinsam_core.learning import method as module

    told: dict[str, Any] = {}

    def loop(model: nn.Module, sample: Any, *settings: object, validate: Any, seed: int, **more: object) -> History:
        told.update(crops=sample.seed, cases=sample.cases, dropout=seed, looked=validate(model))
        return History()

    monkeypatch.setattr(module, "fit", loop)
    one, other = method(seed=5), case(halves.image[..., 0], halves.image[..., 0] > 0)
    monkeypatch.setattr(one, "validate", lambda val: val)
    one.fit([halves], [other], tmp_path)
    assert told == {"crops": 5, "dropout": 5, "cases": [halves], "looked": [other]}


def test_windows_overlap_in_prediction_and_not_in_validation(halves: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from allinsam_core.learning import method as module

    overlaps: list[float] = []

    def maps(model: nn.Module, image: np.ndarray, field: int, size: int, overlap: float, *more: object) -> Any:
        overlaps.append(overlap)
        return np.zeros((1, *image.shape[:2]), np.float32)

    monkeypatch.setattr(module, "maps", maps)
    one = method()
    one.validate([halves])
    one.predict(halves.image)
    assert overlaps == [0.0, WINDOW.overlap]


def test_prediction_is_a_probability_map(halves: Case) -> None:
    prob = method().predict(halves.image)
    assert (prob.shape, prob.dtype) == ((20, 20), np.float32)
    assert prob[:, :10] == pytest.approx(1 / (1 + np.exp(-4)))
    assert prob[:, 10:] == pytest.approx(1 / (1 + np.exp(4)))


def test_an_unknown_loss_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown loss 'mse'; expected one of bce, soft_iou"):
        method(loss="mse")


def test_a_real_image_is_learnt_from_and_segmented(data_root: Path, tmp_path: Path) -> None:
    from study.datasets import monuseg
    from study.rivals.otsu import Otsu, OtsuSettings

    real = monuseg.load(data_root, "val")[0].crop(300, 300, 200)
    prob = Otsu(OtsuSettings()).predict(real.image)
    found = prob >= 0.5
    assert 2 * (found & real.mask).sum() / (found.sum() + real.mask.sum()) > 0.55  # chance would be 2 · 0.3 · 0.5 / 0.8
    one = method(train=TrainSettings(steps=30, batch_size=2, learning_rate=0.3), augment=AugmentSettings())
    before = one.validate([real])["loss"]
    one.fit([real], [real], tmp_path)
    assert one.validate([real])["loss"] < before


class RedAndDistances(Red):
    """The red network with two flat maps of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.zeros(2))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([super().forward(image), self.flat[:, None, None].expand(len(image), 2, *image.shape[2:])], 1)


def test_instance_maps_are_learnt_beside_the_foreground_and_predicted_with_it(halves: Case, tmp_path: Path) -> None:
    maps = losses.MapSettings(weight=2.0)
    train = TrainSettings(steps=4, learning_rate=0.1, validate_every=2)
    one = NetworkMethod(RedAndDistances(), WINDOW, train, NOTHING, device="cpu", instance_maps=maps)
    batch = one.sampler([halves])(0)
    logits = one.model(batch.image)
    plain = losses.LOSSES[one.loss](logits[:, :1], batch.mask)
    expected = plain + losses.distances(logits[:, 1:], batch.instances, maps)
    assert one.step_loss()(one.model, batch).item() == pytest.approx(expected.item())
    assert one.validate([halves]) == method().validate([halves])  # judged by its foreground
    one.fit([halves], [halves], tmp_path)
    assert one.model.flat.abs().min() > 0  # type: ignore[union-attr]
    found = one.predict_maps(halves.image)
    assert found.shape == (3, 20, 20)
    assert np.array_equal(one.predict(halves.image), found[0])
    assert found[1:].reshape(2, -1).mean(1) == pytest.approx(one.model.flat.detach().sigmoid().numpy(), abs=1e-5)  # type: ignore[operator, union-attr]


def test_one_map_is_what_a_method_learns_unless_it_is_asked_for_three(halves: Case) -> None:
    one = method()
    batch = one.sampler([halves])(0)
    assert torch.equal(one.step_loss()(one.model, batch), losses.bce_iou(one.model(batch.image), batch.mask))
    assert one.predict_maps(halves.image).shape == (1, 20, 20)


def test_validation_may_look_at_the_middle_of_the_images_alone(halves: Case, tmp_path: Path) -> None:
    settings = TrainSettings(steps=1, validate_every=1, validation_crop=6)
    seen: list[Case] = []

    class Spy(NetworkMethod):
        def validate(self, val: Sequence[Case]) -> dict[str, float]:
            seen.extend(val)
            return super().validate(val)

    one = Spy(Red(), WINDOW, settings, NOTHING, device="cpu")
    wide = case(np.zeros((5, 30), np.uint8), np.ones((5, 30)))
    one.fit([halves], [halves, wide], tmp_path)
    assert [c.instances.shape for c in seen] == [(6, 6), (5, 5)]
    assert np.array_equal(seen[0].image, halves.image[7:13, 7:13])
    assert np.array_equal(seen[0].instances, halves.instances[7:13, 7:13])


def test_folded_attention_learns_the_same(tiny_sam: Sam, halves: Case, tmp_path: Path) -> None:
    found = []
    for attention in (None, "folded"):
        torch.manual_seed(0)
        model = AdaptedSam(copy.deepcopy(tiny_sam), reduction=8)
        window = WindowSettings(field=16, size=64)
        settings = TrainSettings(steps=3, batch_size=2, learning_rate=1e-3, attention=attention)  # type: ignore[arg-type]
        one = NetworkMethod(model, window, settings, NOTHING, device="cpu")
        assert all(type(b.attn) is (FoldedAttention if attention else Attention) for b in model.image_encoder.blocks)
        learned = one.fit([halves], [], tmp_path / str(attention))
        found.append((one.predict(halves.image), [value for _, value in learned["losses"]]))
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-5)
    assert np.abs(found[0][0] - found[1][0]).max() <= 1e-5
    assert found[0][0].std() > 1e-3
