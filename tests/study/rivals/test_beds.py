"""Bagging and voting by hand, and members that are trained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError
from allinsam_core.learning import method as learning
from allinsam_core.learning.train import TrainSettings
from study import methods
from study.config import RunConfig
from study.rivals import beds as module
from study.rivals.beds import Beds, BedsSettings, share_of_votes
from study.rivals.unet import UNetSettings
from study.simulation import simulate


@pytest.fixture
def tiny_config() -> RunConfig:
    """Two levels, three steps, simulated tiles of 64 px."""
    return RunConfig(
        profile="smoke",
        method="unet",
        model=UNetSettings(channels=(4, 8)),
        window=learning.WindowSettings(field=32, size=32),
        train=TrainSettings(steps=3, batch_size=2, validate_every=2),
    )


@pytest.fixture(scope="module")
def parts() -> tuple[list[Case], list[Case], list[Case]]:
    made = simulate.cohort(train=3, val=1, test=1, size=64)
    return tuple([c for c in made if c.split == split] for split in ("train", "val", "test"))  # type: ignore[return-value]


@pytest.fixture
def beds(tiny_config: RunConfig) -> Callable[..., Beds]:
    def build(members: int, templates: int = 0, method: str = "beds") -> Beds:
        model = BedsSettings(channels=(4, 8), members=members, templates=templates)
        made = methods.build(tiny_config.model_copy(update={"method": method, "model": model}), "cpu")
        assert isinstance(made, Beds)
        return made

    return build


def test_the_majority_by_hand() -> None:
    votes = np.array([[[0.9, 0.5, 0.1]], [[0.6, 0.2, 0.4]], [[0.1, 0.5, 0.49]]], np.float32)
    share = share_of_votes(votes)
    np.testing.assert_allclose(share, [[2 / 3, 2 / 3, 0]], rtol=1e-6)
    assert share.dtype == np.float32
    assert (share >= 0.5).tolist() == [[True, True, False]]  # means of 0.53, 0.4 and 0.33 would say yes, no, no


def test_votes_are_members_times_versions(
    beds: Callable[..., Beds], parts: tuple[list[Case], ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    train, val, test = parts
    ensemble = beds(3, templates=2)
    ensemble.fit(train, val, tmp_path / "run")
    assert len(ensemble.templates) == 2
    monkeypatch.setattr(module.stain, "normalise", lambda image, template: np.full_like(image, 7))

    def vote(index: int) -> Callable[[np.ndarray], np.ndarray]:
        def maps(image: np.ndarray) -> np.ndarray:
            yes = float(index == 0 or (index == 1 and image[0, 0, 0] == 7))
            return np.stack([np.full(image.shape[:2], value) for value in (yes, index / 2, 0.25)])

        return maps

    for index, member in ensemble.members.items():
        monkeypatch.setattr(member, "predict_maps", vote(index))
    # member 0 votes yes on all three versions, member 1 on the two templates, member 2 never: 5 of 9
    np.testing.assert_allclose(ensemble.predict(test[0].image), 5 / 9, rtol=1e-6)
    for values, mean in zip(ensemble.predict_maps(test[0].image), (5 / 9, 1 / 2, 1 / 4), strict=True):
        np.testing.assert_allclose(values, mean, rtol=1e-6)


def test_a_tie_cannot_be_asked_for() -> None:
    for members, templates in ((2, 0), (4, 2), (5, 1)):
        with pytest.raises(ValidationError, match=f"{members * (1 + templates)} votes, expected an odd number"):
            BedsSettings(members=members, templates=templates)
    with pytest.raises(ValidationError, match="out of range"):
        BedsSettings(share=0)


def test_bags_are_two_thirds_differ_and_do_not_depend_on_the_ensembles_size(beds: Callable[..., Beds]) -> None:
    large, small = beds(33), beds(5)
    bags = [large.bag(i, 24) for i in range(33)]
    assert {len(bag) for bag in bags} == {16}
    assert all(len(set(bag)) == 16 for bag in bags)  # without replacement
    assert len({tuple(bag) for bag in bags}) > 30
    assert set().union(*map(set, bags)) == set(range(24))
    assert [small.bag(i, 24) for i in range(5)] == bags[:5]


def test_rows_share_members_and_each_is_trained_once(
    beds: Callable[..., Beds], parts: tuple[list[Case], ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val, test = parts
    single, ensemble = beds(1, method="beds-single"), beds(3, method="beds")
    assert single.shared == ensemble.shared
    steps: list[int] = []
    sampler = learning.CropSampler.__call__
    monkeypatch.setattr(learning.CropSampler, "__call__", lambda self, n: steps.append(n) or sampler(self, n))  # type: ignore[func-returns-value]
    first = single.fit(train, val, tmp_path / "single-run")
    assert steps == [0, 1, 2]
    second = ensemble.fit(train, val, tmp_path / "ensemble-run")
    assert steps == [0, 1, 2] * 3  # member 0 is not trained again
    assert second["members"][0] == first["members"][0]
    assert second["seconds"] == pytest.approx(sum(m["seconds"] for m in second["members"]))
    weights = [next(m.model.parameters()) for m in ensemble.members.values()]
    assert torch.equal(weights[0], next(single.network.parameters()))
    assert not torch.equal(weights[0], weights[1])
    assert sum(p.numel() for p in ensemble.network.parameters()) == 3 * sum(
        p.numel() for p in single.network.parameters()
    )
    alone = single.predict(test[0].image)
    assert len(np.unique(alone)) > 2  # one vote keeps its probability
    assert set(np.unique(np.rint(3 * ensemble.predict(test[0].image)))) <= {0, 1, 2, 3}


def test_each_member_learns_from_its_bag_and_looks_at_the_validation_images(
    beds: Callable[..., Beds], parts: tuple[list[Case], ...], tmp_path: Path
) -> None:
    train, val, _ = parts
    ensemble = beds(3)
    given: list[tuple[list[Case], list[Case]]] = []

    class Spy:
        def fit(self, train: list[Case], val: list[Case], folder: Path) -> dict[str, float]:
            given.append((train, val))
            return dict.fromkeys(("validations", "best", "seconds", "processor_seconds", "peak_memory"), 0.0)

    ensemble.member = lambda index: Spy()  # type: ignore[assignment, return-value]
    ensemble.fit(train, val, tmp_path / "run")
    assert given == [([train[i] for i in ensemble.bag(index, 3)], val) for index in range(3)]
    assert all(len(bag) == 2 for bag, _ in given)


def test_a_missing_member_is_an_error_and_finished_ones_are_kept(
    beds: Callable[..., Beds], parts: tuple[list[Case], ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val, test = parts
    ensemble = beds(3)
    original = ensemble.member

    def failing(index: int) -> learning.NetworkMethod:
        made = original(index)
        if index == 1:
            monkeypatch.setattr(made, "validate", lambda val: 1 / 0)
        return made

    ensemble.member = failing
    with pytest.raises(ZeroDivisionError) as caught:
        ensemble.fit(train, val, tmp_path / "run")
    assert "member 2 of 3; finished members are kept" in caught.value.__notes__[0]
    assert (tmp_path / ensemble.shared / "member-0" / "last.ckpt").is_file()
    with pytest.raises(ValueError, match="member 2, 3 of 3 is not trained"):
        ensemble.predict(test[0].image)


def test_templates_need_tissue(beds: Callable[..., Beds], parts: tuple[list[Case], ...], tmp_path: Path) -> None:
    train, val, _ = parts
    with pytest.raises(DataError, match="3 training images with tissue, expected at least 4"):
        beds(3, templates=4).fit(train, val, tmp_path / "run")
