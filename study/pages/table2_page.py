"""What the page of Table 2 substitutes: its rows beside ours, paired tests, costs, the targets, a figure."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd

from study import config, table2, tables
from study.pages import table2_figures
from study.pages.fragments import Fragments, markdown_table, p_value, score, signed, stacked
from study.table2 import METRICS, OTHER_INSTANCE_METRICS, QUOTED, Line

N = "images × seeds"
NAME = tables.METHOD_NAMES
EQUAL = 0.9  # of All-in-SAM's seconds: a rival that trained for less is said to have had less time


def fragments(results: Path, profile: str = "mini") -> Fragments:
    """Numbers `table2:…`, tables and a figure `table2_…`, from whatever runs exist. Raises ValueError without any."""
    scores = tables.collect(results, profile)
    lines = table2.lines(scores)
    tests = table2.paired_tests(scores)
    costs = table2.costs(results, profile)
    printed = [line for line in lines if line.paper]
    numbers = {
        "table2:printed": str(len(printed)),
        "table2:quoted": str(sum(line.quoted for line in printed)),
        "table2:run": str(sum(line.ours is not None for line in printed)),
        "table2:tests": str(len(tests)),
        "table2:watts": f"{table2.WATTS_PER_CORE:.1f}",
        "table2:budget": " ".join(config.profile(profile).about.split()),
    }
    by_label = {f"table2_{label}": _beside([r for r in lines if r.label == label]) for label in ("complete", "weak")}
    return Fragments(
        numbers=numbers,
        tables={
            **by_label,
            "table2_quoted": markdown_table(["Method", "what sets its printed values apart"], list(QUOTED.items()), 2),
            "table2_instances": _instances(lines),
            "table2_tests": _tests(tests),
            "table2_costs": _costs(costs),
            "table2_targets": _targets(scores, tests, costs),
        },
        figures={"table2_dice": partial(table2_figures.beside, lines)},
    )


def _beside(lines: list[Line]) -> str:
    header = ["Method", "Training data", *(f"`{m}`" for m in METRICS), f"{N}<br>seed sd"]
    rows = [
        [line.name, line.training_data, *(_cell(line, m) for m in METRICS), _n(line) + _seed_sd(line)] for line in lines
    ]
    return markdown_table(header, rows, text_columns=2)


def _cell(line: Line, metric: str) -> str:
    """Ours with its interval; below it the paper's value, said to be quoted where it is, and the difference."""
    printed, difference = line.printed(metric), line.difference(metric)
    missing = "not run" if metric == METRICS[0] else ""
    parts = [_ours(line, metric) if line.ours else missing]
    if printed is not None:
        parts.append(f"{'quoted' if line.quoted else 'paper'} {score(printed)}")
    if difference is not None:
        parts.append(signed(difference, 3))
    return "<br>".join(part for part in parts if part) or "–"


def _ours(line: Line, metric: str) -> str:
    if line.ours is None:
        return "–"
    return stacked(line.ours.cells[metric].ours)


def _seed_sd(line: Line) -> str:
    spread = line.ours.cells["dice"].between_seeds if line.ours else float("nan")
    return "" if pd.isna(spread) else f"<br>{score(spread, 3)}"


def _n(line: Line) -> str:
    if line.ours is None:
        return "–"
    cell = line.ours.cells["dice"]
    return f"{cell.ours.n} × {cell.seeds}"


def _instances(lines: list[Line]) -> str:
    header = ["Method", "Training data", *(f"`{m}`" for m in OTHER_INSTANCE_METRICS), N]
    rows = [
        [
            line.name,
            tables.trained_on(line.training_data, line.label),
            *(_ours(line, m) for m in OTHER_INSTANCE_METRICS),
            _n(line),
        ]
        for line in lines
        if line.ours
    ]
    return markdown_table(header, rows, text_columns=2)


def _tests(tests: pd.DataFrame) -> str:
    header = ["All-in-SAM minus", "Training data", "Metric", "difference", "n", "p", "p (Holm)"]
    rows = [
        [
            NAME.get(t["rival"], t["rival"]),
            tables.trained_on(tables.fraction_name(t["fraction"]), t["label"]),
            f"`{t['metric']}`",
            f"**{signed(t['difference'], 3)}**<br>[{signed(t['low'], 3)}, {signed(t['high'], 3)}]",
            str(t["images"]),
            p_value(t["p"]),
            p_value(t["p Holm"]),
        ]
        for t in tests.to_dict("records")
    ]
    return markdown_table(header, rows, text_columns=3)


def _costs(costs: pd.DataFrame) -> str:
    header = [
        "Method",
        "Training data",
        "runs",
        "trained, M",
        "total, M",
        "fit, s",
        "predict, s",
        "looks",
        "peak, GiB",
    ]
    rows = [
        [
            NAME.get(c["method"], c["method"]),
            tables.trained_on(tables.fraction_name(c["fraction"]), c["label"]),
            str(c["runs"]),
            f"{c['trained'] / 1e6:.2f}",
            f"{c['total'] / 1e6:.2f}",
            f"{c['fit s']:.0f}",
            f"{c['predict s']:.0f}",
            str(c["looks"]),
            f"{c['peak GiB']:.1f}",
            "–" if pd.isna(c["Wh"]) else f"{c['Wh']:.2f}",
        ]
        for c in costs.to_dict("records")
    ]
    return markdown_table([*header, "energy, Wh"], rows, text_columns=2)


TARGETS = {"dice": 0.80, "aji_kumar": 0.55}  # of All-in-SAM, complete labels, all training data
AHEAD_AT = (0.04, 0.005)  # of nnU-Net, complete labels


def _targets(scores: pd.DataFrame, tests: pd.DataFrame, costs: pd.DataFrame) -> str:
    """What this study set out to reach, and whether it did."""
    rows = [_level(scores, metric, target) for metric, target in TARGETS.items()]
    rows += [_ahead(tests, costs, fraction) for fraction in AHEAD_AT]
    return markdown_table(["Target", "found", "verdict"], rows)


def _level(scores: pd.DataFrame, metric: str, target: float) -> list[str]:
    goal = f"All-in-SAM, 100 %, complete: `{metric}` ≥ {target:.2f}"
    mean = scores.query("method == 'allinsam' and label == 'complete' and fraction == 1")[metric].mean()
    if pd.isna(mean):
        return [goal, "–", "not run"]
    return [goal, score(mean, 3), "reached" if mean >= target else "**not reached**"]


def _ahead(tests: pd.DataFrame, costs: pd.DataFrame, fraction: float) -> list[str]:
    goal = f"All-in-SAM ahead of nnU-Net at {tables.fraction_name(fraction)}, complete, equal time: `dice`"
    pair = tests.query("metric == 'dice' and label == 'complete' and rival == 'nnunet' and fraction == @fraction")
    if pair.empty:
        return [goal, "–", "not run"]
    test = pair.iloc[0]
    spent = costs.query("label == 'complete' and fraction == @fraction").set_index("method")["fit s"]
    found = (
        f"{signed(test['difference'], 3)}, p (Holm) {p_value(test['p Holm'])}; "
        f"training {spent['allinsam']:.0f} s and {spent['nnunet']:.0f} s"
    )
    if test["difference"] <= 0:
        return [goal, found, "**not reached**"]
    verdict = "reached" if test["p Holm"] < 0.05 else "ahead, not beyond doubt"
    unequal = spent["nnunet"] < EQUAL * spent["allinsam"]
    return [goal, found, f"{verdict}, but nnU-Net trained for less time" if unequal else verdict]
