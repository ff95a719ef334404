from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from allinsam_core.learning.augment import AugmentSettings, Batch
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from study.rivals.lvit import LViT, LViTSettings, OracleText, PixelAttention
from study.rivals.lvit_text import embed
from study.simulation import simulate

TINY = LViTSettings(channels=4, heads=1, size=32)


def test_pixel_attention_by_hand() -> None:
    """One channel, all 1 × 1 weights 1, no bias: mean = most = relu(x) = a; hidden 6 × relu(4a); output 24a · x."""
    attend = PixelAttention(1)
    with torch.no_grad():
        for name, parameter in attend.named_parameters():
            parameter.fill_(0 if name.endswith("bias") else 1)
        found = attend(torch.tensor([[[[2.0, -1.0]]]]))
    assert found.flatten().tolist() == [96.0, 0.0]


def closed_form(w: int, size: int) -> int:
    """The parameters of every part, written out: convolutions with batch norm, transformers, PLAM, text."""
    conv = lambda i, o, k: i * o * k + o  # noqa: E731
    norm = lambda c: 2 * c  # noqa: E731
    pair = lambda i, o: conv(i, o, 9) + conv(o, o, 9) + 2 * norm(o)  # noqa: E731
    tokens, total = (size // 16) ** 2, conv(3, w, 9) + norm(w) + conv(w, 1, 1)
    for level, c in enumerate((w, 2 * w, 4 * w, 8 * w)):
        block = 2 * norm(c) + conv(c, 3 * c, 1) + conv(c, c, 1) + conv(c, 4 * c, 1) + conv(4 * c, c, 1)
        total += 2 * block + conv(c, c, (16 >> level) ** 2) + tokens * c + conv(c, c, 1) + norm(c)
        total += 2 * c * c + conv(3, 6, 1) + conv(6, 1, 1)  # PLAM
        total += conv(c, c // 2, 3) + norm(c // 2) if level else conv(10, tokens, 3) + norm(tokens)
        total += conv(2 * c, c, 3) + norm(c) if level < 3 else 0
        total += pair(c, min(2 * c, 8 * w)) + pair(2 * c, max(w, c // 2))
        total += conv(min(2 * c, 8 * w) if level < 3 else 768, c, 3)  # text
    return total


@pytest.mark.parametrize(
    ("settings", "count"), [(LViTSettings(), 29_908_033), (LViTSettings(channels=16, heads=2, size=256), 2_156_893)]
)
def test_parameter_counts(settings: LViTSettings, count: int) -> None:
    with torch.device("meta"):
        model = LViT(settings)
    assert sum(p.numel() for p in model.parameters()) == closed_form(settings.channels, settings.size) == count


def test_text_changes_the_output_and_images_do_not_mix() -> None:
    torch.manual_seed(0)
    model = LViT(TINY).eval()
    image = torch.rand(2, 3, 32, 32)
    left, right = (embed(f"nuclei denser in the {side} part") for side in ("left", "right"))
    with torch.no_grad():
        first = model.segment(image, torch.stack([left, left]))
        second = model.segment(image, torch.stack([left, right]))
    assert first.shape == (2, 1, 32, 32)
    torch.testing.assert_close(first[0], second[0])
    assert float((first[1] - second[1]).abs().max()) > 1e-4


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    model = LViT(TINY).train()
    model(torch.rand(2, 3, 32, 32)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_a_size_it_was_not_built_for_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"built for 32 px, found \(48, 48\); set window.size to 32"):
        LViT(TINY)(torch.zeros(1, 3, 48, 48))
    with pytest.raises(ValueError, match="size is 40, expected a multiple of 16"):
        LViT(LViTSettings(size=40))
    with pytest.raises(ValidationError, match="text"):
        LViTSettings(text="")  # type: ignore[arg-type]


def test_only_oracle_text_sees_the_truth() -> None:
    """The image is dark at the left (stain, says the image's text); the truth is at the right."""
    item = torch.full((4, 48, 48), 0.9)
    item[:, 20:28, 2:10] = torch.tensor([0.3, 0.1, 0.5, 0.0])[:, None, None]
    item[3] = 0
    item[3, 20:28, 40:46] = 1
    small = LViTSettings(channels=4, heads=1, size=48)
    assert LViT(small).describe(item[:3]) == "nuclei denser in the left part of the picture"
    told = LViT(small.model_copy(update={"text": "oracle"}))
    assert told.describe(item) == "nuclei denser in the right part of the picture"


def test_oracle_text_trains_and_predicts_with_the_truth_as_fourth_channel(tmp_path: Path) -> None:
    torch.manual_seed(0)
    case = simulate.tile(0, size=64)
    method = OracleText(
        LViT(TINY.model_copy(update={"text": "oracle"})),
        window=WindowSettings(field=32, size=32),
        train=TrainSettings(steps=2, batch_size=2, validate_every=2),
        augment=AugmentSettings(),
        device="cpu",
    )
    batch = Batch(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 5]]]), ("a",))
    assert method.given_batch(batch)[0, 3].tolist() == [[0.0, 1.0]]
    assert np.array_equal(method.given(case)[..., 3] == 255, case.mask)
    assert method.fit([case], [case], tmp_path)["best"] == 2
    assert method.predict(method.given(case)).shape == (64, 64)
    with pytest.raises((ValueError, IndexError, RuntimeError)):
        method.predict(case.image)
