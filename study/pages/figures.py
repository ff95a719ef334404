"""Figures of the notebooks and the results pages. Each takes saved rows or records and returns a Figure."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from allinsam_core.data.case import Case
from study import results as tables
from study.pages.fragments import LIGHT, Palette

WIDTH = 4.8  # inches, legible on a phone
MARKERS = {
    "allinsam": "o",
    "unet": "s",
    "mocl_unet": "*",
    "nnunet": "D",
    "zeroshot": "v",
    "otsu": "x",
    "lvit": "P",
    "xie": "X",
}
# Okabe & Ito's colour-blind-safe colours, two lists for light and dark pages
COLOURS = {
    "light": {
        "allinsam": "#0b62a4",
        "unet": "#b54708",
        "mocl_unet": "#8a6d00",
        "zeroshot": "#7a3b73",
        "otsu": "#5b5b5b",
        "nnunet": "#a11d2b",
        "lvit": "#6b5d00",
        "xie": "#00636e",
    },
    "dark": {
        "allinsam": "#6cb6ff",
        "unet": "#ffa657",
        "mocl_unet": "#e8cf5a",
        "zeroshot": "#e29bd6",
        "otsu": "#b8b8b8",
        "nnunet": "#ff8f8f",
        "lvit": "#dccb52",
        "xie": "#63d2de",
    },
}


def _axes(figure: Figure) -> Axes:
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def shown(figure: Figure | None, alt: str, dpi: int = 120) -> Image | None:
    """The figure as a notebook's picture, on white so that it reads on light and dark pages. alt: what it shows."""
    if figure is None:
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return Image(buffer.getvalue(), format="png", width=round(96 * figure.get_figwidth()), alt=alt)


def cost(record: dict[str, Any]) -> pd.DataFrame:
    """What a run took, as one column: parameters, seconds, memory, device, commit."""
    environment = record["environment"]
    facts = {
        "parameters, total": f"{record['parameters']['total']:,}",
        "parameters, trained": f"{record['parameters']['trained']:,}",
        "training images": record["training_part"]["images"],
        "training pixels": f"{record['training_part']['pixels']:,}",
        "fit, s": round(record["fit_seconds"], 1),
        "predict, s": round(record["predict_seconds"], 1),
        "peak memory, MiB": round(record["peak_memory_bytes"] / 2**20),
        "device": f"{environment['device']}: {environment['device_name']}, {environment['threads']} threads",
        "commit": record["commit"],
    }
    return pd.DataFrame({"this run": facts})


def learning_curve(record: dict[str, Any]) -> Figure | None:
    """Training loss against steps, and the validation Dice of each look. None where nothing was trained."""
    training = record["training"]
    if not training.get("losses"):
        return None
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = _axes(figure)
    steps, losses = zip(*training["losses"], strict=True)
    axes.plot(steps, losses, color=LIGHT.first, linewidth=1.2, label="training loss")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("training loss")
    if training["validations"]:
        looks = pd.DataFrame(training["validations"])
        other = axes.twinx()
        other.plot(looks["step"], looks["dice"], "D--", color=LIGHT.second, label="validation Dice")
        other.axvline(training["best"], color=LIGHT.second, linewidth=0.8, linestyle=":")
        other.set_ylabel("validation Dice (dashed)")
        other.set_ylim(0, 1)
    return figure


def per_image(rows: pd.DataFrame, metric: str) -> Figure:
    """One bar per test image, lowest first."""
    ordered = rows.sort_values(metric)
    figure = Figure(figsize=(WIDTH, 0.6 + 0.24 * len(ordered)), layout="constrained")
    axes = _axes(figure)
    axes.barh(np.arange(len(ordered)), ordered[metric], color=LIGHT.first, height=0.7)
    axes.set_yticks(np.arange(len(ordered)), ordered["image"], fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"{metric} of one test image")
    return figure


