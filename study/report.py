"""What the notebooks behind the book's pages share: numbers as text, figures for light and dark pages, wide tables.

A page's notebook glues what its Markdown names: {glue:text}`key` is a number, {glue:figure} and {glue:table} are a
figure and a table with a numbered caption. Text is light Markdown: `code`, **bold**, [a link](address), newlines.
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, Image, display
from matplotlib.figure import Figure
from myst_nb import glue
from PIL import Image as pillow
from skimage.segmentation import find_boundaries

from study.results import NotRun
from study.sam_names import REHEARSED
from study.stats import Interval

REHEARSAL = "Rehearsal with stand-ins: numbers mean nothing."
WIDTH = 5.2  # inches of a figure: legible on a phone


# eight colours for light and eight for dark pages; any two differ by 28 (CIE76) for normal, protan and deutan vision
LIGHT = ("#2b82ff", "#d6791f", "#1f1c8b", "#46a26c", "#5b4a02", "#f152b6", "#004860", "#363022")
DARK = ("#64d4fd", "#d6510a", "#7e4dfc", "#3afb8d", "#f8ce23", "#cc3964", "#2f76b5", "#d3eee8")
MODES = {"light": ("#ffffff", "#1f2328", "#d5d9df", LIGHT), "dark": ("#121212", "#e6e8eb", "#3c434d", DARK)}


@dataclass(frozen=True)
class _Shown:
    """Something glued: HTML where it is a block, plain text inside a sentence."""

    markup: str
    text: str

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # {glue:text} evaluates what looks like Python: unquoted, 0.70 would read 0.7 and 2,674 a pair of numbers
        return {"text/html": self.markup, "text/plain": repr(self.text)}


# ---- numbers


def score(value: float, digits: int = 3) -> str:
    """A score: 0.825."""
    return signed(value, digits).lstrip("+")


def signed(value: float, digits: int = 3) -> str:
    """A difference, always with its sign; a true minus sign: +0.002, −0.004. What rounds to zero is +0.000."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def p_value(value: float) -> str:
    """Of a test; a dash where there was none to do."""
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else score(value)


def interval(found: Interval, show: Callable[[float], str] = score, between: str = "\n") -> str:
    """A mean and its 95 % interval: **0.825** [0.801, 0.846]. between: what parts them, in a table a new line."""
    return f"**{show(found.mean)}**{between}[{show(found.low)}, {show(found.high)}]"


def numbers(**texts: str | int) -> None:
    """Name numbers for the page's sentences, where {glue:text}`name` shows them; formatted, none typed."""
    for name, text in texts.items():
        glue(name, _Shown(_markup(str(text)), str(text)), display=False)


# ---- records


def folder(path: str | Path) -> Path:
    """`path`, if relative in the first of this folder and its parents that has it: notebooks run from anywhere."""
    here = Path.cwd()
    return next((place / path for place in (here, *here.parents) if (place / path).exists()), Path(path))


@contextmanager
def if_run(*keys: str) -> Iterator[None]:
    """A part of the page that may not have been run: each of `keys` says so then. Other errors stay errors."""
    try:
        yield
    except NotRun as missing:
        for key in keys:
            glue(key, _Shown(f'<p class="not-run">Not run yet. {html.escape(str(missing))}</p>', "not run"))


def written_for(written: str, profile: str) -> None:
    """Say so, above the tables, where a page shows another profile than its sentences were written for."""
    if profile == written:
        return
    warning = f"<b>{REHEARSAL}</b> " if profile == REHEARSED else ""
    words = f"Sentences were written for the profile {written}; numbers, tables and figures are of {profile}."
    display(HTML(f"<p>{warning}{html.escape(words)}</p>"))


def runs(text: str, **filters: object) -> str:
    """A link to the page of all runs, showing those whose columns equal `filters`."""
    return f"[{text}](runs.html?{urlencode({key: str(value) for key, value in filters.items()})})"


