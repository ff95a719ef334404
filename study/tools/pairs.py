"""Which prediction belongs to which truth: two files, or the files of two folders by name.

`allinsam segment` and `annotate` write several files for an image NAME. Of these, NAME_instances.tif is the prediction
of NAME, or NAME_probability.png where probabilities are asked for; the others are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from study.tools.maps import SUFFIXES

WRITTEN = (
    "_instances.tif", "_probability.png", "_overlay.png", "_provenance.csv", "_rois.zip", ".geojson",
)  # fmt: skip
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
        nuclei = pred.with_name(pred.name.replace("_probability.png", "_instances.tif"))
        if nuclei != pred and nuclei.is_file() and not probability:
            raise ValueError(
                f"{pred}: {nuclei.name} beside it holds the nuclei that were made of it; score that file, or say "
                "--kind probability to score this one's connected components instead"
            )
        return Pairs({pred.stem: (pred, truth)})
    preds, left_out = _by_name(pred, "_probability" if probability else "_instances")
    truths, also_left_out = _by_name(truth, "_instances")
    alone = [str(preds[name]) for name in sorted(preds.keys() - truths.keys())]
    alone += [str(truths[name]) for name in sorted(truths.keys() - preds.keys())]
    if alone:
        raise ValueError(
            f"{len(alone)} file(s) without a partner of the same name: {', '.join(alone[:20])}"
            f"{', …' if len(alone) > 20 else ''}; rename or remove them so that every file has one"
        )
    return Pairs({name: (preds[name], truths[name]) for name in sorted(preds)}, (*left_out, *also_left_out))


def _by_name(folder: Path, ending: str) -> tuple[dict[str, Path], list[Path]]:
    """The maps of a folder by name, and the files left out. ending: what is dropped from a stem to give the name."""
    present = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name.lower() not in JUNK)
    written = {p.name.removesuffix(end) for end in WRITTEN[:2] for p in present if p.name.endswith(end)}
    files: dict[str, Path] = {}
    left_out: list[Path] = []
    for path in present:
        company = any(path.name.endswith(end) and path.name.removesuffix(end) in written for end in WRITTEN)
        if company and not path.stem.endswith(ending):
            continue
        if path.suffix.lower() not in SUFFIXES or path.is_dir():
            left_out.append(path)
            continue
        name = path.stem.removesuffix(ending)
        if name in files:
            raise ValueError(f"{files[name]} and {path} have one name, expected one file per image")
        files[name] = path
    if not files:
        others = f", only {', '.join(p.name for p in left_out[:5])}" if left_out else ""
        raise ValueError(f"{folder}: no {', '.join(SUFFIXES)} file in this folder{others}")
    return files, left_out
