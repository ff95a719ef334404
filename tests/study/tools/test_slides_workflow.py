"""Many slides in one workflow: what fails is named, the others finish, and a second call does the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from allinsam_core.annotation import sam as sams
from study.tools.slide import in_folder

ROOT = Path(__file__).resolve().parents[3]


def write_slide(path: Path) -> Path:
    """128 × 128 px in two levels: pink ground, four dark discs."""
    y, x = np.mgrid[:128, :128]
    image = np.full((128, 128, 3), (230, 150, 200), np.uint8)
    for row, column in ((30, 30), (30, 90), (90, 40), (80, 100)):
        image[(y - row) ** 2 + (x - column) ** 2 < 100] = (80, 50, 140)
    path.parent.mkdir(exist_ok=True)
    with tifffile.TiffWriter(path) as out:
        for level in range(2):
            rate = 40_000 / 2**level
            out.write(
                image[:: 2**level, :: 2**level], tile=(64, 64), photometric="rgb", compression="zlib",
                resolution=(rate, rate), resolutionunit="CENTIMETER", subfiletype=level,
            )  # fmt: skip
    return path


def damage(path: Path) -> None:
    """Overwrite the first tile."""
    with tifffile.TiffFile(path) as tiff:
        start = tiff.pages.first.dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * 64)


def test_a_damaged_slide_is_named_and_the_other_finishes(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    if not sams.SHIPPED["mini"].is_file():
        pytest.skip("mini-SAM's weights are not in this checkout")
    write_slide(tmp_path / "slides" / "good.tif")
    damage(write_slide(tmp_path / "slides" / "bad.tif"))
    command = [
        *(sys.executable, "-m", "snakemake", "-s", str(ROOT / "workflow" / "slides.smk"), "--directory", str(tmp_path)),
        *("--cores", "1", "--keep-going", "--config", "slides=slides", "model=mini"),
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    )
    told = done.stdout + done.stderr
    assert done.returncode != 0, told
    (failed,) = [line for line in told.splitlines() if line.startswith("FAILED")]
    assert "bad.tif" in failed
    assert "level 0, rows 0 to 128" in failed
    assert "--skip-unreadable" in failed
    assert [p.name for p in (tmp_path / "found" / "done").iterdir()] == ["good"]
    assert (tmp_path / "found" / "good.geojson").is_file()
    assert not (tmp_path / "found" / "bad.geojson").exists()


def test_a_folder_s_slides_by_name(tmp_path: Path) -> None:
    for name in ("b.svs", "a.ome.tif", ".hidden.tif", "notes.txt", "c.ndpi"):
        (tmp_path / name).touch()
    assert list(in_folder(tmp_path)) == ["a.ome", "b", "c"]
    (tmp_path / "b.tif").touch()
    with pytest.raises(ValueError, match=r"b\.svs and b\.tif: expected one slide per name"):
        in_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no slide"):
        in_folder(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        in_folder(tmp_path / "absent")
