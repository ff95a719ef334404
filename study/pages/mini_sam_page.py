"""What the page on mini-SAM substitutes: its size, its pre-training, its quality before any MoNuSeg training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from allinsam_core.annotation import sam as sams
from allinsam_core.learning.adapter import AdaptedSam, parameter_counts
from allinsam_core.metrics.stats import bootstrap_mean
from study import records
from study.pages.figures import WIDTH
from study.pages.fragments import Fragments, Palette, markdown_table, score, signed, with_interval

MEASURES = ("dice", "jaccard", "mean_instance_iou", "median_area_ratio", "aji_kumar")


def fragments(results: Path) -> Fragments:
    """Numbers `minisam:…`, tables and figures `minisam_…`, from `results/mini_sam/`."""
    record = records.read(results / "mini_sam" / "pretraining" / "run.json")
    rows = pd.read_csv(results / "mini_sam" / "quality" / "rows.csv")
    numbers = {**_sizes(), **_pretraining(record), "minisam:threshold": score(sams.MINI_MASK_THRESHOLD, 1)}
    overlap = records.read(results / "mini_sam" / "overlap" / "run.json")
    numbers["minisam:overlap_largest"] = score(overlap["largest_correlation"], 2)
    numbers["minisam:overlap_same"] = str(overlap["same"])
    numbers["minisam:images"] = str(rows["image"].nunique())
    numbers["minisam:splits"] = " and ".join(
        {"train": "training", "val": "validation"}[s] for s in rows["split"].unique()
    )
    numbers["minisam:box_gain"] = signed(_gain(rows), 3)
    for prompt, group in rows.groupby("prompt"):
        for measure in MEASURES:
            known = group[measure].dropna()
            if len(known):
                numbers[f"minisam:{str(prompt).replace(' ', '_')}:{measure}"] = score(known.mean(), 3)
        held = group[group["split"] == "val"]
        numbers[f"minisam:{str(prompt).replace(' ', '_')}:val_dice"] = score(held["dice"].mean(), 3)
    return Fragments(
        numbers=numbers,
        tables={
            "minisam_quality": _quality(rows),
            "minisam_held_out": _held_out(record),
            "minisam_sizes": _sizes_table(pd.read_csv(results / "mini_sam" / "quality" / "sizes.csv")),
            "minisam_organs": _organs(rows),
            "minisam_thresholds": _thresholds(pd.read_csv(results / "mini_sam" / "mask_threshold" / "rows.csv")),
        },
        figures={"minisam_curve": partial(_curve, record)},
    )


def _gain(rows: pd.DataFrame) -> float:
    """What looking at the image adds to a tight box's ellipse: mean instance IoU over images."""
    means = rows.groupby("prompt")["mean_instance_iou"].mean()
    return float(means["tight boxes"] - means["ellipses of tight boxes"])


def _sizes() -> dict[str, str]:
    with torch.device("meta"):
        counts = {
            name: parameter_counts(AdaptedSam(sams.build(name), reduction=sams.REDUCTION[name]))
            for name in ("mini", "vit_h")
        }
        own = sum(p.numel() for p in sams.build("mini").parameters())
    return {
        "minisam:parameters": f"{own / 1e6:.1f}",
        "minisam:adapter": f"{counts['mini']['adapter']:,}",
        "minisam:trainable": f"{counts['mini']['trainable']:,}",
        "minisam:vit_h_parameters": f"{counts['vit_h']['total'] / 1e6:.0f}",
    }


def _pretraining(record: dict[str, Any]) -> dict[str, str]:
    training, phases = record["training"], record["config"]["phases"]
    steps = [phase["stop"] or phase["train"]["steps"] for phase in phases]
    return {
        "minisam:minutes": f"{record['fit_seconds'] / 60:.0f}",
        "minisam:steps": f"{sum(steps):,}",
        "minisam:phases": ", ".join(f"{count:,}" for count in steps),
        "minisam:batch": str(phases[0]["train"]["batch_size"]),
        "minisam:cases": f"{record['data']['train']['images']:,}",
        "minisam:megabytes": f"{record['weights']['bytes'] / 1e6:.1f}",
        "minisam:best_step": f"{training['best']:,}",
        "minisam:commit": record["commit"][:10],
        "minisam:sha256": record["weights"]["sha256"][:16],
        "minisam:peak_gib": f"{record['peak_memory_bytes'] / 2**30:.1f}",
    }


