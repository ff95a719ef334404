"""Pictures of the corrective losses at work: W, S, ω and the prototype of one patch over a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from study.pages.figures import outlined
from study.simulation.demonstration import REGIONS, Demonstration

MAPS = {"confidence": "W, confidence", "similarity": "S, similarity", "omega": "ω, weight"}
MARKS = ("o", "^", "s", "D")
LINES = ("#0b62a4", "#b54708", "#7a3b73", "#00684a")


def annotation(demo: Demonstration) -> Figure:
    """The patch with its true outlines, with the annotation's, and the regions where the two part."""
    figure = Figure(figsize=(7.2, 2.6), layout="constrained")
    kinds = np.array([[225, 225, 225], [213, 94, 0], [0, 114, 178], [255, 255, 255]], np.uint8)  # Okabe & Ito
    pictures = {
        "truth (simulated)": outlined(demo.truth.image, demo.truth.instances),
        "annotation": outlined(demo.truth.image, demo.noisy.instances),
        "orange: missed, blue: invented": kinds[demo.regions],
    }
    for axes, (title, picture) in zip(figure.subplots(1, 3), pictures.items(), strict=True):
        axes.imshow(picture)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    return figure


def evolution(demo: Demonstration) -> Figure:
    """W, S and ω, a row each, at every snapshot; one grey scale per row. Dots: the k chosen pixels."""
    columns = len(demo.snapshots)
    figure = Figure(figsize=(1.45 * columns + 0.7, 4.9), layout="constrained")
    panels: Any = figure.subplots(len(MAPS), columns, squeeze=False)
    for line, (name, label) in zip(panels, MAPS.items(), strict=True):
        maps = [getattr(s, name) for s in demo.snapshots]
        low, high = min(0.0, min(float(m.min()) for m in maps)), max(1.0, max(float(m.max()) for m in maps))
        for axes, snapshot, values in zip(line, demo.snapshots, maps, strict=True):
            shown = axes.imshow(values, cmap="gray", vmin=low, vmax=high)
            axes.set(xticks=[], yticks=[])
            if name == "confidence":
                axes.set_title(f"step {snapshot.step}\n{'corrective' if snapshot.corrective else 'plain'}", fontsize=8)
            if name == "similarity":
                axes.plot(snapshot.chosen[:, 1], snapshot.chosen[:, 0], ".", color="#d55e00", ms=1.5)
        line[0].set_ylabel(label, fontsize=9)
        figure.colorbar(shown, ax=list(line), shrink=0.85, pad=0.01).ax.tick_params(labelsize=7)
    return figure


def principal(prototypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components of prototypes (N, C): scores (N, 2), and their shares of the variance (2,)."""
    centred = prototypes - prototypes.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    share = values**2 / max(float((values**2).sum()), 1e-12)
    return left[:, :2] * values[:2], share[:2]


def prototypes(demos: Mapping[str, Demonstration]) -> Figure:
    """The prototype's way through the training of every loss, on the two principal axes they share; steps beside it."""
    stacked = np.concatenate([[s.prototype for s in demo.snapshots] for demo in demos.values()])
    at, share = principal(stacked)
    figure = Figure(figsize=(4.8, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    start = 0
    for (name, demo), mark, colour in zip(demos.items(), MARKS, LINES, strict=False):
        own = at[start : start + len(demo.snapshots)]
        start += len(demo.snapshots)
        axes.plot(own[:, 0], own[:, 1], mark + "-", color=colour, label=name, ms=5, lw=1.2)
        for snapshot, place in zip(demo.snapshots, own, strict=True):
            axes.annotate(
                str(snapshot.step), place, xytext=(4, 4), textcoords="offset points", fontsize=7, color=colour
            )
    axes.set_xlabel(f"first principal component ({share[0]:.0%} of the variance)")
    axes.set_ylabel(f"second ({share[1]:.0%})")
    axes.legend(frameon=False, fontsize=8)
    return figure


def means(demo: Demonstration) -> pd.DataFrame:
    """Mean W, S and ω in each region at every snapshot: one line per step and region."""
    lines = []
    for snapshot in demo.snapshots:
        for region in REGIONS:
            w, s, omega = snapshot.mean_in(demo.regions)[region]
            phase = "corrective" if snapshot.corrective else "plain"
            lines.append({"step": snapshot.step, "phase": phase, "region": region, "W": w, "S": s, "ω": omega})
    return pd.DataFrame(lines).set_index(["step", "phase", "region"]).round(2)
