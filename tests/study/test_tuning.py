"""Settings are chosen by what they are worth on images drawn by hand, validation for parting, training for keeping."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allinsam_core.learning.instances import InstanceSettings, targets
from study import tuning
from study.tuning import Example, tuned

PAIR = np.zeros((40, 80), np.uint16)  # two nuclei side by side
PAIR[10:30, 10:30], PAIR[10:30, 30:50] = 1, 2
APART = np.zeros((40, 80), np.uint16)
APART[10:30, 10:30], APART[10:30, 50:70] = 1, 2


def example(truth: np.ndarray, prob: np.ndarray | None = None, faint: float = 1.0) -> Example:
    """The maps of a method that knows the truth, but whose distances lie nearer to 1/2, by the factor `faint`."""
    distances = targets(torch.from_numpy(truth.astype(np.int64))[None])[0].numpy()
    first = (truth > 0).astype(np.float32) if prob is None else prob
    return Example(np.stack([first, *(0.5 + faint * (distances - 0.5))]), truth, 0.25)


def test_what_is_right_already_stays() -> None:
    start = InstanceSettings(smooth=1.3, smallest=25)
    assert tuned([example(PAIR)], [example(APART)], start) == start


def test_faint_maps_are_parted_at_a_lower_depth() -> None:
    faint = example(PAIR, faint=0.08)
    assert tuning.score(*_labels(faint, InstanceSettings())) < 0.7
    assert tuned([example(PAIR)], [faint], InstanceSettings()) == InstanceSettings()  # on validation images alone
    chosen = tuned([faint], [example(PAIR)], InstanceSettings())
    assert chosen.map_depth < 0.05
    assert tuning.score(*_labels(faint, chosen)) > 0.95


def _labels(given: Example, settings: InstanceSettings) -> tuple[np.ndarray, np.ndarray]:
    from allinsam_core.learning.instances import nuclei

    return nuclei(given.maps, settings, given.spacing), given.truth


def test_one_map_has_its_own_fields() -> None:
    waist = np.zeros((60, 80), np.uint16)
    rows, columns = np.mgrid[:60, :80]
    one, two = (np.hypot(rows - 30, columns - c) <= 14 for c in (25, 48))
    waist[one], waist[two & ~one] = 1, 2
    alone = Example((waist > 0).astype(np.float32)[None], waist, 0.25)
    deep = InstanceSettings(depth=9.0)
    assert tuned([alone], [alone], deep).depth < 9
    assert tuned([alone], [alone], deep).map_depth == deep.map_depth


def test_specks_and_doubtful_objects_are_judged_on_training_images() -> None:
    prob = (APART > 0) * 0.95
    prob[2:8, 2:8] = 0.95  # 36 px, 2.25 µm²
    prob[31:40, 10:40] = 0.75  # 270 px, but doubtful
    dirty, clean = example(APART, prob.astype(np.float32)), example(APART)
    chosen = tuned([clean], [dirty], InstanceSettings())
    assert chosen.smallest_area == 3.0
    assert chosen.lowest_peak == 0.8
    assert tuned([dirty], [clean], InstanceSettings()) == InstanceSettings()


@pytest.mark.parametrize(
    ("val", "train", "name"), [([], [example(PAIR)], "validation"), ([example(PAIR)], [], "training")]
)
def test_without_images_nothing_can_be_chosen(val: list[Example], train: list[Example], name: str) -> None:
    with pytest.raises(ValueError, match=f"no {name} image"):
        tuned(val, train, InstanceSettings())
