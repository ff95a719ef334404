"""What the page on DeepLIIF's tiles substitutes: three tables and what they show, or how to make them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from study import records
from study.molecular.deepliif import FOLDER
from study.pages.fragments import Fragments, markdown_table, score, table_block

NOT_RUN = ":::{note}\nNot run yet: `allinsam deepliif`.\n:::\n"
NAMES = {"ihc": "IHC", "dapi": "DAPI", "mini-SAM on ihc": "mini-SAM on IHC"}


def fragments(results: Path) -> Fragments:
    """Fragment `deepliif`: registration, masks and classes of `results/deepliif`, or that it was not run."""
    folder = results / FOLDER
    if not (folder / "run.json").is_file():
        return Fragments(tables={"deepliif": NOT_RUN})
    failed = records.read(folder / "run.json")["failed_registrations"]
    rows = pd.read_csv(folder / "rows.csv", dtype={"tile": str}).replace({"item": NAMES})
    parts = {str(part): own for part, own in rows.groupby("part")}
    told = (
        _registration(parts["registration"], failed),
        _check(parts.get("check")),
        _masks(parts["masks"]),
        _classes(parts["class"]),
        f"n = {rows['tile'].nunique()} tiles, so no intervals and no tests: a demonstration that the steps fit "
        "together on real tissue, not a measurement of how well they do.\n",
    )
    return Fragments(tables={"deepliif": "\n".join(told)})


def _registration(rows: pd.DataFrame, failed: dict[str, dict[str, str]]) -> str:
    header = ["Tile", "Panel", "median shift, px", "largest, px", "there and back, 95 %, px", "sd above chance"]
    lines = []
    for _, row in rows.iterrows():
        shift = "**failed**" if pd.isna(row["shift_px"]) else f"**{row['shift_px']:.1f}**"
        cells = (f"{row[m]:.1f}" for m in ("largest_px", "consistency_95_px"))
        lines.append([row["tile"], row["item"], shift, *cells, f"{row['sd_above_chance']:.0f}"])
    caption = "Each panel registered onto the haematoxylin panel; the segmentation is only measured, never moved"
    table = table_block(caption, "tab-deepliif-registration", markdown_table(header, lines, text_columns=2))
    reasons = [f"- {tile}, {NAMES.get(p, p)}: {why}.\n" for tile, found in failed.items() for p, why in found.items()]
    return "\n".join([table, "".join(reasons)]) if reasons else table


def _check(rows: pd.DataFrame | None) -> str:
    """The check that no registration saw; nothing where one failed."""
    if rows is None:
        return ""
    known = rows.pivot(index="tile", columns="item", values="correlation")
    told = (
        f"{t} {score(r['as given'], 2)} as given, {score(r['registered'], 2)} registered" for t, r in known.iterrows()
    )
    return (
        "The registrations saw haematoxylin and DAPI only. A check with the two stains of the marker, Ki67's "
        f"fluorescence and the brown of the IHC, is their correlation, pixel by pixel: {'; '.join(told)}.\n"
    )


def _masks(rows: pd.DataFrame) -> str:
    lines = [
        [row["tile"], row["item"], score(row["dice"], 3), score(row["mean_instance_iou"], 3)]
        for _, row in rows.iterrows()
    ]
    table = markdown_table(["Tile", "Masks", "Dice", "mean instance IoU"], lines, text_columns=2)
    return table_block("Masks of the same loose boxes against the segmentation panel", "tab-deepliif-masks", table)


def _classes(rows: pd.DataFrame) -> str:
    header = ["Tile", "Class read from", "accuracy", "F1 positive", "F1 negative", "read positive", "truly positive"]
    lines = []
    for _, row in rows.iterrows():
        scores = (score(row[m], 3) for m in ("accuracy", "f1_positive", "f1_negative"))
        counts = f"{row['read_positive']:.0f}", f"{row['positive_nuclei']:.0f} of {row['nuclei']:.0f}"
        lines.append([row["tile"], row["item"], *scores, *counts])
    table = markdown_table(header, lines, text_columns=2)
    return table_block("Class of every boxed nucleus against the segmentation panel", "tab-deepliif-class", table)
