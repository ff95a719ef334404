"""Writes what the book substitutes: numbers, tables and figures, computed, none typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl

from study.pages import (
    api_page,
)
from study.pages.fragments import PALETTES, Draw, Fragments, Palette

Section = Callable[[Path], Fragments]
SECTIONS: tuple[Section, ...] = (
    api_page.fragments,
)
NUMBERS = "numbers.json"


def generate(results: Path, out: Path, sections: tuple[Section, ...] = SECTIONS) -> list[Path]:
    """Write `numbers.json`, one `.md` a table, a light and a dark `.svg` a figure, and other files into `out`.

    results: the study's folder of rows and run records. A missing record raises; two sections that write the
    same name raise. Tables and figures of an earlier call that are not written again are removed from `out`.
    """
    out.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, str] = {}
    written: list[Path] = []
    for section in sections:
        part = section(results)
        if twice := numbers.keys() & part.numbers.keys():
            raise ValueError(f"book numbers written by two sections: {', '.join(sorted(twice))}")
        numbers |= part.numbers
        for name, text in part.tables.items():
            written.append(_new(out / f"{name}.md", written))
            written[-1].write_text(text, encoding="utf-8")
        for name, draw in part.figures.items():
            for palette in PALETTES:
                written.append(_new(out / f"{name}-{palette.name}.svg", written))
                _save(draw, palette, written[-1])
        for name, content in part.files.items():
            written.append(_new(out / name, written))
            written[-1].write_bytes(content)
    written.append(out / NUMBERS)
    written[-1].write_text(json.dumps(numbers, indent=1, sort_keys=True, ensure_ascii=False), encoding="utf-8")
    for path in (path for kind in ("*.md", "*.svg", "*.png", "*.jpg") for path in out.glob(kind)):
        if path not in written:
            path.unlink()
    return written


def _new(path: Path, written: list[Path]) -> Path:
    if path in written:
        raise ValueError(f"{path}: two sections of the book write this file")
    return path


def _save(draw: Draw, palette: Palette, path: Path) -> None:
    style: dict[Any, object] = {
        "svg.hashsalt": path.stem,  # the same bytes from the same numbers
        "font.size": 10,
        "font.family": "DejaVu Sans",
        "text.color": palette.ink,
        "axes.labelcolor": palette.ink,
        "axes.edgecolor": palette.faint,
        "xtick.color": palette.ink,
        "ytick.color": palette.ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "x",
        "grid.color": palette.faint,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "legend.frameon": False,
    }
    with mpl.rc_context(style):
        figure = draw(palette)
        figure.savefig(path, transparent=True, metadata={"Date": None})
