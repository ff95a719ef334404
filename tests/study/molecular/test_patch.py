"""The molecular arm's unit: what it refuses, what it hands to the study."""

from __future__ import annotations

import numpy as np
import pytest

from allinsam_core.data.errors import DataError
from study.molecular.patch import Patch, Truth


def made(**changed) -> Patch:
    mask = np.zeros((20, 30), bool)
    mask[2:6, 2:6] = mask[6:9, 6:9] = True  # touch at a corner: one 8-connected component
    mask[12:15, 20:24] = True
    fields = {
        "name": "S1_a", "slide": "S1", "cell_type": "podocyte", "pas": np.zeros((20, 30, 3), np.uint8),
        "molecular": np.zeros((20, 30, 3), np.uint8), "injured": True, "simulated": False,
        "masks": {"expert": {"podocyte": mask}},
    }  # fmt: skip
    return Patch(**{**fields, **changed})


def test_case_of_a_mask_has_its_components():
    case = made().case("expert")
    assert case.instances.max() == 2
    assert (case.source, case.patient, case.spacing, case.organ) == ("inhouse", "S1", 0.5, "kidney")
    np.testing.assert_array_equal(case.mask, made().masks["expert"]["podocyte"])


def test_case_of_the_truth_keeps_exact_instances():
    instances = np.zeros((20, 30), np.uint16)
    instances[2:5, 2:5], instances[2:5, 5:8], instances[10:13, 3:6] = 1, 2, 3  # 1 and 2 touch
    truth = Truth(instances, ("podocyte", "podocyte", "parietal"), np.ones((20, 30), bool), np.zeros((20, 30, 2)))
    case = made(simulated=True, truth=truth).case("truth")
    assert set(np.unique(case.instances)) == {0, 1, 2}
    assert case.source == "simulated"


def test_missing_masks_and_channels_are_named():
    with pytest.raises(DataError, match=r"S1_a: no mesangial mask by expert, found expert"):
        made().case("expert", "mesangial")
    with pytest.raises(DataError, match="found no IF image, expected WT1"):
        made(molecular=None).channel("WT1")
    with pytest.raises(DataError, match="found channels WT1, DAPI, expected GATA3"):
        made(molecular=np.zeros((20, 30, 2), np.uint8), markers=("WT1", "DAPI")).channel("GATA3")


def test_channels_are_found_by_name():
    molecular = np.zeros((20, 30, 2), np.uint8)
    molecular[..., 1] = 7
    assert made(molecular=molecular, markers=("WT1", "DAPI")).channel("DAPI").min() == 7


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pas": np.zeros((20, 30), np.uint8)}, "PAS image"),
        ({"molecular": np.zeros((20, 30, 2), np.uint8)}, "IF image"),
        ({"molecular": np.zeros((20, 30, 3), np.float64)}, "float64"),
        ({"masks": {"expert": {"podocyte": np.zeros((20, 30), np.uint8)}}}, "expert's podocyte mask is uint8"),
    ],
)
def test_wrong_arrays_are_refused(changed, message):
    with pytest.raises(DataError, match=message):
        made(**changed)
