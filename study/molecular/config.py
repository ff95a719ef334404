"""One frozen configuration per run of the molecular arm (the paper's Table 1), and the profiles that list them.

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

from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from allinsam_core.learning.augment import AugmentSettings
from allinsam_core.learning.instances import InstanceSettings
from allinsam_core.learning.method import WindowSettings
from allinsam_core.learning.train import TrainSettings
from allinsam_core.refinement.corrective import CorrectiveSettings
from allinsam_core.refinement.method import MoclUNetSettings
from study.config import AnnotatorSettings, Frozen, SamSettings, base_weights, merged
from study.molecular.patch import CELL_TYPES, CellType
from study.records import hash_of

MolecularProfileName = Literal["smoke", "mini", "paper"]


class CohortSettings(Frozen):
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


class MolecularConfig(Frozen):
    """Everything that decides a run's numbers.

    annotator: the row's name; drawn_by: whose masks, in turn. masks: how SAM makes labels of the boxes around them;
    None: learn from what was drawn. reference: whose masks the test patches are scored against.
    """

    profile: MolecularProfileName
    method: str
    annotator: str
    cell_type: CellType
    seed: int = 0
    cohort: CohortSettings = CohortSettings()
    drawn_by: tuple[str, ...]
    masks: AnnotatorSettings | None = None
    reference: str = "truth"
    model: Annotated[MoclUNetSettings | SamSettings, Field(discriminator="kind")]
    base_weights: str = ""  # sha256 of the weights the model stands on; "" where there are none
    corrective: CorrectiveSettings = CorrectiveSettings(variant="molecular_el")
    window: WindowSettings = WindowSettings()
    train: TrainSettings = TrainSettings()
    augment: AugmentSettings = AugmentSettings()
    instances: InstanceSettings = InstanceSettings()

    @model_validator(mode="after")
    def _someone_draws(self) -> MolecularConfig:
        if not self.drawn_by:
            raise ValueError(f"{self.annotator}: drawn_by is empty, expected at least one annotator")
        return self

    @property
    def hash(self) -> str:
        """Names the run: `records.hash_of` all fields."""
        return hash_of(self.model_dump(mode="json"))

    @property
    def run_id(self) -> str:
        return f"{self.method}-{self.annotator}-{self.cell_type}-s{self.seed}-{self.hash}"

    def folder(self, results: Path) -> Path:
        """Where rows and record go."""
        return results / self.profile / self.arm / self.run_id

    @property
    def arm(self) -> str:
        """The folder of a grid's runs: "table1", and one of its own for each laboratory's patches."""
        return "table1" if self.cohort.source == "simulated" else f"table1-{self.cohort.sha256[:8]}"


class MolecularProfile(Frozen):
    """A grid of runs. annotators: a row's name → who draws. A method may narrow the annotators."""

    name: MolecularProfileName
    about: str
    seeds: tuple[int, ...]
    annotators: dict[str, tuple[str, ...]]
    common: dict[str, Any]
    methods: dict[str, dict[str, Any]]

    def run(self, method: str, annotator: str, cell_type: str, seed: int) -> MolecularConfig:
        """The configuration of one run. A method's settings override the common ones, field by field."""
        if method not in self.methods or annotator not in self.annotators:
            raise ValueError(
                f"profile {self.name} has no {method!r} by {annotator!r}; it has methods {', '.join(self.methods)} "
                f"and annotators {', '.join(self.annotators)}"
            )
        settings = merged(self.common, self.methods[method])
        settings.pop("annotators", None)
        if masks := settings.get("masks"):
            settings["masks"] = {**masks, "sha256": base_weights({"kind": "sam", **masks})}
        named = {"profile": self.name, "method": method, "annotator": annotator, "cell_type": cell_type, "seed": seed}
        drawn_by, weights = self.annotators[annotator], base_weights(settings["model"])
        return MolecularConfig.model_validate({**settings, **named, "drawn_by": drawn_by, "base_weights": weights})

    def grid(self) -> list[MolecularConfig]:
        """Every run of the profile."""
        return [self.run(*point) for point in self.points()]

    def points(self) -> list[tuple[str, str, str, int]]:
        """(method, annotator, cell type, seed) of every run."""
        return [
            (method, *point)
            for method, own in self.methods.items()
            for point in product(own.get("annotators", self.annotators), CELL_TYPES, self.seeds)
        ]

    def on_folder(self, sha256: str, reference: str, annotators: dict[str, tuple[str, ...]]) -> MolecularProfile:
        """The same grid on a laboratory's patches: same methods, its own annotators and reference."""
        methods = {
            name: {**own, "annotators": [a for a in own.get("annotators", annotators) if a in annotators]}
            for name, own in self.methods.items()
        }
        cohort = {"source": "folder", "sha256": sha256, **dict.fromkeys(("podocyte", "mesangial", "slides"), 0)}
        common = {**self.common, "reference": reference, "cohort": {**cohort, "injured": 0, "size": 0}}
        return self.model_copy(update={"annotators": annotators, "common": common, "methods": methods})


def profile(name: str) -> MolecularProfile:
    """Read `profiles/molecular/<name>.yaml`. Raises ValueError for an unknown name or field."""
    source = files("study") / "profiles" / "molecular" / f"{name}.yaml"
    if not source.is_file():
        raise ValueError(f"{source}: no such profile; expected smoke, mini or paper")
    try:
        return MolecularProfile.model_validate(yaml.safe_load(source.read_text()))
    except ValidationError as error:
        raise ValueError(f"{source}: {error}") from error
