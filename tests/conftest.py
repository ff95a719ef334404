"""What every part's tests share: real data where they lie, a SAM small enough to test with, mini-SAM's weights file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: networks this small only wait for their threads

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

    if sam.MINI_WEIGHTS.is_file():
        yield sam.MINI_WEIGHTS
        return
    import torch

    from allinsam_core.learning import pretrain_run

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mini_sam.safetensors"
    pretrain_run.ship(sam.build("mini"), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sam, "MINI_WEIGHTS", path)
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
