"""Box to mask: equal to segment-anything's own predictor, and to itself one box at a time."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from allinsam_core.annotation import ellipse, predict
from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.predict import BoxAnnotator, default_field
from allinsam_core.annotation.windows import Window
from study.minisam import pretrain


@pytest.fixture(scope="module")
def sam() -> sams.Sam:
    torch.manual_seed(0)
    return sams.build("mini")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (20, 26, 3)), np.ones((10, 10, 1))).astype(np.uint8)  # 200×260 px


LowRes = Callable[[BoxAnnotator, np.ndarray], tuple[np.ndarray, np.ndarray]]
BOXES = np.array(
    [[10, 12, 31, 30], [12, 12, 33, 30], [100, 80, 125, 101], [235, 180, 260, 200], [20, 20, 180, 150]], np.float32
)


@pytest.fixture(scope="module")
def sam_predictor() -> type:
    """segment-anything's own predictor. It needs torchvision, which lacks two operators beside a torch without CUDA."""
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed, so segment-anything's predictor cannot be imported")
    library = torch.library.Library("torchvision", "FRAGMENT")
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("segment_anything").SamPredictor


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("ellipses", [False, True])
def test_a_whole_image_is_answered_as_by_sam_predictor(
    sam: sams.Sam,
    image: np.ndarray,
    multimask: bool,
    ellipses: bool,
    sam_predictor: type,
    monkeypatch: pytest.MonkeyPatch,
    low_res: LowRes,
) -> None:
    monkeypatch.setattr(sam, "mask_threshold", 0.0)  # random weights give logits on both sides of it
    theirs = sam_predictor(sam)
    theirs.set_image(image)
    ours = BoxAnnotator(sam, field=None, multimask=multimask, ellipses=ellipses)
    masks = ours.annotate(image, BOXES)
    (embedding,) = ours._embeddings[Window(0, 0, 200, 260)]
    assert torch.allclose(embedding, theirs.get_image_embedding()[0], atol=1e-5)
    low, scores = low_res(ours, BOXES)
    for index, box in enumerate(BOXES):
        scaled = torch.from_numpy(theirs.transform.apply_boxes(box[None], (200, 260)))
        hint = ellipse.logits(scaled, 256, 64)[0].numpy() if ellipses else None
        mask, score, logits = theirs.predict(box=box, mask_input=hint, multimask_output=multimask)
        best = int(np.argmax(score))
        assert np.allclose(low[index], logits[best], atol=1e-4)
        assert np.isclose(masks[index].score, score[best], atol=1e-5)
        assert scores[index] == pytest.approx(score[best], abs=1e-5)
        assert (masks[index].full((200, 260)) != mask[best]).mean() < 1e-3  # logits within rounding of 0 may flip
    assert any(m.mask.any() and not m.full((200, 260)).all() for m in masks)


def test_only_mini_sam_is_given_ellipses_unless_told(sam: sams.Sam) -> None:
    assert BoxAnnotator(sam, field=150).ellipses
    assert not BoxAnnotator(sam, field=150, ellipses=False).ellipses
    with torch.device("meta"):
        assert not BoxAnnotator(sams.build("vit_b"), field=None).ellipses


def test_many_boxes_at_once_equal_one_by_one(sam: sams.Sam, image: np.ndarray, low_res: LowRes) -> None:
    together = BoxAnnotator(sam, field=150)
    together.set_image(image)
    logits, scores = low_res(together, BOXES)
    masks = together.predict(BOXES)
    assert len(together._embeddings) > 2  # several windows, one of them for the large box
    for index in range(len(BOXES)):
        alone = BoxAnnotator(sam, field=150, batch=1)
        alone.set_image(image)
        one, score = low_res(alone, BOXES[index : index + 1])
        assert np.allclose(one[0], logits[index], atol=1e-5)
        assert np.allclose(score[0], scores[index], atol=1e-5)
        (mask,) = alone.predict(BOXES[index : index + 1])
        assert (mask.full((200, 260)) != masks[index].full((200, 260))).mean() < 1e-3
        assert mask.score == pytest.approx(masks[index].score, abs=1e-5)


def test_answers_keep_the_order_of_the_boxes(sam: sams.Sam, image: np.ndarray) -> None:
    annotator = BoxAnnotator(sam, field=150, batch=2)
    forward = annotator.annotate(image, BOXES[2:])
    backward = annotator.predict(BOXES[:1:-1])[::-1]
    assert np.allclose([m.score for m in forward], [m.score for m in backward], atol=1e-5)
    assert len({round(m.score, 4) for m in forward}) > 1  # so that a wrong order would show


