"""Tables from run records: every cell is computed here from committed rows, none is typed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from study.audit.published import Table3Row
from study.audit.published import table3 as published_table3
from study.finished import NotRun, finished
from study.records import RecordError
from study.root import resolved
from study.sam_names import MINI_SAM, annotating_sam, sam_of
from study.stats import Interval, nested_bootstrap_mean

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
NAMES = {
    "allinsam": "All-in-SAM ({sam})",
    "nnunet": "nnU-Net v2",
    "unet": "U-Net",
    "imagenet_unet": "U-Net, ImageNet encoder",
    "lvit": "LViT, text from the image",
    "lvit_oracle": "LViT, text from the truth",
    "xie": "Xie et al., self-supervised",
    "resunet": "Xie et al., no pretext",
    "late": "{sam}, adapted in its second half",
    "decoder": "{sam}, decoder alone trained",
    "finetuned": "{sam}, trained whole",
    "allinsam_scrambled": "All-in-SAM, tokens scrambled as released",
    "scratch": "the same network from random weights",
    "zeroshot": "{sam}, no MoNuSeg training",
    "otsu": "Stain deconvolution + Otsu",
    "beds-single": "BEDs, one member",
    "beds": "BEDs, ensemble",
    "beds-stain": "BEDs, ensemble + stain",
    "mocl_unet": "MOCL residual U-Net",
    "boxes": "{sam}, given the true boxes",
    "ellipse": "Ellipses in the true boxes",
}
"""Methods by what they are called; {sam} is the SAM that a run stands on, see `names`."""
METHOD_NAMES = {method: name.format(sam=MINI_SAM) for method, name in NAMES.items()}
"""As they are called where every run stands on mini-SAM."""
REFERENCES = ("boxes", "ellipse", "lvit_oracle")  # they are given something of the truth of the test images
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
    *REFERENCES,
)
PAPER_METHOD = {"allinsam": "All-in-SAM", "nnunet": "nnUNet"}


@dataclass(frozen=True)
class Cell:
    """One cell: the paper's value (None where it has none) and ours, its interval over images and seeds."""

    paper: float | None
    ours: Interval
    seeds: int
    between_seeds: float  # standard deviation of the seeds' means; NaN with one seed

    @property
    def difference(self) -> float | None:
        return None if self.paper is None else self.ours.mean - self.paper


@dataclass(frozen=True)
class Row:
    """A configuration: method, label and fraction, with a cell per metric and the ids of its runs. name: of `names`."""

    method: str
    name: str
    label: str
    fraction: float
    cells: dict[str, Cell]
    runs: tuple[str, ...]


def collect(results: Path | str, profile: str, arm: str = "") -> pd.DataFrame:
    """All rows of all finished runs of a profile: one line per run and scored image. arm: as for `finished.folders`.

    Columns are those of rows.csv, what tells the runs apart (method, label, fraction and seed, or what else the arm
    has), `run`, `simulated`, `fit s`, `sam` and `label_sam` (the SAM that the method stands on, and the one that made
    its labels; "": none), `code` (the hash of the code it ran; None: unknown) and, of noisy labels, `label_dice`.
    Raises NotRun, saying what to run, when there is no finished run; RecordError when a run is not as it was written,
    when two stand for the same cell and seed (one of them is of an earlier configuration), and when runs to be compared
    were scored on different images.
    """
    frames: list[pd.DataFrame] = []
    seen: dict[tuple[Any, ...], Path] = {}
    scored: dict[tuple[Any, ...], tuple[str, Path]] = {}
    for run in finished(results, profile, arm):
        point = run.point
        first = seen.setdefault(tuple(point.values()), run.folder)
        if first != run.folder:
            raise RecordError(f"{first} and {run.folder} are runs of the same cell and seed; delete the outdated one")
        images = run.record["data"][run.config.get("scored", "test")]["sha256"]
        comparable = (point.get("source"), point.get("cell_type"))
        known, other = scored.setdefault(comparable, (images, run.folder))
        if known != images:
            raise RecordError(f"{other} and {run.folder} were scored on different test images; delete the outdated one")
        record = run.record
        about = {"run": record["run_id"], "simulated": record["simulated"], "fit s": record["fit_seconds"]}
        about |= {"sam": sam_of(run.config), "label_sam": annotating_sam(run.config)}
        about |= {name: record[name] for name in ("code", "label_dice") if name in record}
        frames.append(run.rows.assign(**point, **about))
    if not frames:
        makes = {"noise": f"allinsam noise --profile {profile}"}.get(arm, f"make study PROFILE={profile}")
        if arm.startswith("table1"):
            makes = f"make study-table1 PROFILE={profile}"
        raise NotRun(f"{resolved(results) / profile / arm}: no finished run; `{makes}` makes them")
    return pd.concat(frames, ignore_index=True)


