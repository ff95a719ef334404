"""Archives from elsewhere: nothing is written outside their folder, and a half-unpacked one never shows."""

from __future__ import annotations

import glob
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from allinsam_core.data.errors import DataError
from study.names import fitting

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
    unfinished = f".unpacking-{target.name}-"
    for left in target.parent.glob(f"{glob.escape(unfinished)}*"):
        shutil.rmtree(left, ignore_errors=True)  # by an unpacking that was killed
    with (
        tempfile.TemporaryDirectory(prefix=unfinished, dir=target.parent) as scratch,
        _members(archive) as members,
    ):
        _refuse_unsafe(archive, members, limit)
        folder = Path(scratch) / "content"
        folder.mkdir()
        try:
            _write(archive, members, folder)
        except DataError:
            raise
        except (OSError, ValueError) as error:
            raise DataError(f"{target}: cannot be written ({error}); nothing was kept, free space first") from error
        _payload(folder).rename(target)


def trouble(archive: Path, limit: int = LIMIT) -> str | None:
    """What keeps a file from being unpacked, None for nothing: every member is read to its end."""
    try:
        with _members(archive) as members:
            _refuse_unsafe(archive, members, limit)
            files = [member for member in members if member.kind == "file"]
            for member in files:
                for _ in _chunks(archive, member):
                    pass
    except DataError as error:
        return str(error)
    return None if files else f"{archive}: holds no files; fetch it again"


@contextmanager
def _members(archive: Path) -> Iterator[list[_Member]]:
    with ExitStack() as stack:
        try:
            if zipfile.is_zipfile(archive):
                file = stack.enter_context(zipfile.ZipFile(archive))
                members = [_zip_member(file, info) for info in file.infolist()]
            elif tarfile.is_tarfile(archive):
                tar = stack.enter_context(tarfile.open(archive))
                members = [_tar_member(tar, info) for info in tar.getmembers()]
                while tar.fileobj is not None and tar.fileobj.read(2**20):
                    pass  # to the end, where a compressed tar has its checksum
            else:
                raise DataError(f"{archive}: {what_it_is(archive)}, expected a zip or tar archive; fetch it again")
        except DataError:
            raise
        except Exception as error:  # zipfile, tarfile and what they decompress with raise many types
            raise DataError(f"{archive}: damaged archive ({error}); fetch it again") from error
        yield members


def what_it_is(path: Path) -> str:
    """What a file begins as, for a message on one that is not what it should be."""
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
    if not head:
        return "an empty file"
    page = head.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")) or b"<html" in head
    return "a web page" if page else "neither a zip nor a tar archive"


def _chunks(archive: Path, member: _Member) -> Iterator[bytes]:
    """The content of a member. Both readers stop at the declared size, which is within the limit."""
    try:
        source = member.open()
        if source is None:
            raise EOFError(f"member {member.name!r} has no content")
        with source:
            while chunk := source.read(2**20):
                yield chunk
    except Exception as error:
        raise DataError(f"{archive}: damaged or unreadable archive ({error}); fetch it again") from error


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


def _write(archive: Path, members: list[_Member], folder: Path) -> None:
    for member in members:
        path = folder / fitting(member.name)
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            out.writelines(_chunks(archive, member))


def _payload(folder: Path) -> Path:
    shutil.rmtree(folder / "__MACOSX", ignore_errors=True)
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder
