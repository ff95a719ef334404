"""One frozen configuration per run of the molecular arm (the paper's Table 1).

Rows of Table 1 are method × annotator; each is trained and scored per cell type, as each patch of the cohort is
annotated for one (`data.inhouse`).

What the paper leaves open and is decided here:
- All U-Net rows, SAM-L's included, train with the same corrective loss, so their labels are the only difference. One
  network per cell type; the earlier work shares one between both.
- The boxes of SAM-L and All-in-SAM are those of the drawn masks' 8-connected components, as in the released script:
  "tight", or "random" with each side moved outwards by U{0, …, spread} px (our law).
- Three students share the patches: the first patch is the first student's, the second the second's, and so on.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from allinsam_core.refinement.corrective import CorrectiveSettings
from allinsam_core.settings import Settings
from study.config import AnnotatorSettings, Name, Run
from study.molecular.patch import CellType


class CohortSettings(Settings):
    """Which patches. source "folder": a laboratory's own, known by the checksum of its files, not by its place.

    podocyte, mesangial: simulated patches of each pool. size: px. The paper's cohort has 11 slides, 3 of them injured,
    1147 and 789 patches of 512 px.
    """

    source: Literal["simulated", "folder"] = "simulated"
    podocyte: int = 1147
    mesangial: int = 789
    slides: int = 11
    injured: int = 3
    size: int = 512
    seed: int = 0
    sha256: str = ""


class MolecularConfig(Run):
    """Everything that decides a run's numbers.

    annotator: the row's name; drawn_by: whose masks, in turn. masks: how SAM makes labels of the boxes around them;
    None: learn from what was drawn. reference: whose masks the test patches are scored against.
    """

    NAMED: ClassVar = Run.NAMED | {"annotator", "cell_type"}

    annotator: Name
    cell_type: CellType
    cohort: CohortSettings = CohortSettings()
    drawn_by: tuple[str, ...] = Field(min_length=1)
    masks: AnnotatorSettings | None = None
    reference: str = "truth"
    corrective: CorrectiveSettings = CorrectiveSettings(variant="molecular_el")

    @property
    def arm(self) -> str:
        """The folder of a grid's runs: "table1", and one of its own for each laboratory's patches."""
        return "table1" if self.simulated else f"table1-{self.cohort.sha256[:8]}"

    @property
    def simulated(self) -> bool:
        return self.cohort.source == "simulated"

    def filled(self) -> Self:
        return super().filled().model_copy(update={"masks": self.masks and self.masks.filled()})


def profile(name: str) -> Any:
    """A profile of the molecular arm: one of `study/profiles/molecular` by its name alone, or any file's path."""
    return import_module("study.grid").of_arm("molecular", name, "annotator")
