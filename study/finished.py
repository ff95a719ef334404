"""Finished runs, read from their folders. Every one is checked: record, configuration, name, rows and every score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from allinsam_core.metrics.instance import InstanceScores
from allinsam_core.metrics.pixel import PixelScores
from allinsam_core.settings import validated
from study import records
from study.datasets import manifest
from study.records import WAY_OUT, RecordError
from study.root import resolved

# the metrics by what they can be, as their dataclasses declare them: shares lie in 0 … 1, counts are whole numbers
SHARES = tuple(f.name for kind in (PixelScores, InstanceScores) for f in fields(kind) if f.type == "float")
COUNTS = tuple(f.name for kind in (PixelScores, InstanceScores) for f in fields(kind) if f.type == "int")


class NotRun(ValueError):
    """There is no finished run; the message says what makes one."""


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run's folder, its record and its rows, one line per scored image."""

    folder: Path
    record: dict[str, Any]
    rows: pd.DataFrame

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = self.record["config"]
        return found

    @property
    def point(self) -> dict[str, Any]:
        """What tells it from the others of its grid. With settings of its own it is a method of its own."""
        own = self.config.get("own")
        changes = f" ({', '.join(_leaves(own))})" if own else ""
        return {**records.point(self.config), "method": f"{self.config['method']}{changes}"}


def folders(results: Path | str, profile: str, arm: str = "") -> list[Path]:
    """The folders of a profile's finished runs, by name. arm: below the profile's, "noise", "table1" or "own"."""
    place = resolved(results) / profile / arm
    return sorted(path.parent for path in place.glob(f"*/{records.FILE}"))


def finished(results: Path | str, profile: str, arm: str = "") -> list[FinishedRun]:
    """Every finished run of a profile, checked. Raises RecordError for a run that is not as it was written."""
    found = [read(folder) for folder in folders(results, profile, arm)]
    for run in found:
        if run.config["profile"] != profile:
            raise RecordError(f"{run.folder}: is a run of profile {run.config['profile']}; move it to that folder")
    return found


def read(folder: Path) -> FinishedRun:
    """One finished run. Raises RecordError, naming the run and the way out, where anything does not belong together."""
    record = records.read(folder / records.FILE)
    records.check_files(record, folder)
    config, file = record["config"], folder / records.FILE
    if (expected := records.hash_of(config)) != record["config_hash"]:
        raise RecordError(
            f"{file}: config_hash is {record['config_hash']}, expected {expected} of its configuration; {WAY_OUT}"
        )
    if not folder.name == record["run_id"] == records.run_id(config):
        raise RecordError(
            f"{file}: run_id is {record['run_id']}, expected {records.run_id(config)} of its configuration, "
            f"and the folder of that name; {WAY_OUT}"
        )
    try:
        rows = pd.read_csv(folder / records.ROWS, dtype={"image": str, "patient": str})
    except (ValueError, OSError) as error:
        raise RecordError(f"{folder / records.ROWS}: not a readable table ({error}); {WAY_OUT}") from None
    _check_images(folder, record, rows)
    _check_scores(folder, rows)
    return FinishedRun(folder, record, rows)


def check(results: Path | str) -> Iterator[tuple[Path, str]]:
    """Every record below `results`, with what is wrong with it; "" for nothing.

    Beyond what `read` checks: today's code must give a run's configuration the same hash and folder, and MoNuSeg's rows
    must be of exactly the images of its split. Records that are no run of a grid are checked against their files.
    """
    for path in sorted(resolved(results).rglob(records.FILE)):
        try:
            if "method" in records.read(path).get("config", {}):
                _check_run(read(path.parent), resolved(results))
            else:
                records.check_files(records.read(path), path.parent)
        except (ValueError, KeyError, TypeError) as error:
            yield path.parent, str(error) if isinstance(error, ValueError) else f"{path}: {error!r}; {WAY_OUT}"
        else:
            yield path.parent, ""


def _check_run(run: FinishedRun, results: Path) -> None:
    from study.config import RunConfig  # late: all else here needs no torch
    from study.grid import CONFIGURATIONS

    kind = CONFIGURATIONS["molecular" if "cell_type" in run.config else "segmentation"]
    config = validated(kind, run.config, str(run.folder / records.FILE))
    if "superseded" not in run.folder.relative_to(results).parts:  # these may be of an earlier configuration
        if config.hash != run.record["config_hash"]:
            raise RecordError(f"{run.folder}: today's code gives this configuration the hash {config.hash}; {WAY_OUT}")
        if run.folder != results / config.place:
            raise RecordError(f"{run.folder}: belongs into {results / config.place}; move it there")
    if isinstance(config, RunConfig) and config.data.source.startswith("monuseg"):
        names = manifest.load().datasets["monuseg"].names(config.scored)
        if other := sorted(set(run.rows["image"]) ^ set(names)):
            raise RecordError(
                f"{run.folder / records.ROWS}: {other[0]} is missing, or no {config.scored} image; {WAY_OUT}"
            )


def _check_images(folder: Path, record: dict[str, Any], rows: pd.DataFrame) -> None:
    """Every image of the split, once."""
    config = record["config"]
    split = config.get("scored", "test")
    expected = record["data"][split]["images"]
    found = rows["image"].tolist() if "image" in rows else []
    if len(found) != expected or len(set(found)) != len(found):
        raise RecordError(
            f"{folder / records.ROWS}: {len(found)} lines of {len(set(found))} images, expected one line for each of "
            f"the {expected} {split} images; {WAY_OUT}"
        )


def _check_scores(folder: Path, rows: pd.DataFrame) -> None:
    """Shares in 0 … 1 (or undefined), counts whole and not negative, all else finite or undefined."""
    for name in rows.columns:
        known = name in SHARES or name in COUNTS
        if not known and not pd.api.types.is_numeric_dtype(rows[name]):
            continue
        values = pd.to_numeric(rows[name], errors="coerce").to_numpy(float)
        wrong = np.isinf(values) | (np.isnan(values) & rows[name].notna().to_numpy())
        if name in SHARES:
            wrong |= (values < 0) | (values > 1)
        if name in COUNTS:
            wrong |= ~(values >= 0) | (values % 1 != 0)
        if wrong.any():
            line = rows[wrong].iloc[0]
            expected = "a number in 0 … 1" if name in SHARES else "a count" if name in COUNTS else "a finite number"
            raise RecordError(
                f"{folder / records.ROWS}: {name} of {line['image']} is {line[name]}, expected {expected}; {WAY_OUT}"
            )


def _leaves(settings: dict[str, Any], path: str = "") -> list[str]:
    found: list[str] = []
    for name, value in settings.items():
        found += _leaves(value, f"{path}{name}.") if isinstance(value, dict) else [f"{path}{name} {value}"]
    return found
