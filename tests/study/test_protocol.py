"""The study's protocol from the method's side: a spy in the method's place notes all that a run shows it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from allinsam_core.data.case import Case, Split
from allinsam_core.learning import instances, threshold
from allinsam_core.learning.method import Method
from allinsam_core.metrics import instance, pixel
from study import methods, records, run
from study.config import AnnotatorSettings, NoiseSettings, RunConfig
from study.data import DataSettings
from study.datasets import fractions
from study.simulation.corrupt import NoiseLaw, corrupt
from study.weak import WeakSettings, weak_cases

# neither the boxes nor the law of errors are the defaults, so that a run that forgets them is found out
BOXES = WeakSettings(box_law="components")
DROPS = NoiseLaw(drop=1, invent=0, dilate=0, erode=0, shift=0)
WEAK: dict[str, Any] = {"label": "weak", "annotator": AnnotatorSettings(name="ellipse", boxes=BOXES)}
NOISY: dict[str, Any] = {"noise": NoiseSettings(rate=0.7, law=DROPS)}
LABELS: dict[str, dict[str, Any]] = {"complete": {}, "weak": WEAK, "noisy": NOISY, "noisy and weak": {**WEAK, **NOISY}}
LEARNED = {"losses": [(0, 1.5)], "best": 7}
Data = dict[Split, list[Case]]


def picture(number: int, split: Split) -> Case:
    """Nine rectangles on light ground, the first cut in two; each of its own darkness, paler outside its ellipse."""
    rng = np.random.default_rng(number)
    labels, dark = np.zeros((60, 60), np.uint16), rng.uniform(0.1, 0.2, (60, 60))
    for label, (top, left) in enumerate(product((2, 22, 42), repeat=2), start=1):
        height, width = rng.integers(8, 17, 2)
        place = slice(top, top + height), slice(left, left + width)
        rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        labels[place] = label
        dark[place] = rng.uniform(0.4, 0.9) - 0.15 * (rows**2 + columns**2 > 1)
    labels[2:6, :20][labels[2:6, :20] > 0] = 10  # it touches 1: two nuclei, one component
    dark += 0.1 * (split == "test")
    image = np.rint(255 * (1 - dark))[..., None].repeat(3, axis=2).astype(np.uint8)
    return Case(f"{split}-{number}", image, labels, 0.25, "made up", patient=f"p{number}", split=split)


def darkness(image: np.ndarray) -> np.ndarray:
    """The spy's probability (H, W) float32: nuclei are darker than what is around them."""
    return 1 - image[..., 0].astype(np.float32) / 255


class Spy(Method):
    """A method that notes what it is given."""

    def __init__(self) -> None:
        self.fits: list[tuple[list[Case], list[Case]]] = []
        self.prepared: list[np.ndarray] = []
        self.predicted: list[np.ndarray] = []

    def prepare(self, images: Sequence[np.ndarray], cache: Path) -> None:
        self.prepared.extend(images)

    def fit(self, train: Sequence[Case], val: Sequence[Case], folder: Path) -> dict[str, Any]:
        self.fits.append((list(train), list(val)))
        return {**LEARNED, "seconds": 2.5}

    def predict(self, image: np.ndarray) -> np.ndarray:
        self.predicted.append(image)
        return darkness(image)


@pytest.fixture(scope="module")
def data() -> Data:
    """Three images to train on, two to choose by, three to score."""
    parts: dict[Split, range] = {"train": range(3), "val": range(3, 5), "test": range(5, 8)}
    return {split: [picture(number, split) for number in numbers] for split, numbers in parts.items()}


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    one = Spy()
    monkeypatch.setattr(methods, "build", lambda config, device: one)
    return one


def configured(tiny: RunConfig, **fields: Any) -> RunConfig:
    """The tiny run with settings of its own; the seed is not the default."""
    own = {name: getattr(tiny, name) for name in RunConfig.model_fields}
    data = DataSettings(source="simulated", crop=30)
    return RunConfig.model_validate({**own, "data": data, "seed": 9, **fields})


