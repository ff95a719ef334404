"""Numbers and tables of the audit page's sections on label geometry and on the five things called AJI."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from study.audit import aji_names, label_geometry
from study.pages.fragments import Fragments, markdown_table, score, signed


def fragments(results: Path) -> Fragments:
    """Keys `aji:…`, `geometry:…`, tables `audit_aji_names`, `audit_geometry`; both records must be in results/audit."""
    names = label_geometry.read(results / label_geometry.NAMES_RECORD)
    geometry = label_geometry.read(results / label_geometry.GEOMETRY_RECORD)
    return Fragments(
        numbers={
            **{f"aji:{key}": value for key, value in _name_numbers(names).items()},
            **{f"geometry:{key}": value for key, value in _geometry_numbers(geometry).items()},
        },
        tables={"audit_aji_names": _name_table(names), "audit_geometry": _geometry_table(geometry)},
    )


def means(names: pd.DataFrame) -> pd.Series:
    """Mean over images by name, in the order of `aji_names.NAMES`."""
    return names.groupby("name")["value"].mean()[list(aji_names.NAMES)]


def geometry_means(geometry: pd.DataFrame, scored: str) -> pd.DataFrame:
    """Mean over images of every metric by geometry, for what was scored: "perfect" or "prediction"."""
    chosen = geometry[geometry["scored"] == scored]
    return chosen.groupby("geometry")[list(label_geometry.METRICS)].mean().loc[list(label_geometry.GEOMETRIES)]


def _name_numbers(names: pd.DataFrame) -> dict[str, str]:
    mean = means(names)
    wide = names.pivot_table(index="image", columns="name", values="value")
    low, high = wide.min(axis=1).to_numpy(), wide.max(axis=1).to_numpy()
    widest = int((high - low).argmax())
    return {
        "images": str(names["image"].nunique()),
        "names": str(len(mean)),
        "spread": score(mean.max() - mean.min(), 3),
        "largest": str(mean.idxmax()),
        "smallest": str(mean.idxmin()),
        "image_min": score(float(low[widest]), 3),
        "image_max": score(float(high[widest]), 3),
    }


def _geometry_numbers(geometry: pd.DataFrame) -> dict[str, str]:
    perfect, prediction = (geometry_means(geometry, scored) for scored in ("perfect", "prediction"))
    titles = {"shifted": "shifted by 1 px", "thinner": "8 % thinner", "both": "shifted and thinner"}
    numbers = {f"perfect_{key}": score(perfect["dice"][title], 3) for key, title in titles.items()}
    for metric, key in (("precision", "thinner"), ("recall", "thinner"), ("dice", "both")):
        change = prediction[metric][titles[key]] - prediction[metric]["official"]
        numbers[f"{metric}_{key}"] = signed(change, 3)
    return numbers


def _name_table(names: pd.DataFrame) -> str:
    wide = names.pivot_table(index="image", columns="name", values="value")
    rows = [
        [
            f"`{name}`",
            what,
            f"**{score(wide[name].mean(), 3)}**",
            score(wide[name].min(), 3),
            score(wide[name].max(), 3),
        ]
        for name, what in aji_names.NAMES.items()
    ]
    return markdown_table(("Name here", "What it is", "mean", "lowest image", "highest image"), rows, text_columns=2)


def _geometry_table(geometry: pd.DataFrame) -> str:
    perfect, prediction = (geometry_means(geometry, scored) for scored in ("perfect", "prediction"))
    shown = ("dice", "jaccard", "precision", "recall", "aji_kumar")
    rows = [
        [title, score(perfect["dice"][title], 3), *(score(prediction[m][title], 3) for m in shown)]
        for title in label_geometry.GEOMETRIES
    ]
    header = ("Truth scored against", "official truth: `dice`", *(f"prediction: `{m}`" for m in shown))
    return markdown_table(header, rows)
