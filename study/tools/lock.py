"""One writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.extras import imported


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Refuse, with a ValueError, a second process that works on the same result at the same time."""
    filelock = imported("filelock")
    try:
        with in_turn(path, timeout=0):
            yield
    except filelock.Timeout:
        raise ValueError(f"{path}: another process writes this now; wait for it or choose another --out") from None


@contextmanager
def in_turn(path: Path, timeout: float = -1) -> Iterator[None]:
    """Wait until no other process works on the same file. timeout: seconds, then filelock's Timeout; -1: for ever."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with imported("filelock").FileLock(path.with_name(f".{path.name}.lock"), timeout=timeout):
        yield