def predictions(cases: Sequence[Case], maps: Path) -> Figure:
    """Image, truth and prediction side by side; contours mark nuclei. maps: where the run left its 8-bit maps."""
    figure = Figure(figsize=(WIDTH * 1.5, WIDTH * 0.5 * len(cases)), layout="constrained")
    panels = figure.subplots(len(cases), 3, squeeze=False)
    for line, case in zip(panels, cases, strict=True):
        found = np.load(maps / f"{case.name}.npy", allow_pickle=False) >= 128
        pictures = (case.image, outlined(case.image, case.instances), outlined(case.image, found.astype(int)))
        for axes, picture, title in zip(line, pictures, ("image (simulated)", "truth", "prediction"), strict=True):
            axes.imshow(picture)
            axes.set_title(title, fontsize=8)
            axes.set_axis_off()
    return figure


def outlined(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The image with a yellow line around every label."""
    picture = image.copy()
    picture[find_boundaries(labels, mode="inner")] = (255, 225, 0)
    return picture


def dice_by_fraction(scores: pd.DataFrame, palette: Palette = LIGHT, label: str = "complete") -> Figure:
    """Dice against the share of training data: ours with 95 % intervals, the paper's as hollow marks."""
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axes = _axes(figure)
    colours = COLOURS[palette.name]
    by_method: dict[str, list[tables.Row]] = {}
    for row in tables.rows(scores, ("dice",)):
        if row.label == label:
            by_method.setdefault(row.method, []).append(row)
    for method, found in by_method.items():
        colour, name = colours.get(method, palette.ink), tables.METHOD_NAMES.get(method, method)
        cells = [r.cells["dice"] for r in found]
        if found[0].fraction == 0:
            axes.axhline(cells[0].ours.mean, color=colour, linestyle=":", linewidth=1.4, label=name)
            continue
        x = [100 * r.fraction for r in found]
        axes.plot(x, [c.ours.mean for c in cells], MARKERS.get(method, "o") + "-", color=colour, label=name)
        axes.fill_between(x, [c.ours.low for c in cells], [c.ours.high for c in cells], color=colour, alpha=0.15, lw=0)
        paper = [(share, c.paper) for share, c in zip(x, cells, strict=True) if c.paper is not None]
        if paper:
            printed = f"{name.split(' (')[0]}, paper"
            axes.plot(*zip(*paper, strict=True), MARKERS.get(method, "o"), color=colour, mfc="none", label=printed)
    axes.set_xscale("log")
    axes.set_xticks([0.5, 4, 100], ["0.5", "4", "100"])
    axes.minorticks_off()
    axes.set_xlabel("share of the training images, % (log scale)")
    axes.set_ylabel("Dice, mean over test images")
    figure.legend(loc="outside lower center", fontsize=7.5, frameon=False, ncols=2, labelcolor=palette.ink)
    return figure


def per_image_by_method(scores: pd.DataFrame, metric: str = "dice", palette: Palette = LIGHT) -> Figure:
    """Every test image's score at full training data (seeds averaged), one mark per method."""
    full = scores[(scores["fraction"].isin((1.0, 0.0))) & (scores["label"] == "complete")]
    means = full.pivot_table(index="image", columns="method", values=metric, aggfunc="mean", sort=False)
    means = means.sort_values(means.columns[0])
    figure = Figure(figsize=(WIDTH, 1.3 + 0.24 * len(means)), layout="constrained")
    axes = _axes(figure)
    for method in means.columns:
        colour = COLOURS[palette.name].get(method, palette.ink)
        name = tables.METHOD_NAMES.get(method, method)
        axes.plot(means[method], np.arange(len(means)), MARKERS.get(method, "o"), color=colour, label=name, ms=5)
    axes.set_yticks(np.arange(len(means)), [short(name) for name in means.index], fontsize=7)
    axes.grid(axis="y", color=palette.faint, linewidth=0.5)
    axes.set_xlabel(f"{metric} of one test image")
    figure.legend(loc="outside lower center", fontsize=7.5, frameon=False, ncols=2, labelcolor=palette.ink)
    return figure


def short(name: str) -> str:
    """A TCGA case without its prefix and slide suffix."""
    parts = name.split("-")
    return "-".join(parts[1:3]) if parts[0] == "TCGA" else name
