"""The gallery's scores are those of the pictures that it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import allinsam_core
from study import errors

RECORD = Path(__file__).parents[3] / "book" / "gallery"


def test_pictures_and_scores_agree() -> None:
    scores = pd.read_csv(RECORD / "scores.csv").set_index("image")
    assert scores["f1_instance_50"].is_monotonic_decreasing
    pictures = {path.stem for path in RECORD.glob("*.jpg")}
    middle = (len(scores) - 1) // 2
    assert pictures == {scores.index[at] for at in (0, middle, -1)}
    for name in pictures:
        truth, found = (
            np.asarray(Image.open(RECORD / f"{name}_{part}.png")).astype(np.int64) for part in ("truth", "found")
        )
        line = scores.loc[name]
        assert allinsam_core.score(found, truth).instance.f1_instance_50 == pytest.approx(
            line["f1_instance_50"], abs=1e-6
        )
        kinds = errors.classify(found, truth)
        assert [len(getattr(kinds, kind)) for kind in errors.KINDS] == line[list(errors.KINDS)].tolist()
        assert len(np.unique(truth)) - 1 == line["nuclei"]
