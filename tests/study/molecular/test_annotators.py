"""Annotators: each source of error alone, by hand; then the whole against the published pair of figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from allinsam_core.data.errors import DataError
from study.molecular.annotators import ANNOTATORS, Annotator, annotate, annotated
from study.molecular.patch import CELL_TYPES, MARKERS, Patch, Truth
from study.simulation import glomerulus

PERFECT = {kind: {kind: 1.0} for kind in CELL_TYPES}


def board() -> Patch:
    """Nine 10×10 nuclei on a 3×3 board: podocytes on top, mesangial cells, one row of endothelial cells.

    WT1 is 100 on podocytes 1 and 2, 40 on podocyte 3 (attenuated), 90 on endothelial cell 7 (bleed-through), else 10.
    """
    instances = np.zeros((96, 96), np.uint16)
    molecular = np.full((96, 96, 3), 10, np.uint8)
    level = {1: 100, 2: 100, 3: 40, 7: 90}
    for label in range(1, 10):
        row, column = 12 + 28 * ((label - 1) // 3), 12 + 28 * ((label - 1) % 3)
        instances[row : row + 10, column : column + 10] = label
        molecular[row : row + 10, column : column + 10, 0] = level.get(label, 10)
    truth = Truth(
        instances, ("podocyte",) * 3 + ("mesangial",) * 3 + ("endothelial",) * 3, np.ones((96, 96), bool),
        np.zeros((96, 96, 2), np.float32),
    )  # fmt: skip
    return Patch(
        name="board", slide="S", cell_type="podocyte", pas=np.zeros((96, 96, 3), np.uint8), molecular=molecular,
        injured=False, simulated=True, truth=truth, thresholds=dict.fromkeys(MARKERS, 60.0),
    )  # fmt: skip


def test_a_perfect_annotator_returns_the_truth():
    patch = board()
    drawn = annotate(patch, Annotator("perfect", marker=False, confusion=PERFECT), "podocyte")
    np.testing.assert_array_equal(drawn.mask, patch.truth.of("podocyte") > 0)
    assert drawn.kinds == ("podocyte",) * 3
    np.testing.assert_array_equal(drawn.boxes, [[12, 12, 22, 22], [40, 12, 50, 22], [68, 12, 78, 22]])
    assert drawn.boxes.dtype == np.float32


def test_the_marker_decides_not_the_truth():
    drawn = annotate(board(), Annotator("marker", marker=True, confusion=PERFECT), "podocyte")
    assert drawn.kinds == (
        "podocyte",
        "podocyte",
        "endothelial",
    )  # 3 is lost to attenuation, 7 taken by bleed-through


def test_the_threshold_is_the_slides():
    low = replace(board(), thresholds={"WT1": 35.0})
    assert annotate(low, Annotator("marker", marker=True), "podocyte").kinds == ("podocyte",) * 3 + ("endothelial",)


def test_where_the_marker_is_in_doubt_morphology_decides():
    expert = Annotator("both", marker=True, confusion=PERFECT, doubt=0.45)
    assert annotate(board(), expert, "podocyte").kinds == ("podocyte",) * 3  # |log 40/60| = .41, |log 90/60| = .41
    kinds = annotate(board(), replace(expert, doubt=0.40), "podocyte").kinds
    assert kinds == ("podocyte", "podocyte", "endothelial")


def test_outside_the_capsule_only_the_careless_mark():
    patch = board()
    patch = replace(patch, truth=replace(patch.truth, glomerulus=np.zeros((96, 96), bool)))
    assert annotate(patch, Annotator("careful", marker=True), "podocyte").kinds == ()
    assert annotate(patch, Annotator("careless", marker=True, outside=1.0), "podocyte").kinds == (
        "podocyte", "podocyte", "endothelial",
    )  # fmt: skip


def test_misregistered_if_misleads():
    patch = board()
    moved = replace(patch, molecular=np.roll(patch.molecular, 14, axis=1))
    assert annotate(moved, Annotator("marker", marker=True), "podocyte").kinds == ()


def test_confusion_missed_and_invented_have_their_rates():
    model = Annotator("rates", marker=False, confusion={"podocyte": {"podocyte": 1.0, "mesangial": 0.25}}, missed=0.2,
                      invented=0.5)  # fmt: skip
    kinds = [kind for seed in range(150) for kind in annotate(board(), model, "podocyte", seed).kinds]
    count = {kind: kinds.count(kind) for kind in set(kinds)}
    assert count["podocyte"] == pytest.approx(450 * 0.8, rel=0.1)
    assert count["mesangial"] == pytest.approx(450 * 0.8 * 0.25, rel=0.25)
    assert count["invented"] == pytest.approx(0.5 * (count["podocyte"] + count["mesangial"]), rel=0.2)
    assert "endothelial" not in count


def test_bias_and_roughness_move_the_contour():
    def area(**how):
        model = Annotator("contour", marker=False, confusion=PERFECT, **how)
        return annotate(board(), model, "podocyte").mask

    assert area(bias=1.0).sum() > area().sum() > area(bias=-1.0).sum()
    rough = area(roughness=1.2)
    assert 0.03 < (rough != area()).sum() / area().sum() < 0.6


def test_boxes_are_loosened_outward_by_at_most_looseness():
    tight = np.array([[12, 12, 22, 22], [40, 12, 50, 22], [68, 12, 78, 22]])
    model = Annotator("loose", marker=False, confusion=PERFECT, looseness=5)
    out = np.concatenate([(annotate(board(), model, "podocyte", s).boxes - tight) * [-1, -1, 1, 1] for s in range(40)])
    assert out.min() == 0
    assert out.max() == 5
    assert out.mean() == pytest.approx(2.5, abs=0.3)
    wide = annotate(board(), replace(model, looseness=90), "podocyte").boxes
    assert wide.min() >= 0
    assert wide.max() <= 96


def test_equal_arguments_give_equal_annotations():
    one, two, other = (annotate(board(), "student1", "podocyte", seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.instances, two.instances)
    np.testing.assert_array_equal(one.boxes, two.boxes)
    assert (one.instances != other.instances).any()


def test_what_cannot_be_annotated_is_refused():
    with pytest.raises(DataError, match="not simulated"):
        annotate(replace(board(), truth=None), "expert", "podocyte")
    with pytest.raises(DataError, match="expected one of expert"):
        annotate(board(), "nobody", "podocyte")
    with pytest.raises(DataError, match="no WT1 threshold for slide S"):
        annotate(replace(board(), thresholds={}), "student1", "podocyte")
    with pytest.raises(DataError, match="no IF image"):
        annotate(replace(board(), molecular=None), "student1", "podocyte")


@pytest.fixture(scope="module")
def patches():
    return glomerulus.cohort(18, 0, slides=9, injured=3, size=256)[:]


def f1_at_half(found: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """2·TP and the number of marks plus nuclei; pairs with IoU > 0.5 are unique."""
    hits, marks, nuclei = 0, np.unique(found)[1:], np.unique(truth)[1:]
    for label in marks:
        own = found == label
        overlap = np.bincount(truth[own], minlength=2)
        overlap[0] = 0
        best = overlap.argmax()
        hits += bool(overlap[best] / (own.sum() + (truth == best).sum() - overlap[best]) > 0.5 and overlap[best])
    return 2 * hits, len(marks) + len(nuclei)


def quality(patches, names) -> float:
    """F1 of matched nuclei, pooled over patches, mean of both cell types and these annotators."""
    scores = []
    for name in names:
        for kind in CELL_TYPES:
            pairs = [f1_at_half(annotate(patch, name, kind).instances, patch.truth.of(kind)) for patch in patches]
            scores.append(sum(hit for hit, _ in pairs) / sum(total for _, total in pairs))
    return float(np.mean(scores))


def test_quality_meets_the_published_pair(patches):
    """Deng et al. 2023: .850 for lay annotators with molecular images, .702 for pathologists on morphology."""
    students = quality(patches, ["student1", "student2", "student3"])
    expert, with_if, lay = (quality(patches, [name]) for name in ("expert", "expert_if", "lay"))
    assert students == pytest.approx(0.850, abs=0.05)
    assert expert == pytest.approx(0.702, abs=0.05)
    assert lay < expert - 0.1
    assert with_if > expert + 0.1


def test_annotated_adds_masks_of_both_types(patches):
    patch = annotated(patches[0])
    assert set(patch.masks) == {"truth", *ANNOTATORS}
    assert patch.masks["student1"]["mesangial"].dtype == bool
    drawn = annotate(patches[0], "student1", "mesangial").mask
    np.testing.assert_array_equal(patch.masks["student1"]["mesangial"], drawn)
