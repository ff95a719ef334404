"""Several classes from one network: their logits, targets, validation, and who gets a pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from allinsam_core.annotation.sam import Sam
from allinsam_core.data.case import Case
from allinsam_core.learning import losses
from allinsam_core.learning.adapter import AdaptedSam
from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.refinement import mocl
from allinsam_core.refinement.corrective import CorrectiveSettings, EmbeddingSam
from study import multiclass
from study.detection import points_of
from study.multiclass import ClassSettings, CorrectiveMulticlass, MulticlassMethod

NOTHING = AugmentSettings(turns=False, zoom=0, stain=0, shift=0, blur=0, noise=0)
NAMES = ("red", "blue")
SMALL = InstanceSettings(smooth=0, depth=0.1, smallest=1)


class Colours(nn.Module):
    """Logit of a class: 8 · its colour − 4; first, for a softmax, 0 for the background."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.scale, self.outputs = nn.Parameter(torch.tensor(8.0)), outputs

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        both = self.scale * image[:, [0, 2]] - 4
        return both if self.outputs == 2 else torch.cat([torch.zeros_like(both[:, :1]), both], dim=1)


@pytest.fixture
def case() -> Case:
    """20 × 20 px: nucleus 1, red, in the upper left, nucleus 2, blue, in the lower right; colours tell the truth."""
    image, labels = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), np.uint16)
    image[2:8, 2:8, 0], image[12:18, 12:18, 2] = 255, 255
    labels[2:8, 2:8], labels[12:18, 12:18] = 1, 2
    return Case("case", image, labels, 0.5, "test", classes={1: "red", 2: "blue"})


def method(head: multiclass.Head = "binary", **more: object) -> MulticlassMethod:
    classes = ClassSettings(names=NAMES, head=head)
    given = {"train": TrainSettings(steps=2, batch_size=2), "augment": NOTHING, "device": "cpu", "loss": "bce", **more}
    return MulticlassMethod(Colours(classes.outputs), WindowSettings(field=20, size=20), classes=classes, **given)  # type: ignore[arg-type]


def test_a_softmax_reads_as_one_binary_logit_a_class() -> None:
    logits = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 3
    found = multiclass.one_vs_rest(logits, "softmax")
    assert found.shape == (2, 3, 3, 3)
    assert torch.allclose(found.sigmoid(), logits.softmax(1)[:, 1:], atol=1e-5)
    assert multiclass.one_vs_rest(logits, "binary") is logits
    sure = multiclass.one_vs_rest(torch.tensor([0.0, 200.0, 0.0])[None, :, None, None], "softmax")
    assert sure.isfinite().all()


def test_targets_are_one_binary_mask_a_class(case: Case) -> None:
    one = method()
    batch = one.sampler([case])(0)
    target = one.targets(batch)
    assert target.shape == (2, 2, 20, 20)
    assert torch.equal(target[0, 0], torch.from_numpy(case.instances == 1).float())
    assert torch.equal(target[0, 1], torch.from_numpy(case.instances == 2).float())


