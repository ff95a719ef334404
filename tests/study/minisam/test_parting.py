"""What shipped SAMs keep: the value in use is the recorded one, and the choice sees no image that was trained on."""

from __future__ import annotations

import numpy as np
import pytest

from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.model import KEPT
from study import records
from study.minisam import corpus, parting
from study.minisam.corpus import CorpusSettings
from study.root import CHECKOUT
from study.tuning import Example, kept


def test_what_is_in_use_is_what_was_chosen() -> None:
    record = records.read(CHECKOUT / "results" / "mini_sam" / parting.NAME / records.FILE)
    assert InstanceSettings.model_validate(record["chosen"]) == KEPT


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
