"""Tables from run records: every cell is computed here from committed rows, none is typed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from allinsam_core.metrics.stats import Interval, clustered_bootstrap_mean
from study import records
from study.audit.published import Table3Row
from study.audit.published import table3 as published_table3

# our metric → the column of the paper's Table 3 that it stands beside
TABLE3_METRICS = {
    "dice": "dice",
    "auc": "auc",
    "recall": "recall",
    "precision": "precision",
    "best_f1": "best_f1",
    "iou_column": "iou_printed",
    "jaccard": "adj_printed",
}
INSTANCE_METRICS = ("aji_kumar", "aji_plus", "pq", "f1_instance_50", "ap_50")
METHOD_NAMES = {
    "allinsam": "All-in-SAM (mini-SAM)",
    "nnunet": "nnU-Net v2",
    "unet": "U-Net",
    "lvit": "LViT, text from the image",
    "lvit_oracle": "LViT, text from the truth",
    "xie": "Xie et al., self-supervised",
    "resunet": "Xie et al., no pretext",
    "finetuned": "mini-SAM, trained whole",
    "scratch": "the same network from random weights",
    "zeroshot": "mini-SAM, no MoNuSeg training",
    "otsu": "Stain deconvolution + Otsu",
    "beds-single": "BEDs, one member",
    "beds": "BEDs, ensemble",
    "beds-stain": "BEDs, ensemble + stain",
    "mocl_unet": "MOCL residual U-Net",
    "boxes": "mini-SAM, given the true boxes",
    "ellipse": "Ellipses in the true boxes",
}
TOLD = ("boxes", "ellipse", "lvit_oracle")  # references that are told something of the truth of the test images
TABLE2_ONLY = (
    "finetuned",
    "scratch",
    "xie",
    "resunet",
    "lvit",
    "beds-single",
    "beds",
    "beds-stain",
    "mocl_unet",
    *TOLD,
)
PAPER_METHOD = {"allinsam": "All-in-SAM", "nnunet": "nnUNet"}
PAPER_FRACTION = {"All": 1.0, "100%": 1.0, "4%": 0.04, "0.50%": 0.005, "0.5%": 0.005}


class NotRun(ValueError):
    """A profile has no finished run yet; the message says what makes one."""


@dataclass(frozen=True)
class Cell:
    """One cell: the paper's value (None where it has none) and ours over images, seeds kept within an image."""

    paper: float | None
    ours: Interval
    seeds: int
    between_seeds: float  # standard deviation of the seeds' means; NaN with one seed

    @property
    def difference(self) -> float | None:
        return None if self.paper is None else self.ours.mean - self.paper


@dataclass(frozen=True)
class Row:
    """A configuration: method, label and fraction, with a cell per metric and the ids of its runs."""

    method: str
    label: str
    fraction: float
    cells: dict[str, Cell]
    runs: tuple[str, ...]


def collect(results: Path, profile: str) -> pd.DataFrame:
    """All rows of all finished runs of a profile: one line per run and test image.

    Raises NotRun, saying what to run, when there is no finished run; ValueError when two records disagree on the
    test images, and when two runs stand for the same cell and seed (one of them is of an earlier configuration).
    """
    frames, tests = [], {}
    seen: dict[tuple[Any, ...], Path] = {}
    for path in sorted((results / profile).glob("*/run.json")):
        record = records.read(path)
        own = pd.read_csv(path.with_name("rows.csv"))
        config = record["config"]
        place = {name: config[name] for name in ("method", "label", "fraction", "seed")}
        first = seen.setdefault(tuple(place.values()), path.parent)
        if first != path.parent:
            raise ValueError(f"{first} and {path.parent} are runs of the same cell and seed; delete the outdated one")
        own = own.assign(**place)
        about = {"run": record["run_id"], "simulated": record["simulated"], "fit s": record["fit_seconds"]}
        frames.append(own.assign(**about))
        tests[record["data"]["test"]["sha256"]] = path
    if not frames:
        raise NotRun(f"{results / profile}: no finished run; `make study PROFILE={profile}` makes them")
    if len(tests) > 1:
        raise ValueError(f"{' and '.join(map(str, tests.values()))} were scored on different test images")
    return pd.concat(frames, ignore_index=True)


