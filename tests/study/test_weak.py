"""Weak labels: the right boxes, marked as weak, made once and found again by content."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from allinsam_core.annotation import boxes as box_rules
from allinsam_core.annotation import sam as sams
from allinsam_core.data.case import Case
from study import weak
from study.weak import WeakSettings, annotate_case, weak_cases


def small_sam(seed: int) -> sams.Sam:
    """mini-SAM with an encoder of two narrow blocks: the masks do not matter here."""
    torch.manual_seed(seed)
    return sams._build_mini(sams.MiniGeometry(embed_dim=48, depth=2, num_heads=2, global_attn_indexes=(1,)))


def labelled(case: Case, sam: sams.Sam, cache: Path | None = None, **settings: object) -> Case:
    """The case with the weak labels of these settings."""
    return annotate_case(case, sam, WeakSettings.model_validate(settings), cache).case


@pytest.fixture(scope="module")
def sam() -> sams.Sam:
    return small_sam(0)


@pytest.fixture
def case() -> Case:
    """Labels 3 and 4 touch, 9 lies apart; 90×80 px."""
    instances = np.zeros((90, 80), np.uint16)
    instances[10:30, 10:30] = 3
    instances[10:30, 30:45] = 4
    instances[60:75, 50:70] = 9
    image = np.random.default_rng(0).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    return Case("one", image, instances, 0.25, "monuseg", split="train")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every set of boxes that was really put to SAM."""
    asked: list[np.ndarray] = []
    annotate = weak.BoxAnnotator.annotate

    def spy(self: weak.BoxAnnotator, image: np.ndarray, boxes: np.ndarray, source: str = "") -> object:
        asked.append(boxes)
        return annotate(self, image, boxes, source)

    monkeypatch.setattr(weak.BoxAnnotator, "annotate", spy)
    return asked


def test_boxes_and_labels_of_the_three_laws(case: Case) -> None:
    boxes, labels = weak.prompts(case, WeakSettings())
    assert (boxes == box_rules.tight(case.instances)).all()
    assert labels.tolist() == [3, 4, 9]
    loose, same = weak.prompts(case, WeakSettings(box_law="random", spread=5))
    assert same.tolist() == [3, 4, 9]
    assert 0 < np.abs(loose - boxes).max() <= 5
    joined, numbers = weak.prompts(case, WeakSettings(box_law="components"))
    assert joined.tolist() == [[10, 10, 45, 30], [50, 60, 70, 75]]
    assert numbers.tolist() == [1, 2]


def test_random_boxes_depend_on_seed_and_name_only(case: Case) -> None:
    def drawn(seed: int, name: str) -> np.ndarray:
        return weak.prompts(replace(case, name=name), WeakSettings(box_law="random", seed=seed))[0]

    assert (drawn(0, "one") == drawn(0, "one")).all()
    assert (drawn(0, "one") != drawn(1, "one")).any()
    assert (drawn(0, "one") != drawn(0, "two")).any()


def test_the_case_keeps_all_but_instances_and_says_what_they_are(case: Case, sam: sams.Sam) -> None:
    found = labelled(case, sam, box_law="random", seed=2)
    assert found.source == "monuseg, SAM on random boxes"
    assert found.image is case.image
    assert (found.name, found.split, found.spacing) == (case.name, case.split, case.spacing)
    assert set(np.unique(found.instances)) <= {0, 3, 4, 9}
    assert (found.instances != case.instances).any()


def test_the_cache_answers_the_second_time(
    case: Case, sam: sams.Sam, tmp_path: Path, answers: list[np.ndarray]
) -> None:
    first, second = (annotate_case(case, sam, WeakSettings(), tmp_path) for _ in range(2))
    assert len(answers) == 1
    assert (first.case.instances == second.case.instances).all()
    assert first.case.source == second.case.source
    assert first.provenance.columns.tolist() == second.provenance.columns.tolist()
    assert np.allclose(first.provenance, second.provenance)
    assert [p.suffix for p in tmp_path.iterdir()] == [".npz"]


