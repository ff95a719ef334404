"""What mini2 is pre-trained for, by hand on small masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allinsam_core.annotation import sam as sams
from allinsam_core.learning import instances
from allinsam_core.learning.augment import Batch
from study.minisam import objective
from study.minisam.pretrain import PromptableSam, Prompts, draw_prompts


def labels() -> torch.Tensor:
    found = torch.zeros(2, 64, 64, dtype=torch.int64)
    found[0, 10:30, 40:50], found[1, 4:12, 6:14], found[1, 4:12, 14:24] = 5, 2, 3
    return found


def test_the_surroundings_are_the_doubled_box() -> None:
    weight = objective.surroundings(torch.tensor([[16.0, 8, 32, 24]]), 64, 16)[0, 0]  # in cells: x 4 … 8, y 2 … 6
    near = weight == 1
    assert near.nonzero().min(0).values.tolist() == [0, 2]  # doubled: x 2 … 10, y 0 … 8
    assert near.nonzero().max(0).values.tolist() == [7, 9]
    assert int(near.sum()) == 64
    assert weight[~near].tolist() == pytest.approx([objective.FAR] * (256 - 64))


def test_costs_by_hand() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[..., :2, :] = 1
    weight = torch.ones(1, 1, 4, 4)
    weight[..., 3:, :] = 0
    logits = torch.stack([torch.zeros(4, 4), 40 * (2 * target[0, 0] - 1), torch.full((4, 4), 40.0)])[None]
    # indifferent: ln 2 and Dice 8/17; perfect: 0; everything: 40 on four of the twelve pixels that count, Dice 8/25
    expected = [np.log(2) + 8 / 17, 0.0, 40 / 3 + 8 / 25]
    assert objective.mask_costs(logits, target, weight)[0].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_perfect_maps_cost_nothing_and_wrong_ones_do() -> None:
    wanted = instances.targets(labels())
    foreground = 40.0 * (2 * (labels() > 0).float() - 1)[:, None]
    perfect = torch.cat([foreground, torch.logit(wanted, eps=1e-7)], 1)
    assert float(objective.promptless_loss(perfect, labels())) == pytest.approx(0, abs=1e-4)
    # 1 on the background is right, 0 is off by one there, which is half of the loss of each of the two sums
    wrong = torch.where((labels() > 0)[:, None], perfect[:, 1:], torch.tensor(-40.0))
    off = objective.promptless_loss(torch.cat([foreground, wrong], 1), labels())
    assert float(off) == pytest.approx(1, abs=1e-4)


def test_the_best_candidate_and_the_single_mask_pay() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., 2:4, 2:4] = 1
    one, yes = torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.bool)
    prompts = Prompts(one, torch.tensor([[2.0, 2, 4, 4]]), torch.zeros(1, 1, 2), yes, target, yes)
    perfect, wrong = 40 * (2 * target - 1), -40 * (2 * target - 1)
    ious = torch.tensor([[1.0, 0, 1, 0]])
    good = objective.prompt_loss(torch.cat([perfect, wrong, perfect, wrong], 1), ious, prompts)
    assert float(good) == pytest.approx(0, abs=1e-4)
    assert float(objective.prompt_loss(torch.cat([wrong, perfect, perfect, perfect], 1), ious, prompts)) > 30


def test_a_step_teaches_every_part_and_an_empty_image_is_fine(tiny_sam: sams.Sam) -> None:
    model = PromptableSam(tiny_sam)
    batch = Batch(torch.rand(2, 3, 64, 64), labels(), ("a", "b"))
    objective.step_loss(2)(model, batch).backward()
    for part in (tiny_sam.image_encoder, tiny_sam.mask_decoder):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    empty = Batch(batch.image, torch.zeros_like(batch.instances), batch.names)
    assert objective.step_loss(2)(model, empty).isfinite()


def test_evaluation_figures_are_shares(tiny_sam: sams.Sam) -> None:
    batches = [Batch(torch.rand(2, 3, 64, 64), labels(), ("a", "b"))] * 3
    figures = objective.evaluate(PromptableSam(tiny_sam).eval(), batches)
    assert figures.keys() == {"loss", "dice", "distance_error", "box_iou", "point_iou", "ellipse_iou"}
    assert all(0 <= figures[k] <= 1 for k in figures if k != "loss")
    drawn = draw_prompts(labels(), 8, np.random.default_rng(0), 1.0)
    assert drawn.ellipse.equal(drawn.is_box)
