"""Files that appear whole or not at all, and what becomes of damaged ones."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = 2**16  # bytes of room below which a file that could not be written had none


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when all went well: readers never see half a file.

    The folder is made where it is missing. An exception or a kill leaves what stood at `path` before as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o666 & ~umask)
        os.replace(unfinished, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:  # as of a full disk
            error.filename = str(path)
        raise
    except Exception as error:
        if shutil.disk_usage(path.parent).free < FULL:  # torch and others do not say that it is for this
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def set_aside(path: Path, error: Exception, then: str) -> None:
    """Rename a damaged file that can be made again to NAME.damaged, and warn. then: what is done without it."""
    aside = path.with_suffix(".damaged")
    path.replace(aside)
    found = str(error).strip().partition("\n")[0] or type(error).__name__
    warnings.warn(f"{path}: damaged ({found}), set aside as {aside.name}; {then}", stacklevel=4)