def rows(scores: pd.DataFrame, metrics: tuple[str, ...]) -> list[Row]:
    """One row per method, label and fraction, most data first."""
    paper = {(r.label.lower(), r.method, fraction_of(r.training_data)): r for r in published_table3()}
    named, found = names(scores), []
    for _, group in scores.groupby(["method", "label", "fraction"], sort=False):
        first = group.iloc[0]
        method, label, fraction = str(first["method"]), str(first["label"]), float(first["fraction"])
        printed = paper.get((label, PAPER_METHOD.get(method, ""), fraction))
        cells = {metric: _cell(group, metric, printed) for metric in metrics}
        found.append(Row(method, named[method], label, fraction, cells, tuple(sorted(group["run"].unique()))))
    return sorted(found, key=lambda r: (r.label, -r.fraction, method_order(r.method)))


def names(scores: pd.DataFrame) -> dict[str, str]:
    """What the methods are called, each by the SAM that its own runs stand on, as their records say.

    A method without runs is called by the SAM of the others, where they have one in common. scores: of `collect`.
    """
    known = scores[scores["sam"] != ""].groupby("method")["sam"].unique()
    common = " or ".join(sorted(set(scores["sam"]) - {""})) or "SAM"
    sams = {method: " or ".join(sorted(found)) for method, found in known.items()}
    own = {method: f"{method} ({sams[method]})" if method in sams else method for method in scores["method"].unique()}
    return {method: name.format(sam=sams.get(method, common)) for method, name in {**own, **NAMES}.items()}


def not_run(scores: pd.DataFrame, label: str) -> list[tuple[str, Table3Row]]:
    """The rows of the paper's Table 3 with such labels for which there is no run, each with our name of its method."""
    there = set(zip(scores["method"], scores["label"], scores["fraction"], strict=True))
    ours = {paper: method for method, paper in PAPER_METHOD.items()}
    return [
        (ours[row.method], row)
        for row in published_table3()
        if row.label.lower() == label and (ours[row.method], label, fraction_of(row.training_data)) not in there
    ]


def method_order(method: str) -> tuple[int, str]:
    """Where a method stands among others: as in NAMES, unknown ones last, by name."""
    order = list(NAMES)
    return (order.index(method) if method in order else len(order), method)


def _cell(group: pd.DataFrame, metric: str, printed: Table3Row | None) -> Cell:
    known = group.dropna(subset=[metric])
    ours = nested_bootstrap_mean(known[metric].to_numpy(), known["image"].tolist(), known["seed"].tolist())
    by_seed = known.groupby("seed")[metric].mean()
    column = TABLE3_METRICS.get(metric)
    value = None
    if printed is not None and column is not None and not group["simulated"].any():
        value = float(getattr(printed, column))
    return Cell(value, ours, len(by_seed), float(by_seed.std()))


def lead(
    scores: pd.DataFrame, first: tuple[str, str], second: tuple[str, str], metric: str = "dice"
) -> Interval | None:
    """Mean of first − second, image by image on the seeds that both have, with its interval over images and seeds.

    scores: of one fraction of the training images. first, second: method and label. None where they share no seed.
    """
    one, other = (
        scores.loc[(scores["method"] == method) & (scores["label"] == label), ["image", "seed", metric]]
        for method, label in (first, second)
    )
    both = one.merge(other, on=["image", "seed"], suffixes=("", "_other"))
    gaps = both[metric] - both[f"{metric}_other"]
    return nested_bootstrap_mean(gaps.to_numpy(), both["image"].tolist(), both["seed"].tolist()) if len(both) else None


def codes(scores: pd.DataFrame) -> pd.DataFrame:
    """The cells whose runs were made by different code: how many versions there are in each. scores: of `collect`."""
    versions = scores.groupby(["method", "label", "fraction"], sort=False)["code"].nunique().rename("versions")
    return versions[versions > 1].reset_index()


def fraction_of(training_data: str) -> float:
    """The fraction that a printed amount means: "All" and "All + More" are 1, "4%" is 0.04."""
    return 1.0 if training_data.startswith("All") else float(training_data.rstrip("%")) / 100


def fraction_name(fraction: float) -> str:
    """100 %, 4 %, 0.5 %, none."""
    return f"{100 * fraction:g} %" if fraction else "none"


def trained_on(data: str, label: str) -> str:
    """A fraction of the training data and the kind of its labels: 4 %, weak."""
    return data if data == "none" else f"{data}, {label}"


def table3(scores: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 3 beside ours: for each metric paper, ours, interval and difference, in long form."""
    lines = []
    for row in rows(scores, tuple(TABLE3_METRICS)):
        for metric, cell in row.cells.items():
            lines.append(
                {
                    "label": row.label,
                    "method": row.name,
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


def run_table(results: Path | str, profile: str) -> pd.DataFrame:
    """What every run cost: trained parameters, seconds, peak memory, device, commit."""
    lines = []
    for run in finished(results, profile):
        r = run.record
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


def validation_dice(record: dict[str, Any]) -> float:
    """Mean Dice over the validation images, at the step whose weights the run kept. record: of a trained run."""
    training = record["training"]
    (kept,) = (found for found in training["validations"] if found["step"] == training["best"])
    return float(kept["dice"])
