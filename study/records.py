"""Run records: what a result was obtained with, and the checksums that bind it to its rows.

A record is written last, whole, and says all of it. Nothing here needs torch to read one.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from allinsam_core import __version__
from allinsam_core.atomic import replacing
from allinsam_core.data.case import Case
from allinsam_core.data.errors import PlainError
from study.code import PACKAGES, code_hash, notebook_hash
from study.names import readable
from study.root import resolved

if TYPE_CHECKING:
    import torch

FILE = "run.json"
ROWS = "rows.csv"
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


class RecordError(PlainError):
    """A record, or what lies beside it, is not what a run wrote; the message names the run and the way out."""


WAY_OUT = "`git checkout` restores a committed run; to run it again, delete its folder"


# ---- making


class Stopwatch:
    """Wall and processor seconds of the parts of a run, in this process."""

    def __init__(self) -> None:
        self.started = time.time()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, part: str = "") -> Iterator[None]:
        """Time what happens inside as `<part>_seconds` and `<part>_processor_seconds`; without a part, as `seconds`."""
        wall, processor = time.monotonic(), time.process_time()
        yield
        name = f"{part}_" if part else ""
        self.seconds[f"{name}seconds"] = time.monotonic() - wall
        self.seconds[f"{name}processor_seconds"] = time.process_time() - processor


def make(
    run_id: str,
    config: Mapping[str, Any],
    *,
    data: Mapping[str, Sequence[Case]],
    modules: Iterable[str],
    watch: Stopwatch,
    simulated: bool = False,
    device: torch.device | str = "cpu",
    **more: Any,
) -> dict[str, Any]:
    """The record of a run: who, with what, on what, how long; `more` is what only this kind of run has.

    config: everything that decides its numbers. data: every set of images, by name. modules: its code, with all that
    they import. Files and checksums are added by `save`.
    """
    return {
        "run_id": run_id,
        "config_hash": hash_of(dict(config)),
        "config": dict(config),
        "commit": commit(),
        "code": code_hash(modules),
        "notebook": notebook_hash(),
        "simulated": simulated,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(watch.started)),
        "environment": environment(device),
        "data": {name: {"images": len(part), "sha256": data_checksum(part)} for name, part in data.items()},
        **watch.seconds,
        "peak_memory_bytes": peak_memory(),
        **more,
    }


def save(record: dict[str, Any], folder: Path, **tables: pd.DataFrame) -> Path:
    """Write a run's tables by name as CSV, then its record with their checksums; returns the folder."""
    folder = resolved(folder)
    for name, table in tables.items():
        with replacing(folder / f"{name}.csv") as unfinished:
            table.to_csv(unfinished, index=False, float_format="%.6f")
    files = {f"{name}.csv": file_checksum(folder / f"{name}.csv") for name in tables}
    write({**record, "files": files}, folder / FILE)
    return folder


def write(record: dict[str, Any], path: Path) -> None:
    """Write JSON atomically, with a checksum of its own content; NaN and infinities become null."""
    plain = _plain(record)
    plain["sha256"] = content_checksum(plain)
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def commit() -> str:
    """The commit of the code that runs, "+changes" appended where files differ from it; else the version."""
    root = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *PACKAGES, "notebooks")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"allinsam {__version__} (not a git checkout)"


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Device, processor, threads and library versions."""
    import torch  # late: reading records, as the pages do, needs none of it

    from allinsam_core.annotation.attention import has_bfloat16

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
        "bfloat16": has_bfloat16(chosen),  # else `precision: bf16` was computed in float32
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


# ---- names and checksums


def hash_of(settings: dict[str, Any]) -> str:
    """What a configuration is known by: sha256 of its canonical JSON, first 10 hexadecimal digits."""
    return _digest(settings)[:10]


def content_checksum(record: Mapping[str, Any]) -> str:
    """sha256 of a record's canonical JSON, its entry `sha256` left out."""
    return _digest({name: value for name, value in record.items() if name != "sha256"})


def _digest(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_checksum(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_checksum(cases: Sequence[Case]) -> str:
    """sha256 over names, pixels and labels, in order: the identity of the data a run saw."""
    digest = hashlib.sha256()
    for case in cases:
        digest.update(case.name.encode())
        digest.update(np.ascontiguousarray(case.image).tobytes())
        digest.update(np.ascontiguousarray(case.instances).tobytes())
    return digest.hexdigest()


def point(config: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a run from the others of its grid, by name and in the order of its id. config: of its record."""
    if "cell_type" in config:
        names = ("method", "annotator", "cell_type")
    elif config.get("noise"):
        found = {"source": config["data"]["source"], "method": config["method"], "rate": config["noise"]["rate"]}
        return {**found, "seed": config["seed"]}
    else:
        names = ("method", "label", "fraction")
    return {name: config[name] for name in (*names, "seed")}


def run_id(config: Mapping[str, Any]) -> str:
    """The name of a run, and of its folder: its point in the grid and the hash of its configuration."""
    *names, seed = point(config).values()
    parts = [f"{part:g}" if isinstance(part, float) else str(part) for part in names]
    return f"{'-'.join(parts)}-s{seed}-{hash_of(dict(config))}"


# ---- reading


def read(path: Path) -> dict[str, Any]:
    """Read a record. Raises RecordError naming the file when it is not one, or is not as it was written."""
    try:
        record = json.loads(path.read_bytes().decode("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise RecordError(f"{path}: not a readable run record ({error}); {WAY_OUT}") from None
    if not (isinstance(record, dict) and "config_hash" in record and isinstance(record.get("config", {}), dict)):
        raise RecordError(f"{path}: holds no run record (no config_hash, or no config); {WAY_OUT}")
    if "sha256" in record and record["sha256"] != content_checksum(record):
        raise RecordError(f"{path}: was changed after it was written (its sha256 is another); {WAY_OUT}")
    return record


def is_finished(path: Path, config_hash: str) -> bool:
    """Whether exactly this configuration was run and all that it wrote is still there. path: of the record.

    A run whose tables are gone is not finished. Raises RecordError for a record of another configuration and for tables
    that are not those it was written with.
    """
    if not path.is_file():
        return False
    record = read(path)
    if record["config_hash"] != config_hash:
        found = record["config_hash"]
        raise RecordError(f"{path}: record of configuration {found}, expected {config_hash}; {WAY_OUT}")
    if gone := [name for name in record.get("files", {ROWS: ""}) if not (path.parent / name).is_file()]:
        print(f"{path.parent}: {', '.join(gone)} gone, the run is done again")
        return False
    check_files(record, path.parent)
    return True


def check_files(record: Mapping[str, Any], folder: Path) -> None:
    """Raises RecordError where a table beside a record is not the one it was written with."""
    if "sha256" not in record or "files" not in record:
        raise RecordError(
            f"{folder / FILE}: has no checksums; if it is of an earlier version, "
            "`python -m study.tools.migrate_records` adds them"
        )
    for name, expected in record["files"].items():
        file = folder / name
        if not file.is_file():
            raise RecordError(f"{file}: is gone; {WAY_OUT}")
        if file_checksum(file) != expected:
            raise RecordError(f"{file}: is not what the run wrote (its sha256 is another); {WAY_OUT}")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {readable(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return readable(value)
    return value.item() if isinstance(value, np.integer | np.bool_) else value
