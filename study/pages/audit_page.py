"""Numbers, tables and figures of the book's audit page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from study.audit import audit, averages, rankings
from study.audit.column_average import Summary, read_rows, summarise
from study.audit.published import CELLS, table1, table3
from study.audit.ranges import Verdict
from study.pages import audit_figures
from study.pages.fragments import Fragments, markdown_table, score, signed

COLUMN_RECORD = Path("audit") / "column_average.csv"
_WORDS: dict[Verdict, str] = {"holds": "yes", "fails": "**no**", "undecided": "undecided"}


def fragments(results: Path) -> Fragments:
    """Everything `audit.md` substitutes. results/audit/column_average.csv must exist."""
    summaries = summarise(read_rows(results / COLUMN_RECORD))
    numbers = _jensen_numbers() | _row_numbers() | _average_numbers() | _ranking_numbers() | _column_numbers(summaries)
    return Fragments(
        numbers={f"audit:{key}": value for key, value in numbers.items()},
        tables={
            "audit_jensen": _jensen_table(),
            "audit_averages": _average_table(),
            "audit_duels": _duel_table(),
            "audit_columns": _column_table(summaries),
        },
        figures={
            "audit_jensen": audit_figures.jensen,
            "audit_weights": audit_figures.weights,
            "audit_columns": partial(audit_figures.columns, summaries=summaries),
        },
    )


def _count(checks: Iterable[audit.Check], verdict: Verdict) -> str:
    return str(sum(check.verdict == verdict for check in checks))


def _span(values: Iterable[float], digits: int = 4) -> tuple[str, str]:
    many = sorted(values)
    return score(many[0], digits), score(many[-1], digits)


def _jensen_numbers() -> dict[str, str]:
    adj, iou = audit.jensen("ADJ"), audit.jensen("IoU")
    good = audit.with_verdict(adj, "holds")
    excess = _span(check.slack.centre for check in good)
    shortfall = _span(-check.slack.centre for check in iou)
    spread = _span((audit.implied_dice_spread(check) for check in good), 3)
    gap = _span(gap.centre for _, gap in audit.adj_minus_iou())
    overlap, same = audit.tables_agree()
    return {
        "rows": str(len(adj)),
        "table1_rows": str(len(table1())),
        "jensen_adj_rows": _count(adj, "holds"),
        "jensen_iou_rows_failing": _count(iou, "fails"),
        "adj_excess_min": excess[0],
        "adj_excess_max": excess[1],
        "iou_shortfall_min": shortfall[0],
        "iou_shortfall_max": shortfall[1],
        "spread_min": spread[0],
        "spread_max": spread[1],
        "gap_min": gap[0],
        "gap_max": gap[1],
        "harmonic_rows": _count(audit.harmonic(), "holds"),
        "oracle_rows": _count(audit.oracle(), "holds"),
        "overlap_rows": str(overlap),
        "overlap_same": str(same),
    }


def _row_numbers() -> dict[str, str]:
    first = table3()[0]
    bound = audit.jensen("IoU")[0].bound.centre
    (odd,) = audit.contradictions()
    return {
        "example_dice": score(first.dice),
        "example_bound": score(bound),
        "example_iou": score(first.iou_printed),
        "example_adj": score(first.adj_printed),
        "odd_dice": score(odd.row.dice),
        "odd_adj": score(odd.row.adj_printed),
        "odd_precision": score(odd.row.precision),
        "odd_recall": score(odd.row.recall),
        "odd_ceiling_adj": score(odd.ceiling_from_adj.high),
        "odd_ceiling_pr": score(odd.ceiling_from_precision_recall.high),
        "odd_excess": score(odd.excess),
    }


def _average_numbers() -> dict[str, str]:
    every = [fit for cell in CELLS for fit in averages.average_fits(cell)]
    numbers: dict[str, str] = {
        "outside_rows": str(len(averages.outside_inputs())),
        "inside_averages": str(sum(fit.check.possible for fit in every)),
        "misfit_inside": str(sum(fit.check.possible and not fit.fits for fit in every)),
    }
    for cell in CELLS:
        common, fits = averages.common_weight(cell), averages.average_fits(cell)
        numbers[f"weight_{cell}"] = score(common.centre, 3)
        numbers[f"weight_{cell}_low"], numbers[f"weight_{cell}_high"] = score(common.low), score(common.high)
        numbers[f"fits_{cell}"] = str(sum(fit.fits for fit in fits))
        for fit in fits:
            row = fit.check.row
            if row.method == rankings.OURS or not fit.fits:
                name = f"{cell}_{row.method}_{row.annotator}".lower().replace(" ", "-")
                numbers[f"{name}_printed"] = score(fit.check.scores.average)
                numbers[f"{name}_expected"] = score(fit.expected.centre)
        best = max(
            (fit for fit in fits if fit.check.row.annotator == "Expert" and fit.check.row.method != rankings.OURS),
            key=lambda fit: fit.expected.centre,
        )
        numbers[f"best_other_expected_{cell}"] = score(best.expected.centre)
        numbers[f"best_other_name_{cell}"] = best.check.row.method
    (outside,) = averages.outside_inputs()
    numbers |= {
        "outside_injured": score(outside.scores.injured),
        "outside_normal": score(outside.scores.normal),
        "outside_average": score(outside.scores.average),
    }
    return numbers


def _ranking_numbers() -> dict[str, str]:
    leaders = rankings.leaders()
    numbers = {
        "leaders_all": str(len(leaders)),
        "leaders_ours": str(sum(leader.verdict == "holds" for leader in leaders)),
    }
    for label in ("Complete", "Weak"):
        duels = rankings.duels(label)
        key = label.lower()
        numbers[f"duels_{key}"] = str(len(duels))
        numbers[f"duels_{key}_ours"] = str(sum(duel.verdict == "holds" for duel in duels))
        table2_duels = [duel for duel in rankings.duels(label, rankings.TABLE2_METRICS) if duel.training_data != "0.5%"]
        numbers[f"duels2_{key}"] = str(len(table2_duels))
        numbers[f"duels2_{key}_ours"] = str(sum(duel.verdict == "holds" for duel in table2_duels))
    effects = {effect.training_data: effect for effect in rankings.label_effects()}
    for amount, effect in effects.items():
        name = amount.lower().rstrip("%").replace(".", "")
        numbers[f"label_effect_{name}"] = signed(effect.difference.centre)
    return numbers


def _column_numbers(summaries: tuple[Summary, ...]) -> dict[str, str]:
    gap, dice = _span(s.gap for s in summaries), _span((s.dice for s in summaries), 2)
    return {
        "columns_settings": str(len(summaries)),
        "columns_images": str(summaries[0].images),
        "columns_draws": str(summaries[0].draws),
        "columns_gap_min": gap[0],
        "columns_gap_max": gap[1],
        "columns_dice_min": dice[0],
        "columns_dice_max": dice[1],
        "columns_below_bound": str(sum(s.below_bound for s in summaries)),
    }


def _jensen_table() -> str:
    rows = [
        [
            check.row.name,
            score(check.row.dice),
            score(check.bound.centre),
            score(check.row.iou_printed),
            _WORDS[check.verdict],
            score(check.row.adj_printed),
            _WORDS[other.verdict],
        ]
        for check, other in zip(audit.jensen("IoU"), audit.jensen("ADJ"), strict=True)
    ]
    header = (
        "Row of Table 3",
        "Dice",
        "smallest mean Jaccard",
        "IoU",
        "possible?",
        "ADJ",
        "possible?",
    )
    return markdown_table(header, rows)


def _average_table() -> str:
    rows = []
    for cell in CELLS:
        for fit in averages.average_fits(cell):
            scores, weight = fit.check.scores, fit.check.weight
            rows.append(
                [
                    f"{cell.capitalize()}: {fit.check.row.name}",
                    score(scores.injured),
                    score(scores.normal),
                    score(scores.average),
                    score(fit.expected.centre),
                    score(weight.centre, 3),
                    "fits" if fit.fits else "**does not fit**",
                ]
            )
    header = (
        "Row of Table 1",
        "injured",
        "normal",
        "average, printed",
        "at common weight",
        "implied weight",
        "",
    )
    return markdown_table(header, rows)


def _duel_table() -> str:
    rows = []
    for label in ("Complete", "Weak"):
        duels = rankings.duels(label)
        for amount in dict.fromkeys(duel.training_data for duel in duels):
            cells = []
            for duel in duels:
                if duel.training_data == amount:
                    text = signed(duel.difference.centre)
                    cells.append(text if duel.verdict == "holds" else f"**{text}**")
            rows.append([f"{label}, {amount}", *cells])
    return markdown_table(("All-in-SAM − nnU-Net", *rankings.METRICS), rows)


def _column_table(summaries: tuple[Summary, ...]) -> str:
    rows = [
        [
            "shift {shift:g} px, waves ± {amplitude:g} px over {correlation:g} px".format(**asdict(s.setting)),
            score(s.dice),
            score(audit.jaccard_of_dice(s.dice)),
            score(s.jaccard),
            score(s.iou_column),
            signed(s.gap),
        ]
        for s in summaries
    ]
    header = (
        "Error put on the true outlines",
        "Dice",
        "smallest mean Jaccard",
        "Jaccard",
        "column average",
        "gap",
    )
    return markdown_table(header, rows)
