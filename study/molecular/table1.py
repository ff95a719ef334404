"""Table 1 from run records: every cell and every test is computed here from committed rows, none is typed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from study import results as results_of_runs
from study import stats
from study.audit.published import CellScores
from study.audit.published import table1 as published_table1
from study.finished import finished, folders
from study.molecular.patch import CELL_TYPES, METRICS, CellType
from study.records import FILE
from study.stats import Equivalence, Interval, PairedTest

METHOD_NAMES = {
    "mocl": "MOCL",
    "sam_l_tight": "SAM-L tight",
    "sam_l_random": "SAM-L random",
    "allinsam": "All-in-SAM",
}
REFERENCE = ("allinsam", "Expert")  # the paper's "Ref."
MARGIN = 0.02  # of F1: a difference that would not matter; our choice, made before any run was seen
KINDS = ("injured", "normal", "average")
Kind = Literal["injured", "normal", "average"]
RowName = tuple[str, str]  # method, annotator


@dataclass(frozen=True)
class Table1Cell:
    """The paper's value (None where it has none) and ours: mean over test patches, interval over slides."""

    paper: float | None
    ours: Interval
    patches: int
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """One row against another on the same test patches, seeds averaged: first − second.

    wilcoxon: paired over patches, Holm within the family. effect: rank-biserial. interval: of the mean difference,
    95 %, slides drawn whole. equivalence: on the slides' mean differences.
    """

    first: RowName
    second: RowName
    cell_type: CellType
    wilcoxon: PairedTest
    effect: float
    interval: Interval
    equivalence: Equivalence

    @property
    def verdict(self) -> str:
        """In words; "undecided" is neither shown different (Holm p < 0.05) nor shown equivalent."""
        if self.equivalence.equivalent:
            return "equivalent"
        if self.wilcoxon.p_holm < 0.05:
            return "better" if self.interval.mean > 0 else "worse"
        return "undecided"


def collect(results: Path | str, profile: str, arm: str = "table1") -> pd.DataFrame:
    """All rows of all finished runs of a profile, one line per run and test patch; see `results.collect`.

    arm: as in MolecularConfig.
    """
    return results_of_runs.collect(results, profile, arm)


def run_files(results: Path | str, profile: str, arm: str = "table1") -> list[Path]:
    """The records of a profile's finished runs."""
    return [folder / FILE for folder in folders(results, profile, arm)]


def row_names(scores: pd.DataFrame) -> list[RowName]:
    """(method, annotator) of every row, the paper's eight first and in its order."""
    found = set(zip(scores["method"], scores["annotator"], strict=True))
    methods, annotators = list(METHOD_NAMES), ["Expert", "Students"]

    def place(row: RowName) -> tuple[bool, int, str, int, str]:
        extra = row[1] not in annotators
        at = methods.index(row[0]) if row[0] in methods else len(methods)
        return extra, at, row[0], annotators.index(row[1]) if not extra else 0, row[1]

    return sorted(found, key=place)


def named(row: RowName) -> str:
    """A row in the middle of a sentence: MOCL, lay without IF."""
    method, annotator = row
    return f"{METHOD_NAMES.get(method, method)}, {annotator[:1].lower()}{annotator[1:]}"


def per_patch(scores: pd.DataFrame, metric: str, row: RowName, cell_type: str) -> pd.DataFrame:
    """One line per test patch, seeds averaged: the metric, slide, injured; index: image."""
    own = scores[(scores["method"] == row[0]) & (scores["annotator"] == row[1]) & (scores["cell_type"] == cell_type)]
    found = own.groupby("image", sort=True).agg(
        value=(metric, "mean"), slide=("slide", "first"), injured=("injured", "first")
    )
    return found.dropna(subset=["value"])


def cell(scores: pd.DataFrame, metric: str, row: RowName, cell_type: CellType, kind: Kind) -> Table1Cell | None:
    """One cell of the table; None where no test patch is of that kind."""
    patches = per_patch(scores, metric, row, cell_type)
    if kind != "average":
        patches = patches[patches["injured"] == (kind == "injured")]
    if not len(patches):
        return None
    ours = stats.clustered_bootstrap_mean(patches["value"].to_numpy(), patches["slide"].tolist())
    own = scores[(scores["method"] == row[0]) & (scores["annotator"] == row[1])]
    printed = published(row, cell_type)
    paper = getattr(printed, kind) if printed and metric == "f1_pixel_macro" else None
    return Table1Cell(paper, ours, len(patches), own["seed"].nunique())


def published(row: RowName, cell_type: CellType) -> CellScores | None:
    """The paper's three numbers of a row, None where it has no such row."""
    for printed in published_table1():
        if (printed.method, printed.annotator) == (METHOD_NAMES.get(row[0]), row[1]):
            return printed.cell(cell_type)
    return None


def compare(
    scores: pd.DataFrame, metric: str, pairs: Iterable[tuple[RowName, RowName]], margin: float = MARGIN
) -> list[Comparison]:
    """First − second for each pair and cell type; Holm over the pairs of one cell type."""
    found: list[Comparison] = []
    wanted = list(pairs)
    for cell_type in CELL_TYPES:
        made = [_compared(scores, metric, first, second, cell_type, margin) for first, second in wanted]
        present = [each for each in made if each is not None]
        if not present:
            continue
        adjusted = stats.holm([each.wilcoxon.p_value for each in present])
        found += [_with_holm(each, float(p)) for each, p in zip(present, adjusted, strict=True)]
    return found


