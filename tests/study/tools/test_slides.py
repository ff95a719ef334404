"""Whole slides: tiles give what the whole gives, in every format, through kills and damage."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from allinsam_core import nuclei as nuclei_of
from allinsam_core.learning.method import WindowSettings
from allinsam_core.model import Description, Model
from study.tools import segment_slide, slides, tiles
from study.tools.formats import read_boxes
from study.tools.slide import UnreadableRegion, is_slide, open_slide

pytest.importorskip("openslide")
pytest.importorskip("zarr")


class Dark(nn.Module):
    """Dark pixels are nuclei, more so the brighter their window is: what a window shows changes its answer."""

    def __init__(self, low: float = 0.0, high: float = 0.6) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        grey = image.mean(1, keepdim=True)
        inside = torch.minimum(grey - self.low, self.high - grey)
        return 20 * inside + grey.mean((2, 3), keepdim=True) - 0.5


def model(classes: int = 1, size: int = 32) -> Model:
    names = ("dark", "middle")[:classes]
    nets = [Dark()] if classes == 1 else [Dark(-0.1, 0.3), Dark(0.3, 0.6)]
    about = Description(
        base="mini",
        base_sha256="",
        classes=names,
        thresholds=(0.5,) * classes,
        window=WindowSettings(field=40, size=size),
    )
    return Model(about, nn.ModuleList(nets))


def tissue(height: int, width: int, discs: int, seed: int = 0) -> np.ndarray:
    """Pink ground with dark discs of two greys, many of which touch."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (230, 150, 200), np.uint8)
    y, x = np.mgrid[:height, :width]
    for _ in range(discs):
        cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(5, 9)
        image[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = 40 if rng.random() < 0.5 else 110
    noise = rng.integers(-8, 9, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def write_pyramid(path: Path, image: np.ndarray, levels: int = 2, ome: bool = False, spacing: float = 0.25) -> Path:
    with tifffile.TiffWriter(path, ome=ome) as out:
        for level in range(levels):
            rate = 10_000 / (spacing * 2**level)
            out.write(
                image[:: 2**level, :: 2**level],
                tile=(64, 64),
                photometric="rgb",
                compression="zlib",
                resolution=(rate, rate),
                resolutionunit="CENTIMETER",
                subfiletype=1 if level else 0,
                subifds=levels - 1 if ome and level == 0 else None,
                metadata={"PhysicalSizeX": spacing, "PhysicalSizeY": spacing} if ome else None,
            )
    return path


def labels(folder: Path, name: str = "s") -> np.ndarray:
    return tifffile.imread(folder / f"{name}_labels.ome.tif")


@pytest.mark.parametrize(("side", "classes"), [(60, 1), (150, 2)])
def test_tiles_give_what_the_whole_image_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, classes: int
) -> None:
    monkeypatch.setattr(tiles, "HALO", 8)  # less than a nucleus: clumps that go on are followed
    image = tissue(233, 301, 90)
    path = write_pyramid(tmp_path / "s.tif", image)
    segment_slide.run(path, tmp_path / "tiles", model(classes), whole=True, side=side, tell=lambda _: None)
    whole = nuclei_of.segment(image, model(classes), spacing=0.25)
    found = labels(tmp_path / "tiles")
    assert len(np.unique(found)) - 1 == len(whole.labels) > 40
    pairs = np.unique(np.stack([found.ravel(), whole.instances.ravel()]), axis=1).T
    assert len(pairs) == len(whole.labels) + 1  # each nucleus is one of the other map's, pixel by pixel
    table = list(csv.DictReader((tmp_path / "tiles" / "s.csv").open()))
    by_label = {int(row["label"]): row for row in table}
    for label, other in pairs.tolist():
        if label:
            assert by_label[label]["class"] == whole.classes[other - 1]
            assert float(by_label[label]["confidence"]) == pytest.approx(whole.confidence[other - 1], abs=0.003)
            assert float(by_label[label]["area_um2"]) == pytest.approx((found == label).sum() / 16, rel=1e-4)


def test_a_sheet_of_touching_nuclei_is_neither_cut_at_tiles_nor_claimed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "HALO", 40)
    monkeypatch.setattr(tiles, "FARTHEST", 40)
    image = tissue(200, 200, 180)  # clumps reach much farther than 40 px
    segment_slide.run(
        write_pyramid(tmp_path / "s.tif", image), tmp_path / "o", model(), whole=True, side=60, tell=lambda _: None
    )
    whole = nuclei_of.segment(image, model(), spacing=0.25).instances
    found = labels(tmp_path / "o")
    assert ((found > 0) == (whole > 0)).mean() > 0.999
    assert abs(len(np.unique(found)) - len(np.unique(whole))) <= 2


