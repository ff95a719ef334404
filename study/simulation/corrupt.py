"""Annotation errors of a declared law, for the experiment "final quality against label-noise rate".

The errors are ours to declare: missed cells, invented cells and loose contours are what lay annotation is
described to suffer from (paper §3.3: "noisy and erroneous"); their shares and sizes are assumptions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, cast

import numpy as np
from pydantic import Field
from scipy.ndimage import distance_transform_edt, find_objects

from allinsam_core.data.case import Case
from allinsam_core.settings import Settings

Kind = Literal["drop", "invent", "dilate", "erode", "shift"]


class NoiseLaw(Settings):
    """Shares of the kinds of error (any positive scale) and their sizes, uniform in [low, high] µm."""

    drop: float = Field(default=0.3, ge=0)
    invent: float = Field(default=0.2, ge=0)
    dilate: float = Field(default=0.2, ge=0)
    erode: float = Field(default=0.1, ge=0)
    shift: float = Field(default=0.2, ge=0)
    contour: tuple[float, float] = (0.25, 1.0)  # how far a contour moves, µm
    distance: tuple[float, float] = (1.0, 3.0)  # how far a whole nucleus moves, µm

    def shares(self) -> tuple[list[Kind], np.ndarray]:
        """The kinds and their probabilities, which sum to 1."""
        kinds: list[Kind] = ["drop", "invent", "dilate", "erode", "shift"]
        weight = np.array([getattr(self, kind) for kind in kinds], dtype=float)
        if not weight.sum() > 0:
            raise ValueError("the noise law has no kind of error with a positive share")
        return kinds, weight / weight.sum()


class Error(NamedTuple):
    """One error: the nucleus `label` it strikes, or (invent) the one whose shape it borrows; size in pixels."""

    label: int
    kind: Kind
    size: float
    seed: tuple[int, int]


def plan(case: Case, rate: float, seed: int, law: NoiseLaw | None = None) -> list[Error]:
    """The errors of a case: each nucleus gives rise to one with probability `rate`, of a kind drawn by the shares.

    Each nucleus has a random stream of its own, so a higher rate keeps the errors of a lower one and adds to
    them. Raises ValueError for a rate outside 0 … 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"{case.name}: the noise rate is {rate}; expected 0 … 1 (errors per nucleus)")
    law = law or NoiseLaw()
    kinds, shares = law.shares()
    errors = []
    for label in np.unique(case.instances[case.instances > 0]).tolist():
        rng = np.random.default_rng([seed, label])
        struck, kind = rng.random() < rate, kinds[rng.choice(len(kinds), p=shares)]
        size = rng.uniform(*(law.distance if kind == "shift" else law.contour)) / case.spacing
        if struck:
            errors.append(Error(label, kind, size, (seed, label)))
    return errors


def corrupt(case: Case, rate: float, seed: int, law: NoiseLaw | None = None) -> Case:
    """The case with erroneous instances; image and everything else stay. Same arguments, same result.

    The errors of `plan`, one after another. Nothing is ever painted over another nucleus: what grows, moves or
    is invented takes background only. An invented nucleus is a turned copy of a real one (label: above all
    others) at a place where the truth has none; where 100 draws find no such place it is left out, as is a
    nucleus that erosion removes or a move takes out of the image. Nuclei that no error strikes keep label
    and pixels.
    """
    truth, noisy = case.instances, case.instances.copy()
    objects = find_objects(truth.astype(np.int32))
    free = int(truth.max()) + 1
    for error in plan(case, rate, seed, law):
        rng = np.random.default_rng([*error.seed, 1])
        nucleus = cast(tuple[slice, slice], objects[error.label - 1])
        if error.kind == "invent":
            window, drawn = _elsewhere(truth, truth[nucleus] == error.label, rng)
            label, free = free, free + 1
        else:
            window, label = _widened(nucleus, int(error.size) + 2), error.label
            noisy[nucleus][truth[nucleus] == label] = 0
            drawn = _redrawn(truth[window] == label, error, rng)
        noisy[window][drawn & (noisy[window] == 0)] = label
    if free > np.iinfo(np.uint16).max:
        raise ValueError(f"{case.name}: {free - 1} labels after corruption; uint16 holds 65535. Crop the case.")
    return replace(case, name=f"{case.name}~{rate:g}", instances=noisy)


def _widened(window: tuple[slice, slice], margin: int) -> tuple[slice, slice]:
    rows, cols = (slice(max(0, s.start - margin), s.stop + margin) for s in window)
    return rows, cols


def _redrawn(nucleus: np.ndarray, error: Error, rng: np.random.Generator) -> np.ndarray:
    """Where the annotator draws this nucleus, a bool map like the one given; empty if missed."""
    if error.kind == "dilate":
        return distance_transform_edt(~nucleus) <= max(1.0, error.size)
    if error.kind == "erode":
        return distance_transform_edt(nucleus) > max(1.0, error.size)
    found = np.zeros_like(nucleus)
    if error.kind == "shift":
        angle = rng.uniform(0, 2 * np.pi)
        at = np.argwhere(nucleus) + np.rint(error.size * np.array([np.sin(angle), np.cos(angle)])).astype(int)
        at = at[((at >= 0) & (at < nucleus.shape)).all(axis=1)]
        found[tuple(at.T)] = True
    return found


def _elsewhere(
    truth: np.ndarray, shape: np.ndarray, rng: np.random.Generator
) -> tuple[tuple[slice, slice], np.ndarray]:
    """A window of the truth and a turned copy of `shape` in it, on background; empty if no place was found."""
    shape = np.rot90(shape, int(rng.integers(4)))
    room = np.array(truth.shape) - shape.shape
    for _ in range(100 if (room >= 0).all() else 0):
        top, left = (int(at) for at in rng.integers(room + 1))
        window = (slice(top, top + shape.shape[0]), slice(left, left + shape.shape[1]))
        if not truth[window][shape].any():
            return window, shape
    return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), dtype=bool)