def rows(scores: pd.DataFrame, metrics: tuple[str, ...]) -> list[Row]:
    """One row per method, label and fraction, most data first."""
    paper = {(r.label.lower(), r.method, PAPER_FRACTION[r.training_data]): r for r in published_table3()}
    found = []
    for _, group in scores.groupby(["method", "label", "fraction"], sort=False):
        first = group.iloc[0]
        method, label, fraction = str(first["method"]), str(first["label"]), float(first["fraction"])
        printed = paper.get((label, PAPER_METHOD.get(method, ""), fraction))
        cells = {metric: _cell(group, metric, printed) for metric in metrics}
        found.append(Row(method, label, fraction, cells, tuple(sorted(group["run"].unique()))))
    return sorted(found, key=lambda r: (r.label, -r.fraction, method_order(r.method)))


def method_order(method: str) -> tuple[int, str]:
    """Where a method stands among others: as in METHOD_NAMES, unknown ones last, by name."""
    order = list(METHOD_NAMES)
    return (order.index(method) if method in order else len(order), method)


def _cell(group: pd.DataFrame, metric: str, printed: Table3Row | None) -> Cell:
    known = group.dropna(subset=[metric])
    ours = clustered_bootstrap_mean(known[metric].to_numpy(), known["image"].tolist())
    by_seed = known.groupby("seed")[metric].mean()
    column = TABLE3_METRICS.get(metric)
    value = None
    if printed is not None and column is not None and not group["simulated"].any():
        value = float(getattr(printed, column))
    return Cell(value, ours, len(by_seed), float(by_seed.std()))


def lead(
    scores: pd.DataFrame, first: tuple[str, str], second: tuple[str, str], metric: str = "dice"
) -> Interval | None:
    """Mean of first − second, image by image on the seeds that both have; the seeds of an image stay together.

    scores: of one share of the training images. first, second: method and label. None where they share no seed.
    """
    one, other = (
        scores.loc[(scores["method"] == method) & (scores["label"] == label), ["image", "seed", metric]]
        for method, label in (first, second)
    )
    both = one.merge(other, on=["image", "seed"], suffixes=("", "_other"))
    gaps = both[metric] - both[f"{metric}_other"]
    return clustered_bootstrap_mean(gaps.to_numpy(), both["image"].tolist()) if len(both) else None


def validation_dice(record: dict[str, Any]) -> float:
    """Mean Dice over the validation images, at the step whose weights the run kept. record: of a trained run."""
    training = record["training"]
    (kept,) = (found for found in training["validations"] if found["step"] == training["best"])
    return float(kept["dice"])


def fraction_name(fraction: float) -> str:
    """100 %, 4 %, 0.5 %, none."""
    return f"{100 * fraction:g} %" if fraction else "none"


def trained_on(data: str, label: str) -> str:
    """A share of the training data and the kind of its labels: 4 %, weak."""
    return data if data == "none" else f"{data}, {label}"


def table3(scores: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 3 beside ours: for each metric paper, ours, interval and difference, in long form."""
    lines = []
    for row in rows(scores, tuple(TABLE3_METRICS)):
        for metric, cell in row.cells.items():
            lines.append(
                {
                    "label": row.label,
                    "method": METHOD_NAMES.get(row.method, row.method),
                    "training data": fraction_name(row.fraction),
                    "metric": metric,
                    "paper": cell.paper,
                    "ours": cell.ours.mean,
                    "low": cell.ours.low,
                    "high": cell.ours.high,
                    "images": cell.ours.n,
                    "seeds": cell.seeds,
                    "seed sd": cell.between_seeds,
                    "difference": cell.difference,
                }
            )
    return pd.DataFrame(lines)


def run_table(results: Path, profile: str) -> pd.DataFrame:
    """What every run cost: trained parameters, seconds, peak memory, device, commit."""
    lines = []
    for path in sorted((results / profile).glob("*/run.json")):
        r = records.read(path)
        lines.append(
            {
                "run": r["run_id"],
                "trained parameters": r["parameters"]["trained"],
                "fit s": round(r["fit_seconds"], 1),
                "predict s": round(r["predict_seconds"], 1),
                "peak MiB": round(r["peak_memory_bytes"] / 2**20),
                "device": r["environment"]["device"],
                "commit": r["commit"][:10],
            }
        )
    return pd.DataFrame(lines)