def reproduce(command: str, records: Sequence[Mapping[str, Any]]) -> str:
    """What it takes to make a table's runs again: command, computing time, hardware. records: of its runs."""
    hours = sum(r["fit_seconds"] + r["predict_seconds"] for r in records) / 3600
    machines = sorted({f"{r['environment']['device_name']}, {r['environment']['threads']} thread(s)" for r in records})
    time = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
    warning = f"{REHEARSAL}\n" if any(r.get("config", {}).get("profile") == REHEARSED for r in records) else ""
    spent = f"{len(records)} runs, {time} of training and prediction in all, on {'; '.join(machines)}."
    return f"{warning}`{command}`\n{spent}"


# ---- figures and tables


def figure(key: str, alt: str) -> Callable[[Callable[[], Figure]], None]:
    """Decorate a function that draws a figure: it is drawn for light and for dark pages and glued as `key`.

    The eight colours of the mode are `sns.color_palette()` while it draws. alt: what the figure shows, in words.
    """

    def show(draw: Callable[[], Figure]) -> None:
        markup = ""
        for name, (page, ink, faint, colours) in MODES.items():
            with sns.axes_style("whitegrid", _style(page, ink, faint)), sns.color_palette(colours):
                plt.rcParams["svg.hashsalt"] = key  # the same bytes from the same numbers
                content = _saved(draw(), format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
            # outside the book, which shows the one that suits the page, the light one alone is seen
            style = f"background: {page}" if name == "light" else "display: none"
            markup += _image(content, "svg+xml", alt, f'class="in-{name}" style="{style}"')
        glue(key, _Shown(markup, alt))

    return show


def photograph(key: str, alt: str, dpi: int = 100) -> Callable[[Callable[[], Figure]], None]:
    """Decorate a function that draws a figure of pictures: glued once, as a JPEG on white."""

    def show(draw: Callable[[], Figure]) -> None:
        smaller = {"quality": 75, "optimize": True}
        content = _saved(draw(), format="jpg", dpi=dpi, facecolor="white", pil_kwargs=smaller)
        glue(key, _Shown(_image(content, "jpeg", alt), alt))

    return show


def shown(figure: Figure, alt: str, dpi: int = 120) -> Image:
    """A figure as the picture that a cell displays, on white so that it reads on light and dark pages.

    alt: what it shows, in words.
    """
    width = round(96 * figure.get_figwidth())
    return Image(_saved(figure, format="png", dpi=dpi, facecolor="white"), format="png", width=width, alt=alt)


def learning_curve(training: Mapping[str, Any]) -> Figure:
    """Training loss against optimiser steps, and the Dice of each validation; a dotted line marks the weights kept.

    training: `losses` (step, loss), `validations` (each with `step` and `dice`) and `best`, as a record has them.
    """
    figure, axes = plt.subplots(figsize=(4.8, 2.8), layout="constrained")
    axes.plot(*zip(*training["losses"], strict=True), label="training loss")
    axes.set(xlabel="optimiser step", ylabel="training loss")
    if training["validations"]:
        validations = pd.DataFrame(training["validations"])
        other = axes.twinx()
        other.plot(validations["step"], validations["dice"], "D--", color="C1", label="validation Dice")
        other.axvline(training["best"], color="C1", linewidth=0.8, linestyle=":")
        other.set(ylabel="validation Dice (dashed)", ylim=(0, 1))
    return figure


# ---- pictures in layers

ZOOM = 2  # pixels of a layer for a pixel of its image
Colour = tuple[int, int, int]
Picture = pillow.Image


def enlarged(image: np.ndarray) -> Picture:
    """The lowest layer: an image (H, W, 3) uint8, ZOOM times as large."""
    height, width = image.shape[:2]
    return pillow.fromarray(image).resize((ZOOM * width, ZOOM * height), pillow.Resampling.BICUBIC)


def outlined(*parts: tuple[np.ndarray, Colour], inside: int = 70) -> Picture:
    """A clear layer with nuclei outlined, each part in its colour, later ones on top.

    parts: labels (H, W) integers, 0 = background, and an RGB colour. inside: how opaque nuclei are filled, 0 to 255.
    """
    picture = np.zeros((ZOOM * parts[0][0].shape[0], ZOOM * parts[0][0].shape[1], 4), np.uint8)
    for labels, colour in parts:
        large = np.kron(labels, np.ones((ZOOM, ZOOM), labels.dtype))
        if inside:
            picture[large > 0] = (*colour, inside)
        picture[find_boundaries(large)] = (*colour, 255)
    return pillow.fromarray(picture).quantize(16, pillow.Quantize.FASTOCTREE)


def boxed(shape: tuple[int, ...], boxes: np.ndarray, colour: Colour) -> Picture:
    """A clear layer with frames one pixel wide. boxes: (N, 4) XYXY px of the image of `shape`, half-open."""
    picture = np.zeros((ZOOM * shape[0], ZOOM * shape[1], 4), np.uint8)
    for left, top, right, bottom in (ZOOM * boxes).round().astype(int):
        frame = picture[top:bottom, left:right]
        frame[[0, -1]] = frame[:, [0, -1]] = (*colour, 255)
    return pillow.fromarray(picture).quantize(16, pillow.Quantize.FASTOCTREE)


def layers(label: str, pictures: Mapping[str, tuple[Picture, str, str]], switched_on: Sequence[str]) -> HTML:
    """Pictures of one place, lowest first, that a page of the book stacks (book/_static/layers.js), else a list.

    label: what the stack shows. pictures: title → picture, its alternative text, and what it is. switched_on: titles.
    """
    items = ""
    for title, (picture, alt, words) in pictures.items():
        kind, coded = ("PNG" if picture.mode == "P" else "JPEG"), io.BytesIO()
        picture.save(coded, kind, optimize=True)
        image = _image(coded.getvalue(), kind.lower(), alt, f'width="{picture.width}" height="{picture.height}"')
        items += f"<li>{image}<strong>{html.escape(title)}</strong>: {html.escape(words)}</li>"
    on, label = (html.escape(text, quote=True) for text in ("|".join(switched_on), label))
    return HTML(f'<div class="layers" data-on="{on}" data-label="{label}"><ul>{items}</ul></div>')


def _style(page: str, ink: str, faint: str) -> dict[str, object]:
    written = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
    colours = dict.fromkeys(written, ink) | {"axes.edgecolor": faint, "grid.color": faint, "patch.edgecolor": page}
    return {**colours, "axes.spines.top": False, "axes.spines.right": False}


def _saved(drawn: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    drawn.savefig(buffer, **options)
    plt.close(drawn)
    return buffer.getvalue()


def _image(content: bytes, kind: str, alt: str, more: str = "") -> str:
    return f'<img alt="{html.escape(alt)}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}" {more}>'


def table(key: str, frame: pd.DataFrame, data: pd.DataFrame | None = None, text: int = 1, again: str = "") -> None:
    """Glue a table as `key`: it scrolls sideways under its first column and can be had as CSV.

    frame: as it is read, a cell light Markdown. data: what the CSV holds, else the cells as they are read. text: how
    many columns, from the left, are words. again: of `reproduce`.
    """
    shown = frame.rename(columns=_markup).map(lambda cell: _markup(str(cell)))
    body = shown.to_html(index=False, escape=False, border=0, classes=f"table text-{text}", justify="unset")
    data = frame.rename(columns=_plain).map(lambda cell: _plain(str(cell))) if data is None else data
    csv = data.to_csv(index=False, lineterminator="\n")
    foot = f'<a download="{key}.csv" href="data:text/csv;charset=utf-8,{quote(csv)}">Download as CSV</a>'
    if again:
        foot += f"<details><summary>Reproduce this table</summary>{_markup(again)}</details>"
    warning = f"<p><b>{REHEARSAL}</b></p>" if REHEARSAL in again else ""
    markup = f'{warning}<div class="wide-table" tabindex="0">{body}</div><div class="table-foot">{foot}</div>'
    glue(key, _Shown(markup.replace("\n", " "), f"table {key}"))


_MARKS = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<b>\1</b>"),
    (re.compile(r"\[([^\]]+)\]\(([^)]+)\)"), r'<a href="\2">\1</a>'),
    (re.compile(r"\n"), "<br>"),
)


def _markup(text: str) -> str:
    """Light Markdown as HTML; anything else in it stays text."""
    text = html.escape(text, quote=False).replace(" %", "\u00a0%")
    for mark, shown in _MARKS:
        text = mark.sub(shown, text)
    return text


def _plain(text: str) -> str:
    """Light Markdown without its marks."""
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text).replace("**", "").replace("`", "").replace("\n", " ")
