"""Table 2 from run records: every row of the paper's table with ours beside it, paired tests, what each row cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd

from study import results as tables
from study.audit.published import Table2Row
from study.audit.published import table2 as published_table2
from study.stats import holm
from study.verdicts import compare

METRICS = ("dice", "iou_column", "jaccard", "aji_kumar")
OTHER_INSTANCE_METRICS = ("aji_plus", "pq", "f1_instance_50", "ap_50")
TESTED = ("dice", "aji_kumar")
OURS = {"Xie": "xie", "LViT": "lvit", "BEDs": "beds-stain", "nnUNet": "nnunet", "All-in-SAM": "allinsam"}
# The rows that the paper took from other papers (it reran nnU-Net only), and what sets them apart.
QUOTED = {
    "Xie": 'its "ADJ" is an instance index, beside our `aji_kumar`',
    "LViT": "scored at 224 × 224 px; its IoU is a pixel Jaccard index",
    "BEDs": "33 networks trained on other, larger data",
}
BESIDE = {"dice": "dice", "iou_printed": "iou_column", "adj_printed": "jaccard"}  # printed column → our metric
BESIDE_QUOTED = {
    "Xie": {"adj_printed": "aji_kumar"},
    "LViT": {"dice": "dice", "iou_printed": "jaccard"},
    "BEDs": {"dice": "dice"},
}
TARGETS = {"dice": 0.80, "aji_kumar": 0.55}  # of All-in-SAM, complete labels, all training data
AHEAD_AT = (0.04, 0.005)  # of nnU-Net, complete labels
EQUAL = 0.9  # of All-in-SAM's seconds: a rival that trained for less is said to have had less time
WATTS_PER_CORE = 280 / 64
"""Power of one busy core, W. Assumed, not measured: the thermal design power of a 64-core server processor (AMD EPYC
7763, 280 W) shared out evenly; memory, cooling and the idle rest of the machine are left out."""


@dataclass(frozen=True)
class Line:
    """One line of the table: the paper's row (None where only we have the method) and ours (None where not run)."""

    label: str
    name: str
    training_data: str
    paper: Table2Row | None
    ours: tables.Row | None

    @property
    def quoted(self) -> bool:
        """Whether the paper took its values from another paper."""
        return self.paper is not None and self.paper.method in QUOTED

    def printed(self, metric: str) -> float | None:
        """The paper's value that stands beside our `metric`; None where it has none."""
        if self.paper is None:
            return None
        for column, ours in BESIDE_QUOTED.get(self.paper.method, BESIDE).items():
            if ours == metric:
                value: float | None = getattr(self.paper, column)
                return value
        return None

    def difference(self, metric: str) -> float | None:
        """Ours − the paper's; None where one of the two is missing."""
        printed = self.printed(metric)
        return None if printed is None or self.ours is None else self.ours.cells[metric].ours.mean - printed


def lines(scores: pd.DataFrame) -> list[Line]:
    """The paper's 14 rows in its order, under each label followed by the rows that only this study has.

    scores: as `tables.collect` gives them. What the paper's Table 3 alone holds (0.5 %) is left to that table.
    """
    rows = tables.rows(scores, METRICS + OTHER_INSTANCE_METRICS)
    ours = {(row.label, row.method, row.fraction): row for row in rows}
    found = []
    for label in ("complete", "weak"):
        for paper in published_table2():
            if paper.label.lower() == label:
                row = ours.pop((label, OURS[paper.method], tables.fraction_of(paper.training_data)), None)
                found.append(Line(label, paper.method, paper.training_data, paper, row))
        for row in [r for key, r in ours.items() if key[0] == label and r.fraction != 0.005]:
            found.append(Line(label, row.name, tables.fraction_name(row.fraction), None, row))
    return found


def frame(table: list[Line]) -> pd.DataFrame:
    """The table in long form: one line per row and metric; NaN where there is no value."""
    long = []
    for line in table:
        for metric in METRICS + OTHER_INSTANCE_METRICS:
            cell = line.ours.cells[metric] if line.ours else None
            long.append(
                {
                    "label": line.label,
                    "method": line.name,
                    "training data": line.training_data,
                    "metric": metric,
                    "paper": line.printed(metric),
                    "quoted": line.quoted,
                    "ours": cell.ours.mean if cell else None,
                    "low": cell.ours.low if cell else None,
                    "high": cell.ours.high if cell else None,
                    "images": cell.ours.n if cell else 0,
                    "seeds": cell.seeds if cell else 0,
                    "seed sd": cell.between_seeds if cell else None,
                    "difference": line.difference(metric),
                }
            )
    return pd.DataFrame(long)


