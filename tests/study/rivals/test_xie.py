from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from allinsam_core.data.errors import DataError
from allinsam_core.learning.augment import AugmentSettings, Batch
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import History, TrainSettings
from study import methods, records, run
from study.config import DataSettings, RunConfig
from study.rivals import xie
from study.rivals.xie import (
    Pretext,
    PretextSettings,
    ResUNet,
    SelfSupervised,
    TripletSampler,
    XieSettings,
    count_ranking,
    pretext_loss,
    triplet,
)
from study.simulation import simulate

PRETEXT = PretextSettings(side=32, parts=(16,), train=TrainSettings(steps=2, batch_size=2, learning_rate=1e-3))
TINY = XieSettings(backbone="resnet10", decoder=(8, 8, 8, 4, 4), pretext=PRETEXT)


def test_the_triplet_loss_by_hand() -> None:
    """First: |a−p|² = 1, |a−n|² = 9 → 1 − 9 + 1 < 0 → 0. Second: 4 − 1 + 1 = 4. Mean 2; with margin 4, (0 + 7) / 2."""
    anchor = torch.zeros(2, 2)
    positive, negative = torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([[0, 3.0], [1, 0]])
    assert float(triplet(anchor, positive, negative, 1.0)) == 2.0
    assert float(triplet(anchor, positive, negative, 4.0)) == 3.5


@pytest.mark.parametrize(
    ("more", "fewer", "loss"), [(3.0, 2.0, 0.0), (5.0, 2.0, 0.0), (2.5, 2.0, 0.5), (2.0, 3.0, 2.0)]
)
def test_count_ranking_is_zero_only_when_ordered_by_the_margin(more: float, fewer: float, loss: float) -> None:
    assert float(count_ranking(torch.tensor([more]), torch.tensor([fewer]), 1.0)) == loss


def test_the_pretext_loss_is_the_sum_of_both_on_the_right_thirds() -> None:
    """Anchors 0, positives at distance 1, negatives at distance 3: triplet 0. Scores 9, 1, 2: only 2 − 1 + 1 counts."""

    class Heads(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([9.0, 1.0, 2.0])

    batch = Batch(torch.zeros(3, 3, 1, 1), torch.zeros(3, 0, 0), ("a",) * 3)
    assert float(pretext_loss(Heads(), batch, 1.0)) == 2.0


def test_the_negative_is_a_magnified_part_of_the_positive() -> None:
    """Intensities give coordinates: red = row, green = column. Halves of the side grow twofold: steps of 1 become ½."""
    rows, columns = np.mgrid[0:60, 0:60].astype(np.uint8)
    sampler = TripletSampler([np.dstack([rows, columns, rows])], PRETEXT, seed=3)
    shifts = set()
    for step in range(20):
        crops = sampler(step).image.mul(255)
        assert crops.shape == (6, 3, 32, 32)
        assert torch.equal(crops, sampler(step).image.mul(255))
        for anchor, positive, negative in zip(*crops.chunk(3), strict=True):
            for axis in (0, 1):
                low, high = positive[axis].min() - 0.01, positive[axis].max() + 0.01
                assert low <= negative[axis].min() < negative[axis].max() <= high
                shift = float(positive[axis].min() - anchor[axis].min())
                assert abs(shift) <= 16.01
                shifts.add(round(shift))
                assert round(float(anchor[axis].max() - anchor[axis].min())) == 31
            assert abs(float(negative[0, 17, 5] - negative[0, 16, 5]) - 0.5) < 1e-3
    assert len(shifts) > 5
    assert any(shift < 0 for shift in shifts)


def test_an_image_too_small_for_the_pretext_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"\(31, 40, 3\) cannot hold a pretext crop of 32 px; lower `side`"):
        TripletSampler([np.zeros((31, 40, 3), np.uint8)], PRETEXT, 0)
    with pytest.raises(ValidationError, match="parts"):
        PretextSettings(side=32, parts=(32,))


def test_the_published_size() -> None:
    with torch.device("meta"):
        model = ResUNet(XieSettings())
    assert sum(p.numel() for p in model.parameters()) == 51_101_809
    # torchvision's ResNet-101 has 44,549,160 parameters, 2048 · 1000 + 1000 of them in its classifier
    assert sum(p.numel() for p in model.net.encoder.parameters()) == 44_549_160 - 2_049_000


def tiny_method(seed: int = 0) -> SelfSupervised:
    torch.manual_seed(seed)
    return SelfSupervised(
        ResUNet(TINY),
        window=WindowSettings(field=32, size=32),
        train=TrainSettings(steps=1, batch_size=2),
        augment=AugmentSettings(),
        seed=seed,
        device="cpu",
    )


