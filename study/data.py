"""Which images a run learns from and is scored on.

A new data set is a file with a function `by_split(settings, root)`, and a line in `SOURCES`. `DataSettings.source` then
names it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from allinsam_core.data.case import Case, Split
from allinsam_core.settings import Settings, SettingsError, nearest

# a source → the module that reads or makes its images; imported when a run asks for it
SOURCES = {
    "monuseg": "study.datasets.monuseg",
    "monuseg_20x": "study.datasets.monuseg",
    "brca_m2c": "study.datasets.brca_m2c",
    "simulated": "study.simulation.simulate",
    "glomerulus": "study.simulation.glomerulus",
}


class DataSettings(Settings):
    """Which images. The fraction's rule and crop side are our reading of the paper's 4 % and 0.5 %.

    source: "monuseg_20x" is MoNuSeg at half its resolution; "glomerulus" the simulated cohort's podocytes, with
    `simulated` as the arguments of `glomerulus.cohort`.
    """

    source: str = "monuseg"
    rule: Literal["crops", "whole_image", "patients"] = "crops"
    crop: int = Field(default=200, gt=0)  # px
    simulated: dict[str, int] = Field(default_factory=lambda: {"train": 6, "val": 2, "test": 4, "size": 256})

    @field_validator("source")
    @classmethod
    def _known(cls, source: str) -> str:
        if source not in SOURCES:
            raise SettingsError(f"data.source is {source!r}; {nearest(source, SOURCES)}")
        return source

    def arguments(self, cohort: Callable[..., Any]) -> dict[str, Any]:
        """`simulated` as arguments of `cohort`. Raises SettingsError for a name that it does not take."""
        for name in self.simulated.keys() - signature(cohort).parameters.keys():
            raise SettingsError(
                f"unknown name {name!r} in data.simulated; {nearest(name, signature(cohort).parameters)}"
            )
        return dict(self.simulated)


def cases(data: DataSettings, root: Path | None) -> dict[Split, list[Case]]:
    """The study's images by split. root: where MoNuSeg lies; simulated data need none."""
    found: dict[Split, list[Case]] = import_module(SOURCES[data.source]).by_split(data, root)
    return found


def check_root(data: DataSettings, root: Path | None) -> None:
    """Raises MissingData where a folder was named and does not hold the images; reads none of them."""
    check = getattr(import_module(SOURCES[data.source]), "check", None)
    if root is not None and check is not None:
        check(root)
