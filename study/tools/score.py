"""``allinsam score PRED TRUTH``: every pixel and instance metric for a map or a folder of maps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from allinsam_core.metrics import instance, pixel
from study.tools import maps

Instances = Callable[[np.ndarray, float], np.ndarray]
HEADLINE = ("dice", "jaccard", "iou_column", "auc", "aji_kumar", "aji_plus", "pq", "f1_instance_50")


class PredictionKind(StrEnum):
    """How prediction files are read; auto applies the rule of `study.tools.maps`."""

    auto = "auto"
    labels = "labels"
    binary = "binary"
    probability = "probability"


def components_above(prob: np.ndarray, threshold: float) -> np.ndarray:
    """4-connected components of prob ≥ threshold: (H, W) float in [0, 1] → (H, W) int32 labels."""
    return maps.components(prob >= threshold)


def score(
    pred: Path,
    truth: Path,
    *,
    threshold: float = 0.5,
    kind: str = "auto",
    eight_bit: bool = False,
    instances: Instances = components_above,
) -> dict[str, Any]:
    """Score prediction files against truth files.

    pred, truth: two files, or two folders whose png, tif, tiff and npy files are matched by stem. kind: how
    the predictions are read ("auto", "labels", "binary", "probability"). Truth is a label map or a mask.
    threshold and eight_bit: as in `pixel.evaluate`. instances: from an (H, W) probability map and the
    threshold to (H, W) labels; used for probability maps only. Masks, also as truth, become instances by
    4-connected components. AUC and best_f1 of label maps and masks are those of the binary map.

    Returns what JSON can hold, undefined values as None: "images" (name → every field of PixelScores and
    InstanceScores), "mean" (over the images where the value is defined), "threshold", and "prediction" and
    "truth" (what the files were taken for). Raises ValueError naming the file on anything unmatched or
    unreadable.
    """
    pairs = _pairs(Path(pred), Path(truth))
    pred_kinds, truth_kinds = (_kinds(files) for files in zip(*pairs.values(), strict=True))
    pred_kind = maps.common_kind(pred_kinds) if kind == "auto" else PredictionKind(kind).value
    # a truth map that is not a mask is a label map, whatever its 8-bit values look like
    truth_kind = "binary" if set(truth_kinds.values()) == {"binary"} else "labels"
    rows: dict[str, dict[str, float]] = {}
    for name, (pred_file, truth_file) in pairs.items():
        predicted, true = maps.read(pred_file), maps.read(truth_file)
        if predicted.shape != true.shape:
            raise ValueError(
                f"{pred_file} is {_size(predicted)} and {truth_file} is {_size(true)} (height × width), "
                "expected the same size; resize the prediction"
            )
        true = maps.components(true != 0) if truth_kind == "binary" else maps.as_labels(true, truth_file)
        if pred_kind == "probability":
            prob = maps.as_probability(predicted, pred_file)
            prob = np.floor(prob * 255.0 + 0.5) / 255 if eight_bit else prob
            labels = instances(prob, threshold)
        else:
            prob = predicted != 0
            labels = maps.components(prob) if pred_kind == "binary" else maps.as_labels(predicted, pred_file)
        pixels = pixel.evaluate(prob, true, threshold, eight_bit=eight_bit)
        rows[name] = asdict(pixels) | asdict(instance.evaluate(labels, true))
    return {
        "images": {name: {field: _json_value(v) for field, v in row.items()} for name, row in rows.items()},
        "mean": {field: _mean(row[field] for row in rows.values()) for field in next(iter(rows.values()))},
        "threshold": threshold,
        "prediction": _said(pred_kind, threshold, instances),
        "truth": _said(truth_kind, threshold),
    }


def command(
    pred: Annotated[Path, typer.Argument(help="Prediction: a file, or a folder matched to TRUTH by stem.")],
    truth: Annotated[Path, typer.Argument(help="Truth: a label map or mask, or a folder of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print every metric of every image.")] = False,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Foreground is probability ≥ this.")] = 0.5,
    kind: Annotated[
        PredictionKind,
        typer.Option(
            help="What the prediction files hold. auto: bool, {0, 1} or {0, max} is a mask; float in [0, 1] "
            "a probability map; wider integers labels; 8-bit labels if numbered with one region per value, "
            "else a probability map (255 = 1)."
        ),
    ] = PredictionKind.auto,
    eight_bit: Annotated[
        bool, typer.Option("--eight-bit", help="Round probabilities to 8 bits first, as saved maps are.")
    ] = False,
) -> None:
    """Score predictions (label map, mask or probability map; png, tif, npy) against the truth."""
    try:
        result = score(pred, truth, threshold=threshold, kind=kind.value, eight_bit=eight_bit)
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(result, indent=1, allow_nan=False) if as_json else _table(result))


def _pairs(pred: Path, truth: Path) -> dict[str, tuple[Path, Path]]:
    """Name → (prediction file, truth file), sorted by name."""
    for path in (pred, truth):
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
    if pred.is_dir() != truth.is_dir():
        folder, file = (pred, truth) if pred.is_dir() else (truth, pred)
        raise ValueError(f"{folder} is a folder and {file} a file, expected two files or two folders")
    if not pred.is_dir():
        return {pred.stem: (pred, truth)}
    pred_files, truth_files = _by_stem(pred), _by_stem(truth)
    alone = [str(pred_files[stem]) for stem in sorted(pred_files.keys() - truth_files.keys())]
    alone += [str(truth_files[stem]) for stem in sorted(truth_files.keys() - pred_files.keys())]
    if alone:
        raise ValueError(
            f"{len(alone)} file(s) without a partner of the same stem: {', '.join(alone)}; "
            "rename or remove them so that every file has one"
        )
    return {stem: (pred_files[stem], truth_files[stem]) for stem in sorted(pred_files)}


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in maps.SUFFIXES and not path.name.startswith("."):
            if path.stem in files:
                raise ValueError(f"{files[path.stem]} and {path} have one stem, expected one file per image")
            files[path.stem] = path
    if not files:
        raise ValueError(f"{folder}: no {', '.join(maps.SUFFIXES)} file in this folder")
    return files


def _kinds(files: Iterable[Path]) -> dict[Path, maps.Kind]:
    return {file: maps.recognise(maps.read(file), file) for file in files}


def _said(kind: str, threshold: float, instances: Instances = components_above) -> str:
    """What the output says about how the files were read."""
    if kind == "labels":
        return "labels: every nonzero value is one nucleus"
    if kind == "binary":
        return "binary: nuclei are its 4-connected components"
    if instances is components_above:
        return f"probability: nuclei are the 4-connected components of probability ≥ {threshold:g}"
    return f"probability: nuclei by {getattr(instances, '__name__', instances)}, threshold {threshold:g}"


def _size(values: np.ndarray) -> str:
    return f"{values.shape[0]} × {values.shape[1]}"


def _json_value(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean(values: Iterable[float]) -> float | None:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else None


def _table(result: dict[str, Any]) -> str:
    """The headline metrics, a row per image and their mean."""
    rows = {**result["images"], "mean": result["mean"]}
    width = max(map(len, rows))
    lines = [" " * width + "".join(f"{field:>16}" for field in HEADLINE)]
    for name, row in rows.items():
        cells = ("–" if row[field] is None else f"{row[field]:.4f}" for field in HEADLINE)
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>16}" for cell in cells))
    lines.append(f"prediction — {result['prediction']}; truth — {result['truth']}")
    lines.append(f"{len(result['images'])} image(s), threshold {result['threshold']:g}; all with --json")
    return "\n".join(lines)
