"""References that are given true boxes: geometry by hand, and no other method is given anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from allinsam_core.annotation.predict import BoxMask, inscribed
from allinsam_core.annotation.sam import Sam
from study.rivals.boxes import Boxes, BoxesSettings, Ellipse


def one(*box: int) -> BoxMask:
    return inscribed(np.array([box], np.float32), (200, 200))[0]


def test_the_ellipse_of_a_square_and_of_a_bar() -> None:
    disc = one(3, 5, 7, 9)
    assert (disc.top, disc.left) == (5, 3)
    expected = np.ones((4, 4), bool)
    expected[[0, 0, 3, 3], [0, 3, 0, 3]] = False  # a corner pixel's centre lies at (±0.75, ±0.75), outside the circle
    assert np.array_equal(disc.mask, expected)
    assert one(0, 0, 5, 1).mask.tolist() == [[True] * 5]


def test_the_ellipse_has_its_boxs_share_of_the_area() -> None:
    mask = one(0, 0, 200, 120).mask
    assert mask.mean() == pytest.approx(np.pi / 4, abs=0.002)
    assert mask.any(axis=0).all()  # it touches every side
    assert mask.any(axis=1).all()


def test_one_label_a_box_and_overlap_to_the_smaller(tmp_path: Path) -> None:
    method = Ellipse()
    image = np.zeros((40, 60, 3), np.uint8)
    boxes = np.array([[0, 0, 30, 30], [10, 10, 20, 20], [40, 20, 60, 40]], np.float32)
    labels = method.predict_boxes(image, boxes, 0.25)
    assert labels.shape == (40, 60)
    assert labels[15, 15] == 2  # inside both
    assert labels[3, 15] == 1
    assert labels[30, 50] == 3
    assert np.array_equal(labels, method.predict_boxes(image + 9, boxes, 0.25))  # the image is not looked at
    assert not method.predict_boxes(image, boxes[:0], 0.25).any()
    assert method.fit([], [], tmp_path) == {}


def test_sam_answers_every_box_inside_its_neighbourhood(tiny_sam: Sam) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    boxes = np.array([[4, 4, 20, 20], [40, 36, 60, 60]], np.float32)
    method = Boxes(BoxesSettings(), tiny_sam)
    labels = method.predict_boxes(image, boxes, 0.25)
    assert labels.shape == (64, 64)
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert not np.array_equal(labels, method.predict_boxes(255 - image, boxes, 0.25))  # SAM does look