def test_a_killed_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pyramid(tmp_path / "s.tif", tissue(150, 210, 40))
    segment_slide.run(path, tmp_path / "a", model(), whole=True, side=60, tell=lambda _: None)
    predicted: list[tuple[int, int]] = []
    predict = slides._predict

    def until_third(job: slides.Job, row: int, column: int) -> None:
        if len(predicted) == 3:
            predicted.clear()
            raise KeyboardInterrupt
        predicted.append((row, column))
        predict(job, row, column)

    monkeypatch.setattr(slides, "_predict", until_third)
    with pytest.raises(KeyboardInterrupt):
        segment_slide.run(path, tmp_path / "b", model(), whole=True, side=60, tell=lambda _: None)
    assert not (tmp_path / "b" / "s.geojson").exists()
    again: list[tuple[int, int]] = []
    monkeypatch.setattr(
        slides, "_predict", lambda job, row, column: (again.append((row, column)), predict(job, row, column))
    )
    segment_slide.run(path, tmp_path / "b", model(), whole=True, side=60, tell=lambda _: None)
    assert len(again) == 3 * 4 - 3
    assert (tmp_path / "b" / "s.geojson").read_text() == (tmp_path / "a" / "s.geojson").read_text()
    again.clear()
    (tmp_path / "b" / "s.geojson").unlink()
    segment_slide.run(path, tmp_path / "b", model(), whole=True, side=60, tell=lambda _: None)
    assert not again
    assert (tmp_path / "b" / "s.geojson").read_text() == (tmp_path / "a" / "s.geojson").read_text()


def test_glass_is_left_out_and_no_tissue_is_said(tmp_path: Path) -> None:
    image = np.full((600, 800, 3), 245, np.uint8)
    image[:200, :300] = tissue(200, 300, 50)
    path = write_pyramid(tmp_path / "s.tif", image)
    slide = open_slide(path)
    job = segment_slide.plan(slide, model(), 0.25, tmp_path / "w", side=60)
    rows, columns = job.grid.count
    assert len(job.tiles()) < 0.7 * rows * columns
    assert (0, 0) in job.tiles()
    assert (rows - 1, columns - 1) not in job.tiles()
    blank = write_pyramid(tmp_path / "blank.tif", np.full((300, 300, 3), 245, np.uint8))
    with pytest.raises(ValueError, match=r"blank\.tif: no tissue found; .*--whole"):
        segment_slide.run(blank, tmp_path / "o", model())


def test_every_reader_gives_the_same_pixels(tmp_path: Path) -> None:
    import zarr

    image = tissue(150, 130, 20)
    generic = open_slide(write_pyramid(tmp_path / "generic.tif", image))
    ome = open_slide(write_pyramid(tmp_path / "a.ome.tif", image, ome=True))
    group = zarr.open(str(tmp_path / "s.zarr"), mode="w")
    for level in range(2):
        part = np.moveaxis(image[:: 2**level, :: 2**level], -1, 0)[None, :, None]
        group.create_array(str(level), shape=part.shape, chunks=(1, 1, 1, 64, 64), dtype="u1")[:] = part
    axes = [{"name": n} for n in "tcz"] + [{"name": n, "unit": "micrometer"} for n in "yx"]
    scale = {"type": "scale", "scale": [1, 1, 1, 0.25, 0.25]}
    group.attrs["multiscales"] = [
        {"axes": axes, "datasets": [{"path": str(n), "coordinateTransformations": [scale]} for n in range(2)]}
    ]
    stored = open_slide(tmp_path / "s.zarr")
    assert stored.spacing == generic.spacing == 0.25
    for slide in (generic, ome, stored):
        assert [level.shape for level in slide.levels] == [(150, 130), (75, 65)]
        assert np.array_equal(slide.read(0, 20, 10, 100, 90), image[20:120, 10:100])
        assert np.array_equal(slide.read(1, 5, 7, 60, 40), image[::2, ::2][5:65, 7:47])
        assert np.array_equal(slide.thumbnail(0, 7), image[::7, ::7])
    assert is_slide(tmp_path / "generic.tif")
    assert is_slide(tmp_path / "a.ome.tif")
    tifffile.imwrite(tmp_path / "small.tif", image, photometric="rgb")
    assert not is_slide(tmp_path / "small.tif")


def test_the_resolution_comes_from_the_slide_or_is_asked_for(tmp_path: Path) -> None:
    image = tissue(256, 256, 40)
    path = tmp_path / "s.tif"
    with tifffile.TiffWriter(path) as out:
        for level in range(2):
            out.write(image[:: 2**level, :: 2**level], tile=(64, 64), photometric="rgb", subfiletype=min(level, 1))
    with pytest.raises(ValueError, match=r"s\.tif: does not say how large its pixels are; add --spacing"):
        segment_slide.run(path, tmp_path / "o", model())
    slide = open_slide(path)
    assert [segment_slide.plan(slide, model(), s, tmp_path, whole=True).level for s in (0.25, 0.125, 0.3)] == [0, 1, 0]
    job = segment_slide.plan(slide, model(), 0.125, tmp_path, whole=True)
    assert (job.spacing, job.scale, job.grid.field) == (0.25, 2.0, 40)


