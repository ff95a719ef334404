"""The paper's Figures 1 and 2 as our own drawings: same content, other layout, upright so that a phone shows them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from study.pages.fragments import Fragments, Palette

WIDTH = 4.2  # inches; 403 CSS pixels, and one unit of a drawing is 1/100 of it


def fragments(results: Path) -> Fragments:
    """Figures `idea` and `framework`; no record is needed."""
    return Fragments(figures={"idea": idea, "framework": framework})


@dataclass(frozen=True)
class Sheet:
    """A canvas 100 units wide, y downwards. `first` marks what is frozen or given, `second` what is new or trained."""

    axes: Axes
    palette: Palette

    @classmethod
    def of(cls, height: float, palette: Palette) -> tuple[Figure, Sheet]:
        figure = Figure(figsize=(WIDTH, WIDTH * height / 100))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 100), ylim=(height, 0))
        axes.set_axis_off()
        return figure, cls(axes, palette)

    def box(self, x: float, y: float, width: float, height: float, text: str, new: bool = False) -> None:
        """A labelled box; new: with a thick outline in the second colour and a shaded ground."""
        p = self.palette
        shape = FancyBboxPatch((x + 1, y + 1), width - 2, height - 2, boxstyle="round,pad=1,rounding_size=1.5")
        shape.set(edgecolor=p.second if new else p.first, facecolor=p.shade if new else "none")
        shape.set_linewidth(1.8 if new else 1.1)
        self.axes.add_patch(shape)
        self.text(x + width / 2, y + height / 2, text)

    def text(self, x: float, y: float, text: str, size: float = 8.2, align: str = "center", bold: bool = False) -> None:
        weight = "bold" if bold else "normal"
        self.axes.text(x, y, text, ha=align, va="center", fontsize=size, weight=weight, linespacing=1.15)

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line through the points, with a head at the last."""
        ink = self.palette.ink
        if len(points) > 2:
            self.axes.plot(*zip(*points[:-1], strict=True), color=ink, linewidth=1, solid_joinstyle="miter")
        style = {"arrowstyle": "-|>", "color": ink, "linewidth": 1, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        self.axes.annotate("", points[-1], points[-2], arrowprops=style)

    def legend(self, y: float, given: str, new: str) -> None:
        self.box(4, y, 6, 5, "")
        self.text(12, y + 2.5, given, align="left")
        self.box(50, y, 6, 5, "", new=True)
        self.text(58, y + 2.5, new, align="left")


LAY = "lay person,\nPAS + IF"
SCHEMES: tuple[tuple[str, tuple[str, ...], tuple[bool, ...]], ...] = (  # what each column says, and is it new
    ("Traditional", ("expert,\nPAS only", "outlines", "drawn\nmasks", "a network"), (False,) * 4),
    ("MOCL", (LAY, "outlines", "drawn\nmasks", "a network,\ncorrected"), (True, False, False, True)),
    ("SAM-L", (LAY, "boxes", "masks\nby SAM", "a network,\ncorrected"), (False, True, True, False)),
    ("All-in-SAM", (LAY, "boxes", "masks\nby SAM", "SAM itself,\nadapted"), (False,) * 3 + (True,)),
)  # fmt: skip


def idea(palette: Palette) -> Figure:
    """Four schemes, one a row: who looks at what, what they draw, where the label comes from, what learns."""
    figure, sheet = Sheet.of(98, palette)
    columns = ((1, 25), (29, 18), (50, 19), (72, 27))
    for (x, width), title in zip(columns, ("who sees", "draws", "label", "learns"), strict=True):
        sheet.text(x + width / 2, 4, title, bold=True)
    for row, (name, words, news) in enumerate(SCHEMES):
        top = 9 + 20.5 * row
        sheet.text(1, top + 2, f"{row + 1}  {name}", size=8.8, align="left", bold=True)
        for (x, width), text, new in zip(columns, words, news, strict=True):
            sheet.box(x, top + 5, width, 12, text, new)
        for (x, width), (following, _) in pairwise(columns):
            sheet.arrow((x + width, top + 11), (following, top + 11))
    sheet.legend(91.5, "as in the row above", "new in this row")
    return figure


def framework(palette: Palette) -> Figure:
    """The three steps, one below the other."""
    figure, sheet = Sheet.of(186, palette)
    _annotation(sheet)
    _learning(sheet)
    _refinement(sheet)
    sheet.legend(180, "given, frozen or fixed", "drawn or trained")
    return figure


def _annotation(sheet: Sheet) -> None:
    sheet.text(1, 3, "Step 1  Annotation", size=9.5, align="left", bold=True)
    sheet.box(1, 8, 22, 11, "PAS image")
    sheet.box(1, 24, 22, 11, "IF image")
    sheet.box(30, 16, 21, 11, "boxes,\nby people", new=True)
    sheet.box(57, 16, 19, 11, "SAM,\nprompted")
    sheet.box(82, 16, 17, 11, "masks Y")
    sheet.arrow((23, 13.5), (40.5, 13.5), (40.5, 16))
    sheet.arrow((23, 29.5), (40.5, 29.5), (40.5, 27))
    sheet.arrow((51, 21.5), (57, 21.5))
    sheet.arrow((76, 21.5), (82, 21.5))
    sheet.arrow((12, 8), (12, 6), (66.5, 6), (66.5, 16))


def _learning(sheet: Sheet) -> None:
    sheet.text(1, 42, "Step 2  Learning", size=9.5, align="left", bold=True)
    sheet.box(1, 55, 18, 13, "PAS image,\nno box")
    sheet.box(25, 55, 17, 13, "patch\nembedding")
    sheet.box(48, 55, 17, 13, "block 1")
    sheet.text(70.5, 61.5, "…", size=11)
    sheet.box(76, 55, 17, 13, "block L")
    sheet.arrow((19, 61.5), (25, 61.5))
    sheet.arrow((42, 61.5), (48, 61.5))
    sheet.arrow((65, 61.5), (69, 61.5))
    sheet.arrow((72.5, 61.5), (76, 61.5))
    sheet.text(70.5, 51.5, "SAM's encoder, frozen", size=8.2)
    sheet.box(1, 79, 41, 13, "adapter input: tokens +\nhigh-pass texture", new=True)
    sheet.box(48, 79, 45, 13, "adapter: a layer per block,\none shared layer upwards", new=True)
    sheet.arrow((10, 68), (10, 79))
    sheet.arrow((33.5, 68), (33.5, 79))
    sheet.arrow((42, 85.5), (48, 85.5))
    sheet.arrow((56.5, 79), (56.5, 68))
    sheet.arrow((84.5, 79), (84.5, 68))
    sheet.arrow((93, 61.5), (97, 61.5), (97, 102), (93, 102))
    sheet.box(57, 96, 36, 12, "mask decoder", new=True)
    sheet.box(20, 96, 29, 12, "probability W,\nfeatures E")
    sheet.arrow((57, 102), (49, 102))
    sheet.text(1, 102, "BCE + IoU\nloss with Y", size=8.2, align="left")
    sheet.arrow((20, 102), (17.5, 102))


def _refinement(sheet: Sheet) -> None:
    sheet.text(1, 117, "Step 3  Refinement", size=9.5, align="left", bold=True)
    sheet.arrow((43, 108), (43, 122))
    sheet.box(1, 122, 22, 13, "label Y,\nlay")
    sheet.box(29, 122, 26, 13, "W and E\ninside Y")
    sheet.box(61, 122, 38, 13, "the k surest pixels:\nwhat the cell looks like")
    sheet.arrow((23, 128.5), (29, 128.5))
    sheet.arrow((55, 128.5), (61, 128.5))
    sheet.box(1, 144, 42, 13, "ω(W): is the model sure?")
    sheet.box(51, 144, 48, 13, "ω(S): is the pixel like them?")
    sheet.arrow((35, 135), (35, 144))
    sheet.arrow((80, 135), (80, 144))
    sheet.box(14, 164, 72, 12, "(Dice + BCE) · ω(W) · ω(S) trains the model", new=True)
    sheet.arrow((22, 157), (22, 164))
    sheet.arrow((75, 157), (75, 164))
