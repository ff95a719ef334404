"""The counterpart of the paper's Figure 3: one simulated patch as layers that a reader switches and blends.

Every layer is computed when the book is built: the simulation draws the patch, the noise models annotate it, mini-SAM
turns a student's boxes into masks. Nothing here is a measurement of a method; one patch shows what the words mean.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from allinsam_core.annotation.predict import BoxAnnotator, default_field
from allinsam_core.annotation.sam import load_mini
from allinsam_core.metrics.pixel import evaluate
from study.molecular.annotators import Annotation, annotate
from study.molecular.patch import CellType, Patch
from study.pages.fragments import Fragments, score
from study.simulation.glomerulus import cohort

CELL: CellType = "podocyte"
SIDE, ZOOM = 256, 2  # pixels of the patch, and how much larger it is drawn
NUMBER = 30  # which patch of the cohort
# Okabe & Ito's colours, told apart also by the colour-blind
COLOURS = {
    "truth": (255, 255, 255),
    "expert": (230, 159, 0),
    "student": (86, 180, 233),
    "boxes": (240, 228, 66),
    "sam": (0, 158, 115),
}
MISSED, EXTRA = (213, 94, 0), (0, 114, 178)


def fragments(results: Path) -> Fragments:
    """Pictures `layers_*` and numbers `layers:*`; no record is needed."""
    patch = cohort(size=SIDE)[NUMBER]
    return _fragments(patch, annotate(patch, "expert", CELL), annotate(patch, "student1", CELL))


def _fragments(patch: Patch, expert: Annotation, student: Annotation) -> Fragments:
    if patch.truth is None or patch.molecular is None:
        raise ValueError(f"{patch.name}: no truth or no IF image, expected a simulated patch")
    truth = patch.truth.of(CELL)
    sam = load_mini()
    answers = BoxAnnotator(sam, default_field(sam, patch.spacing)).annotate(patch.pas, student.boxes)
    masks = np.zeros_like(truth)
    for number, answer in enumerate(answers, start=1):
        masks[answer.full(masks.shape)] = number
    pictures = {
        "truth": outlined(truth, COLOURS["truth"]),
        "expert": outlined(expert.instances, COLOURS["expert"]),
        "student": outlined(student.instances, COLOURS["student"]),
        "boxes": boxed(student.boxes, truth.shape, COLOURS["boxes"]),
        "sam": outlined(masks, COLOURS["sam"]),
        "errors": errors(masks > 0, truth > 0),
    }
    files = {f"layers_{name}.png": _png(picture) for name, picture in pictures.items()}
    files |= {"layers_pas.jpg": _jpeg(patch.pas), "layers_if.jpg": _jpeg(patch.molecular)}
    numbers = {
        "layers:truth": str(len(np.unique(truth)) - 1),
        "layers:sam_dice": score(evaluate(masks > 0, truth > 0).dice, 2),
    }
    for name, drawn in (("expert", expert), ("student", student)):
        numbers[f"layers:{name}"] = str(len(drawn.kinds))
        numbers[f"layers:{name}_right"] = str(sum(kind == CELL for kind in drawn.kinds))
        numbers[f"layers:{name}_dice"] = score(evaluate(drawn.mask, truth > 0).dice, 2)
    return Fragments(numbers=numbers, files=files)


def outlined(labels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Labels (H, W) as a picture (ZOOM·H, ZOOM·W, 4) uint8 RGBA: faint inside, solid outline, clear elsewhere."""
    large = labels.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    picture = np.zeros((*large.shape, 4), np.uint8)
    picture[large > 0] = (*colour, 70)
    edge = find_boundaries(large, mode="thick")
    picture[edge] = (*colour, 255)
    return picture


def boxed(boxes: np.ndarray, shape: tuple[int, ...], colour: tuple[int, int, int]) -> np.ndarray:
    """Frames of boxes (n, 4) XYXY px, half-open, as RGBA like `outlined`."""
    picture = np.zeros((ZOOM * shape[0], ZOOM * shape[1], 4), np.uint8)
    for left, top, right, bottom in (ZOOM * boxes).round().astype(int):
        frame = picture[top:bottom, left:right]
        frame[[0, 1, -2, -1]] = frame[:, [0, 1, -2, -1]] = (*colour, 255)
    return picture


def errors(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pixels missed and pixels too many, (H, W) bool each, as RGBA like `outlined`."""
    picture = np.zeros((*truth.shape, 4), np.uint8)
    picture[truth & ~found] = (*MISSED, 230)
    picture[found & ~truth] = (*EXTRA, 230)
    return picture.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def _png(picture: np.ndarray) -> bytes:
    coded = io.BytesIO()
    Image.fromarray(picture, "RGBA").quantize(8, Image.Quantize.FASTOCTREE).save(coded, "PNG", optimize=True)
    return coded.getvalue()


def _jpeg(image: np.ndarray) -> bytes:
    coded = io.BytesIO()
    side = (ZOOM * image.shape[1], ZOOM * image.shape[0])
    Image.fromarray(image).resize(side, Image.Resampling.BICUBIC).save(coded, "JPEG", quality=85)
    return coded.getvalue()
