"""SAM's builders and its strict, code-free loading."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from allinsam_core.annotation import sam as sams
from allinsam_core.learning.adapter import decode

TOTALS = {"vit_b": (89_670_912, 93_735_472), "vit_l": (308_278_272, 312_342_832), "vit_h": (637_026_048, 641_090_608)}


@pytest.mark.parametrize("name", TOTALS)
def test_metas_models_have_their_own_keys_shapes_and_sizes(name: str) -> None:
    with torch.device("meta"):
        ours, theirs = sams.build(name), sams.sam_model_registry[name]()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    sams.load_strictly(ours, theirs.state_dict(), Path("theirs.pth"), name)
    sizes = tuple(sum(p.numel() for p in m.parameters()) for m in (ours.image_encoder, ours))
    assert sizes == TOTALS[name]
    assert not ours.training


def test_mini_is_made_of_the_same_modules_at_its_own_sizes() -> None:
    with torch.device("meta"):
        mini, theirs = sams.build("mini"), sams.sam_model_registry["vit_b"]()
    assert mini.state_dict().keys() == theirs.state_dict().keys()  # twelve blocks both
    assert (mini.mask_threshold, theirs.mask_threshold) == (sams.MINI_MASK_THRESHOLD, 0)
    assert mini.image_encoder.img_size == 256
    assert mini.image_encoder.pos_embed.shape == (1, 16, 16, 192)
    assert mini.prompt_encoder.embed_dim == 128


def test_an_unknown_model_names_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"vit_x.*mini, mini2, vit_b, vit_l, vit_h"):
        sams.build("vit_x")


def test_a_missing_checkpoint_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth.*allinsam data fetch"):
        sams.build("mini", tmp_path / "nowhere.pth")


def test_what_is_saved_is_what_is_loaded(tiny_sam: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(tiny_sam.state_dict(), path)
    loaded = sams.read_weights(path)
    assert all(torch.equal(loaded[k], v) for k, v in tiny_sam.state_dict().items())


def test_the_shipped_weights_load_and_come_back_in_float32(mini_weights: Path) -> None:
    mini = sams.load_mini()
    assert {p.dtype for p in mini.parameters()} == {torch.float32}
    assert sams.weights_file("shipped") == mini_weights
    stored = sams.read_weights(mini_weights)
    assert {t.dtype for t in stored.values()} == {torch.float16}  # half the bytes in the repository
    assert all(torch.equal(stored[k].float(), v) for k, v in mini.state_dict().items())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_checkpoint_names_the_file(mini_weights: Path, tmp_path: Path, suffix: str) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(sams.read_weights(mini_weights), whole)
    else:
        shutil.copy(mini_weights, whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"cut\{suffix}: not a readable checkpoint.*sha256"):
        sams.build("mini", cut)


def _archive_without_weights(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "not a checkpoint")


STRANGE = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<html>404 not found</html>"),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "image": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64)),
    "archive": _archive_without_weights,
    "list": lambda path: torch.save([1, 2, 3], path),
    "nested": lambda path: torch.save({"model": {"weight": torch.zeros(1)}}, path),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_another_kind_of_file_names_the_file(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"{kind}{suffix}"
    STRANGE[kind](path)
    with pytest.raises(ValueError, match=rf"{kind}\{suffix}"):
        sams.read_weights(path)


def test_weights_of_another_model_name_file_keys_and_shapes(tiny_sam: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "tiny.pth"
    torch.save(tiny_sam.state_dict(), path)
    with pytest.raises(ValueError, match=r"tiny\.pth: these are not the weights of mini.*keys missing.*instead of"):
        sams.build("mini", path)


def test_one_key_too_few_too_many_or_misshapen_is_an_error() -> None:
    module = nn.Linear(2, 3)
    good = module.state_dict()
    for bad, message in (
        ({"weight": good["weight"]}, r"1 keys missing \['bias'\], 0 unexpected"),
        ({**good, "more": torch.zeros(1)}, r"0 keys missing \[\], 1 unexpected \['more'\]"),
        ({**good, "bias": torch.zeros(4)}, r"1 of another shape \['bias \(4,\) instead of \(3,\)'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            sams.load_strictly(module, bad, Path("file.pth"), "linear")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(value: float, dtype: torch.dtype) -> None:
    module = nn.Linear(2, 3)
    bad = {key: tensor.to(dtype) for key, tensor in module.state_dict().items()}
    bad["bias"][1] = value
    with pytest.raises(ValueError, match=r"file\.pth: 1 of 2 tensors hold values that are not finite \['bias'\]"):
        sams.load_strictly(module, bad, Path("file.pth"), "linear")
    with pytest.raises(ValueError, match="not finite"):
        sams.load_strictly(module, {"weight": torch.zeros(3, 2), "bias": torch.zeros(3) * 1j}, Path("f"), "linear")


def damaged_pickles() -> dict[str, bytes]:
    """Legacy checkpoints, whose damage the unpickler meets in many ways."""
    buffer = io.BytesIO()
    torch.save(nn.Linear(2, 3).state_dict(), buffer, _use_new_zipfile_serialization=False)
    whole = buffer.getvalue()
    return {
        "short": whole[:30],
        "opcode": whole[:200] + b"\xff" + whole[201:],
        "long length": b"\x80\x02X\xff\xff\xff\x7f" + whole,  # struct.error, MemoryError
        "global": b"\x80\x02cos\nsystem\nq\x00X\x01\x00\x00\x00aq\x01\x85R.",
        "stack": b"\x80\x02\x85R.",
        "assertion": whole.replace(b"FloatStorage", b"ByteStorage"),
        "nested": b"\x80\x02" + b"(" * 5000 + b"." * 2,
        "nothing": b"",
        "list": pickle.dumps([1, 2], protocol=2),
        "numbered keys": pickle.dumps({1: 2, "a": 3}, protocol=2),
    }


@pytest.mark.parametrize("which", sorted(damaged_pickles()))
def test_damaged_pickles_are_one_sentence(tmp_path: Path, which: str) -> None:
    path = tmp_path / "damaged.pth"
    path.write_bytes(damaged_pickles()[which])
    with pytest.raises(ValueError, match=r"damaged\.pth: ") as caught:
        sams.build("mini", path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        {1: torch.zeros(1)},
        {"a": torch.zeros(2, 2).to_sparse()},
        {"a": torch.zeros(1, device="meta")},
        {"a": [1.0]},
        [torch.zeros(1)],
    ],
)
def test_what_is_no_state_dict_of_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth: (holds|not a readable)"):
        sams.read_weights(tmp_path / "a.pth")


class Malicious:
    """Unpickling this runs code: it would create the file it names."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple:
        return Path.touch, (self.victim,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, how: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / f"{how}.pth"
    content = {"weight": torch.zeros(1), "code": Malicious(victim)}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=rf"{how}\.pth: not a readable checkpoint"):
        sams.read_weights(path)
    assert not victim.exists()
    torch.load(path, weights_only=False) if how == "torch" else pickle.loads(path.read_bytes())
    assert victim.exists()  # so the file was dangerous indeed


