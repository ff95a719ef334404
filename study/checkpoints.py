"""Published checkpoints by the names of the manifest: where each lies, and what identifies it.

One rule, for `allinsam data fetch`, for files put by hand and for profiles: a checkpoint is `checkpoints/FILE` below
ALLINSAM_CACHE or, where that is not set, below the data folder. A profile writes `weights: sam-vit-h`, and no path.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from allinsam_core.annotation import sam
from allinsam_core.data.errors import DataError
from study.datasets import manifest
from study.datasets.manifest import Artefact
from study.names import fitting


def published(weights: str) -> Artefact | None:
    """The manifest's entry of this name; None for "shipped", "random" and paths."""
    found = manifest.load().artefacts.get(weights)
    return found if found is not None and found.kind == "checkpoint" else None


def file(weights: str, name: str = "mini") -> Path:
    """The file that `weights` means for the SAM of that name: "shipped", a name of the manifest or a path.

    Raises FileNotFoundError, and ValueError where no weights ship for that SAM.
    """
    entry = published(weights)
    return sam.weights_file(fitting(weights) if entry is None else str(entry.path()), name)


def sha256(weights: str, name: str = "mini") -> str:
    """What identifies the weights: the checksum of their file; "" for "random".

    Of a published checkpoint that is not here yet, the manifest's: a plan knows its runs before anything is downloaded.
    Raises DataError where the file is not the published one, FileNotFoundError for a path that leads nowhere.
    """
    if weights == "random":
        return ""
    entry = published(weights)
    if entry is not None and entry.sha256 is not None and not entry.path().is_file():
        return entry.sha256
    path = file(weights, name)
    about = path.stat()
    found = _digest(path, about.st_size, about.st_mtime_ns)
    if entry is not None and entry.sha256 not in (None, found):
        raise DataError(
            f"{path}: sha256 {found}, expected {entry.sha256} of {weights}; damaged or another file, "
            f"`allinsam data fetch {weights}` gets it again"
        )
    return found


@lru_cache(maxsize=32)
def _digest(path: Path, size: int, changed: int) -> str:
    """sha256 of a file, read once as long as its size and its time of change stay: a grid asks for every run."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
