"""What shipped SAMs keep: the value in use is the recorded one, and the choice sees no image that was trained on."""

from __future__ import annotations

import numpy as np
import pytest

import allinsam_core
from allinsam_core.data.case import Case
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.model import KEPT
from study import records
from study.minisam import corpus, parting
from study.minisam.corpus import CorpusSettings
from study.root import CHECKOUT
from study.tuning import Example, kept


def test_what_is_in_use_is_what_was_chosen() -> None:
    record = records.read(CHECKOUT / "results" / "mini_sam" / parting.NAME / records.FILE)
    chosen = {name: InstanceSettings.model_validate(settings) for name, settings in record["chosen"].items()}
    assert {name: chosen[name] for name in KEPT} == KEPT
    assert allinsam_core.load().about.parting == chosen["mini2"]


def test_the_scores_of_a_source_are_those_of_its_images() -> None:
    truth = np.zeros((40, 40), np.uint16)
    truth[10:30, 10:30] = 1
    case = Case("one", np.zeros((40, 40, 3), np.uint8), truth, 0.25, "t")
    prob = np.where(truth > 0, 0.8, 0.1).astype(np.float32)
    strict = InstanceSettings(lowest_peak=0.9)
    settings = {"usual": InstanceSettings(), "strict": strict}
    rows = parting.rows_of("mini", {"val": [case]}, {"val": [Example(prob[None], truth, 0.25)]}, settings)
    assert [(row["part"], row["image"], row["settings"]) for row in rows] == [
        ("val", "one", "usual"),
        ("val", "one", "strict"),
    ]
    assert [row["f1_instance_50"] for row in rows] == [1, 0]
    assert [row["dice"] for row in rows] == [1, 1]


def test_otsus_threshold_stands_beside_the_shipped_sams() -> None:
    image = np.full((64, 64, 3), 230, np.uint8)
    truth = np.zeros((64, 64), np.uint16)
    truth[20:40, 20:40] = 1
    image[truth > 0] = (80, 40, 140)
    example = parting.found("otsu", [Case("one", image, truth, 0.25, "t")])[0]
    assert parting.scored(example, InstanceSettings()).f1_instance_50 == 1


def test_specks_and_faint_objects_are_dropped_where_they_are_no_nuclei() -> None:
    truth = np.zeros((60, 60), np.uint16)
    truth[10:30, 10:30] = 1
    prob = np.where(truth > 0, 0.97, 0.02).astype(np.float32)
    prob[40:46, 40:46] = 0.97  # 36 px, 2.25 µm²
    prob[40:55, 5:20] = 0.55
    example = Example(prob[None], truth, 0.25)
    chosen = kept([example], InstanceSettings())
    assert chosen.smallest_area > 2.25
    assert chosen.lowest_peak > 0.55
    assert parting.scored(example, InstanceSettings()).f1_instance_50 == pytest.approx(0.5)
    assert parting.scored(example, chosen).f1_instance_50 == 1


def test_held_out_images_are_those_that_pre_training_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Named:
        def __init__(self, name: int) -> None:
            self.name = name

    monkeypatch.setattr(corpus.dsb2018, "load", lambda *_: [Named(n) for n in range(40)])
    monkeypatch.setattr(corpus.recolour, "at_nucleus_size", lambda case, _: case)
    held_out, trained_on = corpus.stained_parts(CorpusSettings(), CHECKOUT)
    order = np.random.default_rng(0).permutation(40).tolist()
    assert [case.name for case in held_out] == order[:15]
    assert [case.name for case in trained_on] == order[15:]
