"""Results for other programs: mask → file → mask is the very mask, with holes, single pixels and touching nuclei."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from study.tools.formats import export, read_boxes
from study.tools.formats.colours import colours
from study.tools.formats.labels import write_labels
from study.tools.formats.nucleus import MEASURES, Nucleus, from_labels, measure
from study.tools.formats.outline import rasterise

SHAPE = (24, 30)


def difficult() -> np.ndarray:
    """A ring with a nucleus in its hole, single pixels in a corner and at a corner, two parts, two that touch."""
    labels = np.zeros(SHAPE, np.int32)
    labels[2:12, 2:12] = 1
    labels[4:10, 4:10] = 0
    labels[6:8, 6:8] = 2
    labels[0, 0] = 3
    labels[23, 29] = 4
    labels[14:18, 2:6] = 5
    labels[18:22, 6:9] = 5  # touches at a corner only
    labels[14:20, 12:16] = 6
    labels[14:20, 16:20] = 7
    labels[3:6, 20:29] = 8
    labels[4, 22:27:2] = 0  # three holes
    return labels


def read_back(path: Path, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    drawn = read_boxes(path, shape, "s.tif")
    labels = np.zeros(shape, np.int32)
    for name, area in zip(drawn.names, drawn.areas, strict=True):
        assert area is not None
        mask = rasterise(area, shape)
        assert not labels[mask].any()
        labels[mask] = int(name)
    return labels


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "s.geojson": lambda path, labels: export.write_geojson(path, from_labels(labels)),
    "s.zip": lambda path, labels: export.write_imagej(path, from_labels(labels), labels.shape),  # type: ignore[arg-type]
    "s.json": lambda path, labels: export.write_coco(path, from_labels(labels), labels.shape, "s.tif", ()),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRITERS)
def test_masks_come_back_to_the_pixel(tmp_path: Path, name: str) -> None:
    labels = difficult()
    assert WRITERS[name](tmp_path / name, labels) == 8
    assert np.array_equal(read_back(tmp_path / name), labels)


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=25, deadline=None)
@given(mask=arrays(np.bool_, (7, 9)))
def test_any_mask_comes_back(tmp_path_factory: pytest.TempPathFactory, name: str, mask: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("any") / name
    WRITERS[name](path, mask.astype(np.int32))
    assert np.array_equal(read_back(path, (7, 9)), mask)


@pytest.mark.parametrize("tile", [16, 512])
def test_label_images_come_back_at_every_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tile: int) -> None:
    from study.tools.formats import labels as module

    monkeypatch.setattr(module, "TILE", tile)
    monkeypatch.setattr(module, "SMALLEST", 8)
    labels = difficult()
    made = list(from_labels(labels))

    def within(top: int, bottom: int) -> Iterator[Nucleus]:
        yield from (n for n in made if n.top < bottom and n.top + len(n.mask) > top)

    write_labels(tmp_path / "s.ome.tif", within, SHAPE, 0.25)
    with tifffile.TiffFile(tmp_path / "s.ome.tif") as tiff:
        levels = tiff.series[0].levels
        assert [level.shape for level in levels] == [(24, 30), (12, 15), (6, 8)]
        for level, shown in enumerate(levels):
            assert np.array_equal(shown.asarray(), labels[:: 2**level, :: 2**level])
        assert 'PhysicalSizeX="0.25"' in (tiff.ome_metadata or "")


def test_classes_measurements_and_coordinates_are_in_the_files(tmp_path: Path) -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[4:8, 6:12] = 5
    image = np.full((20, 20, 3), 100, np.uint8)
    one = list(from_labels(labels, classes=["tumour"], confidence=[0.75], image=image, spacing=0.5))
    export.write_geojson(tmp_path / "s.geojson", one, scale=4.0)
    feature = json.loads((tmp_path / "s.geojson").read_text())["features"][0]
    assert feature["properties"]["classification"] == {"name": "tumour"}
    measured = feature["properties"]["measurements"]
    assert measured["confidence"] == 0.75
    assert measured["area_um2"] == 6.0
    assert read_boxes(tmp_path / "s.geojson").xyxy.tolist() == [[24, 16, 48, 32]]
    export.write_table(tmp_path / "s.csv", one, scale=4.0)
    row = next(csv.DictReader((tmp_path / "s.csv").open()))
    assert (row["label"], row["class"], float(row["x"]), float(row["y"])) == ("5", "tumour", 36.0, 24.0)
    assert set(MEASURES) < row.keys()
    export.write_coco(tmp_path / "s.json", one, (20, 20), "s.tif", ("stroma", "tumour"))
    coco = json.loads((tmp_path / "s.json").read_text())
    assert coco["annotations"][0]["category_id"] == 2
    assert coco["annotations"][0]["area"] == sum(coco["annotations"][0]["segmentation"]["counts"][1::2]) == 24


def test_each_class_has_its_colour_in_qupath(tmp_path: Path) -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 2:6], labels[10:14, 10:14], labels[2:6, 12:16] = 1, 2, 3
    made = list(from_labels(labels, classes=["stroma", "tumour", "other"]))
    export.write_geojson(tmp_path / "s.geojson", made, classes=("tumour", "stroma"))
    features = json.loads((tmp_path / "s.geojson").read_text())["features"]
    assert [f["properties"]["classification"] for f in features] == [
        {"name": "stroma", "color": [213, 94, 0]},
        {"name": "tumour", "color": [0, 114, 178]},
        {"name": "other"},
    ]
    many = colours([str(n) for n in range(9)])
    assert many["7"] == many["0"] == (0, 114, 178)
    assert len({many[str(n)] for n in range(7)}) == 7


def test_measures_are_those_of_geometry_and_light() -> None:
    y, x = np.mgrid[:41, :61]
    ellipse = ((y - 20) / 10) ** 2 + ((x - 30) / 20) ** 2 <= 1
    pixels = np.where(ellipse[..., None], (51, 51, 51), (255, 255, 255)).astype(np.uint8)
    found = measure(ellipse, pixels, 0.25)
    assert found["area_um2"] == pytest.approx(np.pi * 200 / 16, rel=0.02)
    assert found["major_axis_um"] == pytest.approx(10, rel=0.02)
    assert found["minor_axis_um"] == pytest.approx(5, rel=0.02)
    assert found["eccentricity"] == pytest.approx(np.sqrt(0.75), rel=0.02)
    assert found["solidity"] > 0.9
    assert found["density_total"] == pytest.approx(np.log10(5), rel=1e-6)
    from skimage.color import rgb2hed

    assert found["density_haematoxylin"] == pytest.approx(rgb2hed(np.full((1, 1, 3), 51, np.uint8))[0, 0, 0], rel=1e-6)


def test_a_single_pixel_is_measured_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    found = measure(np.ones((1, 1), bool), np.full((1, 1, 3), 9, np.uint8), 1.0)
    assert (found["area_um2"], found["solidity"]) == (1, 1)
    assert not recwarn.list


def test_parquet_holds_the_table_or_asks_for_pyarrow(tmp_path: Path) -> None:
    nuclei = list(from_labels(difficult()))
    try:
        import pyarrow.parquet as pq
    except ImportError:
        with pytest.raises(ValueError, match="Parquet needs pyarrow"):
            export.write_parquet(tmp_path / "s.parquet", nuclei)
        return
    export.write_parquet(tmp_path / "s.parquet", nuclei, batch=3)
    assert pq.read_table(tmp_path / "s.parquet").column("label").to_pylist() == list(range(1, 9))


def test_an_older_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "s.geojson"
    path.write_text("old")

    def breaks() -> Iterator[Nucleus]:
        yield next(from_labels(difficult()))
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        export.write_geojson(path, breaks())
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["s.geojson"]
