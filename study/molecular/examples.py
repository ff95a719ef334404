"""Test patches to look at, made anew from their seed, with what the recorded runs predicted on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from allinsam_core.data.case import Case
from study import records
from study.config import AnnotatorSettings
from study.molecular import table1
from study.molecular.cohort import annotated, from_boxes, simulated
from study.molecular.config import MolecularConfig
from study.molecular.patch import CellType, Patch
from study.molecular.run import decode


@dataclass(frozen=True)
class Example:
    """A test patch, mini-SAM's masks of the first student's boxes, and predictions: method → mask (H, W) bool."""

    patch: Patch
    from_boxes: np.ndarray
    predictions: dict[str, np.ndarray]


def examples(results: Path, profile: str, cell_type: CellType = "podocyte") -> list[Example]:
    """One normal and one injured simulated test patch, with the predictions of the students' runs of the first seed."""
    chosen: dict[str, dict[str, Any]] = {}
    for record in map(records.read, table1.run_files(results, profile)):
        config = record["config"]
        if (config["annotator"], config["cell_type"]) == ("Students", cell_type) and record["simulated"]:
            earlier = chosen.get(config["method"])
            if earlier is None or config["seed"] < earlier["config"]["seed"]:
                chosen[config["method"]] = record
    found = []
    for kind in ("normal", "injured"):
        held = {method: r["examples"][kind] for method, r in chosen.items() if kind in r["examples"]}
        if not held:
            continue
        config = MolecularConfig.model_validate(chosen[next(iter(held))]["config"])
        boxes = chosen.get("allinsam", {}).get("config", {}).get("masks")
        patch, masks = _made(config, next(iter(held.values()))["patch"], AnnotatorSettings.model_validate(boxes or {}))
        shape = patch.pas.shape[:2]
        found.append(Example(patch, masks, {method: decode(each["runs"], shape) for method, each in held.items()}))
    return found


@cache
def _made(config: MolecularConfig, name: str, boxes: AnnotatorSettings) -> tuple[Patch, np.ndarray]:
    """The simulated patch of a name, registered and annotated, and SAM's masks of the first student's boxes."""
    cohort = simulated(config.cohort)
    names = [f"{cohort.slides[number].name}_{pool}_{count:04d}" for number, pool, count in cohort.entries]
    patch, _ = annotated(cohort[names.index(name)], config.cohort.seed)
    case: Case = from_boxes([patch.case(config.drawn_by[0])], boxes, None)[0]
    return patch, case.mask
