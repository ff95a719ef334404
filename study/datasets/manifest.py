"""`data_manifest.yaml` as typed, frozen objects: artefacts, licences, checksums, splits."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from allinsam_core.data.errors import DataError, MissingData
from allinsam_core.settings import SettingsError, validated
from study import strict_yaml
from study.root import download_root

VARIABLE = "ALLINSAM_MANIFEST"
FILE = "data_manifest.yaml"
DRIVE = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]*$")]
"""Of an artefact, a dataset or a file: no folder above or below, and nothing hidden."""
ManifestSplit = Literal["train", "val", "test", "unused"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Artefact(_Frozen):
    """One file to download: an archive of a dataset or a checkpoint. `None` means unknown."""

    kind: Literal["archive", "checkpoint"]
    role: str
    file: Name
    licence: str
    non_commercial: bool
    citation: str
    homepage: str
    sha256: Sha256 | None
    bytes: Annotated[int, Field(gt=0)] | None
    url: str | None = None
    drive_id: str | None = None
    dataset: Name | None = None
    note: str = ""

    @property
    def source(self) -> str:
        """The address that serves the file."""
        return self.url or DRIVE.format(id=self.drive_id)

    @property
    def folder(self) -> str:
        """Where under the data root it belongs: its dataset's folder, or `checkpoints`."""
        return self.dataset or "checkpoints"

    def path(self, root: Path | None = None) -> Path:
        """Where the file belongs: <root>/<folder>/<file>. root None: `download_root`."""
        base = download_root(self.kind == "checkpoint") if root is None else root
        return base / self.folder / self.file

    @model_validator(mode="after")
    def _one_origin(self) -> Artefact:
        if (self.url is None) == (self.drive_id is None):
            raise ValueError(f"{self.file}: found url {self.url} and drive_id {self.drive_id}, expected one of them")
        if (self.kind == "archive") != (self.dataset is not None):
            raise ValueError(f"{self.file}: an archive names its dataset, a checkpoint has none")
        return self


class CaseEntry(_Frozen):
    """Who a case is and where it belongs."""

    patient: str
    organ: str
    split: ManifestSplit


class Dataset(_Frozen):
    """One dataset: nominal spacing (µm per pixel), what `check` must count, and its cases by name."""

    title: str
    spacing: float | None
    counts: dict[str, int]
    cases: dict[str, CaseEntry]

    def names(self, *splits: ManifestSplit) -> list[str]:
        """Case names of the given splits, sorted."""
        return sorted(name for name, entry in self.cases.items() if entry.split in splits)

    @model_validator(mode="after")
    def _patients_in_one_split(self) -> Dataset:
        seen: dict[str, str] = {}
        for name, entry in self.cases.items():
            if seen.setdefault(entry.patient, entry.split) != entry.split:
                raise ValueError(
                    f"{name}: patient {entry.patient} is in splits {seen[entry.patient]} and {entry.split}, "
                    "expected one; splits are by patient"
                )
        return self


class Manifest(_Frozen):
    """The whole file."""

    version: Literal[1]
    artefacts: dict[Name, Artefact]
    datasets: dict[Name, Dataset]

    def named(self, name: str) -> str:
        """An artefact or a dataset as the file writes it: with underlines, where only that is known."""
        written = name.replace("-", "_")
        return name if name in {*self.artefacts, *self.datasets} or written not in self.artefacts else written

    @model_validator(mode="after")
    def _datasets_known(self) -> Manifest:
        for name, artefact in self.artefacts.items():
            if artefact.dataset is not None and artefact.dataset not in self.datasets:
                raise ValueError(f"artefact {name}: dataset {artefact.dataset} is not one of {sorted(self.datasets)}")
        return self


def path() -> Path:
    """The manifest in use: ALLINSAM_MANIFEST, else beside the package, else where installation put it."""
    named = os.environ.get(VARIABLE)
    return _first(Path(named).expanduser()) if named else own_path()


def own_path() -> Path:
    """The study's own manifest, whatever ALLINSAM_MANIFEST says."""
    return _first(Path(__file__).resolve().parents[2] / FILE, Path(sys.prefix) / "share" / "allinsam" / FILE)


def _first(*candidates: Path) -> Path:
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = " or ".join(map(str, candidates))
    raise MissingData(f"{FILE}: not found at {looked}; set {VARIABLE} to the file of the source checkout")


def read(file: Path) -> Manifest:
    """Parse and validate one manifest file. Raises DataError naming the file and what is wrong."""
    try:
        return validated(Manifest, strict_yaml.read(file), str(file))
    except SettingsError as error:
        raise DataError(f"{error}; not a valid manifest") from None


@lru_cache(maxsize=4)
def _cached(file: Path) -> Manifest:
    return read(file)


def load() -> Manifest:
    """The manifest in use (read once per file)."""
    return _cached(path())


def own() -> Manifest:
    """The study's own manifest (read once per file): what is published, whatever stands in for it here."""
    return _cached(own_path())
