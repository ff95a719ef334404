"""µm per pixel from what microscopes, QuPath, Bio-Formats and ImageJ write into a TIFF, and from the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from study.tools.spacing import check, from_tiff, pixel_size

PIXELS = np.zeros((48, 64, 3), np.uint8)


def aperio(text: str) -> dict[str, Any]:
    return {"description": f"Aperio Image Library v11\r\n{text}", "metadata": None}


def imagej(unit: str, rate: float) -> dict[str, Any]:
    return {"resolution": (rate, rate), "imagej": True, "metadata": {"unit": unit}}


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"resolution": (40_000, 40_000), "resolutionunit": 3}, 0.25),
        ({"resolution": (50_800, 50_800), "resolutionunit": 2}, 0.5),
        (imagej("micron", 4), 0.25),
        (imagej("um", 2), 0.5),
        (imagej("\\u00B5m", 2), 0.5),
        (imagej("mm", 4000), 0.25),
        (imagej("nm", 0.004), 0.25),
        (imagej("inch", 300), None),
        (imagej("pixel", 4), None),
        (aperio("AppMag = 40|MPP = 0.2520|Left = 1"), 0.252),
        (aperio("AppMag = 40|MPP = 2.5e-1"), 0.25),
        (aperio("MPP=0,2520|AppMag=40"), 0.252),
        (aperio("MPP = 250|AppMag = 40"), None),
        (aperio("MPP = unknown|AppMag = 40"), None),
        (aperio("MPP = |AppMag = 40"), None),
        (aperio("MPP = 0.25|MPP = 0.5"), None),
        (aperio("AppMag = 40"), None),
        # a level, the base level (the size in brackets is the tiles') and a page that was resized later
        (aperio("260x200 [0,0 256x192] (256x256) -> 64x48 JPEG/RGB Q=70|AppMag = 40|MPP = 0.25"), 1.0),
        (aperio("80x60 [0,10 64x48] (64x48) JPEG/RGB Q=30|AppMag = 40|MPP = 0.25"), 0.25),
        (aperio("260x200 [0,0 256x192] (256x256) JPEG/RGB Q=70|AppMag = 40|MPP = 0.25"), None),
        ({"resolution": (72, 72), "resolutionunit": 2}, None),  # an editor's default
        ({"resolution": (2400, 2400), "resolutionunit": 2}, None),  # print densities
        ({"resolution": (9600, 9600), "resolutionunit": 2}, None),
        ({"resolution": (944.88, 944.88), "resolutionunit": 3}, None),
        ({"resolution": (1e7, 1e7), "resolutionunit": 3}, None),  # 1 nm
        ({"resolution": (40_000, 20_000), "resolutionunit": 3}, None),  # not square
        ({"resolution": (4, 4), "resolutionunit": 1}, None),  # no unit
        ({"resolution": (0, 0), "resolutionunit": 3}, None),
        ({}, None),
    ],
)
def test_spacing(tmp_path: Path, tags: dict[str, Any], spacing: float | None) -> None:
    tifffile.imwrite(tmp_path / "i.tif", PIXELS, photometric="rgb", **tags)
    found = from_tiff(tmp_path / "i.tif")
    assert found == (None if spacing is None else pytest.approx(spacing))


def test_a_second_description_hides_nothing(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "i.tif", PIXELS, photometric="rgb", description="Aperio|MPP = 0.5")  # and its own, JSON
    assert from_tiff(tmp_path / "i.tif") == 0.5
    note = {"note": "MPP = 0.25"}
    tifffile.imwrite(tmp_path / "i.tif", PIXELS, photometric="rgb", description="MPP = 0.5", metadata=note)
    assert from_tiff(tmp_path / "i.tif") is None  # two that differ


@pytest.mark.parametrize(
    ("size", "spacing"),
    [
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}, 0.25),
        ({"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 250, "PhysicalSizeYUnit": "nm"}, 0.25),
        ({"PhysicalSizeX": 2.5e-4, "PhysicalSizeXUnit": "mm", "PhysicalSizeY": 0.25}, 0.25),
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}, None),
        ({"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 1, "PhysicalSizeYUnit": "pixel"}, None),
        ({"PhysicalSizeX": 0.25}, None),
        ({}, None),
    ],
)
def test_ome(tmp_path: Path, size: dict[str, Any], spacing: float | None) -> None:
    path = tmp_path / "i.ome.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", metadata={"axes": "YXS", **size})
    assert from_tiff(path) == (None if spacing is None else pytest.approx(spacing))


def test_the_page_that_is_read_counts(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "i.tif") as file:
        for pixels, rate, kind in ((PIXELS[::4, ::4], 10_000, 1), (PIXELS, 40_000, 0)):
            file.write(pixels, photometric="rgb", resolution=(rate, rate), resolutionunit=3, subfiletype=kind)
    assert from_tiff(tmp_path / "i.tif") == 0.25


def test_other_files_say_nothing(tmp_path: Path) -> None:
    assert from_tiff(tmp_path / "i.png") is None
    (tmp_path / "i.png").write_bytes(b"no TIFF")
    with pytest.raises(ValueError, match=r"i\.png: does not say how large its pixels are; add --spacing"):
        pixel_size(tmp_path / "i.png")
    assert pixel_size(tmp_path / "i.png", 0.5) == 0.5


@pytest.mark.parametrize(
    ("stated", "hint"),
    [
        (0.00025, "is it mm?"),
        (250, "is it nm?"),
        (40_000, "is it pixels per cm?"),
        (101_600, "is it pixels per inch?"),
        (0, "0.25 for 40×"),
        (-1, "0.25 for 40×"),
        (float("nan"), "0.25 for 40×"),
        (float("inf"), "0.25 for 40×"),
        (11, "0.25 for 40×"),
        (0.019, "0.25 for 40×"),
    ],
)
def test_what_no_microscope_has_is_refused(tmp_path: Path, stated: float, hint: str) -> None:
    with pytest.raises(ValueError, match="is not plausible for a microscope") as caught:
        pixel_size(tmp_path / "i.png", stated)
    assert str(caught.value).endswith(hint) or hint in str(caught.value)
    assert check(0.02, "x") == 0.02
    assert check(10, "x") == 10
