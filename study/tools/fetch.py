"""Getting what the manifest lists from its own publishers."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path
from urllib.parse import quote

import requests

from allinsam_core.atomic import replacing
from allinsam_core.data.errors import DataError, MissingData
from study.datasets import manifest
from study.datasets.manifest import Artefact
from study.root import CACHE, VARIABLE
from study.tools import archive
from study.tools.download import WrongFile, download
from study.tools.lock import in_turn

MIRROR = "ALLINSAM_MIRROR"
log = logging.getLogger(__name__)


class LicenceNotAccepted(DataError):
    """The data are not for commercial use, and the caller has not said that this is understood."""


def fetch(
    name: str,
    root: Path | None = None,
    accept_licence: bool = False,
    offline: bool = False,
    progressbar: bool = True,
) -> list[Path]:
    """Download, verify and unpack an artefact, or every artefact of a dataset; return where each one lies.

    A file that is there with the right checksum is not downloaded again, an unpacked archive not unpacked again.
    Files and folders get their names by one rename after they are verified, so a wrong checksum, an interruption or
    a full disk leaves nothing that looks complete. offline: download nothing, but verify and unpack what is there.
    root None: the data folder, for checkpoints ALLINSAM_CACHE if that is set (`study.root.download_root`).
    Raises LicenceNotAccepted, MissingData (offline, naming the file to put and where) or DataError.
    """
    return [_fetch_one(found, artefact, root, accept_licence, offline, progressbar) for found, artefact in select(name)]


def select(name: str) -> list[tuple[str, Artefact]]:
    """The artefact of this name, else those of the dataset of this name."""
    study = manifest.load()
    name = study.named(name)
    if name in study.artefacts:
        return [(name, study.artefacts[name])]
    if found := [(key, artefact) for key, artefact in study.artefacts.items() if artefact.dataset == name]:
        return found
    raise DataError(f"{manifest.path().name}: nothing is called {name!r}; expected one of {', '.join(study.artefacts)}")


def unpacked_path(artefact: Artefact, root: Path | None = None) -> Path:
    """Where an archive is unpacked: beside the file, without its ending."""
    return artefact.path(root).with_suffix("")


def file_trouble(artefact: Artefact, path: Path) -> str | None:
    """None when a file is the manifest's, else what is wrong. It is always read to the end.

    Compared are the size and the checksum that the manifest knows. Where it knows no checksum, the file must be of its
    kind (`kind_trouble`); its own checksum is then written down beside it, and compared from then on.
    """
    size = path.stat().st_size
    if artefact.bytes is not None and size != artefact.bytes:
        return f"{path}: {size} bytes, expected {artefact.bytes}; incomplete or another file, fetch it again"
    found = _sha256(path)
    if artefact.sha256 is not None:
        wanted, source = artefact.sha256, ""
    elif (noted := noted_path(path)).is_file():
        wanted = noted.read_text(encoding="utf-8", errors="replace")[:64]
        source = f" as {noted.name} says (delete that if the publisher has a new version)"
    else:
        if trouble := kind_trouble(artefact, path):
            return trouble
        with (
            contextlib.suppress(OSError),
            replacing(noted) as file,
        ):  # a folder that cannot be written is read each time
            file.write_text(f"{found}  {path.name}\n", encoding="utf-8")
        return None
    if found != wanted:
        return f"{path}: sha256 {found}, expected {wanted}{source}; damaged or another file, fetch it again"
    return None


def noted_path(path: Path) -> Path:
    """Where the checksum of a file is written down whose publisher gives none."""
    return path.with_name(f"{path.name}.sha256")


def kind_trouble(artefact: Artefact, path: Path) -> str | None:
    """What shows that a file is no archive, or no checkpoint, that can be read to its end; None for nothing."""
    if artefact.kind == "archive":
        return archive.trouble(path)
    with path.open("rb") as file:
        head = file.read(9)
    if head[:2] == b"PK":  # torch.save's own archive
        return archive.trouble(path)
    if head[:1] == b"\x80" or head[8:] == b"{":  # an older pickle, or safetensors
        return None
    return f"{path}: {archive.what_it_is(path)}, expected a checkpoint (.pth or .safetensors); fetch it again"


def _fetch_one(
    name: str, artefact: Artefact, root: Path | None, accept_licence: bool, offline: bool, progressbar: bool
) -> Path:
    if artefact.non_commercial and not accept_licence:
        raise LicenceNotAccepted(
            f"{name}: licence {artefact.licence}, not for commercial use; read it at {artefact.homepage} and "
            "repeat with --accept-licence if you accept it"
        )
    path = artefact.path(root)
    if offline:
        _expect_file(name, artefact, path)
    else:
        _download(name, artefact, path, progressbar)
    if artefact.kind != "archive":
        return path
    target = unpacked_path(artefact, root)
    if not target.exists():
        with in_turn(path):
            if not target.exists():
                archive.unpack(path, target)
    return target


def _expect_file(name: str, artefact: Artefact, path: Path) -> None:
    if not path.is_file():
        raise MissingData(
            f"{name}: offline, and no file at {path}; on a connected machine download {artefact.source} (sha256 "
            f"{artefact.sha256 or 'unknown'}), put it there under that name, and repeat this command"
        )
    if trouble := file_trouble(artefact, path):
        raise DataError(trouble)


def _download(name: str, artefact: Artefact, path: Path, progressbar: bool) -> None:
    if path.is_file() and file_trouble(artefact, path) is None:
        return
    by_hand = f"if this goes on, get it by hand from {artefact.homepage} and put it at {path}, then use --offline"

    def trouble(came: Path) -> str | None:
        return kind_trouble(artefact, came) if artefact.sha256 is None else file_trouble(artefact, came)

    try:
        with in_turn(path):
            if path.is_file() and file_trouble(artefact, path) is None:
                return  # another process has fetched it meanwhile
            path.unlink(missing_ok=True)  # not what it should be
            used = download(addresses(artefact), path, trouble, progressbar)
    except requests.RequestException as error:
        raise DataError(
            f"{name}: download failed ({error}); the same command goes on where it stopped, or {by_hand}"
        ) from error
    except WrongFile as error:
        raise DataError(
            f"{name}: what was served is not the file of the manifest ({error}); nothing was kept, try again; {by_hand}"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error}); free space, or choose another {VARIABLE} or {CACHE}"
        ) from error
    if wrong := file_trouble(artefact, path):
        path.unlink()
        raise DataError(f"{wrong}; nothing was kept")
    log.info("%s: from %s", name, used)
    if artefact.sha256 is None:
        log.warning("%s: no published checksum; %s says sha256 %s", name, noted_path(path).name, _sha256(path))


def addresses(artefact: Artefact) -> list[str]:
    """Where a file is asked for, in this order: the mirror that ALLINSAM_MIRROR names, then its publisher.

    A mirror is a web folder that holds the files under their own names.
    """
    mirror = os.environ.get(MIRROR, "").rstrip("/")
    return [*([f"{mirror}/{quote(artefact.file)}"] if mirror else []), artefact.source]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
