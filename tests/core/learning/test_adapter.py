"""The adapter. Integers are counted on the released code; the filter's values are computed by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.attention import RecomputedBlock, recompute
from allinsam_core.annotation.sam import Block, Sam
from allinsam_core.learning import adapter
from allinsam_core.learning.adapter import AdaptedSam, high_pass, parameter_counts
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.method import NetworkMethod, WindowSettings
from allinsam_core.learning.train import TrainSettings

COUNTS = {  # total, trainable, adapter
    "vit_b": (93_792_820, 4_121_908, 63_312),
    "vit_l": (312_453_412, 4_175_140, 116_544),
    "vit_h": (641_271_604, 4_245_556, 186_960),
}


def adapted(sam: Sam, seed: int = 0, **settings: object) -> AdaptedSam:
    torch.manual_seed(seed)
    return AdaptedSam(sam, reduction=8, **settings).eval()  # type: ignore[arg-type]


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_papers(name: str) -> None:
    with torch.device("meta"):
        model = AdaptedSam(sams.build(name))
    counts = parameter_counts(model)
    assert (counts["total"], counts["trainable"], counts["adapter"]) == COUNTS[name]
    assert counts["decoder"] == 4_058_340
    decoder = model.mask_decoder
    assert sum(p.numel() for p in decoder.iou_prediction_head.parameters()) == 132_612
    assert sum(p.numel() for m in decoder.output_hypernetworks_mlps[1:] for p in m.parameters()) == 419_424


def test_parameter_counts_of_other_placements() -> None:
    with torch.device("meta"):
        none, late = (AdaptedSam(sams.build("vit_b"), placement=p) for p in ("none", "late"))
        everything = AdaptedSam(sams.build("vit_b"), trainable="everything")
    assert parameter_counts(none)["trainable"] == 4_058_340 + 256
    assert parameter_counts(none)["adapter"] == 0
    # six of twelve blocks without their Linear(24, 24): 6 × 600
    assert parameter_counts(late)["trainable"] == 4_121_908 - 3_600
    assert parameter_counts(everything)["trainable"] == parameter_counts(everything)["total"] == 93_792_820


def test_the_default_adapter_is_the_studys() -> None:
    with torch.device("meta"):
        mini, narrow = AdaptedSam(sams.build("mini")), AdaptedSam(sams.build("mini"), reduction=32)
        for name in sams.MODELS:
            model = AdaptedSam(sams.build(name))
            assert model.adapter is not None
            assert model.adapter.up.in_features == model.adapter.up.out_features // sams.REDUCTION[name]
    assert parameter_counts(mini)["adapter"] == 35_088
    assert parameter_counts(narrow)["adapter"] == 7_620


# ---- the high-pass filter


@pytest.mark.parametrize(("size", "half"), [(1024, 256), (256, 64)])
def test_the_filter_cuts_at_its_half_side(size: int, half: int) -> None:
    column = torch.arange(size, dtype=torch.float64)
    wave = lambda k: torch.cos(2 * torch.pi * k * column / size).float().expand(1, 1, size, size)  # noqa: E731
    torch.testing.assert_close(high_pass(wave(half - 1)), torch.zeros(1, 1, size, size), atol=1e-4, rtol=0)
    torch.testing.assert_close(high_pass(wave(half + 1)), wave(half + 1).abs(), atol=1e-4, rtol=0)
    # the square is [-half, half): of the wave at its rim one of the two exponentials is left
    torch.testing.assert_close(high_pass(wave(half)), 0.5 * wave(half).abs(), atol=1e-4, rtol=0)


def test_the_filter_by_hand() -> None:
    # 4 × 4, half side 1: frequencies {-1, 0}² go. An impulse keeps 1 − 4/16 at its place; elsewhere −Re(s_y s_x)/16
    # with s = 1 + (−i)^x = 2, 1 − i, 0, 1 + i
    impulse = torch.zeros(1, 1, 4, 4)
    impulse[..., 0, 0] = 1
    expected = torch.tensor([[0.75, 0.125, 0, 0.125], [0.125, 0, 0, 0.125], [0, 0, 0, 0], [0.125, 0.125, 0, 0]])
    torch.testing.assert_close(high_pass(impulse)[0, 0], expected)


def test_a_constant_vanishes_and_the_finest_pattern_stays() -> None:
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    pattern = torch.stack([2.0 * board - 1, torch.full((64, 64), 0.7)])[None]
    result = high_pass(pattern)
    torch.testing.assert_close(result[0, 0], torch.ones(64, 64))
    torch.testing.assert_close(result[0, 1], torch.zeros(64, 64), atol=1e-6, rtol=0)


def test_the_filter_takes_channels_and_images_apart(image: torch.Tensor) -> None:
    together = high_pass(image)
    for b in range(2):
        for c in range(3):
            torch.testing.assert_close(together[b, c], high_pass(image[b : b + 1, c : c + 1])[0, 0])
    assert high_pass(image.bfloat16()).dtype == torch.bfloat16


# ---- what is added where


def test_starting_at_zero_is_sam_itself(tiny_sam: Sam, image: torch.Tensor) -> None:
    model = adapted(tiny_sam, zero_init=True)
    normalised = (image - model.pixel_mean) / model.pixel_std
    with torch.no_grad():
        torch.testing.assert_close(normalised, (image * 255 - tiny_sam.pixel_mean) / tiny_sam.pixel_std)
        embedding = tiny_sam.image_encoder(normalised)
        assert torch.equal(model.encode(image), embedding)
        sparse, dense = tiny_sam.prompt_encoder(points=None, boxes=None, masks=None)
        position = tiny_sam.prompt_encoder.get_dense_pe()
        low = [tiny_sam.mask_decoder(e[None], position, sparse, dense, multimask_output=False)[0] for e in embedding]
        expected = F.interpolate(torch.cat(low), size=(64, 64), mode="bilinear", align_corners=False)
        torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(model(image), adapted(tiny_sam, placement="none")(image))


def test_prompts_change_the_output_otherwise(tiny_sam: Sam, image: torch.Tensor) -> None:
    with torch.no_grad():
        plain = adapted(tiny_sam, placement="none")(image)
        assert not torch.allclose(adapted(tiny_sam)(image), plain, atol=1e-6)


@pytest.mark.parametrize(("placement", "blocks"), [("all", (0, 1, 2, 3)), ("late", (2, 3)), ("none", ())])
def test_placement_decides_which_blocks_get_prompts(tiny_sam: Sam, placement: str, blocks: tuple[int, ...]) -> None:
    model = adapted(tiny_sam, placement=placement)
    assert model.adapted_blocks == blocks
    image = torch.rand(1, 3, 64, 64)
    if model.adapter is None:
        assert placement == "none"
        return
    with torch.no_grad():
        before = model.encode(image)
        for block in range(4):
            model.adapter.per_block[block].bias += 1
            assert torch.allclose(model.encode(image), before, atol=1e-6) == (block not in blocks)
            model.adapter.per_block[block].bias -= 1
    assert [any(p.requires_grad for p in m.parameters()) for m in model.adapter.per_block] == [
        block in blocks for block in range(4)
    ]


def test_one_prompt_by_hand() -> None:
    # D = 2, bottleneck 1, patch 2; identity-like weights: embedding sums the token, texture off, up = (1, 2)
    module = adapter.Adapter(dim=2, depth=1, patch_size=2, reduction=2)
    with torch.no_grad():
        module.embedding.weight.fill_(1)
        module.handcrafted.weight.zero_()
        module.per_block[0].weight.fill_(1)
        module.up.weight.copy_(torch.tensor([[1.0], [2.0]]))
        features = module.features(torch.rand(1, 3, 2, 2), torch.tensor([[[[0.25, 0.75]]]]))
        assert features.item() == pytest.approx(1)
        gelu = 0.8413447  # GELU(1) = Φ(1)
        assert module.prompt(features, 0).flatten().tolist() == pytest.approx([gelu, 2 * gelu])
        # the texture: an impulse at (0, 0) of a 2 × 2 image, half side 0: nothing is cut, its magnitude sums to 1
        module.handcrafted.weight.fill_(1)
        impulse = torch.zeros(1, 3, 2, 2)
        impulse[0, 0, 0, 0] = 1
        assert module.features(impulse, torch.zeros(1, 1, 1, 2)).item() == pytest.approx(1)


class Doubling(nn.Module):
    """Notes the tokens it receives and gives them back `factor` times, `factor` being 2 but for the neck."""

    def __init__(self, received: list[torch.Tensor], factor: int = 2) -> None:
        super().__init__()
        self.received, self.factor = received, factor

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.received.append(tokens)
        return self.factor * tokens


@pytest.mark.parametrize(
    ("placement", "by_hand"),
    [
        ("all", [17, 56, 144, 330, 660]),  # 5 + 12, 34 + 22, 112 + 32, 288 + 42, 2 · 330
        ("late", [5, 10, 52, 146, 292]),  # 5, 10, 20 + 32, 104 + 42, 2 · 146
        ("none", [5, 10, 20, 40, 80]),
    ],
)
def test_each_block_receives_tokens_and_prompt_by_hand(tiny_sam: Sam, placement: str, by_hand: list[int]) -> None:
    """Tokens 2, position embedding 3, block i's prompt 2 + 10 (i + 1) before it; each block doubles, the neck reads."""
    model, received = adapted(tiny_sam, placement=placement), []
    encoder = model.image_encoder
    encoder.blocks = nn.ModuleList(Doubling(received) for _ in range(4))
    encoder.neck = Doubling(received, factor=1)
    with torch.no_grad():
        encoder.patch_embed.proj.weight.zero_()
        encoder.patch_embed.proj.bias.fill_(2)
        encoder.pos_embed.fill_(3)
        if model.adapter is not None:
            model.adapter.handcrafted.weight.zero_()
            model.adapter.embedding.weight.fill_(1 / 32)  # the mean over a token's 32 values: 2, not 5
            model.adapter.up.weight.fill_(1 / 4)  # the mean over the bottleneck's 4
            for index, own in enumerate(model.adapter.per_block):
                own.weight.copy_(torch.eye(4))
                own.bias.fill_(10 * (index + 1))  # so large that GELU changes nothing
        model.encode(torch.rand(1, 3, 64, 64))
    assert [tokens.unique().tolist() for tokens in received] == [[pytest.approx(value)] for value in by_hand]


