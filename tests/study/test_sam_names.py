"""A run bears the name of the SAM whose weights it had, and no other's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.datasets import manifest
from study.sam_names import annotating_sam, sam_of

OFFICIAL = {name: manifest.own().artefacts[f"sam-vit-{name[-1]}"].sha256 for name in ("vit_b", "vit_l", "vit_h")}


def config(name: str, sha256: str | None, **more: Any) -> dict[str, Any]:
    return {"profile": "paper", "model": {"kind": "sam", "name": name}, "base_weights": sha256, **more}


@pytest.mark.parametrize(("name", "called"), [("vit_b", "SAM ViT-B"), ("vit_l", "SAM ViT-L"), ("vit_h", "SAM ViT-H")])
def test_only_the_published_file_bears_the_name_of_metas_sam(name: str, called: str) -> None:
    assert sam_of(config(name, OFFICIAL[name])) == called
    assert sam_of(config(name, "f" * 64)) == f"{called.removeprefix('SAM ')}, other weights"
    assert sam_of(config(name, "")) == f"{called.removeprefix('SAM ')}, random weights"
    assert sam_of(config(name, OFFICIAL[name], profile="rehearsal")) == f"stand-in for {called}"
    assert sam_of(config("mini", OFFICIAL[name])) == "mini-SAM"


def test_a_manifest_of_stand_ins_changes_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = manifest.own_path().read_text(encoding="utf-8").replace(str(OFFICIAL["vit_h"]), "f" * 64)
    (tmp_path / manifest.FILE).write_text(text, encoding="utf-8")
    monkeypatch.setenv(manifest.VARIABLE, str(tmp_path / manifest.FILE))
    assert manifest.load().artefacts["sam-vit-h"].sha256 == "f" * 64
    assert sam_of(config("vit_h", "f" * 64)) == "ViT-H, other weights"
    assert sam_of(config("vit_h", OFFICIAL["vit_h"])) == "SAM ViT-H"


def test_a_method_without_a_sam_has_none_and_labels_have_their_own() -> None:
    unet = {"profile": "paper", "model": {"kind": "unet"}, "annotator": None}
    assert (sam_of(unet), annotating_sam(unet)) == ("", "")
    weak = unet | {"annotator": {"name": "vit_h", "sha256": OFFICIAL["vit_h"]}}
    assert (sam_of(weak), annotating_sam(weak)) == ("", "SAM ViT-H")
    assert annotating_sam(unet | {"annotator": {"name": "ellipse", "sha256": ""}}) == ""
    assert annotating_sam({"annotator": "Expert"}) == ""
