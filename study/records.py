"""Provenance: what a result was obtained with. A run record is written last, whole, and says all of it."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allinsam_core import __version__
from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case

if TYPE_CHECKING:
    import torch

__all__ = ["commit", "data_checksum", "environment", "hash_of", "is_finished", "peak_memory", "read", "write"]

LIBRARIES = (
    "torch",
    "torchvision",
    "segment-anything",
    "monai",
    "numpy",
    "scipy",
    "scikit-image",
    "pandas",
    "nnunetv2",
)


def commit() -> str:
    """The commit of the code that runs, "+changes" appended where files differ from it; else the version."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "allinsam_core", "study", "notebooks")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"allinsam {__version__} (not a git checkout)"


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Device, processor, threads and library versions."""
    import torch  # late: reading records, as the pages do, needs none of it

    chosen = torch.device(device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else _processor()
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = "absent"
    return {
        "device": chosen.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": versions,
    }


def peak_memory() -> int:
    """Bytes that this process held at most; see `allinsam_core.learning.train.peak_memory`."""
    from allinsam_core.learning import train  # late, like torch

    return train.peak_memory()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def data_checksum(cases: Sequence[Case]) -> str:
    """sha256 over names, pixels and labels, in order: the identity of the data a run saw."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case.name.encode())
        digest.update(np.ascontiguousarray(case.image).tobytes())
        digest.update(np.ascontiguousarray(case.instances).tobytes())
    return digest.hexdigest()


def hash_of(settings: dict[str, Any]) -> str:
    """What a configuration is known by: sha256 of its canonical JSON, first 10 hexadecimal digits."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def write(record: dict[str, Any], path: Path) -> None:
    """Write JSON atomically; NaN and infinities become null."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(_plain(record), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Read a record. Raises ValueError naming the file when it is not one."""
    try:
        record = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a readable run record ({error}); delete its folder to run it again") from error
    if not isinstance(record, dict) or "config_hash" not in record:
        raise ValueError(f"{path}: holds no run record (no config_hash); delete its folder to run it again")
    return record


def is_finished(path: Path, config_hash: str) -> bool:
    """Whether the record of exactly this configuration is there. A record of another hash is an error."""
    if not path.is_file():
        return False
    found = read(path)["config_hash"]
    if found != config_hash:
        raise ValueError(f"{path}: record of configuration {found}, expected {config_hash}; delete the folder")
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.integer | np.bool_) else value
