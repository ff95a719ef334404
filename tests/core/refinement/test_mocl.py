"""Equations (1)–(5) and their variants on patches small enough to work out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from allinsam_core.learning import losses
from allinsam_core.refinement import mocl

LN3 = math.log(3.0)  # sigmoid(ln 3) = 3/4, sigmoid(−ln 3) = 1/4


def grid(*rows: list[float]) -> torch.Tensor:
    """(1, 1, H, W) float32."""
    return torch.tensor(rows)[None, None]


def random_patch(batch: int = 2, size: int = 6, channels: int = 4, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, 1, size, size, generator=rng)
    embedding = torch.randn(batch, channels, size, size, generator=rng)
    annotation = (torch.rand(batch, 1, size, size, generator=rng) < 0.4).float()
    return logits, embedding, annotation


# Two annotated pixels (top row), W = 3/4, 1/4 | 3/4, 1/4, features e1, (e1 + e2)/√2 | e1, e2.
LOGITS = grid([LN3, -LN3], [LN3, -LN3])
ANNOTATION = grid([1.0, 1.0], [0.0, 0.0])
HALF = math.sqrt(0.5)
EMBEDDING = torch.tensor([[[1.0, HALF], [1.0, 0.0]], [[0.0, HALF], [0.0, 1.0]]])[None]


def test_eq1_confidence_is_the_softmax_of_class_one():
    pair = torch.tensor([[[[0.0]], [[LN3]]]])
    assert mocl.confidence(pair).item() == pytest.approx(0.75)
    assert mocl.confidence(pair + 5).item() == pytest.approx(0.75)  # a softmax ignores a common shift
    assert torch.allclose(mocl.confidence(LOGITS), grid([0.75, 0.25], [0.75, 0.25]))


def test_eq2_takes_the_most_confident_annotated_pixels():
    w = grid([0.1, 0.9, 0.5], [0.95, 0.2, 0.8], [0.3, 0.4, 0.99])
    y = grid([1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0])
    e = torch.arange(18.0).reshape(1, 2, 3, 3)
    top = mocl.top_k(e, w, y, k=2)
    assert top.pixel.tolist() == [[1, 5]]  # .99 and .95 lie outside the annotation
    assert top.feature.tolist() == [[[1.0, 10.0], [5.0, 14.0]]]
    assert top.confidence[0].tolist() == pytest.approx([0.9, 0.8])
    assert mocl.prototype(top).tolist() == [[3.0, 12.0]]


def test_k_is_capped_at_the_annotated_pixels_of_each_patch():
    w = torch.full((3, 1, 2, 2), 0.5)
    y = torch.cat([grid([1.0, 1.0], [1.0, 0.0]), grid([0.0, 0.0], [0.0, 1.0]), torch.zeros(1, 1, 2, 2)])
    e = torch.tensor([1.0, 2.0, 3.0, 40.0]).reshape(1, 1, 2, 2).expand(3, 1, 2, 2)
    top = mocl.top_k(e, w, y, k=100)
    assert top.pixel.shape == (3, 3)
    assert top.valid.sum(1).tolist() == [3, 1, 0]
    assert mocl.prototype(top).flatten().tolist() == [2.0, 40.0, 0.0]  # unannotated pixels never enter the mean


def test_prototype_is_detached_unless_asked():
    e = torch.randn(1, 2, 2, 2, requires_grad=True)
    top = mocl.top_k(e, torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2), k=3)
    assert not mocl.prototype(top).requires_grad
    mocl.prototype(top, detach=False).sum().backward()
    assert e.grad is not None
    assert e.grad.sum().item() == pytest.approx(2.0)  # 3 pixels × 2 channels × 1/3


def test_eq3_similarity_by_hand():
    e = torch.tensor([[[3.0, 0.0, -2.0]], [[4.0, 5.0, 0.0]]])[None]  # (3, 4), (0, 5), (−2, 0)
    centre = torch.tensor([[1.0, 0.0]])
    assert mocl.similarity(e, centre).flatten().tolist() == pytest.approx([0.6, 0.0, -1.0])
    assert mocl.similarity(e, centre, "clipped").flatten().tolist() == pytest.approx([0.6, 0.0, 0.0])
    assert mocl.similarity(e, centre, "patch").flatten().tolist() == pytest.approx([1.0, 0.625, 0.0])


def test_patch_and_batch_normalisation_differ_and_skip_patches_without_prototype():
    e = torch.tensor([[[[1.0, 0.6]], [[0.0, 0.8]]], [[[1.0, 0.8]], [[0.0, 0.6]]], [[[-1.0, -1.0]], [[0.0, 0.0]]]])
    centre = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])  # raw cosines: 1, .6 | 1, .8 | no prototype
    patch, batch = mocl.similarity(e, centre, "patch"), mocl.similarity(e, centre, "batch")
    assert patch.flatten().tolist() == pytest.approx([1, 0, 1, 0, 0, 0])
    assert batch.flatten().tolist() == pytest.approx([1, 0, 1, 0.5, 0, 0])


@pytest.mark.parametrize("scale", ["raw", "clipped", "patch", "batch"])
def test_similarity_ignores_the_length_of_features(scale):
    _, e, _ = random_patch()
    centre, factor = torch.randn(2, 4), torch.rand(2, 1, 6, 6) + 0.5
    assert torch.allclose(mocl.similarity(e * factor, 7 * centre, scale), mocl.similarity(e, centre, scale), atol=1e-5)


@pytest.mark.parametrize("scale", ["patch", "batch"])
def test_a_constant_similarity_normalises_to_one(scale):
    assert mocl.similarity(torch.ones(2, 3, 2, 2), torch.ones(2, 3), scale).unique().tolist() == [1.0]


def test_eq4_weights_of_the_paper():
    _, weights = mocl.paper_eq5(LOGITS, EMBEDDING, ANNOTATION, k=1)  # the prototype is the first pixel's e1
    assert weights.prototype.tolist() == [[1.0, 0.0]]
    expected = [math.exp(0.75), math.exp(0.25) * HALF, 0.0, 0.0]
    assert weights.omega.flatten().tolist() == pytest.approx(expected)
    assert weights.prototype.any(dim=1).tolist() == [True]


def test_eq5_both_readings_of_the_dice_by_hand():
    a, b = math.exp(0.75), math.exp(0.25) * HALF  # ω; p = 3/4, 1/4; BCE = −ln p
    bce = (a * math.log(4 / 3) + b * math.log(4)) / 4
    overlap, total = 0.75 * a + 0.25 * b, 1.75 * a + 1.25 * b
    weighted, _ = mocl.paper_eq5(LOGITS, EMBEDDING, ANNOTATION, k=1)
    assert weighted.item() == pytest.approx(bce + 1 - (2 * overlap + 1) / (total + 1))
    plain, _ = mocl.paper_eq5(LOGITS, EMBEDDING, ANNOTATION, k=1, dice="plain")
    dice = 1 - (2 * 1 + 1) / (2 + 2 + 1)  # Σpt = 1, Σp = 2, Σt = 2
    assert plain.item() == pytest.approx(bce + dice * (a + b) / 4)


def test_eq5_is_least_where_everything_is_foreground():
    """The degenerate minimum: background has no weight, so the perfect mask is no better than no mask at all."""
    perfect = 40 * (2 * ANNOTATION - 1)
    everything = torch.full_like(perfect, 40.0)
    e = torch.ones(1, 3, 2, 2)
    assert mocl.paper_eq5(everything, e, ANNOTATION)[0].item() == pytest.approx(0, abs=1e-6)
    assert mocl.paper_eq5(perfect, e, ANNOTATION)[0].item() == pytest.approx(0, abs=1e-6)
    logits = LOGITS.clone().requires_grad_()
    mocl.paper_eq5(logits, e, ANNOTATION, detach=True)[0].backward()
    assert logits.grad[0, 0, 1].tolist() == [0.0, 0.0]  # no pull on the background
    assert (logits.grad[0, 0, 0] < 0).all()  # annotated pixels only ever rise
    for other in (partial_dice, mocl.ours, mocl.molecular_el, mocl.none):
        assert other(everything, e, ANNOTATION)[0] > other(perfect, e, ANNOTATION)[0] + 0.1


def partial_dice(logits, embedding, annotation):
    return mocl.paper_eq5(logits, embedding, annotation, dice="plain")


def test_attached_weights_are_a_way_out():
    """With gradients through S, features of annotated pixels are pushed away from the prototype."""
    e = EMBEDDING.clone().requires_grad_()
    mocl.paper_eq5(LOGITS, e, ANNOTATION, k=1, dice="plain")[0].backward()
    moved = mocl.similarity(e.detach() - 0.1 * e.grad, torch.tensor([[1.0, 0.0]]))
    assert moved[0, 0, 0, 1] < HALF - 0.01
    e = EMBEDDING.clone().requires_grad_()
    logits = LOGITS.clone().requires_grad_()
    mocl.paper_eq5(logits, e, ANNOTATION, k=1, dice="plain", detach=True)[0].backward()
    assert e.grad is None


def test_molecular_el_by_hand():
    """Raw S = 1, √½ | 1, 0 is its own min–max. Background channel: sigmoid(−z) = 1/4, 3/4 | 1/4, 3/4."""
    value, weights = mocl.molecular_el(LOGITS, EMBEDDING, ANNOTATION, k=1)
    a = [1.5**0.75, 1.5**0.25, 1.0, 1.0]
    b = [1.0, HALF, 0.0, 0.0]
    ce = [math.log(4 / 3), math.log(4), math.log(4), math.log(4 / 3)]  # the same in both channels

    def term(w: list[float]) -> float:
        fore = 1 - 2 * (w[0] * 0.75 + w[1] * 0.25) / (2 + 2 + 1)
        back = 1 - 2 * (w[2] * 0.25 + w[3] * 0.75) / (2 + 2 + 1)
        return (fore + back) / 2 + sum(x * y for x, y in zip(w, ce, strict=True)) / 4

    assert value.item() == pytest.approx((term(a) + term(b)) / 2)
    assert weights.omega.flatten().tolist() == pytest.approx([(x + y) / 2 for x, y in zip(a, b, strict=True)])
    pair = torch.cat([-LOGITS, LOGITS], dim=1) / 2  # softmax of class 1 is again W, the sigmoids are not
    assert mocl.molecular_el(pair, EMBEDDING, ANNOTATION, k=1)[1].confidence[0, 0, 0, 0].item() == pytest.approx(0.75)


def test_molecular_el_carries_gradients_through_its_weights():
    e = EMBEDDING.clone().requires_grad_()
    mocl.molecular_el(LOGITS, e, ANNOTATION, k=1)[0].backward()
    assert e.grad.abs().sum() > 0
    assert (
        mocl.molecular_el(LOGITS, EMBEDDING.clone().requires_grad_(), ANNOTATION, k=1, detach=True)[0].grad_fn is None
    )


def test_molecular_el_dice_falls_below_zero():
    """All annotated, all right, W = S = 1. Foreground Dice: A 1 − 2 · 1.5 · 1600 / 3201 ≈ −½, B ≈ 0; background 1."""
    right, e = torch.full((1, 1, 40, 40), 40.0), torch.ones(1, 2, 40, 40)
    value, _ = mocl.molecular_el(right, e, torch.ones(1, 1, 40, 40))
    a, b = 1 - 4800 / 3201, 1 - 3200 / 3201
    assert value.item() == pytest.approx(((a + 1) / 2 + (b + 1) / 2) / 2, abs=1e-5)


def test_ours_by_hand():
    """W = ¾, ¼ | ¾, ¼; S = 1, √½ | 1, 0; so q = ¾, ¼√½ | ¾, 0 and a = ¾, ¼√½ | ¼, 1."""
    value, weights = mocl.ours(LOGITS, EMBEDDING, ANNOTATION, k=1, noise=0.25)
    low = 0.25 * HALF
    doubt = [1 / 10, (1 - low) / (3 * low + 1 - low), 1 / 2, 0.0]  # odds 3 : 1 for the annotation
    budget = 0.25 / ((doubt[0] + doubt[1]) / 2)  # inside, the mean .354 exceeds ρ; outside, it is just ρ
    omega = [1 - budget * doubt[0], 1 - budget * doubt[1], 1 - doubt[2], 1.0]
    assert weights.omega.flatten().tolist() == pytest.approx(omega)
    p, ce = [0.75, 0.25, 0.75, 0.25], [math.log(4 / 3), math.log(4), math.log(4), math.log(4 / 3)]
    bce = sum(w * c for w, c in zip(omega, ce, strict=True)) / sum(omega)
    overlap = omega[0] * p[0] + omega[1] * p[1]
    total = sum(w * x for w, x in zip(omega, p, strict=True)) + omega[0] + omega[1]
    assert value.item() == pytest.approx(bce + 1 - (2 * overlap + 1) / (total + 1))


@pytest.mark.parametrize("scale", ["patch", "clipped"])
def test_ours_without_noise_is_plain(scale):
    z, e, y = random_patch()
    value, weights = mocl.ours(z, e, y, noise=0.0, scale=scale)
    assert value.item() == pytest.approx(losses.bce_dice(z, y).item(), rel=1e-6)
    assert weights.omega.unique().tolist() == [1.0]


def test_ours_in_full_agreement_is_plain():
    """W·S = Y, at any assumed noise."""
    y = grid([1.0, 1.0], [0.0, 0.0])
    value, weights = mocl.ours(200 * (2 * y - 1), torch.ones(1, 3, 2, 2), y, noise=0.4)
    assert weights.omega.unique().tolist() == [1.0]
    assert value.item() == pytest.approx(losses.bce_dice(200 * (2 * y - 1), y).item())


def test_ours_doubts_invented_and_missed_cells():
    """3 × 3: two annotated cells, one of them invented (model: no), and one missed (model: yes, and similar)."""
    y = grid([1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0])
    logits = grid([4.0, -4.0, 4.0], [-4.0, -4.0, -4.0], [-4.0, -4.0, -4.0])
    e = torch.zeros(1, 2, 3, 3)
    e[0, 1] = 1.0  # background features e2 …
    e[0, :, 0, 0] = e[0, :, 0, 2] = torch.tensor([1.0, 0.0])  # … cells e1
    omega = mocl.ours(logits, e, y, k=1, noise=0.2)[1].omega[0, 0]
    assert omega[0, 0] > 0.99  # a cell that both see
    assert omega[2, 2] == pytest.approx(0.6, abs=0.01)  # invented: all of the budget 2 · 0.2
    assert omega[0, 2] < 0.1  # missed: hardly a negative
    assert omega[1, 1] == 1.0  # background keeps its weight
    molecular = mocl.molecular_el(logits, e, y, k=1)[1].omega[0, 0]
    assert molecular[0, 2] == molecular[1, 1]  # which the earlier code cannot tell from background


@pytest.mark.parametrize("sure", [-40.0, 40.0])
def test_ours_is_not_silenced_by_a_model_sure_of_one_class(sure):
    z, e, y = random_patch()
    omega = mocl.ours(torch.full_like(z, sure), torch.ones_like(e), y, noise=0.2)[1].omega
    against = y < 0.5 if sure > 0 else y > 0.5
    assert omega[against].mean().item() == pytest.approx(0.8)
    assert omega[~against].unique().tolist() == [1.0]


def test_ours_detaches_its_weights_and_only_the_logits_learn():
    z, e, y = random_patch()
    z, e = z.requires_grad_(), e.requires_grad_()
    value, weights = mocl.ours(z, e, y)
    value.backward()
    assert e.grad is None
    w = weights.omega
    copy = z.detach().clone().requires_grad_()
    ce = torch.nn.functional.binary_cross_entropy_with_logits(copy, y, reduction="none")
    ((w * ce).sum() / w.sum() + mocl._weighted_dice(copy, y, w)).backward()
    assert torch.allclose(z.grad, copy.grad)  # the same as with the weights given as constants


@pytest.mark.parametrize("variant", ["none", "paper_eq5", "paper_eq5_dice", "ours"])
def test_a_patch_does_not_see_its_neighbours_in_the_batch(variant):
    z, e, y = random_patch()
    together = mocl.loss_named(variant, k=5)(z, e, y)[1].omega
    alone = [mocl.loss_named(variant, k=5)(z[i : i + 1], e[i : i + 1], y[i : i + 1])[1].omega for i in range(2)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_molecular_el_does_see_its_neighbours():
    z, e, y = random_patch()
    alone = mocl.molecular_el(z[:1], e[:1], y[:1], k=5)[1].omega
    assert not torch.allclose(mocl.molecular_el(z, e, y, k=5)[1].omega[:1], alone)


@pytest.mark.parametrize("variant", mocl.VARIANTS)
def test_losses_turn_with_the_patch(variant):
    z, e, y = random_patch()
    loss = mocl.loss_named(variant, k=5)
    turned, weights = loss(z.rot90(1, (2, 3)), e.rot90(1, (2, 3)), y.rot90(1, (2, 3)))
    value, before = loss(z, e, y)
    assert turned.item() == pytest.approx(value.item(), rel=1e-5)
    assert torch.allclose(weights.omega, before.omega.rot90(1, (2, 3)), atol=1e-6)


@pytest.mark.parametrize("variant", mocl.VARIANTS)
def test_empty_annotations(variant):
    """Alone or beside another patch: finite values and gradients, no prototype, no similarity."""
    z, e, y = random_patch()
    for annotation in (torch.zeros_like(y), torch.stack([y[0], torch.zeros_like(y[1])])):
        logits, embedding = z.clone().requires_grad_(), e.clone().requires_grad_()
        value, weights = mocl.loss_named(variant)(logits, embedding, annotation)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(logits.grad).all()
        assert embedding.grad is None or torch.isfinite(embedding.grad).all()
        assert weights.prototype.any(dim=1).tolist() == [bool(annotation[0].any()), False]
        assert weights.similarity[1].unique().tolist() == [0.0]
        expected = {"paper_eq5": 0.0, "paper_eq5_dice": 0.0, "molecular_el": 0.5}.get(variant, 1.0)
        assert weights.omega[1].unique().tolist() == [expected]


def test_embedding_is_resampled_to_the_logits():
    z, _, y = random_patch(size=8)
    small = torch.randn(2, 4, 4, 4)
    large = torch.nn.functional.interpolate(small, size=(8, 8), mode="bilinear", align_corners=False)
    assert torch.equal(mocl.ours(z, small, y)[1].omega, mocl.ours(z, large, y)[1].omega)


def test_two_logits_equal_their_difference():
    z, e, y = random_patch()
    pair = torch.cat([torch.randn(2, 1, 6, 6)] * 2, dim=1) + torch.cat([torch.zeros_like(z), z], dim=1)
    for variant in ("none", "paper_eq5", "paper_eq5_dice", "ours"):
        loss = mocl.loss_named(variant)
        assert loss(pair, e, y)[0].item() == pytest.approx(loss(z, e, y)[0].item(), rel=1e-4)


def test_errors_name_what_was_found():
    z, e, y = random_patch()
    with pytest.raises(ValueError, match=r"annotation is \(2, 1, 3, 6\)"):
        mocl.ours(z, e, y[:, :, :3])
    with pytest.raises(ValueError, match=r"noise is 0\.7"):
        mocl.ours(z, e, y, noise=0.7)
    with pytest.raises(ValueError, match="unknown corrective loss 'eq6'"):
        mocl.loss_named("eq6")
