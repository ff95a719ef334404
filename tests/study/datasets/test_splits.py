"""No patient in two splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError
from study.datasets import monuseg
from study.datasets.splits import refuse_overlap


def case(name: str, patient: str = "") -> Case:
    return Case(name, np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint16), 0.25, "simulated", patient)


def test_disjoint_patients_pass_and_may_recur_within_a_split() -> None:
    train, test = [case("a1", "A"), case("a2", "A"), case("x")], [case("b", "B"), case("y")]
    refuse_overlap(train=train, test=test)  # does not raise
    with pytest.raises(DataError):  # and would, were one of them moved
        refuse_overlap(train=train[:1], test=[*test, train[1]])


def test_a_shared_patient_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"patient A is in train \(a1\) and in test \(a2\)"):
        refuse_overlap(train=[case("a1", "A")], val=[case("b", "B")], test=[case("a2", "A")])


def test_a_crop_of_a_case_without_patient_is_that_case() -> None:
    with pytest.raises(DataError, match="simulated:x is in train"):
        refuse_overlap(train=[case("x").crop(0, 0, 4)], test=[case("x")])


def test_the_real_split_passes(data_root: Path) -> None:
    train, val = (monuseg.load(data_root, split) for split in ("train", "val"))
    refuse_overlap(train=train, val=val)
    with pytest.raises(DataError, match="TCGA-"):
        refuse_overlap(train=train, val=[*val, train[3]])
