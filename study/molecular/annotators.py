"""Who annotates, and how they err: explicit noise models on simulated patches.

An annotator sees nuclei as the simulation drew them, of every kind, and decides which are of the wanted type. On PAS
alone the decision is a chance per kind (class confusion). With IF it is read off the picture: the marker's mean over
the nucleus as this annotator drew it, against the slide's threshold as this annotator judges it; so bleed-through,
background, attenuation, heterogeneous expression and misregistration cause the errors, and nobody reads the truth.

Every number is an assumption unless a source is named. One published pair fixes the scale: Deng et al. (MICCAI 2023)
report F1 .850 for models trained on three lay annotators' molecular-informed marks and .702 for models trained on
pathologists' morphology-based ones (.7015 in the abstract's second version, .7051 in its first). Those are scores of
models; here they are taken as targets for the annotations themselves, F1 of nuclei matched one to one at IoU > 0.5,
because the annotations' own quality was not published. tests/annotation/test_annotators.py holds ANNOTATORS to it.

What this cannot imitate: errors are independent between nuclei and patches (no learning, fatigue, or habits beyond
one threshold per slide), every visible nucleus has one true outline, and lay annotators share no misunderstanding.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import ndimage

from allinsam_core.data.errors import DataError
from study.molecular.patch import CELL_TYPES, MARKER_OF, CellType, Patch, Truth
from study.simulation.tissue import noise

SMALLEST = 12  # px, as in the simulated truth
INVENTED = "invented"

# Chance to take a nucleus of this kind for the wanted one on PAS alone (assumptions, set to meet F1 ≈ .70 for the
# pathologist): podocytes are confused with the endothelial and parietal cells on either side of the basement
# membrane, mesangial cells with endothelial cells at the same stalk. Lay annotators hardly do better than chance
# inside the glomerulus, but see that tubules are something else.
_PATHOLOGIST: dict[CellType, dict[str, float]] = {
    "podocyte": {"podocyte": 0.75, "endothelial": 0.16, "parietal": 0.12, "mesangial": 0.08},
    "mesangial": {"mesangial": 0.75, "endothelial": 0.18, "podocyte": 0.07},
}
_LAY: dict[CellType, dict[str, float]] = {
    "podocyte": {"podocyte": 0.55, "endothelial": 0.35, "parietal": 0.35, "mesangial": 0.30, "tubular": 0.02,
                 "distal": 0.02},
    "mesangial": {"mesangial": 0.50, "endothelial": 0.35, "podocyte": 0.30, "parietal": 0.10, "interstitial": 0.03},
}  # fmt: skip


@dataclass(frozen=True)
class Annotator:
    """One noise model. Lengths in pixels (0.5 µm), chances 0 … 1.

    marker: decides by the IF image. confusion: wanted type → kind → chance to take it for the wanted one on PAS.
    doubt: with IF, follow PAS where the mean marker is within this
    factor of the threshold, |log(mean / threshold)| < doubt. outside: with IF, the chance to consider a
    marker-positive nucleus outside Bowman's capsule. threshold_error: sd of the log of the judged threshold, drawn
    once per slide. missed: chance to overlook a nucleus. invented: expected marks without a nucleus, per nucleus
    marked. roughness: sd of the contour. bias: mean of the contour, positive = drawn too large. looseness: each
    side of a box lies 0 … looseness pixels further out, uniform over whole pixels: our law, see `boxes.random`.
    """

    name: str
    marker: bool
    confusion: Mapping[CellType, Mapping[str, float]] = field(default_factory=lambda: _LAY)
    doubt: float = 0.0
    outside: float = 0.0
    threshold_error: float = 0.0
    missed: float = 0.0
    invented: float = 0.0
    roughness: float = 0.0
    bias: float = 0.0
    looseness: int = 0


# The paper's annotators (§4.1: one renal pathologist, three students) and the two comparisons it argues with.
ANNOTATORS: dict[str, Annotator] = {
    each.name: each
    for each in (
        Annotator("expert", marker=False, confusion=_PATHOLOGIST, missed=0.04, invented=0.02, roughness=0.7,
                  looseness=2),
        Annotator("expert_if", marker=True, confusion=_PATHOLOGIST, doubt=0.35, threshold_error=0.05, missed=0.03,
                  invented=0.01, roughness=0.7, looseness=2),
        Annotator("student1", marker=True, outside=0.03, threshold_error=0.08, missed=0.04, invented=0.02,
                  roughness=1.0, bias=0.3, looseness=4),
        Annotator("student2", marker=True, outside=0.05, threshold_error=0.12, missed=0.05, invented=0.03,
                  roughness=1.2, bias=0.5, looseness=6),
        Annotator("student3", marker=True, outside=0.08, threshold_error=0.15, missed=0.07, invented=0.04,
                  roughness=1.4, bias=0.2, looseness=8),
        Annotator("lay", marker=False, missed=0.08, invented=0.05, roughness=1.2, bias=0.4, looseness=6),
    )
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Annotation:
    """What one annotator drew of one cell type in one patch.

    instances: (H, W) uint16, labels 1 … n, 0 = background; later marks do not cover earlier ones.
    boxes: (n, 4) float32, XYXY pixels, half-open, of label 1 … n, loosened. kinds: n words, what the marked nucleus
    truly is, or "invented": for diagnosis only.
    """

    annotator: str
    cell_type: CellType
    instances: np.ndarray
    boxes: np.ndarray
    kinds: tuple[str, ...]

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: every marked pixel."""
        return self.instances > 0