def test_the_checksum_follows_every_value_name_and_shape() -> None:
    torch.manual_seed(0)
    module = nn.Linear(2, 2)
    first = sams.weights_checksum(module)
    assert first == sams.weights_checksum(module)
    with torch.no_grad():
        module.bias[1] += 1e-6
    assert sams.weights_checksum(module) != first
    flat, square = nn.Linear(4, 1, bias=False), nn.Linear(2, 2, bias=False)
    for m in (flat, square):
        nn.init.ones_(m.weight)
    assert sams.weights_checksum(flat) != sams.weights_checksum(square)


def test_initialisation_is_a_vits(tiny_sam: sams.Sam) -> None:
    encoder = sams.initialised(tiny_sam).image_encoder
    layers = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
    weight = torch.cat([m.weight.detach().flatten() for m in layers])
    assert float(weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(encoder.pos_embed.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert not any(m.bias.any() for m in layers)


@pytest.mark.parametrize("prompted", [False, True])
def test_decoding_a_batch_equals_segment_anything_image_by_image(tiny_sam, prompted: bool) -> None:
    torch.manual_seed(1)
    encoder, decoder = tiny_sam.prompt_encoder, tiny_sam.mask_decoder
    embedding = torch.randn(3, 32, 4, 4)
    boxes = torch.tensor([[2.0, 3, 40, 50], [10, 10, 20, 30], [0, 0, 64, 64]]) if prompted else None
    with torch.no_grad():
        sparse, dense = encoder(points=None, boxes=boxes, masks=None)
        sparse, dense = sparse.expand(3, -1, -1), dense.expand(3, -1, -1, -1)
        position = encoder.get_dense_pe()
        masks, ious = decode(decoder, embedding, position[0], sparse, dense, slice(0, 4))
        for i in range(3):
            for many, tokens in ((False, slice(0, 1)), (True, slice(1, None))):
                expected = decoder(
                    image_embeddings=embedding[i : i + 1],
                    image_pe=position,
                    sparse_prompt_embeddings=sparse[i : i + 1],
                    dense_prompt_embeddings=dense[i : i + 1],
                    multimask_output=many,
                )
                torch.testing.assert_close(masks[i : i + 1, tokens], expected[0], atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(ious[i : i + 1, tokens], expected[1], atol=1e-5, rtol=1e-5)
        some, _ = decode(decoder, embedding, position[0], sparse, dense, slice(1, 3))
        torch.testing.assert_close(some, masks[:, 1:3])
    assert masks.std() > 1e-4  # not everything alike
