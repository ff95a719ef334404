"""The manifest: complete, valid, and refusing what would spoil a study."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from allinsam_core.data.errors import DataError, MissingData
from study.datasets import manifest

Edit = Callable[[dict], None]


def test_every_artefact_of_the_study_is_there_with_its_terms() -> None:
    study = manifest.load()
    assert list(study.artefacts) == [
        "monuseg-train",
        "monuseg-test",
        "dsb2018",
        "brca_m2c",
        "sam-vit-b",
        "sam-vit-l",
        "sam-vit-h",
    ]
    assert {name for name, artefact in study.artefacts.items() if artefact.non_commercial} == {
        "monuseg-train",
        "monuseg-test",
    }
    assert study.artefacts["sam-vit-h"].bytes == 2_564_550_879
    assert study.artefacts["monuseg-test"].source == (
        "https://drive.usercontent.google.com/download?id=1NKkSQ5T0ZNQ8aUhh0a8Dt2YKYCQXIViw&export=download&confirm=t"
    )
    assert all(artefact.citation and artefact.licence and artefact.homepage for artefact in study.artefacts.values())


def test_splits_are_by_patient_and_every_studied_case_has_an_organ() -> None:
    cases = manifest.load().datasets["monuseg"].cases
    assert len(cases) == 30 + 14 + 7
    assert all(name.startswith(entry.patient + "-") for name, entry in cases.items())
    assert len({entry.patient for entry in cases.values()}) == 51
    organs = {entry.organ for entry in cases.values() if entry.split != "unused"}
    assert organs == {"breast", "kidney", "liver", "prostate", "bladder", "colon", "stomach", "lung", "brain"}


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError):
        manifest.load().version = 2  # type: ignore[misc, assignment]


def _share_a_patient(content: dict) -> None:
    cases = content["datasets"]["monuseg"]["cases"]
    cases["TCGA-2Z-A9J9-01A-01-TS1"]["patient"] = "TCGA-18-5592"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_share_a_patient, "patient TCGA-18-5592 is in splits val and test"),
        (lambda c: c["artefacts"]["sam-vit-b"].update(colour="blue"), "colour"),
        (lambda c: c["artefacts"]["sam-vit-b"].update(sha256="abc"), "sha256"),
        (lambda c: c["artefacts"]["sam-vit-b"].pop("sha256"), "sha256"),
        (lambda c: c["artefacts"]["sam-vit-b"].update(file="../outside.pth"), "file"),
        (lambda c: c["artefacts"]["sam-vit-b"].update(drive_id="x"), "expected one of them"),
        (lambda c: c["artefacts"]["monuseg-test"].update(dataset="monusac"), "monusac is not one of"),
        (lambda c: c.update(version=2), "version"),
    ],
)
def test_a_wrong_manifest_is_refused_by_name(tmp_path: Path, edit: Edit, message: str) -> None:
    content = yaml.safe_load(manifest.path().read_text(encoding="utf-8"))
    edit(content)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(DataError, match=message) as caught:
        manifest.read(file)
    assert "mine.yaml" in str(caught.value)


def test_a_case_listed_twice_is_refused(tmp_path: Path) -> None:
    lines = manifest.path().read_text(encoding="utf-8").splitlines()
    number, line = next((i, line) for i, line in enumerate(lines) if "HE-7129" in line)
    file = tmp_path / "mine.yaml"
    file.write_text("\n".join([*lines[:number], line.replace("split: val", "split: train"), *lines[number:]]))
    with pytest.raises(DataError, match="given twice: TCGA-HE-7129-01Z-00-DX1"):
        manifest.read(file)


@pytest.mark.parametrize("text", ["a: [1", "!!python/object/apply:os.getcwd []"])
def test_unsafe_or_ambiguous_yaml_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=r"mine\.yaml"):
        manifest.read(file)


def test_the_variable_names_another_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(manifest.VARIABLE, str(tmp_path / "none.yaml"))
    with pytest.raises(MissingData, match=manifest.VARIABLE):
        manifest.load()
    (tmp_path / "none.yaml").write_text("version: 1\nartefacts: {}\ndatasets: {}\n")
    assert manifest.load().artefacts == {}


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/x", "..", ".hidden", "a/b", ""])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """Of a dataset, an artefact and a file: each becomes part of a path."""
    text = manifest.path().read_text(encoding="utf-8")
    changed = [
        text.replace("dataset: dsb2018", f"dataset: {json.dumps(name)}"),
        text.replace("\n  dsb2018:\n", f"\n  {json.dumps(name)}:\n"),
        text.replace("file: MoNuSegTestData.zip", f"file: {json.dumps(name)}"),
    ]
    for number, content in enumerate(changed):
        assert content != text
        file = tmp_path / f"{number}.yaml"
        file.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=rf"{number}\.yaml: .*(String should match|is not one of)"):
            manifest.read(file)


def test_aliases_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text("a: &a [x, x, x]\nb: &b [*a, *a, *a]\nversion: [*b, *b, *b]\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.yaml, line 2: not valid YAML, the alias \*a"):
        manifest.read(file)
