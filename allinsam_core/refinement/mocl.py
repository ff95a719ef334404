"""Corrective losses: pixels count according to how model and annotation agree (paper §3.3, Equations 1–5).

Confidence W and similarity S to the patch's most confident annotated pixels become weights ω of a BCE + Dice
loss. Every variant takes

    logits      (B, 1, H, W), or (B, 2, H, W) = background, foreground (the U-Net)
    embedding   (B, C, h, w), the decoder's last map; resampled to H × W where it is smaller
    annotation  (B, 1, H, W) float in {0, 1}, noisy

and returns a scalar and the `Weights` behind it. A patch without annotated pixels has no prototype: its S is 0
and each variant says what it then does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F

from allinsam_core.learning import losses

K = 100  # not in the paper; the earlier released code's
Scale = Literal["raw", "clipped", "patch", "batch"]

_IMAGE = (1, 2, 3)


class TopK(NamedTuple):
    """The chosen pixels of each patch, best first: pixel (B, k') into H·W, feature (B, k', C), confidence (B, k').

    valid (B, k') bool: False where a patch has fewer annotated pixels than k'.
    """

    pixel: torch.Tensor
    feature: torch.Tensor
    confidence: torch.Tensor
    valid: torch.Tensor


@dataclass(frozen=True)
class Weights:
    """What a corrective loss weighed the pixels by, detached.

    confidence W, similarity S, omega (the weight of each pixel's BCE): (B, 1, H, W). prototype: (B, C), zeros
    where a patch has no annotated pixel.
    """

    confidence: torch.Tensor
    similarity: torch.Tensor
    omega: torch.Tensor
    prototype: torch.Tensor


Result = tuple[torch.Tensor, Weights]
CorrectiveLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Result]


def foreground(logits: torch.Tensor) -> torch.Tensor:
    """One logit whose sigmoid is the softmax of class 1: l₁ − l₀. (B, 2, H, W) → (B, 1, H, W); one stays one."""
    return logits if logits.shape[1] == 1 else logits[:, 1:2] - logits[:, 0:1]


def confidence(logits: torch.Tensor) -> torch.Tensor:
    """Eq. (1): W = f(X; θ)[:, 1], the probability of the cell type. (B, 1 or 2, H, W) → (B, 1, H, W)."""
    return foreground(logits).sigmoid()


def top_k(embedding: torch.Tensor, confidence: torch.Tensor, annotation: torch.Tensor, k: int = K) -> TopK:
    """Eq. (2): the k most confident annotated pixels of each patch.

    embedding: (B, C, H, W); confidence, annotation: (B, 1, H, W). k is capped at the number of annotated pixels
    (the released code fills up with background pixels instead).
    """
    inside = annotation.flatten(1) > 0.5
    score = confidence.detach().flatten(1).masked_fill(~inside, -torch.inf)
    score, pixel = score.topk(max(1, min(k, int(inside.sum(1).max()))), dim=1)
    features = embedding.flatten(2).transpose(1, 2)  # (B, H·W, C)
    chosen = features.gather(1, pixel[:, :, None].expand(-1, -1, features.shape[2]))
    return TopK(pixel, chosen, confidence.flatten(1).gather(1, pixel), score > -torch.inf)


def prototype(top: TopK, detach: bool = True) -> torch.Tensor:
    """Mean of the chosen features, (B, C); zeros for a patch without any. Detached, as in the released code."""
    valid = top.valid[:, :, None].to(top.feature)
    mean = (top.feature * valid).sum(1) / valid.sum(1).clamp(min=1)
    return mean.detach() if detach else mean


def similarity(embedding: torch.Tensor, prototype: torch.Tensor, scale: Scale = "raw") -> torch.Tensor:
    """Eq. (3): S, the cosine of every pixel's feature and the prototype. (B, C, H, W), (B, C) → (B, 1, H, W).

    scale: "raw" −1 … 1; "clipped" at 0; "patch" and "batch" min–max over a patch or over the whole batch
    (the released code), where a constant map becomes 1: no contrast, so nothing speaks against a pixel. S is 0
    where the prototype is zero, and such patches do not take part in the batch's minimum and maximum.
    """
    known = prototype.any(dim=1)[:, None, None, None]
    cosine = F.cosine_similarity(embedding, prototype[:, :, None, None], dim=1)[:, None]
    if scale == "clipped":
        cosine = cosine.clamp(min=0)
    if scale in ("patch", "batch"):
        over = _IMAGE if scale == "patch" else (0, *_IMAGE)
        low = cosine.masked_fill(~known, torch.inf).amin(over, keepdim=True)
        span = cosine.masked_fill(~known, -torch.inf).amax(over, keepdim=True) - low
        flat = ~(span > 1e-6)  # also where nothing is known and the span is −inf
        cosine = torch.where(flat, 1.0, (cosine - low) / span.masked_fill(flat, 1.0))
    return torch.where(known, cosine, torch.zeros_like(cosine))


def none(logits: torch.Tensor, embedding: torch.Tensor, annotation: torch.Tensor, k: int = K) -> Result:
    """Plain BCE + Dice: the warm-up, and the control of every comparison. W and S are reported, not used."""
    w, s, centre = _confidence_and_similarity(logits, embedding, annotation, k, "patch", detach=True)
    return losses.bce_dice(foreground(logits), annotation), _detached(w, s, torch.ones_like(w), centre)


def paper_eq5(
    logits: torch.Tensor,
    embedding: torch.Tensor,
    annotation: torch.Tensor,
    k: int = K,
    dice: Literal["weighted", "plain"] = "weighted",
    detach: bool = False,
) -> Result:
    """Equations (4)–(5) as printed: ω = exp(W)·Y · S·Y, L = (Dice + BCE) · ω.

    Background has weight 0. With dice="weighted" (ω is a map, so every sum of the Dice takes it) nothing
    restrains the background: calling every pixel foreground is a global minimum. With dice="plain" (Dice is one
    number per patch, multiplied by ω and averaged) the background is learnt through Dice alone. The similarity
    is the raw cosine, clipped at 0, as a negative weight would reward errors. W and S carry gradients unless
    `detach`: the paper does not say, the released code lets them. A patch without annotation has ω = 0.
    """
    w, s, centre = _confidence_and_similarity(logits, embedding, annotation, k, "clipped", detach)
    omega = (w.exp() * annotation) * (s * annotation)
    z = foreground(logits)
    bce = F.binary_cross_entropy_with_logits(z, annotation, reduction="none")
    if dice == "weighted":
        value = (omega * bce).mean() + _weighted_dice(z, annotation, omega)
    else:
        overlap = (z.sigmoid() * annotation).sum(_IMAGE, keepdim=True)
        total = (z.sigmoid() + annotation).sum(_IMAGE, keepdim=True)
        value = (omega * (1 - (2 * overlap + 1) / (total + 1) + bce)).mean()
    return value, _detached(w, s, omega, centre)


def molecular_el(
    logits: torch.Tensor,
    embedding: torch.Tensor,
    annotation: torch.Tensor,
    k: int = K,
    base: float = 1.5,
    detach: bool = False,
) -> Result:
    """As the earlier released code computes it: the mean of two Dice + BCE losses, weighted 1.5^(W·Y) and S·Y.

    Over two channels (a single logit z stands for −z, z) with sigmoids; the Dice weighs its numerator only,
    1 − 2Σωpt / (Σp + Σt + 1), so it can fall below 0; S is min–max normalised over the batch; W and S carry
    gradients. Differs in k, capped at the annotated pixels. A patch without annotation has weights 1 and 0.
    """
    w, s, centre = _confidence_and_similarity(logits, embedding, annotation, k, "batch", detach)
    pair = logits if logits.shape[1] == 2 else torch.cat([-logits, logits], dim=1)
    target = torch.cat([1 - annotation, annotation], dim=1)
    prob = pair.sigmoid()
    bce = F.binary_cross_entropy_with_logits(pair, target, reduction="none")
    total = (prob + target).sum((2, 3)) + 1

    def weighted(weight: torch.Tensor) -> torch.Tensor:
        dice = 1 - 2 * (weight * prob * target).sum((2, 3)) / total
        return dice.mean() + (weight * bce).mean()

    by_confidence, by_similarity = base ** (w * annotation), s * annotation
    value = (weighted(by_confidence) + weighted(by_similarity)) / 2
    return value, _detached(w, s, (by_confidence + by_similarity) / 2, centre)


def ours(
    logits: torch.Tensor,
    embedding: torch.Tensor,
    annotation: torch.Tensor,
    k: int = K,
    noise: float = 0.2,
    scale: Literal["patch", "clipped"] = "patch",
) -> Result:
    """Weigh each pixel by the probability that its annotation is right.

    The defects of the above: background without weight (Eq. 5); weights that carry gradients, so that the loss
    falls when W or S does; a patch's S that depends on its neighbours in the batch; a Dice below 0; and no way
    to doubt a *missed* cell, as all of them leave pixels outside Y alone. Hence:

    - The belief that a pixel is of the type is q = W·S: confident *and* similar, the product of Eq. (5).
      W and S are detached; S is normalised within the patch (or clipped at 0).
    - Its agreement with the annotation is a = q inside Y and 1 − q outside: the model's probability of Y.
    - Were the annotation wrong at a share ρ = `noise` of the pixels, inside and outside Y alike, and independent
      of the model, Bayes' rule would give the probability that it is wrong,

          d = ρ (1 − a) / ((1 − ρ) a + ρ (1 − a)).

    - By the same assumption the mean of d inside Y, and outside, is at most ρ; where it is more, d is scaled
      down to that. Else a model sure of one class would silence the other, and be confirmed: the minimum of
      Eq. (5) again. Now Y and background keep at least the share 1 − ρ of their weight in every patch.
    - ω = 1 − d;  L = Σ ω BCE / Σ ω  +  mean over patches of 1 − (2Σωpt + 1) / (Σωp + Σωt + 1).

    A pixel is doubted by more than ½ only where the model is surer than 1 − ρ that the annotation errs. Annotated
    pixels that are not both confident and similar lose weight (invented cells, loose contours), and so do
    confident, similar pixels outside Y as negatives (missed cells). ρ = 0, or full agreement (W·S = Y), is plain
    BCE + Dice; so is a patch without annotation, where S = 0 agrees with Y = 0.
    Raises ValueError unless 0 ≤ noise ≤ ½.
    """
    if not 0 <= noise <= 0.5:
        raise ValueError(f"noise is {noise}; expected the share of wrongly annotated pixels, 0 … 0.5")
    w, s, centre = _confidence_and_similarity(logits, embedding, annotation, k, scale, detach=True)
    belief = w * s
    agreement = belief * annotation + (1 - belief) * (1 - annotation)
    doubt = noise * (1 - agreement) / ((1 - noise) * agreement + noise * (1 - agreement)).clamp(min=1e-12)
    for side in (annotation, 1 - annotation):
        mean = (doubt * side).sum(_IMAGE, keepdim=True) / side.sum(_IMAGE, keepdim=True).clamp(min=1)
        doubt = torch.where(side > 0.5, doubt * (noise / mean.clamp(min=1e-12)).clamp(max=1), doubt)
    omega = 1 - doubt
    z = foreground(logits)
    bce = F.binary_cross_entropy_with_logits(z, annotation, reduction="none")
    value = (omega * bce).sum() / omega.sum().clamp(min=1) + _weighted_dice(z, annotation, omega)
    return value, _detached(w, s, omega, centre)


VARIANTS: dict[str, Callable[..., Result]] = {
    "none": none,
    "paper_eq5": paper_eq5,
    "paper_eq5_dice": partial(paper_eq5, dice="plain"),
    "molecular_el": molecular_el,
    "ours": ours,
}


def loss_named(variant: str, k: int = K, **options: Any) -> CorrectiveLoss:
    """The loss of a name in `VARIANTS`; options are that function's own (`noise` of "ours", `base`, `detach`, …)."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown corrective loss {variant!r}; expected one of {', '.join(VARIANTS)}")
    return partial(VARIANTS[variant], k=k, **options)


def _confidence_and_similarity(
    logits: torch.Tensor, embedding: torch.Tensor, annotation: torch.Tensor, k: int, scale: Scale, detach: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """W, S and the prototype, by Equations (1)–(3)."""
    if annotation.shape != (len(logits), 1, *logits.shape[-2:]) or logits.shape[1] not in (1, 2):
        raise ValueError(
            f"logits are {tuple(logits.shape)} and the annotation is {tuple(annotation.shape)}; "
            "expected (B, 1 or 2, H, W) and (B, 1, H, W) of one size"
        )
    if embedding.shape[-2:] != logits.shape[-2:]:
        embedding = F.interpolate(embedding, size=logits.shape[-2:], mode="bilinear", align_corners=False)
    w = confidence(logits)
    if detach:
        w, embedding = w.detach(), embedding.detach()
    centre = prototype(top_k(embedding, w, annotation, k))
    return w, similarity(embedding, centre, scale), centre


def _weighted_dice(z: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """1 − (2Σωpt + 1) / (Σωp + Σωt + 1), mean over patches; `losses.dice` where ω = 1."""
    prob = z.sigmoid()
    overlap = (weight * prob * target).sum(_IMAGE)
    total = (weight * (prob + target)).sum(_IMAGE)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def _detached(w: torch.Tensor, s: torch.Tensor, omega: torch.Tensor, centre: torch.Tensor) -> Weights:
    return Weights(w.detach(), s.detach(), omega.detach(), centre.detach())
