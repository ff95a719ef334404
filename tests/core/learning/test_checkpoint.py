from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from allinsam_core.annotation.sam import Sam
from allinsam_core.learning import checkpoint
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.train import trained_state


def adapted(sam: Sam, seed: int, **settings: object) -> AdaptedSam:
    torch.manual_seed(seed)
    return AdaptedSam(sam, reduction=8, **settings).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings", [{}, {"placement": "late"}, {"placement": "none"}, {"as_released": True}, {"trainable": "everything"}]
)
def test_a_reloaded_model_gives_identical_logits(tiny_sam: Sam, tmp_path: Path, settings: dict) -> None:
    path, image = tmp_path / "new" / "trained.safetensors", torch.rand(1, 3, 64, 64)
    model = adapted(tiny_sam, 1, **settings)
    base = {k: v.clone() for k, v in tiny_sam.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01 * torch.randn_like(parameter))
        expected = model(image)
        checkpoint.save(model, path, "abc", {"run": "r1"})
        tiny_sam.load_state_dict(base)  # the base weights as they were before training
        other = adapted(tiny_sam, 2, **settings)
        assert not torch.equal(other(image), expected)
        assert checkpoint.load(other, path, "abc") == {"run": "r1"}
        assert torch.equal(other(image), expected)


def test_only_what_was_trained_is_in_the_file(tiny_sam: Sam, tmp_path: Path) -> None:
    model = adapted(tiny_sam, 0)
    checkpoint.save(model, tmp_path / "t.safetensors", "abc")
    stored = load_file(tmp_path / "t.safetensors")
    assert stored.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    assert not any(k.startswith("image_encoder") for k in stored)
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


def test_other_base_weights_are_refused(tiny_sam: Sam, tmp_path: Path) -> None:
    model = adapted(tiny_sam, 0)
    checkpoint.save(model, tmp_path / "t.safetensors", "abc")
    with pytest.raises(ValueError, match=r"t\.safetensors: was trained on base weights 'abc'.*stands on 'xyz'"):
        checkpoint.load(model, tmp_path / "t.safetensors", "xyz")


def test_another_adapter_is_refused(tiny_sam: Sam, tmp_path: Path) -> None:
    checkpoint.save(adapted(tiny_sam, 0), tmp_path / "t.safetensors", "abc")
    with pytest.raises(ValueError, match=r"t\.safetensors: holds other trained tensors.*adapter"):
        checkpoint.load(adapted(tiny_sam, 0, placement="none"), tmp_path / "t.safetensors", "abc")


def test_the_same_weights_are_the_same_bytes(tiny_sam: Sam, tmp_path: Path) -> None:
    model, files = adapted(tiny_sam, 0), set()
    for _ in range(20):  # the library's own writer puts the metadata in a random order
        checkpoint.save(model, tmp_path / "a.safetensors", "abc", {"run": "é"})
        files.add((tmp_path / "a.safetensors").read_bytes())
    assert len(files) == 1
    header = files.pop()
    assert int.from_bytes(header[:8], "little") % 8 == 0  # tensors are aligned
    assert checkpoint.note(tmp_path / "a.safetensors") == {"run": "é"}
    assert load_file(tmp_path / "a.safetensors").keys() == trained_state(model).keys()
