"""`allinsam describe`: a SAM's parameter counts, or what a model file says about itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from allinsam_core.annotation import sam
from allinsam_core.model import TRAINED
from allinsam_core.model import describe as read


def describe(
    name: Annotated[
        str, typer.Argument(help="mini, vit_b, vit_l or vit_h; a model file of `allinsam train`, or breast.")
    ],
    placement: Annotated[str, typer.Option(help="Of a SAM: which blocks are adapted: all, late or none.")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Parameter counts of an adapted SAM, or a trained model's base, classes, resolution, training and scores."""
    if name in sam.MODELS:
        if placement not in ("all", "late", "none"):
            raise typer.BadParameter(f"{placement!r}: expected all, late or none")
        said: dict[str, Any] = counts(name, placement)
        lines = [f"{key:<10}{value:>13,}" for key, value in said.items()]
    else:
        try:
            about = read(TRAINED.get(name, Path(name)))
        except (ValueError, OSError) as error:
            known = f"expected one of {', '.join(sam.MODELS)}, or a model file"
            typer.echo(f"describe: {error}; {known}", err=True)
            raise typer.Exit(2) from error
        said = about.model_dump(mode="json")
        lines = [f"{key:<12}{value}" for key, value in summary(said).items()]
    typer.echo(json.dumps(said) if as_json else "\n".join(lines))


def counts(name: str, placement: str = "all") -> dict[str, int]:
    """Parameters of an adapted SAM: total, trainable, adapter, decoder. Needs no weights."""
    import torch

    from allinsam_core.learning.adapter import AdaptedSam, parameter_counts

    with torch.device("meta"):  # shapes only: the largest SAM would fill 2.5 GB
        model = AdaptedSam(sam.build(name), placement=placement)  # type: ignore[arg-type]
    return parameter_counts(model)


def summary(about: dict[str, Any]) -> dict[str, str]:
    """What a model file says, in a few lines; the rest with --json."""
    record = about["record"]
    classes = zip(about["classes"], about["thresholds"], strict=True)
    found = {
        "base": f"{about['base']} ({about['base_sha256'][:12]})",
        "classes": ", ".join(f"{name} from probability {cut:.2f}" for name, cut in classes),
        "resolution": f"{about['spacing']:g} µm/px, windows of {about['window']['field']} px",
        "licence": about["licence"] or "of the data: not given",
    }
    for part, names in record.get("data", {}).items():
        found[part] = f"{len(names)} images: {', '.join(names[:5])}{' …' * (len(names) > 5)}"
    for name, history in record.get("training", {}).items():
        found[f"trained {name}"] = f"weights of step {history['best']}, {history['seconds']:.0f} s"
    for method in dict.fromkeys(row["method"] for row in record.get("scores", ())):
        rows = [row for row in record["scores"] if row["method"] == method]
        dice, aji = (sum(row[key] for row in rows) / len(rows) for key in ("dice", "aji_kumar"))
        found[method] = f"Dice {dice:.3f}, AJI {aji:.3f} on {len(rows)} {rows[0]['split']} images"
    found["commit"] = record.get("commit", "unknown")
    return found
