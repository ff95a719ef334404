"""The molecular arm's patches and labels: simulated, registered, annotated, and kept as an in-house folder.

A simulated cohort becomes a folder of exactly the layout that a laboratory's own data have (`data.inhouse`), so both go
one way from there. Beside it lie `instances.npz`, the exact instances of the simulated truth (in a binary mask touching
nuclei merge), and `cohort.json`, which says how registration went.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from tqdm import tqdm

from allinsam_core.data.case import Case, Split
from allinsam_core.data.errors import DataError
from study import records
from study.config import AnnotatorSettings
from study.molecular import inhouse, registration
from study.molecular.annotators import ANNOTATORS, annotate
from study.molecular.config import CohortSettings, MolecularConfig
from study.molecular.inhouse import InHouse
from study.molecular.patch import CellType, Patch
from study.simulation import glomerulus
from study.weak import weak_cases

VERSION = 1  # raised whenever the same settings give other patches or annotations
# folder name → noise model; "expert" sees the marker, as everyone in the paper's workflow does (§3.1)
DRAWN_BY = {
    "expert": "expert_if",
    **{name: name for name in ("student1", "student2", "student3")},
    "expert_pas": "expert",
    "lay": "lay",
}


def simulated(settings: CohortSettings) -> glomerulus.Cohort:
    """The cohort as simulated: IF out of register, nobody has drawn anything yet."""
    return glomerulus.cohort(
        settings.podocyte,
        settings.mesangial,
        slides=settings.slides,
        injured=settings.injured,
        size=settings.size,
        seed=settings.seed,
        misregistered=True,
    )


def annotated(patch: Patch, seed: int = 0) -> tuple[Patch, float]:
    """A simulated patch registered and drawn on by everyone; and the median registration error, px.

    The annotators see the registered IF, its remaining error included. Raises RegistrationFailed.
    """
    registered, found = registration.register_patch(patch)
    truth = registered.truth
    if truth is None:
        raise DataError(f"{patch.name}: not simulated, so nothing to imitate")
    wrong = found.displacement + _inverse(truth.displacement)
    inside = truth.glomerulus
    masks = {
        who: {patch.cell_type: annotate(registered, replace(ANNOTATORS[model], name=who), patch.cell_type, seed).mask}
        for who, model in DRAWN_BY.items()
    }
    own = {"truth": {patch.cell_type: truth.of(patch.cell_type) > 0}, **masks}
    return replace(registered, masks=own), float(np.median(np.hypot(wrong[inside][:, 0], wrong[inside][:, 1])))


def _inverse(displacement: np.ndarray) -> np.ndarray:
    """First-order inverse of a small smooth displacement, negated: u(x − u(x)).

    The simulated IF at x shows the tissue at x + u(x), so tissue x lies at about x − u(x − u(x)) in it.
    """
    rows, columns = np.indices(displacement.shape[:2])
    back = np.rint(np.stack([rows, columns], -1) - displacement).astype(int)
    height, width = displacement.shape[:2]
    return displacement[back[..., 0].clip(0, height - 1), back[..., 1].clip(0, width - 1)]


def prepare(settings: CohortSettings, work: Path) -> Path:
    """The simulated cohort's folder under `work`, made unless it is there; `slides.csv` is written last."""
    named = records.hash_of(settings.model_dump(mode="json"))
    folder = work / "cohorts" / f"{named}-v{VERSION}"
    if (folder / "slides.csv").is_file():
        try:
            _ = MolecularCohort(folder).exact
            return folder
        except DataError as error:
            aside = folder.with_name(f"{folder.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            warnings.warn(f"{error}; set aside as {aside.name}, made anew", stacklevel=2)
    truths: dict[str, np.ndarray] = {}
    errors: list[float] = []
    failed: list[str] = []

    def finished() -> Iterator[Patch]:
        made = simulated(settings)
        for index in tqdm(range(len(made)), desc="simulating the cohort", disable=None):
            patch = made[index]
            try:
                ready, error = annotated(patch, settings.seed)
            except registration.RegistrationFailed:
                failed.append(patch.name)  # left out, as a laboratory would
                continue
            if ready.truth is not None:
                truths[ready.name] = ready.truth.of(ready.cell_type)
            errors.append(error)
            yield ready
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "instances.npz", **truths)  # type: ignore[arg-type]
        said = {"patches": len(errors), "registration_failed": failed, "registration_error_px": errors}
        records.write({"config_hash": named, **said}, folder / "cohort.json")

    inhouse.write(folder, finished())
    return folder


def checksum(folder: Path) -> str:
    """sha256 over names and contents of a laboratory's files, wherever they lie."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".png", ".csv")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class MolecularCohort:
    """An in-house folder as the runs see it."""

    folder: Path
    seed: int = 0

    @cached_property
    def patches(self) -> InHouse:
        return InHouse(self.folder, self.seed)

    @cached_property
    def exact(self) -> dict[str, np.ndarray]:
        """Patch → exact instances (H, W) uint16; empty for real data."""
        path = self.folder / "instances.npz"
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as stored:
                return dict(stored)
        except Exception as error:  # NumPy and zipfile raise many types for a damaged file
            raise DataError(f"{path}: damaged ({error}); delete its folder, it is made anew") from error

    def part(self, split: Split, cell_type: CellType) -> list[Patch]:
        """The patches of one pool in one split, in the folder's order."""
        wanted = [
            index
            for index, (pool, path) in enumerate(self.patches.entries)
            if pool == cell_type and self.split_of(path.stem) == split
        ]
        return [self.patches[index] for index in wanted]

    def split_of(self, name: str) -> Split:
        slides = self.patches.splits
        return slides[max((slide for slide in slides if name.startswith(f"{slide}_")), key=len)]

    def scored(self, patches: Sequence[Patch], reference: str) -> list[Case]:
        """The patches with the masks they are scored against; exact instances where they are known."""
        cases = [patch.case(reference) for patch in patches]
        if reference != "truth":
            return cases
        return [replace(case, instances=self.exact.get(case.name, case.instances)) for case in cases]


def labelled(patches: Sequence[Patch], annotators: Sequence[str]) -> list[Case]:
    """Each patch with the mask of one annotator, in turn; of the next one where that one drew nothing of it.

    DataError when none of them drew on any patch.
    """
    cases = []
    for index, patch in enumerate(patches):
        turn = index % len(annotators)
        order = [*annotators[turn:], *annotators[:turn]]
        who = next((each for each in order if patch.cell_type in patch.masks.get(each, {})), None)
        if who is not None:
            cases.append(patch.case(who))
    if not cases:
        kind = patches[0].cell_type if patches else "any"
        raise DataError(f"no {kind} masks by {', '.join(annotators)}, expected masks/<annotator>/{kind}/<patch>.png")
    return cases


def labels(config: MolecularConfig, patches: Sequence[Patch], cache: Path) -> list[Case]:
    """What a run learns from: the masks as drawn, or SAM's masks of the boxes around them."""
    cases = labelled(patches, config.drawn_by)
    return cases if config.masks is None else from_boxes(cases, config.masks, cache)


def from_boxes(cases: Sequence[Case], settings: AnnotatorSettings, cache: Path | None) -> list[Case]:
    """SAM's masks of the boxes around the cases' instances; cached by content."""
    return [weak.case for weak in weak_cases(cases, settings.build(), settings.boxes, cache)]
