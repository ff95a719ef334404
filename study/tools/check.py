"""Are the data here, complete and unaltered? What `allinsam data check` reports."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from allinsam_core.data.case import Case
from allinsam_core.data.errors import DataError
from study.datasets import aperio, brca_m2c, dsb2018, manifest, monuseg
from study.datasets.image import count_labels, read_labels, read_rgb
from study.root import data_root
from study.tools import fetch


class Count(BaseModel):
    """How many were found and how many the manifest expects; None: nothing to compare with."""

    model_config = ConfigDict(frozen=True)
    found: int
    expected: int | None = None


class Report(BaseModel):
    """The state of one dataset or downloaded file."""

    model_config = ConfigDict(frozen=True)
    name: str
    where: str
    status: Literal["ok", "problem", "absent"]
    counts: dict[str, Count] = {}
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check(name: str | None = None, root: Path | None = None) -> list[Report]:
    """Check one dataset or artefact, or all of them (archives only where they are kept).

    Raises DataError for an unknown name; whatever is wrong with the data is in the reports.
    """
    folder = data_root() if root is None else root
    study = manifest.load()
    if name is not None:
        name = study.named(name)
        return [_dataset(name, folder) if name in study.datasets else _file(name, root)]
    downloads = [
        key
        for key, artefact in study.artefacts.items()
        if key not in study.datasets and (artefact.dataset is None or artefact.path(root).is_file())
    ]
    return [_dataset(key, folder) for key in study.datasets] + [_file(key, root) for key in downloads]


def _file(name: str, root: Path | None) -> Report:
    [(_, artefact)] = fetch.select(name)
    path = artefact.path(root)
    if not path.is_file():
        return Report(name=name, where=str(path), status="absent")
    known = fetch.noted_path(path).is_file()
    trouble = fetch.file_trouble(artefact, path)
    read = "compared with the one written down at first use" if known else "read to its end, its own is written down"
    notes = () if artefact.sha256 else (f"no published checksum; {read}",)
    problems = (trouble,) if trouble else ()
    return Report(name=name, where=str(path), status="problem" if trouble else "ok", problems=problems, notes=notes)


@dataclass
class _Findings:
    counts: Counter[str] = field(default_factory=Counter)
    expected: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Turn a DataError into a problem and warnings into notes, and go on."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except DataError as error:
                self.problems.append(str(error))
        self.notes.extend(str(warning.message) for warning in caught)


def _dataset(name: str, root: Path) -> Report:
    folder = root / name
    if not folder.is_dir():
        return Report(name=name, where=str(folder), status="absent")
    findings = {monuseg.NAME: _monuseg, dsb2018.NAME: _dsb2018, brca_m2c.NAME: _brca_m2c}[name](folder)
    for key, expected in findings.expected.items():
        if findings.counts[key] != expected:
            findings.problems.append(f"{folder}: {findings.counts[key]} {key.replace('_', ' ')}, expected {expected}")
    return Report(
        name=name,
        where=str(folder),
        status="problem" if findings.problems else "ok",
        counts={
            key: Count(found=findings.counts[key], expected=findings.expected.get(key))
            for key in sorted(findings.counts | Counter(findings.expected))
        },
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
    )


def _monuseg(folder: Path) -> _Findings:
    """Images, official pixels, labels of the instance images and regions of the XML files, by part."""
    dataset = manifest.load().datasets[monuseg.NAME]
    findings = _Findings(expected=dict(dataset.counts))
    parts: tuple[monuseg.Part, ...] = ("train", "test")
    for part in parts:
        names = dataset.names(*(("test",) if part == "test" else ("train", "val")))
        findings.expected[f"{part}_official_pixels"] = len(names)
        images: dict[str, Path] = {}
        with findings.noting():
            images = monuseg.image_files(folder, part)
        if absent := [name for name in names if name not in images]:
            findings.problems.append(f"{folder}: {part} images missing: {', '.join(absent)}")
        if extra := sorted(set(images) - set(names)):
            findings.notes.append(f"later additions, not part of the study: {', '.join(extra)}")
        for name in sorted(set(images) & set(names)):
            _monuseg_case(findings, folder, images[name], name, part)
    if findings.counts["train_instance_images"] < dataset.counts["train_images"]:
        del findings.expected["train_nuclei"]  # the published layout has XML only
    return findings


def _monuseg_case(findings: _Findings, folder: Path, path: Path, name: str, part: monuseg.Part) -> None:
    findings.counts[f"{part}_images"] += 1
    image = None
    with findings.noting():
        image = read_rgb(path)
        if trouble := monuseg.pixel_trouble(name, image):
            raise DataError(f"{path}: {trouble}")
        findings.counts[f"{part}_official_pixels"] += 1
    labels, xml = monuseg.instance_file(folder, name, part), monuseg.xml_file(folder, name, part)
    if labels is None and xml is None:
        findings.problems.append(
            f"{folder}: {name} has neither an instance image nor an XML annotation; fetch it again"
        )
    if labels is not None and image is not None:
        findings.counts[f"{part}_instance_images"] += 1
        with findings.noting():
            findings.counts[f"{part}_nuclei"] += count_labels(read_labels(labels, (image.shape[0], image.shape[1])))
    if xml is not None:
        findings.counts[f"{part}_xml_files"] += 1
        with findings.noting():
            findings.counts[f"{part}_regions"] += len(aperio.read(xml).regions)


def _brca_m2c(folder: Path) -> _Findings:
    """Tiles by split, points by class, and tiles whose pixels and points are the official ones."""
    findings, patients = _Findings(expected=dict(manifest.load().datasets[brca_m2c.NAME].counts)), set[str]()
    with findings.noting():
        folder, listed = brca_m2c.files(folder)
        for name, split in sorted(listed.items()):
            with findings.noting():
                tile = brca_m2c.read(folder, name, split)
                patients.add(tile.patient)
                findings.counts[f"{split}_tiles"] += 1
                findings.counts.update(brca_m2c.CLASSES[kind - 1] for kind in tile.classes.tolist())
                if trouble := brca_m2c.trouble(tile):
                    raise DataError(f"{folder}: {trouble}")
                findings.counts["official_tiles"] += 1
    findings.counts["patients"] = len(patients)
    return findings


def _dsb2018(folder: Path) -> _Findings:
    """Images and nuclei; the expected numbers are those of the corrected copy, not of the published archive."""
    corrected = (folder / "index.csv").is_file()
    dataset = manifest.load().datasets[dsb2018.NAME]
    findings = _Findings(expected=dict(dataset.counts) if corrected else {"images": dataset.counts["images"]})
    readers: dict[str, Callable[[], Case]] = {}
    with findings.noting():
        readers = dsb2018.readers(folder, dsb2018.MODALITIES)
    for read in readers.values():
        with findings.noting():
            case = read()
            findings.counts["images"] += 1
            findings.counts["nuclei"] += count_labels(case.instances)
    if not corrected:
        findings.notes.append("the published archive, without the community corrections: nuclei are not compared")
    return findings
