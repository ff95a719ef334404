"""What small studies beside the tables substitute: no augmentation, longer training, the luck of the 0.5 % draw.

All are optional: without their runs the page says how to make them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from allinsam_core.metrics.stats import clustered_bootstrap_mean
from study import tables
from study.pages import table2_figures
from study.pages.fragments import Fragments, figure_block, markdown_table, not_run, score, signed, stacked, table_block

PAIR = ["allinsam", "unet"]
N = "images × seeds"
DRAWS_ALT = "Two columns of dots, mean test Dice of All-in-SAM and of U-Net, one dot per draw, joined draw by draw."


def ablation(results: Path, profile: str = "mini", off: str = "ablation") -> Fragments:
    """Fragment `ablation`: the gap between All-in-SAM and U-Net with augmentation (`profile`) and without (`off`)."""
    if not any((results / off).glob("*/run.json")):
        return Fragments(tables={"ablation": not_run(off)})
    with_, without = (_per_image(tables.collect(results, name)) for name in (profile, off))
    header = ["Training data", "augmentation", *(tables.METHOD_NAMES[m] for m in PAIR), "gap", N]
    rows = []
    for fraction in sorted(set(without["fraction"]), reverse=True):
        gaps = {}
        for name, scores in (("on", with_), ("off", without)):
            values = scores[scores["fraction"] == fraction].pivot(
                index=["image", "seed"], columns="method", values="dice"
            )
            values = values.reindex(columns=PAIR).dropna()  # seeds that both methods have
            if values.empty:
                continue
            gaps[name] = values[PAIR[0]] - values[PAIR[1]]
            cells = [_interval(values[method]) for method in PAIR]
            n = f"{values.index.unique('image').size} × {values.index.unique('seed').size}"
            rows.append([tables.fraction_name(fraction), name, *cells, _interval(gaps[name], sign=True), n])
        if len(gaps) == 2:
            share = (gaps["on"] - gaps["off"]).dropna()
            rows.append([tables.fraction_name(fraction), "on − off", "", "", _interval(share, sign=True), ""])
    table = markdown_table(header, rows, text_columns=2)
    return Fragments(tables={"ablation": table_block("Dice with and without augmentation", "tab-ablation", table)})


def longer(results: Path, profile: str = "mini", more: str = "longer") -> Fragments:
    """Fragment `longer`, numbers `longer:<method>:<share>:<1 or 4>`: Dice after 1 and 4 times the training."""
    if not any((results / more).glob("*/run.json")):
        return Fragments(tables={"longer": not_run(more)})
    both = {steps: _complete(tables.collect(results, name)) for steps, name in (("×1", profile), ("×4", more))}
    wanted = sorted(
        set(zip(both["×4"]["fraction"], both["×4"]["method"], strict=True)),
        key=lambda place: (-place[0], tables.method_order(place[1])),
    )
    lead, rows, numbers = PAIR[0], [], {}
    for fraction, method in wanted:
        for steps, scores in both.items():
            own = scores[(scores["fraction"] == fraction) & (scores["method"] == method)]
            if own.empty:
                continue
            gaps = []
            for against in both.values():  # All-in-SAM with as much training, and with more or less
                first = against[(against["fraction"] == fraction) & (against["method"] == lead)]
                pair = first.merge(own, on=["image", "seed"]).set_index(["image", "seed"])
                gap = pair["dice_x"] - pair["dice_y"]
                gaps.append(_interval(gap, sign=True) if method != lead and len(gap) else "–")
            values = own.set_index(["image", "seed"])["dice"]
            numbers[f"longer:{method}:{fraction:g}:{steps.removeprefix('×')}"] = score(values.mean(), 3)
            n = f"{own['image'].nunique()} × {own['seed'].nunique()}"
            named = [tables.METHOD_NAMES[method], tables.fraction_name(fraction), steps]
            rows.append([*named, _interval(values), *gaps, f"{own['fit s'].mean():.0f}", n])
    leads = [f"All-in-SAM {steps} − this" for steps in both]
    header = ["Method", "Training data", "steps", "`dice`", *leads, "fit s", N]
    table = markdown_table(header, rows, text_columns=3)
    block = table_block("Four times the training, complete labels", "tab-longer", table)
    return Fragments(numbers=numbers, tables={"longer": block})


def _complete(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["label"] == "complete"]


def draws(results: Path, profile: str = "draws") -> Fragments:
    """Fragment `draws`: the distribution of Dice over draws of the 0.5 %, with its figure."""
    if not any((results / profile).glob("*/run.json")):
        return Fragments(tables={"draws": not_run(profile)})
    scores = tables.collect(results, profile)
    means = scores.groupby(["seed", "method"])["dice"].mean().unstack()
    means = means[[m for m in PAIR if m in means]]
    rows = [
        [
            tables.METHOD_NAMES[m],
            str(v.count()),
            *(score(x, 3) for x in (v.mean(), v.std(), v.min(), v.median(), v.max())),
        ]
        for m, v in ((m, means[m].dropna()) for m in means.columns)
    ]
    table = markdown_table(["Method", "draws", "mean", "sd", "lowest", "median", "highest"], rows)
    both = means.dropna()
    ahead = ""
    if len(both.columns) == len(PAIR):
        ahead = f"All-in-SAM is ahead on {(both[PAIR[0]] > both[PAIR[1]]).sum()} of {len(both)} draws that both have.\n"
    caption = "Mean test Dice of each draw of three crops (0.5 % of the training pixels); lines join the same draw."
    whole = (
        table_block("Mean test Dice over draws of the 0.5 %", "tab-draws", table),
        ahead,
        figure_block("draws_dice", "fig-draws", DRAWS_ALT, caption),
    )
    return Fragments(tables={"draws": "\n".join(whole)}, figures={"draws_dice": partial(table2_figures.draws, means)})


def _per_image(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["method"].isin(PAIR) & (scores["label"] == "complete")]


def _interval(values: pd.Series, sign: bool = False) -> str:
    """Mean and 95 % interval of values indexed by image and seed; the seeds of an image stay together."""
    found = clustered_bootstrap_mean(values.to_numpy(), values.index.get_level_values("image").tolist())
    return stacked(found, signed if sign else score)
