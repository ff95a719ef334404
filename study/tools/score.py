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
from study.names import readable
from study.numbers import number, within
from study.tools import kinds, maps, notices
from study.tools.pairs import find

Instances = Callable[[np.ndarray, float], np.ndarray]
HEADLINE = ("dice", "jaccard", "iou_column", "auc", "aji_kumar", "aji_plus", "pq", "f1_instance_50")


TruthKind = StrEnum("TruthKind", ["auto", "binary", "labels", "classes"])
PredictionKind = StrEnum("PredictionKind", ["auto", "binary", "labels", "classes", "probability"])


def components_above(prob: np.ndarray, threshold: float) -> np.ndarray:
    """4-connected components of prob ≥ threshold: (H, W) float in [0, 1] → (H, W) int32 labels."""
    return maps.components(prob >= threshold)


def score(
    pred: Path,
    truth: Path,
    *,
    threshold: float = 0.5,
    kind: str = "auto",
    truth_kind: str = "auto",
    eight_bit: bool = False,
    instances: Instances = components_above,
) -> dict[str, Any]:
    """Score prediction files against truth files.

    pred, truth: two files, or two folders whose png, tif, tiff and npy files are matched by name (`pairs`). kind,
    truth_kind: what the files hold ("binary", "labels", "classes", and "probability" for predictions); "auto" decides
    (`kinds`) or asks. threshold and eight_bit: as in `pixel.evaluate`. instances: from an (H, W) probability map and
    the threshold to (H, W) labels; used for probability maps only. Masks become instances by 4-connected components,
    class maps by those of each class. AUC and best_f1 of whatever is no probability are those of the binary map.

    Returns what JSON can hold, undefined values as None: "images" (name → every field of PixelScores and
    InstanceScores), "mean" (over the images where the value is defined), "threshold", "prediction" and "truth" (what
    the files were taken for) and "left_out" (files that are no maps). Raises ValueError naming the file on anything
    unmatched, unreadable or undecided.
    """
    pairs = find(Path(pred), Path(truth), kind == "probability")
    pred_files, truth_files = zip(*pairs.files.values(), strict=True)
    pred_kind = _kind(pred_files, kind, "--kind", kinds.KINDS)
    true_kind = _kind(truth_files, truth_kind, "--truth-kind", kinds.KINDS[:3])
    one = maps.scale(_findings(pred_files)) if pred_kind == "probability" else None
    rows: dict[str, dict[str, float]] = {}
    for name, (pred_file, truth_file) in pairs.files.items():
        predicted, true = maps.read(pred_file), maps.read(truth_file)
        if predicted.shape != true.shape:
            raise ValueError(
                f"{pred_file} is {_size(predicted)} and {truth_file} is {_size(true)} (height × width), "
                "expected the same size; resize the prediction"
            )
        if pred_kind == "probability":
            prob = maps.as_probability(predicted, pred_file, one)
            prob = np.floor(prob * 255.0 + 0.5) / 255 if eight_bit else prob
            labels = instances(prob, threshold)
        else:
            labels = maps.as_instances(predicted, pred_kind, pred_file)
            prob = labels != 0
        true = maps.as_instances(true, true_kind, truth_file)
        pixels = pixel.evaluate(prob, true, threshold, eight_bit=eight_bit)
        rows[name] = asdict(pixels) | asdict(instance.evaluate(labels, true))
    return {
        "images": {name: {field: _json_value(v) for field, v in row.items()} for name, row in rows.items()},
        "mean": {field: _mean(row[field] for row in rows.values()) for field in next(iter(rows.values()))},
        "threshold": threshold,
        "prediction": _said(pred_kind, threshold, instances),
        "truth": _said(true_kind, threshold),
        "left_out": [readable(path) for path in pairs.left_out],
    }


def command(
    pred: Annotated[Path, typer.Argument(help="Prediction: a file, or a folder matched to TRUTH by name.")],
    truth: Annotated[Path, typer.Argument(help="Truth: a label map, mask or class map, or a folder of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print every metric of every image.")] = False,
    threshold: Annotated[
        float, typer.Option(parser=within(number, 0, 1), help="Foreground is probability ≥ this.")
    ] = 0.5,
    kind: Annotated[
        PredictionKind,
        typer.Option(
            help="What the prediction files hold. auto: two values are a mask; one region per value, labels; few small "
            "values of many regions, classes; floats in [0, 1] or many grey levels, probabilities (255 or 65535 = 1); "
            "it asks where that leaves two readings."
        ),
    ] = PredictionKind.auto,
    truth_kind: Annotated[
        TruthKind, typer.Option(help="What the truth files hold; auto decides as for predictions.")
    ] = TruthKind.auto,
    eight_bit: Annotated[
        bool, typer.Option("--eight-bit", help="Round probabilities to 8 bits first, as saved maps are.")
    ] = False,
) -> None:
    """Score predictions (label map, mask, class map or probability map; png, tif, npy) against the truth."""
    try:
        with notices.shown():
            result = score(
                pred, truth, threshold=threshold, kind=kind.value, truth_kind=truth_kind.value, eight_bit=eight_bit
            )
    except ValueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    if result["left_out"]:
        typer.echo(f"left out, as no {', '.join(maps.SUFFIXES)}: {', '.join(result['left_out'])}", err=True)
    typer.echo(json.dumps(result, indent=1, allow_nan=False) if as_json else _table(result))


def _kind(files: Iterable[Path], stated: str, option: str, allowed: tuple[kinds.Kind, ...]) -> kinds.Kind:
    """The kind that was stated, else what the files are taken for."""
    if stated == "auto":
        return kinds.common(_findings(files), option, allowed)
    if stated not in allowed:
        raise ValueError(f"{option} is {stated!r}, expected auto or one of {', '.join(allowed)}")
    return stated


def _findings(files: Iterable[Path]) -> dict[Path, kinds.Finding]:
    return {file: kinds.recognise(maps.read(file), file) for file in files}


def _said(kind: str, threshold: float, instances: Instances = components_above) -> str:
    """What the output says about how the files were read."""
    if kind == "labels":
        return "labels: every nonzero value is one nucleus"
    if kind == "binary":
        return "binary: nuclei are its 4-connected components"
    if kind == "classes":
        return "classes: nuclei are the 4-connected components of each class"
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
