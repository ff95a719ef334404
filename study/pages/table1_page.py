"""What the page on Table 1 substitutes: the paper's numbers beside the simulated study's, tests, figures, answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean

import pandas as pd

from allinsam_core.metrics.stats import Interval
from study import records
from study.molecular import config as molecular_config
from study.molecular import table1
from study.molecular.patch import CELL_TYPES, METRICS, CellType
from study.molecular.table1 import KINDS, METHOD_NAMES, Comparison, RowName, Table1Cell
from study.pages import table1_figures
from study.pages.fragments import Fragments, markdown_table, p_value, score, signed

PREFERRED = ("mini", "smoke")
METRIC_WORDS = {"f1_pixel_macro": "as the paper's code measures", "f1_instance_50": "nucleus by nucleus"}


def fragments(results: Path) -> Fragments:
    """Numbers `table1:…`, tables and figures `table1_…`, of the mini profile, or of smoke where mini has no run.

    Raises ValueError where neither has one.
    """
    profile = next((name for name in PREFERRED if table1.run_files(results, name)), PREFERRED[-1])
    scores = table1.collect(results, profile)
    rows = table1.row_names(scores)
    families = {
        "lay": table1.lay_pairs(scores),
        "guidance": table1.guidance_pairs(scores),
        "reference": table1.reference_pairs(scores),
    }
    compared = {name: {m: table1.compare(scores, m, pairs) for m in METRICS} for name, pairs in families.items()}
    tables = {f"table1_{c}_{m}": _scores(scores, m, c, rows) for c in CELL_TYPES for m in METRICS}
    tables |= {f"table1_{name}": _comparisons(by_metric, name == "lay") for name, by_metric in compared.items()}
    tables["table1_labels"] = _labels(table1.label_table(results, profile))
    tables["table1_procedure"] = _procedure(scores)
    tables["table1_status"] = _status(scores, profile)
    tables["table1_answers"] = _answers(compared) if profile != "smoke" else "No answer: smoke records say nothing.\n"
    examples = table1_figures.examples(results, profile)
    return Fragments(
        numbers=_numbers(scores, results, profile),
        tables=tables,
        figures={
            "table1_means": partial(table1_figures.row_means, scores, "f1_pixel_macro"),
        },
        files={"table1_examples.jpg": table1_figures.photograph(table1_figures.figure3(examples))},
    )


def _numbers(scores: pd.DataFrame, results: Path, profile: str) -> dict[str, str]:
    read = [records.read(path) for path in table1.run_files(results, profile)]
    test = scores.drop_duplicates("image")
    cohort = read[0]["config"]["cohort"]
    registration = read[0]["registration"]
    seconds = [record["fit_seconds"] + record["predict_seconds"] for record in read]
    steps = {r["config"]["method"]: r["config"]["train"]["steps"] for r in read}
    return {
        "table1:profile": profile,
        "table1:runs": str(len(read)),
        "table1:seeds": str(scores["seed"].nunique()),
        "table1:patches": str(len(test)),
        "table1:test_slides": str(test["slide"].nunique()),
        "table1:injured_slides": str(test[test["injured"]]["slide"].nunique()),
        "table1:slides": str(cohort["slides"]),
        "table1:size": str(cohort["size"]),
        "table1:train_patches": str(max(r["data"]["train"]["images"] for r in read)),
        "table1:registration_px": score(registration["median_px"], 2),
        "table1:registration_failed": str(registration["failed"]),
        "table1:registration_patches": str(registration["patches"] + registration["failed"]),
        "table1:seconds": f"{mean(seconds):.0f}",
        "table1:minutes": f"{sum(seconds) / 60:.0f}",
        "table1:steps_unet": str(steps.get("mocl", "–")),
        "table1:steps_allinsam": str(steps.get("allinsam", "–")),
        "table1:margin": score(table1.MARGIN, 2),
    }


def _status(scores: pd.DataFrame, profile: str) -> str:
    """What the reader looks at: which profile, how much of its grid, and what that allows to say."""
    done, planned = scores["run"].nunique(), len(molecular_config.profile(profile).points())
    part = "" if done == planned else f" **{done} of the profile's {planned} runs are finished.**"
    if profile == "smoke":
        text = (
            "There are no runs of the `mini` profile yet. What follows comes from `smoke`: a handful of patches and "
            "training steps. It shows that every part works; **its numbers say nothing**, nor do the answers drawn "
            "from them. `make study-table1 PROFILE=mini` makes the real ones."
        )
        return f":::{{admonition}} Smoke records only\n:class: warning\n{text}{part}\n:::\n"
    about = " ".join(molecular_config.profile(profile).about.split())
    return f":::{{admonition}} The `{profile}` profile\n:class: note\n{about}{part}\n:::\n"


def _scores(scores: pd.DataFrame, metric: str, cell_type: CellType, rows: Sequence[RowName]) -> str:
    """One line per row: injured, normal, average; in each ours with its interval and n, and the paper's value."""
    lines = []
    for method, annotator in rows:
        found = [table1.cell(scores, metric, (method, annotator), cell_type, kind) for kind in KINDS]  # type: ignore[arg-type]
        if any(found):
            lines.append([METHOD_NAMES.get(method, method), annotator, *(_cell(each) for each in found)])
    return markdown_table(["Method", "Annotator", *(f"{kind} (simulated)" for kind in KINDS)], lines, text_columns=2)