def state(method: SelfSupervised, part: str) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in method.model.state_dict().items() if k.startswith(f"net.{part}")}


def differs(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(v, b[k]) for k, v in a.items())


def test_pretraining_changes_the_encoder_only_and_is_shared_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [simulate.tile(0, size=64).image]
    first = tiny_method()
    encoder, decoder = state(first, "encoder"), state(first, "decoder")
    first.prepare(images, tmp_path)
    assert differs(encoder, state(first, "encoder"))
    assert not differs(decoder, state(first, "decoder"))
    steps: list[int] = []
    monkeypatch.setattr(TripletSampler, "triplet", lambda *_: steps.append(1) or 1 / 0)
    again = tiny_method()
    again.prepare(images, tmp_path)
    assert steps == []
    assert not differs(state(first, "encoder"), state(again, "encoder"))
    assert again.pretext == first.pretext
    for other, pictures in ((tiny_method(1), images), (tiny_method(), [images[0][::-1]])):
        with pytest.raises(ZeroDivisionError):
            other.prepare(pictures, tmp_path)


def test_fit_without_pretraining_is_an_error(tmp_path: Path) -> None:
    case = simulate.tile(0, size=64)
    with pytest.raises(RuntimeError, match="fit before prepare"):
        tiny_method().fit([case], [case], tmp_path)


def test_after_pretraining_fit_is_that_of_every_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def fit(self: SelfSupervised, *arguments: object) -> dict[str, float]:
        given.extend(arguments)
        return {"seconds": 1.0, "processor_seconds": 1.0, "peak_memory": 1.0}

    monkeypatch.setattr(xie.NetworkMethod, "fit", fit)
    method, train, val = tiny_method(), [simulate.tile(0, size=64)], [simulate.tile(1, size=64)]
    method.pretext = History(seconds=2.0)
    assert method.fit(train, val, tmp_path)["seconds"] == 3
    assert given == [train, val, tmp_path]


@pytest.fixture
def config() -> RunConfig:
    return RunConfig(
        profile="smoke",
        method="xie",
        model=TINY,
        data=DataSettings(source="simulated", simulated={"train": 2, "val": 1, "test": 1, "size": 64}),
        window=WindowSettings(field=32, size=32),
        train=TrainSettings(steps=1, batch_size=2),
    )


def test_a_run_pretrains_on_all_images_and_counts_the_cost(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    original, fit = SelfSupervised.prepare, xie.fit

    def pretrained(model: Pretext, sampler: TripletSampler, *more: Any, **named: Any) -> History:
        seen.extend(sampler.images)
        return fit(model, sampler, *more, **named)

    def prepare(self: SelfSupervised, images: list[np.ndarray], cache: Path) -> None:
        original(self, images, cache)
        assert self.pretext is not None
        self.pretext.seconds = 1000.0

    monkeypatch.setattr(xie, "fit", pretrained)
    monkeypatch.setattr(SelfSupervised, "prepare", prepare)
    half = config.model_copy(update={"fraction": 0.5, "data": config.data.model_copy(update={"rule": "whole_image"})})
    record = records.read(run.execute(half, tmp_path / "results", tmp_path / "work", device="cpu") / "run.json")
    training = run.cases(config.data, None)["train"]
    assert all(np.array_equal(image, case.image) for image, case in zip(seen, training, strict=True))
    assert record["training_part"]["images"] == 1
    assert record["fit_seconds"] > 1000
    assert record["training"]["pretext"]["seconds"] == 1000
    assert [step for step, _ in record["training"]["pretext"]["losses"]] == [0, 1]


def test_without_a_pretext_it_is_a_network_like_others(config: RunConfig) -> None:
    assert isinstance(methods.build(config, "cpu"), SelfSupervised)
    plain = methods.build(config.model_copy(update={"model": TINY.model_copy(update={"pretext": None})}), "cpu")
    assert not isinstance(plain, SelfSupervised)


@pytest.mark.parametrize("rule", ["whole_image", "crops"])
@pytest.mark.parametrize("fraction", [0.25, 0.3, 0.1])
def test_a_part_without_a_nucleus_is_an_error(config: RunConfig, fraction: float, rule: str) -> None:
    empty = [simulate.tile(i, size=96) for i in range(4)]
    for case in empty:
        case.instances[:] = 0
    data = DataSettings(source="simulated", crop=16, rule=rule)  # type: ignore[arg-type]
    part = config.model_copy(update={"fraction": fraction, "data": data})
    with pytest.raises(DataError, match=f"fraction {fraction} with seed 0 holds no nucleus"):
        run.declared_part(part, empty)


def test_the_header_says_the_size() -> None:
    assert "51,101,809" in (xie.__doc__ or "")