def test_whatever_the_masks_depend_on_makes_another_entry(
    case: Case, sam: sams.Sam, tmp_path: Path, answers: list[np.ndarray]
) -> None:
    darker = replace(case, image=case.image // 2)
    other = small_sam(1)
    labelled(case, sam, cache=tmp_path)
    labelled(case, sam, seed=5, cache=tmp_path)  # tight boxes know no seed: the same entry
    assert len(answers) == 1
    labelled(darker, sam, cache=tmp_path)
    labelled(case, other, cache=tmp_path)
    labelled(case, sam, box_law="random", cache=tmp_path)
    labelled(case, sam, box_law="random", seed=1, cache=tmp_path)
    labelled(case, sam, field=100, cache=tmp_path)
    annotate_case(case, sam, WeakSettings(multimask=True), tmp_path)
    assert len(answers) == len(list(tmp_path.iterdir())) == 7


def unreadable_npz(header: bytes, method: int = 0) -> bytes:
    """An archive of two arrays with this .npy header; method: the compression that the archive claims."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("instances.npy", "provenance.npy"):
            archive.writestr(name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    data = bytearray(buffer.getvalue())
    if method:
        at = 0
        while (at := data.find(b"PK\x03\x04", at) + 1) > 0:
            data[at + 7] = method
        at = 0
        while (at := data.find(b"PK\x01\x02", at) + 1) > 0:
            data[at + 9] = method
    return bytes(data)


DAMAGE = {
    "empty": b"",
    "cut": b"PK\x03\x04 cut",
    "no archive": b"not an archive",
    "header is no Python": unreadable_npz(b"{'descr': ((("),  # tokenize.TokenError
    "header of zeros": unreadable_npz(bytes(40)),
    "unknown compression": unreadable_npz(b"{}", method=99),  # NotImplementedError
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_entry_is_set_aside_and_made_anew(
    case: Case, sam: sams.Sam, tmp_path: Path, answers: list[np.ndarray], what: str
) -> None:
    wanted = labelled(case, sam, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(DAMAGE[what])
    with pytest.warns(UserWarning, match=r"damaged .* set aside as .*\.damaged; its weak labels are made anew"):
        again = labelled(case, sam, cache=tmp_path)
    assert (again.instances == wanted.instances).all()
    assert file.with_suffix(".damaged").read_bytes() == DAMAGE[what]
    labelled(case, sam, cache=tmp_path)
    assert len(answers) == 2  # repaired


def test_an_entry_of_another_size_is_made_anew(case: Case, sam: sams.Sam, tmp_path: Path) -> None:
    labelled(case, sam, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    np.savez(file, instances=np.zeros((2, 2), np.uint16), provenance=np.array("a\n1\n"))
    with pytest.warns(UserWarning, match=r"expected uint16 \(90, 80\)"):
        labelled(case, sam, cache=tmp_path)


def test_many_cases_need_the_checksum_once(
    case: Case, sam: sams.Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums: list[str] = []
    monkeypatch.setattr(weak, "weights_checksum", lambda s: sums.append("x") or "abc")
    found = weak_cases([case, replace(case, name="two")], sam, cache=tmp_path)
    assert [w.case.name for w in found] == ["one", "two"]
    assert len(sums) == 1


def test_a_case_without_nuclei_stays_empty(case: Case, sam: sams.Sam) -> None:
    empty = replace(case, instances=np.zeros_like(case.instances))
    assert not labelled(empty, sam).instances.any()


def test_unknown_law_or_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="box_law"):
        WeakSettings.model_validate({"box_law": "loose"})
    with pytest.raises(ValueError, match="extra"):
        WeakSettings.model_validate({"jitter": 3})


def test_without_a_sam_boxes_become_their_ellipses(case: Case) -> None:
    (found,) = weak_cases([case], None, WeakSettings())
    assert found.case.source == "monuseg, ellipses on tight boxes"
    rows, columns = np.ogrid[0.5:20, 0.5:20]
    disc = (rows - 10) ** 2 + (columns - 10) ** 2 < 100  # label 3 is a square of 20 px
    assert (found.case.instances[10:30, 10:30] == 3 * disc).all()
    assert sorted(np.unique(found.case.instances)) == [0, 3, 4, 9]
