"""Where data lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pooch

from allinsam_core.data.errors import MissingData
from study.names import fitting

VARIABLE = "ALLINSAM_DATA"
CACHE = "ALLINSAM_CACHE"
CHECKOUT = Path(__file__).resolve().parents[1]


def resolved(path: Path | str) -> Path:
    """A path as the study means it: a relative one from the repository's root, wherever a notebook runs.

    Of an installed package without a repository, from the current folder.
    """
    path = Path(fitting(path)).expanduser()
    base = CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() else Path.cwd()
    return path if path.is_absolute() else base / path


def data_root() -> Path:
    """The folder that holds `monuseg/`, `dsb2018/` and what `allinsam data fetch` downloads.

    In this order: the environment variable ALLINSAM_DATA; `../shared/data` beside the checkout, if it exists;
    the user's cache folder (which need not exist yet).
    """
    if named := os.environ.get(VARIABLE):
        return resolved(named)
    beside = CHECKOUT.parent / "shared" / "data"
    return beside if beside.is_dir() else Path(pooch.os_cache("allinsam"))


def download_root(checkpoint: bool) -> Path:
    """The folder below which `allinsam data fetch` puts a file and everyone looks for it.

    For a checkpoint the environment variable ALLINSAM_CACHE may name another place than the data folder: a large disk,
    or a folder that many users share.
    """
    named = os.environ.get(CACHE) if checkpoint else None
    return resolved(named) if named else data_root()


def dataset_folder(root: Path, name: str) -> Path:
    """`root` itself when it is the dataset's folder, else `root/name` where that exists.

    Raises MissingData, saying how to get the data, when `root` is not a folder.
    """
    if not Path(root).is_dir():
        raise MissingData(
            f"{root}: no such folder, expected the {name} data; set {VARIABLE} to the folder that holds "
            f"`{name}/`, or run `allinsam data list` and `allinsam data fetch NAME`"
        )
    inside = Path(root) / name
    return inside if inside.is_dir() else Path(root)
