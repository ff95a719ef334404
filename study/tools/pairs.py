"""Which prediction belongs to which truth: two files, or the files of two folders by name.

`allinsam segment` and `annotate` write several files for an image NAME. Of these, NAME_instances.tif (of a slide,
NAME_labels.ome.tif) is the prediction of NAME, or NAME_probability.png where probabilities are asked for; the others
are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from study.names import readable
from study.tools.maps import SUFFIXES

NUCLEI = ("_instances.tif", "_labels.ome.tif")  # of an image, of a slide
PROBABILITY = "_probability.png"
COMPANY = re.compile(
    r"(_probability(_.+)?\.png|_overlay\.png|_provenance\.csv|_rois\.zip|_quality\.html|_run\.json"
    r"|\.(geojson|csv|json|parquet|work))$"
)
JUNK = {"thumbs.db", "desktop.ini", "__macosx"}


@dataclass(frozen=True)
class Pairs:
    """files: name → (prediction, truth), sorted by name. left_out: files that are neither, nor known company."""

    files: dict[str, tuple[Path, Path]]
    left_out: tuple[Path, ...] = ()


def find(pred: Path, truth: Path, probability: bool = False) -> Pairs:
    """The pairs of two files or two folders. probability: whether predictions are asked for as probabilities.

    Raises ValueError naming what is missing, what has no partner and what cannot be a prediction.
    """
    for path in (pred, truth):
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
    if pred.is_dir() != truth.is_dir():
        folder, file = (pred, truth) if pred.is_dir() else (truth, pred)
        raise ValueError(f"{folder} is a folder and {file} a file, expected two files or two folders")
    if not pred.is_dir():
        nuclei = pred.with_name(pred.name.removesuffix(PROBABILITY) + NUCLEI[0])
        if pred.name.endswith(PROBABILITY) and nuclei.is_file() and not probability:
            raise ValueError(
                f"{pred}: {nuclei.name} beside it holds the nuclei that were made of it; score that file, or say "
                "--kind probability to score this one's connected components instead"
            )
        return Pairs({readable(pred.stem): (pred, truth)})
    preds, left_out = _by_name(pred, (PROBABILITY,) if probability else NUCLEI)
    truths, also_left_out = _by_name(truth, NUCLEI)
    alone = [str(preds[name]) for name in sorted(preds.keys() - truths.keys())]
    alone += [str(truths[name]) for name in sorted(truths.keys() - preds.keys())]
    if alone:
        raise ValueError(
            f"{len(alone)} file(s) without a partner of the same name: {', '.join(alone[:20])}"
            f"{', …' if len(alone) > 20 else ''}; rename or remove them so that every file has one"
        )
    return Pairs({name: (preds[name], truths[name]) for name in sorted(preds)}, (*left_out, *also_left_out))


def _by_name(folder: Path, wanted: tuple[str, ...]) -> tuple[dict[str, Path], list[Path]]:
    """The maps of a folder by name, and the files left out. wanted: endings that are no part of a name."""
    present = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in JUNK)
    written = {p.name.removesuffix(end) for end in (*NUCLEI, PROBABILITY) for p in present if p.name.endswith(end)}
    files: dict[str, Path] = {}
    left_out: list[Path] = []
    for path in present:
        base = next((path.name.removesuffix(end) for end in wanted if path.name.endswith(end)), None)
        if base is None and (COMPANY.sub("", path.name) in written or path.name.endswith(NUCLEI)):
            continue
        if path.suffix.lower() not in SUFFIXES or path.is_dir():
            left_out.append(path)
            continue
        name = readable(base or path.stem.removesuffix("_instances"))
        if name in files:
            raise ValueError(f"{files[name]} and {path} have one name, expected one file per image")
        files[name] = path
    if not files:
        others = f", only {', '.join(p.name for p in left_out[:5])}" if left_out else ""
        raise ValueError(f"{folder}: no {', '.join(SUFFIXES)} file in this folder{others}")
    return files, left_out
