"""`allinsam annotate` from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import torch
import typer
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from allinsam_core.annotation import boxes as box_rules
from allinsam_core.annotation import sam as sams
from study.tools import annotate as command
from study.tools.annotate import overlay
from study.tools.formats import read_boxes

app = typer.Typer()
app.command()(command.annotate)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "mini.safetensors"
    save_file(sams.build("mini").state_dict(), file)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tile at 0.25 µm/px, the same without a scale, and three boxes."""
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "tile.tif", image, photometric="rgb", resolution=(40_000, 40_000), resolutionunit=3)
    imageio.imwrite(tmp_path / "tile.png", image)
    (tmp_path / "b.csv").write_text("x0,y0,x1,y1,class,name\n5,5,30,30,a,n1\n60,50,80,75,b,n2\n100,80,160,120,,\n")
    return tmp_path


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_an_image_and_boxes_become_nuclei(folder: Path, weights: Path) -> None:
    out = folder / "new" / "results"
    code, told = call(folder / "tile.tif", "--boxes", folder / "b.csv", "--out", out, "--checkpoint", weights)
    assert code == 0, told
    assert "at 0.25 µm/px, window 150 px" in told
    assert "3 boxes, " in told
    names = ["tile.geojson", "tile_instances.tif", "tile_overlay.png", "tile_provenance.csv", "tile_rois.zip"]
    assert sorted(p.name for p in out.iterdir()) == names
    instances = tifffile.imread(out / "tile_instances.tif")
    assert instances.shape == (120, 160)
    assert instances.any()
    boxes = box_rules.tight(instances)
    assert (read_boxes(out / "tile.geojson").xyxy == boxes).all()
    assert (read_boxes(out / "tile_rois.zip").xyxy == boxes).all()
    again = read_boxes(out / "tile_provenance.csv")
    assert (again.xyxy == read_boxes(folder / "b.csv").xyxy).all()
    assert again.names == ("n1", "n2", "")
    feature = json.loads((out / "tile.geojson").read_text())["features"][0]
    assert set(feature["properties"]["measurements"]) == {"predicted IoU", "area px"}
    picture = imageio.imread(out / "tile_overlay.png")
    assert (picture == command.OUTLINE).all(axis=2).any()


def test_a_missing_spacing_is_asked_for(folder: Path, weights: Path) -> None:
    given = (folder / "tile.png", "--boxes", folder / "b.csv", "--out", folder / "o", "--checkpoint", weights)
    code, told = call(*given)
    assert code == 2
    assert "add --spacing" in told
    assert not (folder / "o").exists()
    code, told = call(*given, "--spacing", 0.5)
    assert code == 0, told
    assert "window 76 px" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "vit_b"), "vit_b has no weights here; add --checkpoint"),
        (("--model", "vit_x"), "unknown SAM 'vit_x'"),
        (("--checkpoint", "none.pth"), "no such checkpoint"),
        (("--spacing", "-1"), "expected µm per pixel > 0"),
        (("--boxes", "none.csv"), "no such file of boxes"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    folder: Path, weights: Path, arguments: tuple[str, str], said: str
) -> None:
    usual = {"--boxes": folder / "b.csv", "--out": folder / "o"}
    if arguments[0] == "--spacing":
        usual["--checkpoint"] = weights
    given = {**usual, arguments[0]: arguments[1]}
    code, told = call(folder / "tile.tif", *(part for pair in given.items() for part in pair))
    assert code == 2
    assert said in told
    assert not (folder / "o").exists()


def test_a_box_outside_the_image_is_named(folder: Path, weights: Path) -> None:
    (folder / "far.csv").write_text("x0,y0,x1,y1\n5,5,500,30\n")
    code, told = call(
        folder / "tile.tif", "--boxes", folder / "far.csv", "--out", folder / "o", "--checkpoint", weights
    )
    assert code == 2
    assert "box 0 of 1 [5, 5, 500, 30] leaves the image" in told


def test_what_was_changed_on_the_way_is_noted(folder: Path, weights: Path) -> None:
    """A turned image, a box over the edge: done as documented, and said in one line each."""
    picture = Image.open(folder / "tile.png")
    exif = Image.Exif()
    exif[274] = 6
    picture.save(folder / "turned.jpg", exif=exif)
    (folder / "edge.csv").write_text("x0,y0,x1,y1\n-0.5,5,30,30\n")
    given = ("--boxes", folder / "edge.csv", "--out", folder / "o", "--checkpoint", weights, "--spacing", 0.25)
    code, told = call(folder / "turned.jpg", *given)
    assert code == 0, told
    notes = [line for line in told.splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert "turned.jpg: Orientation is 6" in notes[0]
    assert "edge.csv: 1 boxes up to a pixel over the edge are clipped" in notes[1]
    assert tifffile.imread(folder / "o" / "turned_instances.tif").shape == (160, 120)


@pytest.mark.parametrize(
    ("spacing", "said"),
    [
        (0.00025, "not plausible for a microscope"),
        (250, "not plausible for a microscope"),
        ("nan", "'nan' is no number"),
        ("inf", "'inf' is no number"),
    ],
)
def test_an_implausible_spacing_is_refused_before_anything_is_computed(
    folder: Path, spacing: float | str, said: str
) -> None:
    code, told = call(folder / "tile.tif", "--boxes", folder / "b.csv", "--out", folder / "o", "--spacing", spacing)
    assert code == 2
    assert said in told


def test_no_boxes_are_an_error(folder: Path, weights: Path) -> None:
    (folder / "none.csv").write_text("x0,y0,x1,y1\n")
    code, told = call(folder / "tile.tif", "--boxes", folder / "none.csv", "--out", folder / "o")
    assert code == 2
    assert "none.csv: holds no boxes for tile.tif" in told


def test_an_outline_has_the_colour_of_its_class() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[2:8, 2:8], labels[11:17, 11:17] = 1, 2
    image = np.full((20, 20, 3), 200, np.uint8)
    plain, named = overlay(image, labels), overlay(image, labels, ("stroma", "tumour"), ("tumour", "stroma"))
    assert plain[2, 2].tolist() == plain[11, 11].tolist() == [255, 220, 0]
    assert named[2, 2].tolist() == [213, 94, 0]
    assert named[11, 11].tolist() == [0, 114, 178]
    assert (named[4, 4] == 200).all()
    assert (image == 200).all()
