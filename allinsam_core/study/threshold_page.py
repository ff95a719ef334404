"""Is the lead one of threshold? All-in-SAM's leads at 0.5, and again at each image's own best threshold."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from allinsam_core.metrics.stats import Interval
from allinsam_core.study import published, tables
from allinsam_core.study.fragments import Fragments, markdown_table, signed, stacked, table_block

FIRST = "allinsam"
METRICS = ("dice", "best_f1", "auc")
PRINTED = ("dice", "best_f1")
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
