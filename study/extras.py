"""Packages that only one part of the study needs: each belongs to an extra and is imported when that part is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from allinsam_core.data.errors import PlainError

EXTRAS = {
    "SimpleITK": "molecular",
    "sklearn": "rivals",
    "shapely": "lab",
    "roifile": "lab",
    "filelock": "lab",
}


class MissingExtra(PlainError, ImportError):
    """A package of an extra is not installed."""


def imported(name: str) -> Any:
    """The module `name` of a package of `EXTRAS`. Raises MissingExtra, which names its extra, where it is absent."""
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{package} is not installed; pip install 'allinsam[{EXTRAS[package]}]' brings it"
        ) from error
