"""The experiment that the paper lacks: final quality against the rate of label errors, with and without MOCL.

A grid of data set × error rate × corrective loss × seed; everything else is the same within a data set. Labels of
training and validation images are given errors (`data.corrupt`), test images keep their truth. Rows and records lie
in `results/<profile>/noise/`; a finished run is skipped.
"""

from __future__ import annotations

from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import ValidationError

from allinsam_core.refinement.corrective import Variant
from study import records, run
from study.config import Frozen, RunConfig, base_weights, merged

NoiseProfileName = Literal["smoke", "mini"]


class NoiseProfile(Frozen):
    """A grid. common: fields of RunConfig; data: per data set, what differs; each key names a source."""

    name: NoiseProfileName
    about: str
    rates: tuple[float, ...]
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    common: dict[str, Any]
    data: dict[str, dict[str, Any]]

    def run(self, source: str, rate: float, variant: str, seed: int, **more: Any) -> RunConfig:
        """The configuration of one run; `more` lies over the profile's own fields."""
        if source not in self.data:
            raise ValueError(f"noise profile {self.name} has no data {source!r}; it has {', '.join(self.data)}")
        own = {"data": {"source": source}, "corrective": {"variant": variant}, "noise": {"rate": rate}}
        settings = merged(merged(merged(self.common, self.data[source]), own), more)
        named = {"profile": self.name, "method": variant, "seed": seed}
        return RunConfig.model_validate({**settings, **named, "base_weights": base_weights(settings["model"])})

    def grid(self) -> list[RunConfig]:
        """Every run, data set by data set."""
        return [self.run(*point) for point in product(self.data, self.rates, self.variants, self.seeds)]


def profile(name: str) -> NoiseProfile:
    """Read `profiles/noise/<name>.yaml`. Raises ValueError for an unknown name or field."""
    if name not in get_args(NoiseProfileName):
        raise ValueError(f"unknown noise profile {name!r}; expected one of {', '.join(get_args(NoiseProfileName))}")
    source = files("study") / "profiles" / "noise" / f"{name}.yaml"
    try:
        return NoiseProfile.model_validate(yaml.safe_load(source.read_text()))
    except ValidationError as error:
        raise ValueError(f"{source}: {error}") from error


def execute(name: str, results: Path, work: Path, root: Path | None = None, device: str = "auto") -> list[Path]:
    """Do every run of the profile that is not finished; returns the folders of all. Images are read once."""
    folders: list[Path] = []
    shared: dict[str, Any] = {}
    for config in profile(name).grid():
        folder = results / config.place
        if records.is_finished(folder / "run.json", config.hash):
            folders.append(folder)
            continue
        source = config.data.source
        if source not in shared:
            shared = {source: run.cases(config.data, root)}
        folders.append(run.execute(config, results, work, root, device, data=shared[source]))
    return folders