def test_coordinates_are_those_of_the_finest_level(tmp_path: Path) -> None:
    image = np.full((256, 256, 3), (230, 150, 200), np.uint8)
    image[96:136, 64:104] = 40
    path = write_pyramid(tmp_path / "s.tif", image, spacing=0.125)
    segment_slide.run(path, tmp_path / "o", model(size=40), whole=True, tell=lambda _: None)
    assert read_boxes(tmp_path / "o" / "s.geojson").xyxy.tolist() == [[64, 96, 104, 136]]
    row = next(csv.DictReader((tmp_path / "o" / "s.csv").open()))
    assert (float(row["x"]), float(row["y"]), float(row["area_um2"])) == (84, 116, 25)
    assert float(row["density_total"]) == pytest.approx(-np.log10(40 / 255), rel=1e-3)


def test_a_damaged_part_is_named_or_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from study.tools.slide import VendorSlide

    path = write_pyramid(tmp_path / "s.tif", tissue(200, 200, 40))
    pixels = VendorSlide._pixels

    def broken(self: VendorSlide, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        if level == 0 and top <= 100 < top + height and left <= 100 < left + width:
            raise OSError("corrupt tile")
        return pixels(self, level, top, left, height, width)

    monkeypatch.setattr(VendorSlide, "_pixels", broken)
    with pytest.raises(UnreadableRegion, match=r"s\.tif: level 0, rows .*corrupt tile.*--skip-unreadable"):
        segment_slide.run(path, tmp_path / "o", model(), whole=True, side=60, tell=lambda _: None)
    assert list((tmp_path / "o" / "s.work").glob("*/prob/*.png"))  # finished work is kept
    page = segment_slide.run(
        path, tmp_path / "o", model(), whole=True, skip_unreadable=True, side=60, tell=lambda _: None
    )
    assert "tiles could not be read and were left out" in page.read_text()
    assert labels(tmp_path / "o")[:40, :40].any()


def test_what_is_no_slide_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"no slide")
    with pytest.raises(ValueError, match=r"a\.svs: cannot be opened as a slide"):
        open_slide(tmp_path / "a.svs")
    with pytest.raises(FileNotFoundError, match="no such slide"):
        open_slide(tmp_path / "b.svs")


def test_a_missing_level_is_named(tmp_path: Path) -> None:
    import zarr

    group = zarr.open_group(str(tmp_path / "s.zarr"), mode="w")
    group.create_array("0", data=np.zeros((3, 64, 64), np.uint8), chunks=(3, 32, 32))
    group.attrs["multiscales"] = [{"axes": ["c", "y", "x"], "datasets": [{"path": "0"}, {"path": "1"}]}]
    with pytest.raises(ValueError, match=r"s\.zarr: level 1 of \['0', '1'\] is missing"):
        open_slide(tmp_path / "s.zarr")


def test_a_full_disk_is_said_and_finished_tiles_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pyramid(tmp_path / "s.tif", tissue(150, 210, 40))
    save, saved = np.savez_compressed, []

    def until_full(*given: object, **more: object) -> None:
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(given)
        save(*given, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", until_full)
        with pytest.raises(OSError, match="No space left on device"):
            segment_slide.run(path, tmp_path / "o", model(), whole=True, side=60, tell=lambda _: None)
    parts = [part.name for part in (tmp_path / "o" / "s.work").glob("*/nuclei/*")]
    assert len(parts) == 2
    assert not any(name.startswith(".") for name in parts)
    assert not (tmp_path / "o" / "s.geojson").exists()
    segment_slide.run(path, tmp_path / "o", model(), whole=True, side=60, tell=lambda _: None)
    assert (tmp_path / "o" / "s.geojson").exists()


def test_two_runs_on_one_output_do_not_meet(tmp_path: Path) -> None:
    from study.tools.lock import alone

    path = write_pyramid(tmp_path / "s.tif", tissue(100, 100, 10))
    with alone(tmp_path / "o" / "s.work"), pytest.raises(ValueError, match="another process writes this now"):
        segment_slide.run(path, tmp_path / "o", model())


def test_the_quality_page_stands_alone(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "s.tif", tissue(200, 200, 40))
    page = segment_slide.run(path, tmp_path / "o", model(), whole=True, tell=lambda _: None).read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "per mm²" in page
    assert "http" not in page
    record = json.loads((tmp_path / "o" / "s_run.json").read_text())
    assert sum(record["nuclei"].values()) == len(np.unique(labels(tmp_path / "o"))) - 1
    assert record["mm2"] == pytest.approx(200 * 200 * 0.25**2 / 1e6)


def test_a_scanner_s_own_resolution_is_taken(tmp_path: Path) -> None:
    image, path = tissue(128, 128, 10), tmp_path / "s.svs"
    said = "Aperio Image Library v12\n128x128 [0,0 128x128] (64x64) RAW RGB|AppMag = 20|MPP = 0.5021"
    tifffile.imwrite(path, image, tile=(64, 64), photometric="rgb", description=said, metadata=None)
    slide = open_slide(path)
    assert is_slide(path)
    assert slide.spacing == 0.5021
    assert np.array_equal(slide.read(0, 30, 40, 60, 50), image[30:90, 40:90])
