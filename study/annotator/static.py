"""The annotator's picture where no kernel runs: pictures, boxes and masks as plain HTML and SVG."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from study.annotator.session import Shape

COLOURS = ("#ffd400", "#00b4d8", "#ff6b6b", "#70e000", "#c77dff", "#ff9f1c", "#f15bb5", "#e0e0e0", "#8ac926")
"""Of the classes, in order; the same as in source/src/shape.ts."""


def html(
    pictures: Sequence[Mapping[str, Any]], shapes: Sequence[Shape], paths: Mapping[str, str], classes: Sequence[str]
) -> str:
    """Pictures side by side with everything annotated on each. paths: SVG paths of masks, by id."""
    drawn = "".join(_shape(shape, paths.get(shape.id, ""), classes) for shape in shapes)
    panes = "".join(_pane(picture, drawn, len(shapes)) for picture in pictures)
    return f'<div style="display: flex; flex-wrap: wrap; gap: 8px">{panes}</div>'


def _pane(picture: Mapping[str, Any], drawn: str, count: int) -> str:
    name, width, height = escape(str(picture["name"])), picture["width"], picture["height"]
    data = base64.b64encode(picture["data"]).decode()
    return (
        f'<div style="flex: 1 1 16rem; min-width: 0; max-width: 40rem"><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{name} with {count} annotated nuclei" style="width: 100%; height: auto">'
        f'<image href="data:image/png;base64,{data}" width="{width}" height="{height}"/>{drawn}</svg>'
        f"<div>{name}</div></div>"
    )


def _shape(shape: Shape, path: str, classes: Sequence[str]) -> str:
    colour = COLOURS[(classes.index(shape.name) if shape.name in classes else 0) % len(COLOURS)]
    ring = " ".join(f"{x:g},{y:g}" for x, y in shape.area.exterior.coords[:-1])
    line = f'fill="none" stroke="{colour}" vector-effect="non-scaling-stroke"'
    mask = f'<path d="{path}" fill="{colour}" fill-opacity="0.35"/>' if path else ""
    return f'{mask}<polygon points="{ring}" {line}><title>{escape(shape.name or "nucleus")}</title></polygon>'