def _quality(rows: pd.DataFrame) -> str:
    header = ["Prompt", "Images", *(f"`{m}`" for m in MEASURES)]
    lines = []
    for prompt, group in rows.groupby("prompt", sort=False):
        cells = []
        for measure in MEASURES:
            known = group[measure].dropna().to_numpy()
            if not len(known):
                cells.append("–")
                continue
            cells.append(with_interval(bootstrap_mean(known)))
        lines.append([str(prompt), str(group["image"].nunique()), *cells])
    return markdown_table(header, lines)


def _held_out(record: dict[str, Any]) -> str:
    header = ["Step", "promptless Dice", "mean IoU, one box", "of the boxes' ellipses", "mean IoU, one point"]
    wanted = ("dice", "box_iou", "ellipse_iou", "point_iou")
    looks = record["training"]["validations"]
    lines = [[f"{v['step']:,}", *(score(v[k], 3) if k in v else "–" for k in wanted)] for v in looks]
    return markdown_table(header, lines)


def _thresholds(rows: pd.DataFrame) -> str:
    """Means over images, a line per threshold and law of the boxes."""
    measures = ["dice", "mean_instance_iou", "median_area_ratio"]
    header = ["Boxes", "Threshold, logit", *(f"`{m}`" for m in measures), "Images"]
    lines = []
    for law in ("tight", "random"):
        own = rows[rows["boxes"] == law]
        for threshold in sorted(own["threshold"].unique(), reverse=True):
            group = own[own["threshold"] == threshold]
            means = (score(float(group[m].mean()), 3) for m in measures)
            lines.append([law, score(float(threshold), 1), *means, str(len(group))])
    return markdown_table(header, lines)


def _sizes_table(sizes: pd.DataFrame) -> str:
    """Masks from tight boxes, SAM's and the ellipses', by quarter of the nuclei from the smallest to the largest."""
    header = ["True area, px", "Nuclei", "Mask", "mean IoU", "mean area ratio", "excess", "missing", "IoU < 0.5"]
    prompts = {"tight boxes": "mini-SAM", "ellipses of tight boxes": "ellipse"}
    lines = []
    wanted = ["instance_iou", "area_ratio", "excess", "missing", "lost"]
    for _, row in sizes[sizes["prompt"].isin(prompts)].sort_values(["smallest", "prompt"]).iterrows():
        size = f"{row['smallest']:,.0f} to {row['largest']:,.0f}"
        values = (score(float(row[name]), 3) for name in wanted)
        lines.append([size, f"{row['nuclei']:,.0f}", prompts[str(row["prompt"])], *values])
    return markdown_table(header, lines, text_columns=3)


def _organs(rows: pd.DataFrame) -> str:
    """Mean instance IoU and area ratio of masks from tight boxes, and the ellipses' IoU, organ by organ."""
    header = ["Organ", "Images", "mean IoU, mini-SAM", "mean IoU, ellipse", "median area ratio, mini-SAM"]
    lines = []
    for organ, group in rows.groupby("organ"):
        sam, flat = (group[group["prompt"] == p] for p in ("tight boxes", "ellipses of tight boxes"))
        means = (sam["mean_instance_iou"].mean(), flat["mean_instance_iou"].mean(), sam["median_area_ratio"].mean())
        lines.append([str(organ), str(len(sam)), *(score(float(m), 3) for m in means)])
    return markdown_table(header, lines)


def _curve(record: dict[str, Any], palette: Palette) -> Figure:
    """Training loss against steps, smoothed by a running median of 15 records."""
    losses = pd.DataFrame(record["training"]["losses"], columns=["step", "loss"])
    figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(losses["step"], losses["loss"], color=palette.faint, linewidth=0.8)
    axes.plot(losses["step"], losses["loss"].rolling(15, center=True).median(), color=palette.first, linewidth=1.6)
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss of a batch")
    return figure
