"""What every part's tests share: real data where they lie, a SAM small enough to test with, mini-SAM's weights file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: networks this small only wait for their threads

from allinsam_core.data.case import Case
from study.datasets import monuseg

SIDE = 12
XML = """<Annotations><Annotation><Regions><Region Id="1"><Vertices>
<Vertex X="2" Y="3"/><Vertex X="6" Y="3"/><Vertex X="6" Y="8"/><Vertex X="2" Y="8"/>
</Vertices></Region></Regions></Annotation></Annotations>"""
"""One rectangle of 4 × 5 px, columns 2 to 5 and rows 3 to 7."""


if TYPE_CHECKING:
    from segment_anything.modeling import Sam


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that holds monuseg/ and dsb2018/: ALLINSAM_DATA, else ../shared/data beside the checkout."""
    named = os.environ.get("ALLINSAM_DATA")
    root = Path(named).expanduser() if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"real data absent: {root} is no folder; set ALLINSAM_DATA to the one that holds monuseg/")
    return root


@pytest.fixture(scope="session")
def mini_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """mini-SAM's weights file: the shipped one, or, in a checkout without it, one of random weights in its place."""
    from allinsam_core.annotation import sam

    if sam.SHIPPED["mini"].is_file():
        yield sam.SHIPPED["mini"]
        return
    import torch

    from study.minisam import recipe as pretrain_run

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mini_sam.safetensors"
    pretrain_run.ship(sam.build("mini"), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sam.SHIPPED, "mini", path)
        yield path


@pytest.fixture
def tiny_sam() -> Sam:
    """A SAM of 64 px, width 32 and four blocks, every weight random (segment-anything leaves some at zero)."""
    import torch

    from allinsam_core.annotation import sam

    geometry = sam.MiniGeometry(
        image_size=64,
        embed_dim=32,
        depth=4,
        num_heads=2,
        window_size=2,
        global_attn_indexes=(1, 3),
        prompt_dim=32,
        decoder_mlp_dim=32,
    )
    torch.manual_seed(0)
    model = sam._build_mini(geometry)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


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


@pytest.fixture
def coded() -> Callable[[int, int], Case]:
    """(height, width) → a case: red = 2 · row, green = 2 · column, blue = 60 · label; labels 1-3 in blocks of 10 px."""

    def make(height: int, width: int, name: str = "coded") -> Case:
        rows, columns = np.mgrid[:height, :width]
        labels = ((rows // 10 + 2 * (columns // 10)) % 4).astype(np.uint16)
        image = np.stack([2 * rows % 256, 2 * columns % 256, 60 * labels], axis=-1).astype(np.uint8)
        return Case(name=name, image=image, instances=labels, spacing=0.25, source="test")

    return make
