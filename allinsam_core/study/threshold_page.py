"""Is the lead one of threshold? All-in-SAM's leads at 0.5, and again at each image's own best threshold."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from allinsam_core.study import published, tables
from allinsam_core.study.fragments import Fragments, markdown_table, signed, table_block, with_interval

FIRST = "allinsam"
METRICS = ("dice", "best_f1", "auc")
PRINTED = ("dice", "best_f1")
CAPTION = "All-in-SAM minus rival: at a probability of 0.5, at each image's own best threshold, and over all thresholds"


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
                label,
                tables.fraction_name(share),
                *(with_interval(each, signed).replace(" [", "<br>[") for each in found.values()),
                *(signed(printed[m]) if m in printed else "–" for m in PRINTED),
            ]
        )
    header = ["All-in-SAM minus", "Label", "Training data", *(f"`{m}`" for m in METRICS)]
    table = markdown_table([*header, *(f"paper, `{m}`" for m in PRINTED)], lines, text_columns=3)
    return Fragments(numbers=numbers, tables={"threshold": table_block(CAPTION, "tab-threshold", table)})


def _paper() -> dict[tuple[str, str, float], dict[str, float]]:
    """By rival, label and share: the printed values of All-in-SAM minus the rival's."""
    ours = {name: method for method, name in tables.PAPER_METHOD.items()}
    rows = {(ours[r.method], r.label.lower(), tables.PAPER_FRACTION[r.training_data]): r for r in published.table3()}
    pairs: Iterable[tuple[tuple[str, str, float], published.Table3Row]] = (
        (key, rows[FIRST, *key[1:]]) for key in rows if key[0] != FIRST
    )
    return {key: {m: getattr(first, m) - getattr(rows[key], m) for m in PRINTED} for key, first in pairs}