def _cell(cell: Table1Cell | None) -> str:
    if cell is None:
        return "no patch"
    paper = "" if cell.paper is None else f"<br>paper {score(cell.paper)}"
    return (
        f"**{score(cell.ours.mean, 3)}**<br>{interval(cell.ours)}<br>n = {cell.patches} on {cell.ours.n} slides{paper}"
    )


def interval(found: Interval) -> str:
    """[low, high], or that there is none."""
    if math.isnan(found.low):
        return "[one slide: no interval]"
    return f"[{score(found.low, 3)}, {score(found.high, 3)}]"


def _comparisons(by_metric: dict[str, list[Comparison]], with_paper: bool) -> str:
    """One line per metric, cell type and pair: first − second; with the paper's difference where asked."""
    header = ["Comparison", "Cell type", "Metric", "Difference", "95 % interval", "p, Holm", "Effect", "p, equivalence"]
    lines = []
    for metric, comparisons in by_metric.items():
        for c in comparisons:
            paper = ""
            printed = table1.published(c.first, c.cell_type), table1.published(c.second, c.cell_type)
            if with_paper and metric == "f1_pixel_macro" and printed[0] and printed[1]:
                paper = f"<br>paper {signed(printed[0].average - printed[1].average)}"
            lines.append([
                f"{table1.named(c.first)} − {table1.named(c.second)}", c.cell_type, f"`{metric}`",
                f"**{signed(c.interval.mean, 3)}**{paper}", interval(c.interval), p_value(c.wilcoxon.p_holm),
                signed(c.effect, 2), p_value(c.equivalence.p_value),
            ])  # fmt: skip
    return _table(header, lines, text_columns=3)


def _table(header: list[str], lines: list[list[str]], text_columns: int) -> str:
    """The table; where these runs hold no such rows, a line that says so, as the page needs a table."""
    none = ["none in these runs", *["–"] * (len(header) - 1)]
    return markdown_table(header, lines or [none], text_columns)


def _labels(quality: pd.DataFrame) -> str:
    header = ["Annotator", "Labels", "Cell type", *(f"`{m}` (simulated)" for m in METRICS)]
    lines = [
        [line["annotator"], line["labels"], line["cell type"], *(score(line[m], 3) for m in METRICS)]
        for line in quality.to_dict("records")
    ]
    return markdown_table(header, lines, text_columns=3)


def _procedure(scores: pd.DataFrame) -> str:
    found = table1.paper_procedure(scores, "f1_pixel_macro")
    header = ["Row", "Cell type", "Mean − fixed number", "p", "patches"]
    lines = [
        [table1.named(row), cell_type, signed(test.difference, 3), p_value(test.p_value), str(test.n)]
        for row, cell_type, test in found
    ]
    return _table(header, lines, text_columns=2)


def _answers(compared: dict[str, dict[str, list[Comparison]]]) -> str:
    """The questions in plain words, answered by the comparisons' verdicts."""
    lay = "Do students with the marker's picture match the expert with it?"
    guided = "Does the marker's picture help?"
    parts = []
    for question, family in ((lay, "lay"), (guided, "guidance")):
        parts.append(f"**{question}**\n")
        parts += [
            f"- {metric_words.capitalize()} (`{metric}`): {_sentence(compared[family][metric])}"
            for metric, metric_words in METRIC_WORDS.items()
        ]
        parts.append("")
    return "\n".join(parts)


def _sentence(comparisons: Iterable[Comparison]) -> str:
    """Verdict → which comparisons; "no comparison" where there is none."""
    words = {
        "equivalent": f"equivalent within ±{score(table1.MARGIN, 2)}",
        "worse": "lower",
        "better": "higher",
        "undecided": "neither shown different nor shown equivalent",
    }
    by_verdict: dict[str, list[str]] = {}
    for c in comparisons:
        pair = f"{table1.named(c.first)}, {c.cell_type} ({signed(c.interval.mean, 3)})"
        by_verdict.setdefault(c.verdict, []).append(pair)
    if not by_verdict:
        return "no comparison in these runs."
    total = sum(map(len, by_verdict.values()))
    said = [
        f"{words[verdict]} in {len(by_verdict[verdict])} of {total}: {'; '.join(by_verdict[verdict])}"
        for verdict in words
        if verdict in by_verdict
    ]
    return ". ".join(each[0].upper() + each[1:] for each in said) + "."
