"""Is it the pre-training or the network? All-in-SAM beside the same network trained whole, on the validation images."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean

from study import records
from study import results as tables
from study.pages.fragments import Fragments, markdown_table, score, signed, table_block, with_interval

ADAPTER = "allinsam"
CONTROLS = ("finetuned", "scratch")
CAPTION = "All-in-SAM beside the same network with all of its weights trained; complete labels"


@dataclass(frozen=True)
class Look:
    """A run at the weights it kept: Dice over the validation images, and the seconds of its training."""

    dice: float
    seconds: float


def kept(results: Path, profile: str, method: str) -> dict[float, dict[int, Look]]:
    """By share of the training images and seed: the validation look that chose each run's weights."""
    found: dict[float, dict[int, Look]] = {}
    for path in sorted((results / profile).glob(f"{method}-complete-*/run.json")):
        record = records.read(path)
        training, config = record["training"], record["config"]
        (chosen,) = (look for look in training["validations"] if look["step"] == training["best"])
        found.setdefault(config["fraction"], {})[config["seed"]] = Look(chosen["dice"], record["fit_seconds"])
    return found


def fragments(results: Path, profile: str = "mini") -> Fragments:
    """Numbers `control:…` and the fragment `control`; without any control run the page says how to make them."""
    looks = {method: kept(results, profile, method) for method in (ADAPTER, *CONTROLS)}
    present = [method for method in CONTROLS if looks[method]]
    if not present or not looks[ADAPTER]:
        return Fragments(
            tables={"control": "*Not run yet: methods `scratch` and `finetuned` of the `mini` profile.*\n"}
        )
    scores = tables.collect(results, profile)
    numbers, lines = {}, []
    shares = sorted({fraction for method in present for fraction in looks[method]}, reverse=True)
    for fraction, method in product(shares, (ADAPTER, *present)):
        by_seed = looks[method].get(fraction, {})
        if not by_seed:
            continue
        dices = [look.dice for look in by_seed.values()]
        numbers[f"control:{method}:{fraction:g}:val_dice"] = score(mean(dices), 3)
        lead = "–"
        if method != ADAPTER:
            part = scores[scores["fraction"] == fraction]
            if (found := tables.lead(part, (ADAPTER, "complete"), (method, "complete"))) is not None:
                numbers[f"control:{method}:{fraction:g}:lead"] = signed(found.mean, 3)
                lead = with_interval(found, signed)
        lines.append(
            [
                tables.METHOD_NAMES[method],
                tables.fraction_name(fraction),
                score(mean(dices), 3),
                f"{score(min(dices), 3)} to {score(max(dices), 3)}",
                lead,
                f"{mean(look.seconds for look in by_seed.values()):.0f}",
                str(len(by_seed)),
            ]
        )
    header = ["Method", "Training data", "`dice`, validation", "seeds", "adapter − this, test `dice`", "fit s", "runs"]
    table = markdown_table(header, lines, text_columns=2)
    return Fragments(numbers=numbers, tables={"control": table_block(CAPTION, "tab-control", table)})
