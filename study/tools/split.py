"""Which annotated images train, which validate: by patient or slide, from a table or from the images' names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from allinsam_core.data.case import Case, Split
from study.datasets import splits
from study.tools.folder import class_images
from study.tools.formats.table import rows_of

SHARE = 0.25  # of the patients that validate, at least one
TRIES = 200
_NAMES: dict[str, Split] = {"train": "train", "val": "val", "validation": "val", "test": "test"}


def patients(names: Sequence[str]) -> dict[str, str]:
    """The patient or slide that each image's name speaks of.

    A TCGA barcode's patient; what stands before the coordinates in QuPath's "NAME [x=…]"; what stands before the first
    underscore, where that makes at least two groups. Else every image is its own.
    """
    found = {name: _stated(name) for name in names}
    if all(found.values()):
        return {name: str(group) for name, group in found.items()}
    prefix = {name: found[name] or name.partition("_")[0] for name in names}
    groups = Counter(prefix.values())
    return prefix if len(groups) > 1 else {name: name for name in names}


def _stated(name: str) -> str | None:
    barcode = re.match(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}", name)
    tile = re.match(r"(.+?)\s*\[(?:d=|x=).*", name)
    return barcode.group(0) if barcode else tile.group(1) if tile else None


def read_table(path: Path, names: Sequence[str]) -> dict[str, tuple[str, Split | None]]:
    """Image (without suffix) → patient and split, None where the table leaves it open.

    A table in UTF-8 with the column image, and patient or split or both. Raises ValueError naming the line.
    """
    with rows_of(path) as rows:
        fields = set(rows.fieldnames or ())
        if "image" not in fields or not fields & {"patient", "split"}:
            raise ValueError(f"{path}: columns {sorted(fields)}; expected image, and patient or split")
        found: dict[str, tuple[str, Split | None]] = {}
        for row in rows:
            name = (row["image"] or "").strip()
            name = name if name in names else Path(name).stem
            split = (row.get("split") or "").strip().lower()
            if name in found or name not in names or (split and split not in _NAMES):
                raise ValueError(
                    f"{path}: line {rows.line_num}: image {row['image']!r}, split {split!r}; expected an annotated "
                    "image once, and train, val, test or nothing"
                )
            found[name] = ((row.get("patient") or "").strip() or name, _NAMES.get(split))
    if absent := [name for name in names if name not in found]:
        raise ValueError(f"{path}: no line for image {absent[0]!r}; expected one for each annotated image")
    return found


def assign(cases: Sequence[Case], table: Path | None = None, seed: int = 0) -> tuple[list[Case], list[str]]:
    """The cases with patient and split, and what is worth saying about it.

    What the table leaves open goes to train or val, a quarter of the patients to val, so that every class is in both.
    One patient alone is split by image. Raises ValueError where that cannot be, or a patient is in two splits.
    """
    names = [case.name for case in cases]
    given = read_table(table, names) if table is not None else {n: (p, None) for n, p in patients(names).items()}
    said: list[str] = []
    _refuse_contradictions(given)
    if len({patient for patient, _ in given.values()}) == 1:
        said.append("one patient or slide only: split by image, so scores say nothing about other patients")
        given = {name: (name, split) for name, (_, split) in given.items()}
    decided: dict[str, Split] = {}
    for patient, split in given.values():
        if split is not None:
            decided[patient] = split
    free = sorted({patient for patient, _ in given.values()} - decided.keys())
    if "val" in decided.values():
        decided |= dict.fromkeys(free, "train")
    else:
        decided |= _randomly_assigned([(case, given[case.name][0]) for case in cases], free, decided, seed)
    done = [replace(c, patient=given[c.name][0], split=decided[given[c.name][0]]) for c in cases]
    splits.refuse_overlap(**{s: [c for c in done if c.split == s] for s in ("train", "val", "test")})
    return done, said


def _refuse_contradictions(given: Mapping[str, tuple[str, Split | None]]) -> None:
    seen: dict[str, Split] = {}
    for patient, split in given.values():
        if split is not None and seen.setdefault(patient, split) != split:
            raise ValueError(f"patient {patient} is in {seen[patient]} and in {split}, expected one split")


def _randomly_assigned(
    cases: Sequence[tuple[Case, str]], free: list[str], decided: dict[str, Split], seed: int
) -> dict[str, Split]:
    """Patients to train and val at random: the first of some tries in which both show every class."""
    rng = np.random.default_rng([4118, seed])
    count = max(1, round(SHARE * len(free)))
    for _ in range(TRIES):
        val = set(rng.permutation(free)[:count].tolist())
        split: dict[str, Split] = {p: "val" if p in val else "train" for p in free}
        parts = [{c.name for c, p in cases if (split | decided)[p] == s} for s in ("train", "val")]
        if all(parts) and all(
            set(shown) & part for shown in class_images([c for c, _ in cases]).values() for part in parts
        ):
            return split
    raise ValueError(
        f"{len(free)} patients cannot be split so that training and validation show every class; annotate more, "
        "or say with --table which image is of which patient and split"
    )
