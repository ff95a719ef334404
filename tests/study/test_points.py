"""Points: SAM is asked at the very pixel, and no mask keeps what is another point's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from allinsam_core.annotation.predict import BoxMask
from allinsam_core.annotation.sam import Sam
from allinsam_core.data.case import Case
from study import points
from study.weak import WeakSettings, annotate_case


def pointed(*places: tuple[int, int], size: int = 64) -> Case:
    """A case whose nuclei are single pixels (row, column), labels 1, 2, …, classes by turns."""
    instances = np.zeros((size, size), np.uint16)
    for label, place in enumerate(places, start=1):
        instances[place] = label
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    classes = {label: "ab"[label % 2] for label in range(1, len(places) + 1)}
    return Case("one", image, instances, 0.5, "test", classes=classes)


def settings(**more: object) -> WeakSettings:
    return WeakSettings.model_validate({"points": {"reach": 8.0, "disc": 2.0, **more}})


def test_sam_is_asked_at_the_middle_of_the_pixel(tiny_sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.Tensor] = []
    prompt = tiny_sam.prompt_encoder.forward

    def spy(points: tuple[torch.Tensor, torch.Tensor], boxes: None, masks: None) -> object:
        asked.append(points[0])
        assert points[1].tolist() == [[1], [1]]
        return prompt(points, boxes, masks)

    monkeypatch.setattr(tiny_sam.prompt_encoder, "forward", spy)
    annotate_case(pointed((10, 20), (40, 50)), tiny_sam, settings())
    side = tiny_sam.image_encoder.img_size / 64
    assert asked[0][:, 0].tolist() == [[20.5 * side, 10.5 * side], [50.5 * side, 40.5 * side]]


@pytest.mark.parametrize("prompt", ["point", "box"])
def test_every_point_has_a_mask_of_its_own(prompt: str, tiny_sam: Sam, tmp_path: Path) -> None:
    case = pointed((10, 20), (12, 24), (40, 50), (63, 63), (0, 0))
    found = annotate_case(case, tiny_sam, settings(prompt=prompt), tmp_path).case
    rows, columns = np.nonzero(case.instances)
    assert found.instances[rows, columns].tolist() == case.instances[rows, columns].tolist()
    assert found.classes == case.classes
    away = np.hypot(*(np.indices((64, 64)) + 0.5 - np.array([40.5, 50.5])[:, None, None]))
    assert away[found.instances == case.instances[40, 50]].max() <= 16  # reach, at 0.5 µm/px
    assert "on points" in found.source
    again = annotate_case(case, tiny_sam, settings(prompt=prompt), tmp_path).case
    assert np.array_equal(again.instances, found.instances)
    assert len(list(tmp_path.iterdir())) == 1
    annotate_case(case, tiny_sam, settings(prompt=prompt, reach=7.0), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # another reach, other masks


def test_a_mask_ends_half_way_to_the_next_point_and_at_its_reach() -> None:
    everything = BoxMask(0, 0, np.ones((20, 40), bool), 1.0)
    at = np.array([[10.5, 10.5], [21.5, 10.5]])
    left, right = (m.full((20, 40)) for m in points.own_pixels([everything] * 2, at, (20, 40), reach=8, disc=2))
    assert not (left & right).any()
    assert np.flatnonzero(left[10]).tolist() == list(range(2, 16))  # pixels' middles, from 10.5 − 8 to half way, 16
    assert np.flatnonzero(right[10]).tolist() == list(range(16, 30))


def test_a_mask_that_misses_its_point_or_is_too_small_becomes_a_disc() -> None:
    above, speck = np.ones((6, 12), bool), np.ones((1, 1), bool)
    masks = [BoxMask(2, 5, above, 1.0), BoxMask(10, 30, speck, 1.0)]
    at = np.array([[10.5, 10.5], [30.5, 10.5]])
    for (x, _), mask in zip(at, points.own_pixels(masks, at, (20, 40), reach=9, disc=2), strict=True):
        row = np.flatnonzero(mask.full((20, 40))[10]) + 0.5
        assert (row.min(), row.max()) == (x - 2, x + 2)
    assert points.own_pixels([], np.zeros((0, 2)), (20, 40), 9, 2) == []


def test_without_a_sam_a_point_is_a_disc_of_the_radius() -> None:
    found = annotate_case(pointed((30, 30)), None, settings(prompt="box", radius=3.0)).case
    assert np.flatnonzero(found.instances[30]).tolist() == list(range(25, 36))  # 6 px about 30.5, border excluded
