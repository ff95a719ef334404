"""One file over HTTP: from the first address that serves it, continued where an earlier attempt stopped.

What has come lies in FILE.part until it is complete and checked; only then does it get its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import requests
from tqdm import tqdm

CHUNK = 2**20
TIMEOUT = (20, 60)  # s, to connect and between two chunks
Trouble = Callable[[Path], str | None]


class WrongFile(ValueError):
    """What came is complete, and not the file that was asked for."""


def part_of(path: Path) -> Path:
    """Where the unfinished file lies."""
    return path.with_name(f"{path.name}.part")


def download(addresses: Sequence[str], path: Path, trouble: Trouble, progressbar: bool = True) -> str:
    """Get `path` from the first of `addresses` that gives it; returns that address.

    trouble: what is wrong with a complete file, None for nothing. Raises the last address's requests.RequestException
    (what came is kept and continued next time), WrongFile (nothing is kept), or OSError where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, address in enumerate(addresses, start=1):
        try:
            _append(address, part_of(path), progressbar)
            if wrong := trouble(part_of(path)):
                part_of(path).unlink()
                raise WrongFile(f"{wrong.removeprefix(f'{part_of(path)}: ')}; from {address}")
        except (requests.RequestException, WrongFile):
            if number == len(addresses):
                raise
            continue
        part_of(path).replace(path)
        return address
    raise ValueError(f"{path}: no address to get it from")


def _append(address: str, part: Path, progressbar: bool) -> None:
    """Ask for what `part` lacks; a server that cannot continue sends all of it, and then `part` begins anew."""
    have = part.stat().st_size if part.is_file() else 0
    asked = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(address, headers=asked, stream=True, timeout=TIMEOUT) as answer:
        if have and answer.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing is left to send
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            raise requests.RequestException(f"{address}: continued at another byte than {have}; repeat the command")
        start = have if resumed else 0
        length = answer.headers.get("Content-Length")
        whole = start + int(length) if length else None
        bar = tqdm(total=whole, initial=start, unit="B", unit_scale=True, desc=part.stem, disable=not progressbar)
        with bar, part.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