@pytest.mark.parametrize("head", ["binary", "softmax"])
def test_the_loss_is_the_mean_over_the_classes(head: multiclass.Head, case: Case) -> None:
    one = method(head)
    batch = one.sampler([case])(0)
    logits = multiclass.one_vs_rest(one.model(batch.image), head)
    masks = [torch.from_numpy(case.instances == n).float().expand(2, 1, 20, 20) for n in (1, 2)]
    expected = (losses.bce(logits[:, :1], masks[0]) + losses.bce(logits[:, 1:], masks[1])) / 2
    assert float(one.step_loss()(one.model, batch).detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_validation_by_hand(case: Case) -> None:
    scores = method().validate([case])
    assert scores["dice"] == 1
    # right of 36 pixels a class at logit ±4 everywhere
    assert scores["loss"] == pytest.approx(float(torch.log1p(torch.exp(torch.tensor(-4.0)))), rel=1e-4)
    swapped = replace(case, classes={1: "blue", 2: "red"})
    assert method().validate([swapped])["dice"] == 0
    half = replace(case, classes={1: "red", 2: "red"})  # red: 36 found of 72; blue: 36 found, none true
    assert method().validate([half])["dice"] == pytest.approx((2 * 36 / 108 + 0) / 2)


@pytest.mark.parametrize("head", ["binary", "softmax"])
def test_classes_are_segmented_and_named(head: multiclass.Head, case: Case, tmp_path: Path) -> None:
    one = method(head)
    one.fit([case], [], tmp_path)
    prob, labels = one.segment(case, SMALL)
    assert prob.shape == (2, 20, 20)
    assert points_of(labels, prob).kinds.tolist() == [0, 1]
    assert np.array_equal(labels > 0, case.mask)
    assert np.allclose(one.predict(case.image), np.minimum(prob.sum(0), 1))
    _, strict = one.segment(case, SMALL, threshold=0.999)
    assert not strict.any()
    assert one.maps_of(case).shape == (1, 20, 20)


def test_who_gets_a_pixel_that_two_classes_claim() -> None:
    """A nucleus of 4 × 6 px: left two thirds more of class 0, the right third more of class 1."""
    prob = np.zeros((2, 10, 12), np.float32)
    prob[:, 3:7, 3:7] = np.array([0.7, 0.3])[:, None, None]
    prob[:, 3:7, 7:9] = np.array([0.3, 0.6])[:, None, None]
    whole = multiclass.part(prob, "nucleus", SMALL)
    assert (np.bincount(whole.ravel())[1:]).tolist() == [24]
    assert points_of(whole, prob).kinds.tolist() == [0]
    prob[1, 3:7, 3:7] = 0.55  # of both classes, but more of the first
    split = multiclass.part(prob, "pixel", SMALL)
    assert sorted(np.bincount(split.ravel())[1:].tolist()) == [8, 16]
    assert points_of(split, prob).kinds.tolist() == [0, 1]


def test_a_nucleus_between_two_classes_is_found_by_both_together() -> None:
    prob = np.zeros((2, 10, 10), np.float32)
    prob[:, 3:7, 3:7] = np.array([0.4, 0.35])[:, None, None]
    assert multiclass.part(prob, "nucleus", SMALL).max() == 1
    assert multiclass.part(prob, "pixel", SMALL).max() == 0


def test_every_class_is_met_as_often(case: Case) -> None:
    """Of three images one shows 3 red and 1 blue nuclei, one 1 red, one 3 blue: 3/4 + 1/4, 1/4 and 3/4, halved."""
    tables = [np.array([0, 1, 1, 2, 1]), np.array([0, 1]), np.array([0, 2, 2, 2])]
    assert multiclass.balance(tables, 2).tolist() == pytest.approx([0.5, 0.125, 0.375])
    assert multiclass.balance([np.array([0, 1]), np.array([0, 1])], 2).tolist() == [0.5, 0.5]
    red, both = replace(case, name="red", instances=np.where(case.instances == 1, 1, 0).astype(np.uint16)), case
    classes = ClassSettings(names=NAMES, balanced=True)
    one = MulticlassMethod(Colours(), WindowSettings(), TrainSettings(), NOTHING, device="cpu", classes=classes)
    assert one.sampler([red, both]).weight.tolist() == pytest.approx([0.25, 0.75])
    assert method().sampler([red, both]).weight.tolist() == [0.5, 0.5]


def test_a_nucleus_without_a_known_class_is_refused(case: Case) -> None:
    with pytest.raises(ValueError, match="case: nucleus 2 is of class 'green', expected one of red, blue"):
        method().sampler([replace(case, classes={1: "red", 2: "green"})])
    with pytest.raises(ValueError, match="nucleus 1 is of class ''"):
        method().sampler([replace(case, classes={})])


def test_every_class_of_a_sam_starts_as_its_foreground(tiny_sam: Sam) -> None:
    one = AdaptedSam(tiny_sam, reduction=8, outputs=3)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = one(image)
    assert not torch.allclose(before[:, 0], before[:, 1])
    one.start_alike()
    after = one(image)
    assert torch.allclose(after[:, 0], after[:, 1], atol=1e-5)
    assert torch.allclose(after[:, 0], after[:, 2], atol=1e-5)
    with pytest.raises(ValueError, match="5 maps, expected 1 to 4"):
        AdaptedSam(tiny_sam, reduction=8, outputs=5)


@pytest.mark.parametrize("head", ["binary", "softmax"])
def test_every_class_is_corrected_by_its_own_mask(head: multiclass.Head, tiny_sam: Sam, case: Case) -> None:
    classes = ClassSettings(names=NAMES, head=head)
    model = EmbeddingSam(AdaptedSam(tiny_sam, reduction=8, outputs=classes.outputs))
    train, window = TrainSettings(steps=2, batch_size=1), WindowSettings(field=20, size=64)
    settings = CorrectiveSettings(warmup=0, k=5)
    one = CorrectiveMulticlass(model, window, train, NOTHING, device="cpu", classes=classes, corrective=settings)
    batch = one.sampler([case])(0)
    found = one.step_loss()(model, batch)
    logits, embedding = model(batch.image)
    logits, target, ours = multiclass.one_vs_rest(logits, head), one.targets(batch), mocl.loss_named("ours", 5)
    each = [ours(logits[:, [n]], embedding, target[:, [n]])[0] for n in (0, 1)]
    assert float(found.detach()) == pytest.approx(float(sum(each).detach()) / 2, rel=1e-5)  # type: ignore[union-attr]
    assert one.predict_maps(case.image).shape == (2, 20, 20)
