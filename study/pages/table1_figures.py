"""Figures of the molecular arm: every row's mean, and the counterpart of the paper's Figure 3."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from skimage.segmentation import find_boundaries

from allinsam_core.data.case import Case
from study import records
from study.config import AnnotatorSettings
from study.molecular import table1
from study.molecular.cohort import annotated, from_boxes, simulated
from study.molecular.config import MolecularConfig
from study.molecular.patch import CELL_TYPES, CellType, Patch
from study.molecular.run import decode
from study.pages.figures import WIDTH
from study.pages.fragments import LIGHT, Palette

YELLOW, CYAN = (255, 225, 0), (0, 235, 255)
MARKS = {"podocyte": "o", "mesangial": "s"}


def row_means(scores: pd.DataFrame, metric: str, palette: Palette = LIGHT) -> Figure:
    """Mean of every row over all test patches with its 95 % interval, a panel per cell type; hollow: the paper's."""
    rows = table1.row_names(scores)
    figure = Figure(figsize=(WIDTH * 1.35, 1.2 + 0.3 * len(rows)), layout="constrained")
    ours = "ours, simulated" if scores["simulated"].all() else "this folder"
    panels = figure.subplots(1, len(CELL_TYPES), sharey=True, squeeze=False)[0]
    for axes, cell_type, colour in zip(panels, CELL_TYPES, (palette.first, palette.second), strict=True):
        for place, row in enumerate(rows):
            found = table1.cell(scores, metric, row, cell_type, "average")
            if found is None:
                continue
            axes.plot([found.ours.low, found.ours.high], [place, place], color=colour, linewidth=2)
            axes.plot(found.ours.mean, place, MARKS[cell_type], color=colour, label=ours * (place == 0))
            if found.paper is not None:
                label = "the paper's, real slides" * (place == 0)
                axes.plot(found.paper, place, "D", mfc="none", color=palette.ink, ms=5, label=label)
        axes.set_title(cell_type, fontsize=9, color=palette.ink)
        axes.set_xlabel(metric, fontsize=8)
        axes.tick_params(labelsize=7.5)
    panels[0].set_yticks(range(len(rows)), [table1.named(row) for row in rows])
    panels[0].invert_yaxis()
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", fontsize=7.5, ncols=2, labelcolor=palette.ink, frameon=False
    )
    return figure


@dataclass(frozen=True)
class Example:
    """A test patch with what the runs of seed `seed` predicted: method → mask (H, W) bool."""

    patch: Patch
    from_boxes: np.ndarray
    predictions: dict[str, np.ndarray]


def examples(results: Path, profile: str, cell_type: CellType = "podocyte") -> list[Example]:
    """One normal and one injured test patch, made anew from the seed, with the students' runs' predictions."""
    chosen: dict[str, dict[str, Any]] = {}
    for record in map(records.read, table1.run_files(results, profile)):
        config = record["config"]
        if (config["annotator"], config["cell_type"]) == ("Students", cell_type) and record["simulated"]:
            earlier = chosen.get(config["method"])
            if earlier is None or config["seed"] < earlier["config"]["seed"]:
                chosen[config["method"]] = record
    found = []
    for kind in ("normal", "injured"):
        held = {m: r["examples"][kind] for m, r in chosen.items() if kind in r["examples"]}
        if not held:
            continue
        config = MolecularConfig.model_validate(chosen[next(iter(held))]["config"])
        boxes = chosen.get("allinsam", {}).get("config", {}).get("masks")
        patch, masks = _made(config, next(iter(held.values()))["patch"], AnnotatorSettings.model_validate(boxes or {}))
        shape = patch.pas.shape[:2]
        found.append(Example(patch, masks, {m: decode(each["runs"], shape) for m, each in held.items()}))
    return found


@cache
def _made(config: MolecularConfig, name: str, boxes: AnnotatorSettings) -> tuple[Patch, np.ndarray]:
    """The simulated patch of a name, registered and annotated, and SAM's masks of the first student's boxes."""
    cohort = simulated(config.cohort)
    names = [f"{cohort.slides[number].name}_{pool}_{count:04d}" for number, pool, count in cohort.entries]
    patch, _ = annotated(cohort[names.index(name)], config.cohort.seed)
    case: Case = from_boxes([patch.case(config.drawn_by[0])], boxes, None)[0]
    return patch, case.mask


def figure3(found: list[Example]) -> Figure:
    """PAS, IF, annotations, SAM masks and predictions of each patch: two lines of four pictures per patch."""
    figure = Figure(figsize=(WIDTH * 1.35, 3.6 * len(found)), layout="constrained")
    panels = figure.subplots(2 * len(found), 4, squeeze=False)
    for at, example in enumerate(found):
        patch, kind = example.patch, "injured" if example.patch.injured else "normal"
        pas = patch.pas
        drawn = {who: patch.masks[who][patch.cell_type] for who in ("expert", "student1", "lay")}
        pictures = [
            (f"PAS, {kind} (simulated)", pas),
            ("IF (simulated)", patch.molecular),
            ("expert, with IF", outlined(pas, drawn["expert"])),
            ("student, with IF", outlined(pas, drawn["student1"])),
            ("lay, without IF", outlined(pas, drawn["lay"])),
            ("SAM, student's boxes", outlined(pas, example.from_boxes)),
        ]
        for method in ("mocl", "allinsam"):
            if method in example.predictions:
                both = outlined(outlined(pas, patch.masks["truth"][patch.cell_type], CYAN), example.predictions[method])
                pictures.append((f"{table1.METHOD_NAMES[method]}, students", both))
        for axes in panels[2 * at : 2 * at + 2].ravel():
            axes.set_axis_off()
        for axes, (title, picture) in zip(panels[2 * at : 2 * at + 2].ravel(), pictures, strict=False):
            axes.imshow(np.asarray(picture), interpolation="none")  # embedded as it is
            axes.set_title(title, fontsize=8)
    return figure


def photograph(figure: Figure) -> bytes:
    """A figure of pictures as one JPEG on white: a vector file would carry every picture twice, for light and dark."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpg", dpi=125, facecolor="white", pil_kwargs={"quality": 75, "optimize": True})
    return buffer.getvalue()


def outlined(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = YELLOW) -> np.ndarray:
    """The image (H, W, 3) uint8 with a line around a mask (H, W) bool."""
    picture = image.copy()
    picture[find_boundaries(mask, mode="inner")] = colour
    return picture