def annotate(patch: Patch, annotator: str | Annotator, cell_type: CellType, seed: int = 0) -> Annotation:
    """Annotate a simulated patch; equal arguments give equal annotations.

    annotator: a key of ANNOTATORS or a noise model. DataError for a patch without truth, an unknown annotator, or,
    where the annotator decides by the marker, a patch without that channel or threshold.
    """
    model = _model(annotator)
    truth = _truth(patch)
    rng = np.random.default_rng([30725, seed, *_words(model.name, cell_type, patch.name)])
    drawn = {
        label: contour
        for label, box in enumerate(ndimage.find_objects(truth.instances), start=1)
        if (contour := _contour(truth.instances, label, box, model, rng)) is not None and rng.random() >= model.missed
    }
    chosen = _by_marker(patch, truth, drawn, model, cell_type, seed, rng) if model.marker else [
        label for label in drawn if rng.random() < _belief(truth.kinds[label - 1], model, cell_type)
    ]  # fmt: skip
    marks = [(truth.kinds[label - 1], drawn[label]) for label in chosen]
    for _ in range(rng.poisson(model.invented * len(marks))):
        if (blob := _invented(truth, rng)) is not None:
            marks.append((INVENTED, blob))
    return _collect(marks, truth.instances.shape, model, cell_type, rng)


def _model(annotator: str | Annotator) -> Annotator:
    if isinstance(annotator, Annotator):
        return annotator
    if annotator not in ANNOTATORS:
        raise DataError(f"annotator {annotator!r}, expected one of {', '.join(ANNOTATORS)} or an Annotator")
    return ANNOTATORS[annotator]


def _truth(patch: Patch) -> Truth:
    if patch.truth is None:
        raise DataError(f"{patch.name}: not simulated, so nothing to imitate; read its masks instead")
    return patch.truth


def _words(*words: str) -> list[int]:
    """Numbers for a seed; unlike hash(), the same in every process."""
    return [zlib.crc32(word.encode()) for word in words]


def _belief(kind: str, model: Annotator, cell_type: CellType) -> float:
    return model.confusion[cell_type].get(kind, 0.0)


_Contour = tuple[tuple[slice, slice], np.ndarray]  # window of the patch, bool in that window


def _contour(
    instances: np.ndarray, label: int, box: tuple[slice, slice], model: Annotator, rng: np.random.Generator
) -> _Contour | None:
    """A nucleus as drawn: its signed distance plus a smooth error, cut at 0; None when nothing is left.

    box: the label's bounding box; the error may reach a few pixels beyond.
    """
    reach = int(np.ceil(3 * model.roughness + abs(model.bias) + 2))
    rows, columns = (
        slice(max(span.start - reach, 0), min(span.stop + reach, side))
        for span, side in zip(box, instances.shape, strict=True)
    )
    inside = instances[rows, columns] == label
    depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    depth -= np.sign(depth) * 0.5  # the outline lies between pixels
    if model.roughness > 0:
        depth = depth + model.roughness * noise(rng, depth.shape, 3.0)
    pieces, count = ndimage.label(depth + model.bias > 0)
    if count == 0:
        return None
    shape = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return ((rows, columns), shape) if shape.sum() >= SMALLEST else None