def executed(config: RunConfig, data: Data, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record and the rows of the run."""
    place = run.execute(config, folder / "results", folder / "work", data=data)
    rows = pd.read_csv(place / "rows.csv").to_dict("records")
    return records.read(place / "run.json"), rows  # type: ignore[return-value]


def allowed(config: RunConfig, images: list[Case]) -> list[Case]:
    """The images with the labels that a method may see: errors put in, then boxes drawn, where the run asks for it."""
    if config.noise is not None:
        images = [corrupt(case, 0.7, config.seed, DROPS) for case in images]
    return [weak.case for weak in weak_cases(images, None, BOXES)] if config.annotator else images


def alike(given: list[Case], expected: list[Case]) -> bool:
    """Whether these are the same images, in the same order, with the same labels."""
    return [case.name for case in given] == [case.name for case in expected] and all(
        np.array_equal(a.image, b.image) and np.array_equal(a.instances, b.instances)
        for a, b in zip(given, expected, strict=True)
    )


@pytest.mark.parametrize("labels", LABELS)
def test_fit_gets_training_and_validation_images_with_the_labels_of_the_run(
    labels: str, tiny_config: RunConfig, data: Data, spy: Spy, tmp_path: Path
) -> None:
    config = configured(tiny_config, **LABELS[labels])
    executed(config, data, tmp_path)
    ((train, val),) = spy.fits
    for given, images in ((train, data["train"]), (val, data["val"])):
        assert alike(given, allowed(config, images))
        true = [np.array_equal(seen.mask, case.mask) for seen, case in zip(given, images, strict=True)]
        assert true == [labels == "complete"] * len(images)


@pytest.mark.parametrize("labels", LABELS)
def test_scores_are_of_the_test_images_against_their_truth(
    labels: str, tiny_config: RunConfig, data: Data, spy: Spy, tmp_path: Path
) -> None:
    config = configured(tiny_config, **LABELS[labels])
    _, rows = executed(config, data, tmp_path)
    for image, row, case in zip(spy.predicted, rows, data["test"], strict=True):
        assert np.array_equal(image, case.image)
        assert row["image"] == case.name
        assert row["dice"] == pytest.approx(pixel.evaluate(darkness(image), case.mask, eight_bit=True).dice, abs=1e-6)
        assert row["n_truth"] == len(np.unique(case.instances)) - 1


@pytest.mark.parametrize("labels", LABELS)
def test_a_threshold_is_chosen_by_the_labels_that_the_method_may_see(
    labels: str, tiny_config: RunConfig, data: Data, spy: Spy, tmp_path: Path
) -> None:
    config = configured(tiny_config, **LABELS[labels], threshold_chosen_on="val")
    record, rows = executed(config, data, tmp_path)

    def best(images: list[Case]) -> float:
        return threshold.choose((darkness(case.image), case.mask) for case in images)

    cut = record["threshold"]
    assert cut == best(allowed(config, data["val"])) != best(data["test"])
    assert (cut == best(data["val"])) == (labels == "complete")
    shown = [*data["val"], *data["test"]]
    assert all(np.array_equal(image, case.image) for image, case in zip(spy.predicted, shown, strict=True))
    for row, case in zip(rows, data["test"], strict=True):  # pixels and instances are cut at the same level
        prob = threshold.rescaled(darkness(case.image), cut)
        found = instances.from_probability(prob, config.instances)
        whole, parts = pixel.evaluate(prob, case.mask, eight_bit=True), instance.evaluate(found, case.instances)
        assert {k: row[k] for k in ("dice", "aji_kumar", "pq")} == pytest.approx(
            {"dice": whole.dice, "aji_kumar": parts.aji_kumar, "pq": parts.pq}, abs=1e-6
        )


@pytest.mark.parametrize("labels", LABELS)
def test_every_seed_learns_from_its_own_part_and_looks_at_whole_validation_images(
    labels: str, tiny_config: RunConfig, data: Data, spy: Spy, tmp_path: Path
) -> None:
    for seed in (9, 10):
        config = configured(tiny_config, **LABELS[labels], seed=seed, fraction=0.25)
        record, _ = executed(config, data, tmp_path)
        train, val = spy.fits[-1]
        assert alike(train, fractions.subset(allowed(config, data["train"]), 0.25, seed, "crops", 30))
        assert alike(val, allowed(config, data["val"]))
        assert record["training_part"] == {"images": 3, "pixels": 3 * 30 * 30}
    first, second = ([case.name for case in train] for train, _ in spy.fits)
    assert first != second


def test_the_validation_images_can_be_cut_to_the_same_share(
    tiny_config: RunConfig, data: Data, spy: Spy, tmp_path: Path
) -> None:
    config = configured(tiny_config, seed=9, fraction=0.25, validation_share="fraction")
    executed(config, data, tmp_path)
    ((_, val),) = spy.fits
    assert alike(val, fractions.subset(data["val"], 0.25, 9, "crops", 30))
    assert len(val) < sum(case.instances.size for case in data["val"]) / 30**2


@pytest.mark.parametrize("labels", LABELS)
def test_the_pixels_of_all_training_images_and_no_others_may_be_learnt_from_without_labels(
    labels: str, tiny_config: RunConfig, data: Data, spy: Spy, tmp_path: Path
) -> None:
    executed(configured(tiny_config, **LABELS[labels], fraction=0.25), data, tmp_path)
    assert all(np.array_equal(image, case.image) for image, case in zip(spy.prepared, data["train"], strict=True))


def test_without_training_data_nothing_is_fitted(tiny_config: RunConfig, data: Data, spy: Spy, tmp_path: Path) -> None:
    executed(configured(tiny_config, fraction=0), data, tmp_path)
    assert spy.fits == []


@pytest.mark.parametrize("labels", LABELS)
def test_the_record_names_the_data_by_their_truth_and_keeps_what_fit_said(
    labels: str, tiny_config: RunConfig, data: Data, spy: Spy, tmp_path: Path
) -> None:
    config = configured(tiny_config, **LABELS[labels])
    record, _ = executed(config, data, tmp_path)
    assert {split: said["sha256"] for split, said in record["data"].items()} == {
        split: records.data_checksum(images) for split, images in data.items()
    }
    assert record["fit_seconds"] == 2.5
    assert record["training"] == {"losses": [[0, 1.5]], "best": 7}
    if config.noise is not None:
        pairs = zip(allowed(config, data["train"]), data["train"], strict=True)
        dices = [2 * (drawn.mask & true.mask).sum() / (drawn.mask.sum() + true.mask.sum()) for drawn, true in pairs]
        assert record["label_dice"] == pytest.approx(np.mean(dices))


@pytest.mark.parametrize(("eight_bit", "auc"), [(True, 0.5), (False, 1.0)])
def test_probabilities_are_scored_as_eight_bit_images_where_the_run_says_so(
    eight_bit: bool, auc: float, tiny_config: RunConfig, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tiny_config, eight_bit=eight_bit)
    case = data["test"][0]
    spy = Spy()  # nuclei a little more probable than the rest, by less than one level of 255
    monkeypatch.setattr(spy, "predict", lambda image: np.where(case.mask, 0.1001, 0.1).astype(np.float32))
    given = run.Task(train=[], val=[], scored=[case], pixels=[], images={})
    assert run.score(config, spy, given)["rows"]["auc"].tolist() == [auc]