def _compared(
    scores: pd.DataFrame, metric: str, first: RowName, second: RowName, cell_type: CellType, margin: float
) -> Comparison | None:
    one, other = (per_patch(scores, metric, row, cell_type) for row in (first, second))
    both = one.join(other["value"].rename("other"), how="inner")
    if not len(both):
        return None
    difference = (both["value"] - both["other"]).to_numpy()
    by_slide = pd.Series(difference).groupby(both["slide"].to_numpy()).mean()
    values = both["value"].to_numpy(), both["other"].to_numpy()
    return Comparison(
        first,
        second,
        cell_type,
        stats.paired_wilcoxon(*values),
        stats.rank_biserial(*values),
        stats.clustered_bootstrap_mean(difference, both["slide"].tolist()),
        stats.equivalence(by_slide.to_numpy(), margin),
    )


def _with_holm(comparison: Comparison, p_holm: float) -> Comparison:
    return replace(comparison, wilcoxon=replace(comparison.wilcoxon, p_holm=p_holm))


def lay_pairs(scores: pd.DataFrame) -> list[tuple[RowName, RowName]]:
    """Students − expert of every method that has both."""
    rows = row_names(scores)
    return [((m, "Students"), (m, "Expert")) for m, a in rows if a == "Expert" and (m, "Students") in rows]


def guidance_pairs(scores: pd.DataFrame) -> list[tuple[RowName, RowName]]:
    """With − without the marker's picture, for lay annotators and the expert, of every method that has both."""
    rows = row_names(scores)
    named = (("Students", "Lay without IF"), ("Expert", "Expert without IF"))
    return [((m, w), (m, wo)) for m in METHOD_NAMES for w, wo in named if {(m, w), (m, wo)} <= set(rows)]


def reference_pairs(scores: pd.DataFrame) -> list[tuple[RowName, RowName]]:
    """Every other of the paper's rows − All-in-SAM, expert: the family the paper tested."""
    rows = row_names(scores)
    if REFERENCE not in rows:
        return []
    return [(row, REFERENCE) for row in rows if row != REFERENCE and row[1] in ("Expert", "Students")]


def paper_procedure(scores: pd.DataFrame, metric: str) -> list[tuple[RowName, CellType, PairedTest]]:
    """The test the paper describes: each row's patches against the reference row's mean as a fixed number.

    The reference row is put to the same test, against its own mean.
    """
    found = []
    for cell_type in CELL_TYPES:
        reference = per_patch(scores, metric, REFERENCE, cell_type)["value"]
        for row in row_names(scores) if len(reference) else []:
            own = per_patch(scores, metric, row, cell_type)["value"]
            if row[1] in ("Expert", "Students") and len(own):
                found.append((row, cell_type, stats.wilcoxon_against_number(own, float(reference.mean()))))
    return found


def table1(scores: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 1 beside ours in long form: one line per row, cell type, kind and metric."""
    lines = []
    for row in row_names(scores):
        for cell_type in CELL_TYPES:
            for metric in METRICS:
                for kind in KINDS:
                    found = cell(scores, metric, row, cell_type, kind)  # type: ignore[arg-type]
                    if found is None:
                        continue
                    lines.append({
                        "method": METHOD_NAMES.get(row[0], row[0]), "annotator": row[1], "cell type": cell_type,
                        "glomeruli": kind, "metric": metric, "paper": found.paper, "ours": found.ours.mean,
                        "low": found.ours.low, "high": found.ours.high, "patches": found.patches,
                        "slides": found.ours.n, "seeds": found.seeds,
                    })  # fmt: skip
    return pd.DataFrame(lines)


def comparison_table(comparisons: Iterable[Comparison]) -> pd.DataFrame:
    """Comparisons in long form, for the notebook."""
    return pd.DataFrame(
        {
            "first": ", ".join((METHOD_NAMES.get(c.first[0], c.first[0]), c.first[1])),
            "second": ", ".join((METHOD_NAMES.get(c.second[0], c.second[0]), c.second[1])),
            "cell type": c.cell_type,
            "difference": c.interval.mean,
            "low": c.interval.low,
            "high": c.interval.high,
            "p (Wilcoxon, Holm)": c.wilcoxon.p_holm,
            "rank-biserial": c.effect,
            "p (equivalence)": c.equivalence.p_value,
            "verdict": c.verdict,
        }
        for c in comparisons
    )


def label_table(results: Path, profile: str) -> pd.DataFrame:
    """How near each row's training labels are to the simulated truth; the same for every seed."""
    lines = {}
    for run in finished(results, profile, "table1"):
        config, quality = run.config, run.record.get("label_quality") or {}
        if quality:
            boxes = (config["masks"] or {}).get("boxes", {}).get("box_law")
            kind = f"SAM, {boxes} boxes" if boxes else "drawn"
            lines[config["annotator"], kind, config["cell_type"]] = quality
    keyed = [
        {"annotator": who, "labels": kind, "cell type": cell_type, **quality}
        for (who, kind, cell_type), quality in sorted(lines.items())
    ]
    return pd.DataFrame(keyed)