def paired_tests(scores: pd.DataFrame, reference: str = "allinsam") -> pd.DataFrame:
    """All-in-SAM against every method trained with the same label on the same fraction; see `verdicts.compare`.

    `difference` is reference − rival with its interval over images and seeds; `p Holm` is adjusted over all lines
    returned. Methods that do not train, or are given something of the truth, are no rivals.
    """
    trained = scores[(scores["fraction"] > 0) & ~scores["method"].isin(tables.REFERENCES)]
    cells: Any = trained[["label", "fraction", "method"]].drop_duplicates().to_numpy().tolist()
    rivals = sorted(
        (tuple(cell) for cell in cells if cell[2] != reference),
        key=lambda cell: (cell[0], -cell[1], tables.method_order(cell[2])),
    )
    pairs = [((reference, label, fraction), (rival, label, fraction)) for label, fraction, rival in rivals]
    found = [each for metric in TESTED for each in compare(trained, pairs, metric)]
    return pd.DataFrame(
        {
            "metric": [each.metric for each in found],
            "label": [each.second[1] for each in found],
            "fraction": [each.second[2] for each in found],
            "rival": [each.second[0] for each in found],
            "difference": [each.difference.mean for each in found],
            "low": [each.difference.low for each in found],
            "high": [each.difference.high for each in found],
            "images": [each.difference.n for each in found],
            "p": [each.test.p_value for each in found],
            "p Holm": holm([each.test.p_value for each in found]),
        }
    )


def costs(results: Path, profile: str) -> pd.DataFrame:
    """What a run of each row cost: means over its runs, peak memory the largest; energy where a processor did it all.

    `Wh` = (fit + predict seconds) × threads × WATTS_PER_CORE / 3600. `looks`: at the validation images
    to choose weights.
    """
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for run in tables.finished(results, profile):
        config = run.config
        groups.setdefault((config["label"], config["method"], config["fraction"]), []).append(run.record)
    found = []
    for (label, method, fraction), runs in sorted(
        groups.items(), key=lambda g: (g[0][0], -g[0][2], tables.method_order(g[0][1]))
    ):
        energies = [energy(r) for r in runs]
        found.append(
            {
                "label": label,
                "method": method,
                "fraction": fraction,
                "runs": len(runs),
                "trained": max(r["parameters"]["trained"] for r in runs),
                "total": max(r["parameters"]["total"] for r in runs),
                "fit s": mean(r["fit_seconds"] for r in runs),
                "predict s": mean(r["predict_seconds"] for r in runs),
                "looks": max(looks(r) for r in runs),
                "peak GiB": max(r["peak_memory_bytes"] for r in runs) / 2**30,
                "Wh": None if None in energies else mean(e for e in energies if e is not None),
            }
        )
    return pd.DataFrame(found)


def looks(record: dict[str, Any]) -> int:
    """How often a run was scored on the validation images to choose its weights; an ensemble's members together."""
    if record["config"]["method"] == "nnunet":
        return 0  # it logs a validation loss, but keeps its last weights
    training = record["training"]
    return sum(len(part.get("validations") or ()) for part in training.get("members", [training]))


def energy(record: dict[str, Any]) -> float | None:
    """Estimated energy of a run, Wh; None where a graphics card ran it, whose power this does not know."""
    if record["environment"]["device"] != "cpu":
        return None
    seconds = record["fit_seconds"] + record["predict_seconds"]
    return float(seconds * record["environment"]["threads"] * WATTS_PER_CORE / 3600)


def targets(scores: pd.DataFrame, tests: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """What this study set out to reach with the shipped mini-SAM, what was found, and whether that is enough.

    scores, tests, costs: as `tables.collect`, `paired_tests` and `costs` give them. One line per target.
    """
    found = [_level(scores, metric, target) for metric, target in TARGETS.items()]
    found += [_ahead(tests, costs, fraction) for fraction in AHEAD_AT]
    return pd.DataFrame(found, columns=["Target", "Found", "Verdict"])


def _level(scores: pd.DataFrame, metric: str, target: float) -> tuple[str, str, str]:
    goal = f"All-in-SAM, 100 %, complete: `{metric}` at least {target:.2f}"
    mean = scores.query("method == 'allinsam' and label == 'complete' and fraction == 1")[metric].mean()
    if pd.isna(mean):
        return goal, "–", "not run"
    return goal, f"{mean:.3f}", "reached" if mean >= target else "**not reached**"


def _ahead(tests: pd.DataFrame, costs: pd.DataFrame, fraction: float) -> tuple[str, str, str]:
    name = tables.fraction_name(fraction)
    goal = f"All-in-SAM ahead of nnU-Net v2 at {name}, complete labels, equal time: `dice`"
    pair = tests.query("metric == 'dice' and label == 'complete' and rival == 'nnunet' and fraction == @fraction")
    if pair.empty:
        return goal, "–", "not run"
    test = pair.iloc[0]
    spent = costs.query("label == 'complete' and fraction == @fraction").set_index("method")["fit s"]
    found = (
        f"{test['difference']:+.3f}, p (Holm) {test['p Holm']:.3f}\n"
        f"training {spent['allinsam']:.0f} s and {spent['nnunet']:.0f} s"
    ).replace("-", "−")
    if test["difference"] <= 0:
        return goal, found, "**not reached**"
    verdict = "reached" if test["p Holm"] < 0.05 else "ahead, but the difference may be chance"
    unequal = spent["nnunet"] < EQUAL * spent["allinsam"]
    return goal, found, f"{verdict}, but nnU-Net trained for less time" if unequal else verdict