def _by_marker(
    patch: Patch,
    truth: Truth, drawn: Mapping[int, _Contour], model: Annotator, cell_type: CellType, seed: int,
    rng: np.random.Generator,
) -> list[int]:  # fmt: skip
    """Labels whose mean marker, over the area as drawn, exceeds the threshold as judged."""
    marker = MARKER_OF[cell_type]
    light = patch.channel(marker)
    if marker not in patch.thresholds:
        raise DataError(f"{patch.name}: no {marker} threshold for slide {patch.slide}; see `marker_threshold`")
    judged = np.random.default_rng([30726, seed, *_words(model.name, cell_type, patch.slide)])
    threshold = patch.thresholds[marker] * np.exp(judged.normal(0, model.threshold_error))
    chosen = []
    for label, (window, shape) in drawn.items():
        mean = float(light[window][shape].mean())
        positive = mean > threshold
        if not truth.glomerulus[window][shape].mean() > 0.5:
            positive = positive and rng.random() < model.outside
        elif abs(np.log(max(mean, 1e-3) / threshold)) < model.doubt:
            positive = rng.random() < _belief(truth.kinds[label - 1], model, cell_type)
        if positive:
            chosen.append(label)
    return chosen


def _invented(truth: Truth, rng: np.random.Generator) -> _Contour | None:
    """An ellipse of a nucleus's size in the glomerulus where there is none; None when no place is found."""
    rows, columns = np.nonzero(truth.glomerulus & (truth.instances == 0))
    for _ in range(20):
        if len(rows) == 0:
            return None
        at = rng.integers(len(rows))
        long, short = rng.uniform(5.5, 8.5), rng.uniform(4, 6)
        turn, reach = rng.uniform(0, np.pi), 9
        height, width = truth.instances.shape
        window = (
            slice(max(rows[at] - reach, 0), min(rows[at] + reach + 1, height)),
            slice(max(columns[at] - reach, 0), min(columns[at] + reach + 1, width)),
        )
        dy, dx = np.ogrid[window]
        dy, dx = dy - rows[at], dx - columns[at]
        along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        shape = (along / long) ** 2 + (across / short) ** 2 < 1
        if (truth.instances[window][shape] > 0).mean() < 0.15 and shape.sum() >= SMALLEST:
            return window, shape
    return None


def _collect(
    marks: list[tuple[str, _Contour]], shape: tuple[int, ...], model: Annotator, cell_type: CellType,
    rng: np.random.Generator,
) -> Annotation:  # fmt: skip
    """Draw the marks one after the other and box them."""
    instances, boxes, kinds = np.zeros(shape, np.uint16), [], []
    for kind, (window, drawn) in marks:
        free = drawn & (instances[window] == 0)
        if free.sum() < SMALLEST:
            continue
        kinds.append(kind)
        instances[window][free] = len(kinds)
        rows, columns = np.nonzero(free)
        top, left = window[0].start, window[1].start
        out = rng.integers(0, model.looseness + 1, 4)
        boxes.append([
            max(left + columns.min() - out[0], 0), max(top + rows.min() - out[1], 0),
            min(left + columns.max() + 1 + out[2], shape[1]), min(top + rows.max() + 1 + out[3], shape[0]),
        ])  # fmt: skip
    return Annotation(model.name, cell_type, instances, np.array(boxes, np.float32).reshape(-1, 4), tuple(kinds))


def annotated(patch: Patch, annotators: Mapping[str, Annotator] | None = None, seed: int = 0) -> Patch:
    """The patch with the masks of these annotators (all of ANNOTATORS by default) added, both cell types."""
    models = ANNOTATORS if annotators is None else annotators
    drawn = {
        name: {each: annotate(patch, model, each, seed).mask for each in CELL_TYPES} for name, model in models.items()
    }
    return replace(patch, masks={**patch.masks, **drawn})
