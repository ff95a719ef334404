"""`allinsam segment` from an image file to files, with and without a trained model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import typer
from skimage.segmentation import find_boundaries
from typer.testing import CliRunner

import allinsam_core
from allinsam_core.annotation import sam as sams
from allinsam_core.data.case import Case
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.training import Recipe
from study.tools import segment as command
from study.tools.flips import with_profile
from study.tools.formats.colours import colours

app = typer.Typer()
app.command()(command.segment)


@pytest.fixture
def image(tmp_path: Path, tiny_sam: sams.Sam, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tile of 70 × 90 px at 0.25 µm/px, with a base small enough to test with."""
    monkeypatch.setattr(sams, "load_mini", lambda name="mini": tiny_sam)
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    path = tmp_path / "tile.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3)
    return path


@pytest.fixture
def trained(image: Path) -> Path:
    """A model of two classes, trained for two steps on noise."""
    pixels, labels = tifffile.imread(image), np.zeros((70, 90), np.uint16)
    labels[10:30, 10:30], labels[40:60, 50:80] = 1, 2
    cases = [Case(s, pixels, labels, 0.25, "t", split=s, classes={1: "a", 2: "b"}) for s in ("train", "val")]  # type: ignore[arg-type]
    recipe = Recipe(
        window=WindowSettings(field=64, size=64), train=TrainSettings(steps=2, batch_size=1, learning_rate=0.05)
    )
    path = image.parent / "m.safetensors"
    allinsam_core.train(cases, path, recipe)
    return path


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_without_a_model_mini_sam_segments(image: Path) -> None:
    out = image.parent / "o"
    code, told = call(image, "--out", out, "--threshold", 0.4)
    assert code == 0, told
    assert "nuclei at 0.25 µm/px" in told
    made = {p.name for p in out.iterdir()}
    assert made == {f"tile{end}" for end in ("_probability.png", "_instances.tif", ".geojson", ".csv", "_overlay.png")}
    found = tifffile.imread(out / "tile_instances.tif")
    same = allinsam_core.segment(tifffile.imread(image), command.cut_at(allinsam_core.load(), 0.4), spacing=0.25)
    assert np.array_equal(found, same.instances)
    prob = imageio.imread(out / "tile_probability.png")
    assert np.array_equal(prob >= 128, same.probability[0] >= 0.5)
    assert "classification" not in (out / "tile.geojson").read_text()


def test_the_best_profile_asks_mirror_images_too(image: Path) -> None:
    out = image.parent / "o"
    code, told = call(image, "--out", out, "--profile", "best")
    assert code == 0, told
    best = with_profile(allinsam_core.load(), "best")
    same = allinsam_core.segment(tifffile.imread(image), best, spacing=0.25)
    assert np.array_equal(tifffile.imread(out / "tile_instances.tif"), same.instances)
    usual = allinsam_core.segment(tifffile.imread(image), spacing=0.25)
    assert not np.array_equal(usual.probability, same.probability)
    code, told = call(image, "--out", image.parent / "p", "--profile", "slow")
    assert (code, "--profile slow: expected fast or best" in told) == (2, True)


def test_a_model_of_two_classes_gives_each_nucleus_its_class(image: Path, trained: Path) -> None:
    out = image.parent / "o"
    code, told = call(image, "--out", out, "--model", trained, "--also", "imagej,coco")
    assert code == 0, told
    expected = allinsam_core.segment(tifffile.imread(image), trained, spacing=0.25)
    assert f"{len(expected.labels)} nuclei ({expected.classes.count('a')} a, {expected.classes.count('b')} b)" in told
    assert {"tile_probability_a.png", "tile_probability_b.png", "tile_rois.zip", "tile.json"} < {
        p.name for p in out.iterdir()
    }
    rows = list(csv.DictReader((out / "tile.csv").open()))
    assert [row["class"] for row in rows] == list(expected.classes)
    features = json.loads((out / "tile.geojson").read_text())["features"]
    assert [f["properties"]["classification"]["name"] for f in features] == list(expected.classes)
    shown = colours(("a", "b"))
    assert [tuple(f["properties"]["classification"]["color"]) for f in features] == [
        shown[kind] for kind in expected.classes
    ]
    picture = imageio.imread(out / "tile_overlay.png")
    edge = find_boundaries(expected.instances, mode="inner")
    wanted = np.array([(0, 0, 0), *(shown[kind] for kind in expected.classes)])[expected.instances]
    assert np.array_equal(picture[edge], wanted[edge])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "none.safetensors"), "no such model file"),
        (("--threshold", "1.5"), "expected a probability between 0 and 1"),
        (("--also", "svg"), "--also svg: expected some of geojson"),
        (("--spacing", "0"), "µm per pixel > 0"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(image: Path, arguments: tuple[str, str], said: str) -> None:
    code, told = call(image, "--out", image.parent / "o", *arguments)
    assert code == 2
    assert said in told
    assert not (image.parent / "o").exists()


def test_slides_go_tile_by_tile(image: Path) -> None:
    pytest.importorskip("openslide")
    pixels = np.full((256, 256, 3), (230, 150, 200), np.uint8)
    path = image.parent / "slide.tif"
    with tifffile.TiffWriter(path) as out:
        for level in range(2):
            out.write(
                pixels[:: 2**level, :: 2**level], tile=(64, 64), photometric="rgb", subfiletype=min(level, 1),
                resolution=(40_000, 40_000), resolutionunit=3,
            )  # fmt: skip
    code, told = call(path, "--out", image.parent / "o")
    assert code == 0, told
    assert "mm² of tissue in 1 tiles" in told
    assert (image.parent / "o" / "slide_quality.html").is_file()
    assert (image.parent / "o" / "slide_labels.ome.tif").is_file()
