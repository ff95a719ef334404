"""One page a slide that shows at a glance whether its result can be trusted: a self-contained HTML file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from allinsam_core.atomic import replacing
from study.tools.formats.nucleus import Nucleus
from study.tools.tissue import Tissue

mpl.use("Agg")
STYLE = "body{font:16px sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}img{max-width:100%}"
STYLE += "td,th{text-align:left;padding:.15rem 1rem .15rem 0}.warning{font-weight:bold}"
MOST = 200_000  # nuclei that the histograms show, the first ones


class Summary:
    """What the page says about the nuclei, gathered while they pass."""

    def __init__(self, tissue: Tissue, scale: float) -> None:
        self._cell, self._scale = tissue.cell, scale
        self.density: np.ndarray = np.zeros(tissue.mask.shape, np.int64)
        self.count = 0
        self.classes: dict[str, int] = {}
        self.area: list[float] = []
        self.confidence: list[float] = []

    def watch(self, nuclei: Iterable[Nucleus]) -> Iterable[Nucleus]:
        """The same nuclei, counted."""
        height, width = self.density.shape
        for nucleus in nuclei:
            rows, columns = nucleus.mask.shape
            y = int((nucleus.top + rows / 2) * self._scale / self._cell)
            x = int((nucleus.left + columns / 2) * self._scale / self._cell)
            self.density[min(y, height - 1), min(x, width - 1)] += 1
            self.count += 1
            self.classes[nucleus.kind] = self.classes.get(nucleus.kind, 0) + 1
            if len(self.area) < MOST:
                self.area.append(nucleus.measured.get("area_um2", float("nan")))
                self.confidence.append(nucleus.confidence)
            yield nucleus


def write(
    path: Path, title: str, tissue: Tissue, summary: Summary, facts: Mapping[str, str], warnings: list[str]
) -> None:
    """The page: warnings, facts, the slide with its tissue outlined, where nuclei are, their sizes and confidence."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    notes = "".join(f'<p class="warning">Warning: {escape(text)}</p>' for text in warnings)
    pictures = (
        ("The slide; the outline is the tissue that was segmented", _overview(tissue)),
        ("Nuclei per cell of the map: holes in tissue, or crowds on glass, are suspicious", _density(summary)),
        (
            "Sizes and confidence: a peak at the smallest size is debris, low confidence a foreign stain",
            _histograms(summary),
        ),
    )
    shown = "".join(
        f'<figure><img alt="{escape(text)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for text, png in pictures
    )
    with replacing(path) as file:
        file.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
            f"<h1>{escape(title)}</h1>{notes}<table>{rows}</table>{shown}</html>\n",
            encoding="utf-8",
        )


def _overview(tissue: Tissue) -> bytes:
    figure = Figure(figsize=(8, _height(tissue.mask)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(tissue.picture)
    if tissue.mask.any() and not tissue.mask.all():
        axes.contour(tissue.mask, levels=[0.5], colors="#0072b2", linewidths=1)
    axes.set_axis_off()
    return _png(figure)


def _height(shown: np.ndarray) -> float:
    """Inches, for a picture 8 inches wide."""
    return float(np.clip(8 * shown.shape[0] / shown.shape[1], 1, 16))


def _density(summary: Summary) -> bytes:
    figure = Figure(figsize=(8, _height(summary.density)))
    axes = figure.add_subplot()
    figure.colorbar(axes.imshow(summary.density, cmap="viridis"), label="nuclei")
    axes.set_axis_off()
    return _png(figure)


def _histograms(summary: Summary) -> bytes:
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, values, name in zip(
        figure.subplots(1, 2), (summary.area, summary.confidence), ("area, µm²", "mean probability"), strict=True
    ):
        axes.hist(values, bins=50, color="#0072b2")
        axes.set_xlabel(name)
        axes.set_ylabel("nuclei")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=100)
    return out.getvalue()
