"""Unpacking archives from elsewhere: nothing is written outside their folder, and a half-unpacked one never shows."""

from __future__ import annotations

import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from allinsam_core.data.errors import DataError

LIMIT = 20 * 2**30
"""Bytes that one archive may unpack to; the largest of the study stays far below."""


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str  # "file", "folder" or what else it is
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, target: Path, limit: int = LIMIT) -> None:
    """Unpack a zip or tar archive as the folder `target`, all or nothing; a single top folder is dropped.

    `target` appears by one rename when everything is written. Refused with DataError, before anything is written:
    members with absolute paths or `..`, links and devices, names given twice, more than `limit` bytes in all.
    An archive that turns out damaged, or to hold more than it declares, leaves nothing either.
    """
    if target.exists():
        raise DataError(f"{target}: exists already; delete it to unpack {archive.name} again")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".unpacking-", dir=target.parent) as scratch,
        _members(archive) as members,
    ):
        _refuse_unsafe(archive, members, limit)
        folder = Path(scratch) / "content"
        folder.mkdir()
        try:
            _write(members, folder)
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            zlib.error,
            EOFError,
            RuntimeError,
            NotImplementedError,
        ) as error:
            raise DataError(f"{archive}: damaged or unreadable archive ({error}); fetch it again") from error
        except OSError as error:
            raise DataError(f"{target}: cannot be written ({error}); nothing was kept, free space first") from error
        _payload(folder).rename(target)


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                yield [_zip_member(file, info) for info in file.infolist()]
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                yield [_tar_member(tar, info) for info in tar.getmembers()]
        else:
            raise DataError(f"{archive}: neither a zip nor a tar archive; the server may have sent a web page instead")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(f"{archive}: damaged archive ({error}); fetch it again") from error


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if info.is_dir():
        kind = "folder"
    else:
        kind = "file" if mode in (0, stat.S_IFREG) else "link" if mode == stat.S_IFLNK else "special file"
    return _Member(info.filename, kind, info.file_size, lambda: file.open(info))


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    kind = (
        "file" if info.isfile() else "folder" if info.isdir() else "link" if info.issym() or info.islnk() else "device"
    )
    return _Member(info.name, kind, info.size, lambda: tar.extractfile(info))


def _refuse_unsafe(archive: Path, members: list[_Member], limit: int) -> None:
    seen: set[PurePosixPath] = set()
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
            raise DataError(f"{archive}: member {member.name!r} would leave its folder; refused, nothing unpacked")
        if member.kind not in ("file", "folder"):
            raise DataError(f"{archive}: member {member.name!r} is a {member.kind}, expected files; nothing unpacked")
        if member.kind == "file" and path in seen:
            raise DataError(f"{archive}: member {member.name!r} is there twice; refused, nothing unpacked")
        seen.add(path)
    if (total := sum(member.size for member in members)) > limit:
        raise DataError(f"{archive}: unpacks to {total} bytes, expected at most {limit}; refused, nothing unpacked")


def _write(members: list[_Member], folder: Path) -> None:
    for member in members:
        path = folder / member.name
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        source = member.open()
        if source is None:
            raise EOFError(f"member {member.name!r} has no content")
        with source, path.open("xb") as out:
            shutil.copyfileobj(source, out)  # both readers stop at the declared size, which is within the limit


def _payload(folder: Path) -> Path:
    shutil.rmtree(folder / "__MACOSX", ignore_errors=True)
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