def test_initial_weights_are_the_released_codes() -> None:
    torch.manual_seed(0)
    module = adapter.Adapter(dim=768, depth=12, patch_size=16, reduction=32)
    assert float(module.up.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(module.handcrafted.weight.detach().std()) == pytest.approx(np.sqrt(2 / (24 * 256)), rel=0.05)
    biases = [p for n, p in module.named_parameters() if n.endswith("bias")]
    assert len(biases) == 15
    assert not any(b.any() for b in biases)
    assert not adapter.Adapter(64, 2, 16, 32, zero_init=True).up.weight.any()


def test_sams_position_matrix_and_no_mask_vector_are_adopted_unless_as_released(tiny_sam: Sam) -> None:
    matrix = tiny_sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    vector = tiny_sam.prompt_encoder.no_mask_embed.weight
    model = adapted(tiny_sam)
    assert torch.equal(model.fourier.positional_encoding_gaussian_matrix, matrix)
    assert torch.equal(model.no_mask, vector)
    released = adapted(tiny_sam, as_released=True)
    assert not torch.isclose(released.fourier.positional_encoding_gaussian_matrix, matrix).any()
    assert not torch.isclose(released.no_mask, vector).any()
    assert released.no_mask.requires_grad
    other = adapted(tiny_sam, seed=1, as_released=True)
    assert not torch.equal(
        released.fourier.positional_encoding_gaussian_matrix, other.fourier.state_dict().popitem()[1]
    )


def test_unused_keys_are_exactly_the_prompt_encoders_rest(tiny_sam: Sam) -> None:
    keys = {k for k in tiny_sam.state_dict() if k.startswith("prompt_encoder.")}
    adopted = {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "prompt_encoder.no_mask_embed.weight"}
    assert set(adapter.UNUSED_PROMPT_KEYS) == keys - adopted
    assert len(adapter.UNUSED_PROMPT_KEYS) == len(set(adapter.UNUSED_PROMPT_KEYS))


# ---- as released


def released_logits(sam: Sam, model: AdaptedSam, image: torch.Tensor) -> torch.Tensor:
    """The released code's forward pass in our own words, step by step, on the weights of `model`."""
    adapter, encoder = model.adapter, sam.image_encoder
    assert adapter is not None
    image = (image - model.pixel_mean) / model.pixel_std
    n, height, width = len(image), image.shape[2] // 16, image.shape[3] // 16
    tokens = encoder.patch_embed(image)  # (N, h, w, C)
    rows = tokens.contiguous().flatten()  # read again as (N, C, h w): this is the slip
    columns = rows.view(n, tokens.shape[3], height * width).permute(0, 2, 1)
    embedded = columns @ adapter.embedding.weight.T + adapter.embedding.bias
    frequencies = torch.fft.fftshift(torch.fft.fft2(image, norm="forward"))
    side = int((image.shape[2] * image.shape[3] * 0.25) ** 0.5 // 2)
    frequencies[..., image.shape[2] // 2 - side : image.shape[2] // 2 + side, :][
        ..., image.shape[3] // 2 - side : image.shape[3] // 2 + side
    ] = 0
    texture = torch.abs(torch.fft.ifft2(torch.fft.ifftshift(frequencies), norm="forward").real)
    handcrafted = F.conv2d(texture, adapter.handcrafted.weight, adapter.handcrafted.bias, stride=16)
    both = handcrafted.flatten(2).permute(0, 2, 1) + embedded
    assert encoder.pos_embed is not None
    x = tokens + encoder.pos_embed
    for index, block in enumerate(encoder.blocks):
        prompt = adapter.up(F.gelu(adapter.per_block[index](both)))
        x = block(prompt.reshape(n, height, width, -1) + x)
    embedding = encoder.neck(x.permute(0, 3, 1, 2))
    position = model.fourier((height, width))[None]
    dense = model.no_mask.reshape(1, -1, 1, 1).expand(1, -1, height, width)
    sparse = torch.empty(1, 0, model.no_mask.shape[1])
    low = [sam.mask_decoder.predict_masks(e[None], position, sparse, dense)[0][:, :1] for e in embedding]
    return F.interpolate(torch.cat(low), size=image.shape[2:], mode="bilinear", align_corners=False)


def strong(model: AdaptedSam) -> AdaptedSam:
    """The model with an adapter whose weights are far from their small initial values, the same in every call."""
    assert model.adapter is not None
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.adapter.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def test_as_released_equals_the_released_arithmetic_in_logits_and_gradients(tiny_sam: Sam, image: torch.Tensor) -> None:
    model = strong(adapted(tiny_sam, as_released=True))
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad and "iou_prediction" not in n}
    found = []
    for logits in (model(image), released_logits(tiny_sam, model, image)):
        gradients = torch.autograd.grad(logits.square().mean(), list(learning.values()), allow_unused=True)
        found.append((logits, gradients))
    (ours, our_gradients), (theirs, their_gradients) = found
    assert float((ours - theirs).detach().abs().max()) <= 1e-5 * float(theirs.detach().abs().max())
    largest = max(float(g.abs().max()) for g in their_gradients if g is not None)
    for name, a, b in zip(learning, our_gradients, their_gradients, strict=True):
        if a is None or b is None:  # of the masks that are not asked for
            assert not any(g.any() for g in (a, b) if g is not None), name
        else:  # some, such as of the keys' bias, are zero but for rounding
            assert float((a - b).abs().max()) <= 1e-5 * max(float(b.abs().max()), 1e-3 * largest), name


def test_the_scramble_is_the_released_codes_alone_and_has_its_own_switch(tiny_sam: Sam, image: torch.Tensor) -> None:
    with torch.no_grad():
        released = strong(adapted(tiny_sam, as_released=True))
        expected = released_logits(tiny_sam, released, image)
        plain = strong(adapted(tiny_sam, as_released=True, scrambled=False))
        assert (plain(image) - expected).abs().max() > 1e-2 * expected.abs().max()
    assert [adapted(tiny_sam, **s).adapter.scrambled for s in ({}, {"as_released": True}, {"scrambled": True})] == [
        False,
        True,
        True,
    ]


def test_the_scramble_by_hand() -> None:
    # one image of 1 × 2 tokens of two channels, (1, 2) and (3, 4): read as channels by positions, transposed
    module = adapter.Adapter(dim=2, depth=1, patch_size=1, reduction=1, scrambled=True)
    with torch.no_grad():
        module.embedding.weight.copy_(torch.eye(2))
        module.handcrafted.weight.zero_()
        features = module.features(torch.zeros(1, 3, 1, 2), torch.tensor([[[[1.0, 2], [3, 4]]]]))
    assert features.tolist() == [[[[1.0, 3], [2, 4]]]]


# ---- SAM's own forward pass


def test_whatever_sams_encoder_does_the_adapted_one_does(
    tiny_sam: Sam, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = adapted(tiny_sam)
    with torch.no_grad():
        before = model.encode(image)
        forward = type(tiny_sam.image_encoder).forward
        monkeypatch.setattr(type(tiny_sam.image_encoder), "forward", lambda self, x: 2 * forward(self, x) + 1)
        torch.testing.assert_close(model.encode(image), 2 * before + 1)


def test_sam_is_left_as_it_was(tiny_sam: Sam, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(tiny_sam)
    encoder = tiny_sam.image_encoder
    with torch.no_grad():
        plain, position = encoder(image), encoder.pos_embed
        model(torch.rand(1, 3, 32, 48))  # another size, for which the position embedding is resampled
        assert encoder.pos_embed is position
        assert torch.equal(encoder(image), plain)
        monkeypatch.setattr(encoder.neck, "forward", lambda x: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(image)
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in encoder.modules())


@pytest.mark.parametrize("placement", ["all", "late", "none"])
def test_nothing_is_kept_for_gradients_before_the_first_adapted_block(
    tiny_sam: Sam, image: torch.Tensor, placement: str
) -> None:
    model = adapted(tiny_sam, placement=placement)
    needed: list[bool] = []
    for block in tiny_sam.image_encoder.blocks:
        block.register_forward_hook(lambda _, inputs, output: needed.append(output.requires_grad))
    model(image)
    first = {"all": 0, "late": 2, "none": 4}[placement]
    assert needed == [block >= first for block in range(4)]


# ---- what learns


def test_only_the_adapter_and_the_decoder_learn(tiny_sam: Sam, image: torch.Tensor) -> None:
    model = adapted(tiny_sam)
    model(image).square().mean().backward()
    assert all(p.grad is None and not p.requires_grad for p in model.image_encoder.parameters())
    decoder = model.mask_decoder
    untouched = [*decoder.iou_prediction_head.parameters()]
    untouched += [p for mlp in decoder.output_hypernetworks_mlps[1:] for p in mlp.parameters()]
    assert all(p.grad is None or not p.grad.any() for p in untouched)
    assert model.adapter is not None
    learning = [*model.adapter.parameters(), *decoder.output_hypernetworks_mlps[0].parameters(), model.no_mask]
    learning += [decoder.mask_tokens.weight, decoder.iou_token.weight]
    assert all(p.grad is not None and p.grad.any() for p in learning)
    assert all(row.any() for row in decoder.mask_tokens.weight.grad)  # tokens 1-3 learn through attention


def test_everything_can_learn(tiny_sam: Sam, image: torch.Tensor) -> None:
    model = adapted(tiny_sam, trainable="everything")
    model(image).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.image_encoder.parameters())


# ---- sizes, batches, precision


@pytest.mark.parametrize("size", [(32, 32), (96, 96), (80, 48), (128, 64)])
def test_other_input_sizes(tiny_sam: Sam, size: tuple[int, int]) -> None:
    with torch.no_grad():
        logits = adapted(tiny_sam)(torch.rand(1, 3, *size))
    assert logits.shape == (1, 1, *size)
    assert logits.isfinite().all()


def test_a_size_between_patches_is_refused(tiny_sam: Sam) -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 64, 60\).*multiples of 16"):
        adapted(tiny_sam)(torch.rand(1, 3, 64, 60))


def test_the_position_embedding_is_interpolated_not_cut() -> None:
    ramp = torch.linspace(0, 1, 4)[None, :, None, None].expand(1, 4, 4, 1)
    assert adapter._resized(ramp, (4, 4)) is ramp
    grown = adapter._resized(ramp, (8, 6))
    assert grown.shape == (1, 8, 6, 1)
    assert (grown[0, 1:, 0, 0] > grown[0, :-1, 0, 0]).all()
    assert float(grown.mean()) == pytest.approx(0.5, abs=0.01)


def test_a_batch_is_its_images_one_by_one(tiny_sam: Sam) -> None:
    model, image = adapted(tiny_sam), torch.rand(5, 3, 64, 64)
    with torch.no_grad():
        singles = torch.cat([model(i[None]) for i in image])
        torch.testing.assert_close(model(image), singles, atol=1e-5, rtol=1e-5)
    assert singles.std(dim=0).max() > 1e-4  # the images do differ


def test_mixed_precision_stays_near_full_precision(tiny_sam: Sam, image: torch.Tensor) -> None:
    model = adapted(tiny_sam)
    with torch.no_grad():
        full = model(image)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(image)
    assert mixed.isfinite().all()
    assert (mixed.float() - full).abs().max() < 0.1 * full.abs().max()
    mixed.float().mean().backward()
    assert model.adapter is not None
    assert model.adapter.up.weight.grad is not None
    assert model.adapter.up.weight.grad.isfinite().all()


def test_instance_maps_are_the_decoders_other_mask_tokens(tiny_sam: Sam, image: torch.Tensor) -> None:
    one, three = adapted(tiny_sam), adapted(tiny_sam, outputs=3)
    assert parameter_counts(one) == parameter_counts(three)
    assert one.state_dict().keys() == three.state_dict().keys()
    logits = three(image)
    assert logits.shape == (2, 3, 64, 64)
    assert torch.allclose(logits[:, :1], one(image), atol=1e-6)
    for token in (1, 2):  # each map is one token's, and the foreground is not touched
        changed = adapted(copy.deepcopy(tiny_sam), outputs=3)
        with torch.no_grad():
            for weight in changed.mask_decoder.output_hypernetworks_mlps[token].parameters():
                weight.mul_(2)
        moved = (changed(image) != logits).flatten(2).any(2).any(0)
        assert moved.tolist() == [False, token == 1, token == 2]


def test_recomputed_blocks_give_the_same_values_and_gradients(tiny_sam: Sam) -> None:
    """The eager twin: nothing may differ by a bit."""
    eager = AdaptedSam(tiny_sam, reduction=8)
    spared = copy.deepcopy(eager)
    recompute(spared)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    saved: dict[str, int] = {}
    for name, model in (("eager", eager), ("spared", spared)):
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):  # type: ignore[misc]
            logits = model(image)
        logits.square().mean().backward()
        saved[name] = sum(kept)
        if name == "eager":
            expected = logits
    assert torch.equal(logits, expected)
    gradients = {name: p.grad for name, p in eager.named_parameters() if p.grad is not None}
    assert len(gradients) > 50
    for name, parameter in spared.named_parameters():
        if parameter.grad is not None:
            assert torch.equal(parameter.grad, gradients[name]), name
    assert saved["spared"] < 0.7 * saved["eager"]
    with torch.no_grad():
        assert torch.equal(spared(image), expected)


def test_mixed_precision_gives_nearly_the_same_logits_and_gradients(tiny_sam: Sam) -> None:
    model = AdaptedSam(tiny_sam, reduction=8)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = []
    for mixed in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = model(image).float()
        logits.square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.mask_decoder.parameters() if p.grad is not None])
        found.append((logits.detach(), gradient))
    (exact, full), (rounded, half) = found
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.05  # bfloat16 has 8 bits; equal would be no mixed precision
    assert torch.nn.functional.cosine_similarity(full, half, dim=0) > 0.98


def test_a_method_recomputes_its_sams_blocks_where_training_asks_for_it(tiny_sam: Sam) -> None:
    for asked, expected in ((None, Block), ("recomputed", RecomputedBlock)):
        train = TrainSettings(activations=asked)
        method = NetworkMethod(AdaptedSam(tiny_sam, reduction=8), WindowSettings(), train, AugmentSettings())
        assert {type(block) for block in method.model.image_encoder.blocks} == {expected}  # type: ignore[union-attr]
