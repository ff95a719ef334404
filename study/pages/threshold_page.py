"""Is the lead one of threshold? All-in-SAM's leads at 0.5, and again at each image's own best threshold."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from statistics import fmean

from allinsam_core.metrics.stats import Interval
from study import records, tables
from study.audit import published
from study.pages.fragments import Fragments, markdown_table, not_run, score, signed, stacked, table_block

FIRST = "allinsam"
METRICS = ("dice", "best_f1", "auc")
PRINTED = ("dice", "best_f1")
CHOSEN = "Complete labels: a threshold chosen on the validation images in place of 0.5"
CAPTION = "All-in-SAM minus rival at 0.5, at each image's own best threshold, and over all thresholds"


def fragments(results: Path, profile: str = "mini") -> Fragments:
    """The fragment `threshold` and numbers `threshold:<rival or paper>:<label>:<share>:<metric>`, leads with a sign.

    Methods that do not train, or are told something of the truth, are no rivals.
    """
    scores = tables.collect(results, profile)
    scores = scores[(scores["fraction"] > 0) & ~scores["method"].isin(tables.TOLD)]
    rivals = sorted(set(scores["method"]) - {FIRST}, key=tables.method_order)
    shares = sorted(set(scores["fraction"]), reverse=True)
    paper = _paper()
    numbers: dict[str, str] = {}
    lines = []
    for label, share, rival in product(("complete", "weak"), shares, rivals):
        part = scores[scores["fraction"] == share]
        leads = {m: tables.lead(part, (FIRST, label), (rival, label), m) for m in METRICS}
        found = {m: interval for m, interval in leads.items() if interval is not None}
        if not found:
            continue
        printed = paper.get((rival, label, share), {})
        for who, values in ((rival, {m: each.mean for m, each in found.items()}), ("paper", printed)):
            numbers |= {f"threshold:{who}:{label}:{share:g}:{m}": signed(value, 3) for m, value in values.items()}
        lines.append(
            [
                tables.METHOD_NAMES.get(rival, rival),
                tables.trained_on(tables.fraction_name(share), label),
                *(_cell(each, printed.get(m)) for m, each in found.items()),
            ]
        )
    header = ["All-in-SAM minus", "Training data", *(f"`{m}`" for m in METRICS)]
    table = markdown_table(header, lines, text_columns=2)
    return Fragments(numbers=numbers, tables={"threshold": table_block(CAPTION, "tab-threshold", table)})


def chosen(results: Path, profile: str = "mini", again: str = "threshold") -> Fragments:
    """Fragment `threshold_chosen`, numbers `chosen:<method>:<share>:<dice, threshold or lead>`.

    The runs of `again` are those of `profile` with a threshold chosen on the validation images.
    """
    if not any((results / again).glob("*/run.json")):
        return Fragments(tables={"threshold_chosen": not_run(again)})
    before, after = (tables.collect(results, name) for name in (profile, again))
    thresholds = _thresholds(results / again)
    numbers: dict[str, str] = {}
    lines = []
    for row in sorted(tables.rows(after, ("dice",)), key=lambda r: (-r.fraction, tables.method_order(r.method))):
        same = after[after["fraction"] == row.fraction]
        half = before[(before["fraction"] == row.fraction) & (before["label"] == row.label)]
        (old,) = tables.rows(half[half["method"] == row.method], ("dice",))
        cell = row.cells["dice"]
        cuts = thresholds[row.method, row.fraction]
        place = f"chosen:{row.method}:{row.fraction:g}"
        numbers |= {f"{place}:dice": score(cell.ours.mean, 3), f"{place}:threshold": score(fmean(cuts), 2)}
        lead = tables.lead(same, (FIRST, row.label), (row.method, row.label)) if row.method != FIRST else None
        if lead is not None:
            numbers[f"{place}:lead"] = signed(lead.mean, 3)
        lines.append(
            [
                tables.METHOD_NAMES.get(row.method, row.method),
                tables.fraction_name(row.fraction),
                " ".join(score(cut, 2) for cut in cuts),
                stacked(old.cells["dice"].ours),
                stacked(cell.ours),
                "–" if lead is None else stacked(lead, signed),
                f"{cell.ours.n} × {cell.seeds}",
            ]
        )
    header = ["Method", "Training data", "thresholds", "`dice` at 0.5", "`dice`", "All-in-SAM − this", "images × seeds"]
    table = table_block(CHOSEN, "tab-threshold-chosen", markdown_table(header, lines, text_columns=2))
    return Fragments(numbers=numbers, tables={"threshold_chosen": table})


def _thresholds(folder: Path) -> dict[tuple[str, float], list[float]]:
    """By method and share: the thresholds that the runs chose, seed by seed."""
    found: dict[tuple[str, float], list[float]] = {}
    read = [records.read(path) for path in folder.glob("*/run.json")]
    for record in sorted(read, key=lambda record: record["config"]["seed"]):
        place = record["config"]["method"], record["config"]["fraction"]
        found.setdefault(place, []).append(record["threshold"])
    return found


def _cell(found: Interval, printed: float | None) -> str:
    """A lead with its interval; below them the printed values' lead, where the paper has both."""
    shown = stacked(found, signed)
    return shown if printed is None else f"{shown}<br>paper {signed(printed)}"


def _paper() -> dict[tuple[str, str, float], dict[str, float]]:
    """By rival, label and share: the printed values of All-in-SAM minus the rival's."""
    ours = {name: method for method, name in tables.PAPER_METHOD.items()}
    rows = {(ours[r.method], r.label.lower(), tables.PAPER_FRACTION[r.training_data]): r for r in published.table3()}
    pairs: Iterable[tuple[tuple[str, str, float], published.Table3Row]] = (
        (key, rows[FIRST, *key[1:]]) for key in rows if key[0] != FIRST
    )
    return {key: {m: getattr(first, m) - getattr(rows[key], m) for m in PRINTED} for key, first in pairs}