def test_embeddings_are_shared_kept_and_forgotten_with_the_image(
    sam: sams.Sam, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    encode = sam.image_encoder.forward
    monkeypatch.setattr(sam.image_encoder, "forward", lambda x: seen.append(len(x)) or encode(x))
    annotator = BoxAnnotator(sam, field=150)
    annotator.set_image(image)
    annotator.embed(BOXES[:2])
    assert sum(seen) == 1  # both boxes lie in one window
    annotator.predict(BOXES[:2])
    assert sum(seen) == 1
    annotator.set_image(image)
    annotator.predict(BOXES[:1])
    assert sum(seen) == 2


def test_masks_stay_inside_an_image_smaller_than_the_window(sam: sams.Sam) -> None:
    image = np.random.default_rng(1).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    boxes = np.array([[5, 5, 20, 20], [0, 0, 47, 33]], np.float32)
    for found in BoxAnnotator(sam, field=150).annotate(image, boxes):
        assert found.full((33, 47)).sum() == found.mask.sum()
        if found.mask.size:
            assert found.mask[[0, -1]].any(axis=1).all()  # cut to its extent
            assert found.mask[:, [0, -1]].any(axis=0).all()


def test_an_empty_mask_and_its_place() -> None:
    nothing = predict._cut(np.zeros((4, 4), bool), Window(0, 0, 4, 4), (4, 4), 0.5)
    assert nothing.mask.shape == (0, 0)
    assert not nothing.full((4, 4)).any()
    window = np.zeros((6, 6), bool)
    window[2, 3] = window[0, 0] = True  # the second lies beyond the image
    found = predict._cut(window, Window(-1, -1, 6, 6), (4, 4), 0.5)
    assert (found.top, found.left, found.mask.tolist()) == (1, 2, [[True]])


def test_no_boxes_no_masks_and_no_embedding(sam: sams.Sam, image: np.ndarray) -> None:
    annotator = BoxAnnotator(sam, field=150)
    assert annotator.annotate(image, np.zeros((0, 4))) == []
    assert annotator._embeddings == {}


def test_field_follows_the_training_scale_and_the_model(sam: sams.Sam) -> None:
    assert sams.MINIS["mini"].field == pretrain.FIELD
    assert default_field(sam, 0.25) == 150
    assert default_field(sam, 0.5) == 76  # 75, made even
    assert default_field(sam, 0.23) == 164  # 163.04
    assert default_field(sam, 10) == 16
    sam_b = type("Sam", (), {"image_encoder": type("E", (), {"img_size": 1024, "patch_embed": None})})
    assert default_field(sam_b, 0.25) is None


@pytest.mark.parametrize("spacing", [0, -1, float("nan"), float("inf")])
def test_impossible_spacing_is_refused(sam: sams.Sam, spacing: float) -> None:
    with pytest.raises(ValueError, match="expected µm per pixel > 0"):
        default_field(sam, spacing)


def test_wrong_input_is_named(sam: sams.Sam, image: np.ndarray) -> None:
    annotator = BoxAnnotator(sam, field=150)
    with pytest.raises(RuntimeError, match="set_image"):
        annotator.predict(BOXES)
    for wrong in (image[..., :2], image.astype(np.float32), image[:0]):
        with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\)"):
            annotator.set_image(wrong)
    with pytest.raises(ValueError, match=r"rois\.zip: box 0 of 1 .* leaves the image"):
        annotator.annotate(image, np.array([[0, 0, 300, 10]]), "rois.zip")
    with pytest.raises(ValueError, match="batch is 0"):
        BoxAnnotator(sam, field=150, batch=0)


@pytest.mark.skipif(
    not sams.SHIPPED["mini"].is_file(), reason="mini-SAM's weights do not ship yet (mini_sam.safetensors)"
)
def test_shipped_mini_sam_finds_a_disc() -> None:
    y, x = np.mgrid[:150, :150]
    disc = (y - 75) ** 2 + (x - 75) ** 2 < 11**2
    image = np.full((150, 150, 3), (230, 190, 215), np.uint8)
    image[disc] = (90, 60, 140)
    (found,) = BoxAnnotator(sams.load_mini(), field=150).annotate(image, np.array([[64, 64, 86, 86]]))
    mask = found.full((150, 150))
    assert (mask & disc).sum() / (mask | disc).sum() > 0.7


def test_masks_of_a_bfloat16_encoder_are_those_of_float32_up_to_a_few_pixels(sam: sams.Sam, image: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    corner = rng.integers(0, min(image.shape[:2]) - 30, (12, 2))
    boxes = np.hstack([corner, corner + 26]).astype(np.float32)
    exact = BoxAnnotator(sam, field=150).annotate(image, boxes)
    annotator = BoxAnnotator(sam, field=150, bfloat16=True)
    found = annotator.annotate(image, boxes)
    assert {maps[0].dtype for maps in annotator._embeddings.values()} == {torch.float32}
    both = sum(
        int((a.full(image.shape[:2]) & b.full(image.shape[:2])).sum()) for a, b in zip(exact, found, strict=True)
    )
    total = sum(int(each.mask.sum()) for each in (*exact, *found))
    assert 2 * both / total > 0.98
    assert [each.score for each in exact] != [each.score for each in found]  # it was another arithmetic
