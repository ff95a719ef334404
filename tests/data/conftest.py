"""A miniature of each layout, in small synthetic images under official names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from allinsam_core.data import monuseg

SIDE = 12
XML = """<Annotations><Annotation><Regions><Region Id="1"><Vertices>
<Vertex X="2" Y="3"/><Vertex X="6" Y="3"/><Vertex X="6" Y="8"/><Vertex X="2" Y="8"/>
</Vertices></Region></Regions></Annotation></Annotations>"""
"""One rectangle of 4 × 5 px, columns 2 to 5 and rows 3 to 7."""


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Path]:
    """Write every case of a part in one of the two layouts; returns the dataset's folder."""

    def write(layout: str) -> Path:
        folder = tmp_path / "monuseg"
        places = {
            "study": ("train/images", "train/annotations", "test/images", "test/annotations"),
            "published": (
                "MoNuSeg 2018 Training Data/Tissue Images",
                "MoNuSeg 2018 Training Data/Annotations",
                "MoNuSegTestData",
                "MoNuSegTestData",
            ),
        }[layout]
        for images, outlines, names in (
            (*places[:2], monuseg.names("train") + monuseg.names("val")),
            (*places[2:], monuseg.names("test")),
        ):
            (folder / images).mkdir(parents=True, exist_ok=True)
            (folder / outlines).mkdir(parents=True, exist_ok=True)
            for number, name in enumerate(names):
                image = np.full((SIDE, SIDE, 3), number, dtype=np.uint8)
                tifffile.imwrite(folder / images / f"{name}.tif", image, compression="zlib")
                (folder / outlines / f"{name}.xml").write_text(XML, encoding="utf-8")
        return folder

    return write
