"""Ready-made comparators: label maps for the judge, and a plain word where a package is not installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

from study.rivals import comparators
from study.simulation import simulate
from study.tools.score import score


def module(name: str, **content: object) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(content)
    return made


def threshold(image: np.ndarray) -> np.ndarray:
    return (image[..., 0] < 128).astype(np.int32)


def test_cellpose_is_called_as_its_version_4_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    class CellposeModel:
        def __init__(self, gpu: bool) -> None:
            assert gpu is False

        def eval(self, image: np.ndarray) -> tuple[np.ndarray, list, np.ndarray]:
            return threshold(image), [], np.zeros(1)

    monkeypatch.setitem(sys.modules, "cellpose", module("cellpose"))
    monkeypatch.setitem(sys.modules, "cellpose.models", module("cellpose.models", CellposeModel=CellposeModel))
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4] = 255
    assert comparators.cellpose()(image).sum() == 32


def test_stardist_is_given_normalised_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    class StarDist2D:
        @classmethod
        def from_pretrained(cls, name: str) -> StarDist2D:
            assert name == "2D_versatile_he"
            return cls()

        def predict_instances(self, image: np.ndarray) -> tuple[np.ndarray, dict]:
            assert image.max() <= 1
            return threshold(image * 255), {}

    for name, content in {
        "stardist": {},
        "stardist.models": {"StarDist2D": StarDist2D},
        "csbdeep": {},
        "csbdeep.utils": {"normalize": lambda image: image / 255},
    }.items():
        monkeypatch.setitem(sys.modules, name, module(name, **content))
    assert comparators.stardist()(np.full((8, 8, 3), 255, np.uint8)).sum() == 0


@pytest.mark.parametrize("name", comparators.COMPARATORS)
def test_an_absent_package_says_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(comparators.MissingComparator, match=rf"{name}: .*pip install {name}.*allinsam score"):
        comparators.COMPARATORS[name]()


@pytest.mark.skipif(find_spec("cellpose") is None, reason="cellpose is not installed")
def test_the_installed_cellpose_still_has_what_is_called() -> None:
    import inspect

    from cellpose import models

    assert "gpu" in inspect.signature(models.CellposeModel.__init__).parameters
    assert callable(models.CellposeModel.eval)


def test_maps_go_to_the_judge_and_a_perfect_one_scores_one(tmp_path: Path) -> None:
    cases = [simulate.tile(seed, size=64) for seed in (1, 2)]
    truths = iter([case.instances for case in cases])
    comparators.write_maps(cases, lambda image: next(truths), tmp_path)
    found = score(tmp_path / "prediction", tmp_path / "truth")
    assert set(found["images"]) == {case.name for case in cases}
    assert found["mean"]["aji_kumar"] == 1
    assert found["prediction"].startswith("labels")
    with pytest.raises(ValueError, match=r"label map is \(3, 3\), expected \(64, 64\)"):
        comparators.write_maps(cases, lambda image: np.zeros((3, 3), int), tmp_path)
    with pytest.raises(ValueError, match="70000 labels, expected at most 65535"):
        comparators.write_maps(cases, lambda image: np.full((64, 64), 70_000), tmp_path)


def test_an_unknown_comparator_names_those_there_are() -> None:
    import typer

    small = typer.Typer()
    small.command()(comparators.command)
    told = CliRunner().invoke(small, ["cellprofiler", "out"])
    assert told.exit_code == 2
    assert "cellpose, stardist, truth" in " ".join(told.output.replace("│", " ").split())
