"""Fetching from a server on this machine: right, wrong, cut off, full disk, offline."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml

from allinsam_core.data.errors import DataError, MissingData
from study import checkpoints
from study.datasets import manifest
from study.tools import check, download, fetch


def _zip(text: str = "pixels") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("Top/image.txt", text)
    return buffer.getvalue()


FILES = {"/weights.pth": b"weights" * 1000, "/set.zip": _zip(), "/evil.zip": b"PK\x05\x06" + bytes(18)}


class _Handler(BaseHTTPRequestHandler):
    """/cut/x breaks off after 10 bytes, /moved/x redirects to /x, /plain/x cannot continue; others serve FILES."""

    served: list[str]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.served.append(f"{self.path} {wanted}".strip())
        kind, _, rest = self.path[1:].rpartition("/")
        content = FILES.get(f"/{rest}")
        if content is None:
            self.send_error(404)
            return
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", f"/{rest}")
            self.end_headers()
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and kind != "plain" else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + 10] if kind == "cut" else content[start:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (_Handler,), {"served": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", handler.served  # type: ignore[attr-defined]
        running.shutdown()
        thread.join()


Write = Callable[..., None]


@pytest.fixture
def artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: tuple[str, list[str]]) -> Write:
    """Make the study's manifest hold one artefact, `it`, that this server serves at `path`."""

    def write(path: str, **changes: object) -> None:
        content = FILES.get("/" + path.rsplit("/", 1)[1], b"")
        kind = {"kind": "archive", "dataset": "set"} if path.endswith("zip") else {"kind": "checkpoint"}
        entry = {
            **kind,
            "role": "test",
            "file": path.rsplit("/", 1)[1],
            "licence": "CC0-1.0",
            "non_commercial": False,
            "citation": "none",
            "homepage": "http://127.0.0.1/home",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content) or None,
            "url": server[0] + path,
        } | changes
        sets = {"set": {"title": "set", "spacing": None, "counts": {}, "cases": {}}}
        file = tmp_path / f"manifest{len(list(tmp_path.glob('manifest*')))}.yaml"
        file.write_text(yaml.safe_dump({"version": 1, "artefacts": {"it": entry}, "datasets": sets}))
        monkeypatch.setenv(manifest.VARIABLE, str(file))

    return write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def get(root: Path, name: str = "it", **options: bool) -> Path:
    return fetch.fetch(name, root, progressbar=False, **options)[0]


def left_in(root: Path) -> list[str]:
    """Names of the files below `root`, but for locks."""
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_file_is_fetched_once(artefact: Write, root: Path, server: tuple[str, list[str]]) -> None:
    artefact("/weights.pth")
    path = get(root)
    assert path == root / "checkpoints" / "weights.pth"
    assert path.read_bytes() == FILES["/weights.pth"]
    assert get(root) == path
    assert server[1] == ["/weights.pth"]
    assert left_in(root) == ["weights.pth"]


def test_an_archive_is_unpacked_once_and_found_under_its_dataset(artefact: Write, root: Path) -> None:
    artefact("/set.zip")
    assert get(root, "set") == root / "set" / "set"
    assert (root / "set/set/image.txt").read_text() == "pixels"
    (root / "set/set/mine.txt").write_text("kept")
    get(root)
    assert left_in(root) == ["image.txt", "mine.txt", "set.zip"]


def test_a_wrong_checksum_keeps_nothing(artefact: Write, root: Path) -> None:
    artefact("/set.zip", sha256="0" * 64)
    with pytest.raises(DataError, match="is not the file of the manifest") as caught:
        get(root)
    assert left_in(root) == []
    assert str(root / "set" / "set.zip") in str(caught.value)  # where to put it by hand


def test_a_cut_connection_is_continued(
    artefact: Write, root: Path, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "CHUNK", 5)
    artefact("/cut/weights.pth")
    with pytest.raises(DataError, match="goes on where it stopped"):
        get(root)
    assert left_in(root) == ["weights.pth.part"]  # nothing that looks complete
    artefact("/weights.pth")
    assert get(root).read_bytes() == FILES["/weights.pth"]
    assert server[1] == ["/cut/weights.pth", "/weights.pth bytes=10-"]
    assert left_in(root) == ["weights.pth"]


def test_a_server_that_cannot_continue_sends_all_of_it(artefact: Write, root: Path) -> None:
    artefact("/plain/weights.pth")
    part = root / "checkpoints" / "weights.pth.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"of something else")
    assert get(root).read_bytes() == FILES["/weights.pth"]


def test_a_wrong_beginning_is_not_kept(artefact: Write, root: Path) -> None:
    artefact("/weights.pth")
    part = root / "checkpoints" / "weights.pth.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"wrong")
    with pytest.raises(DataError, match="nothing was kept"):
        get(root)
    assert left_in(root) == []
    assert get(root).read_bytes() == FILES["/weights.pth"]


def test_a_redirect_is_followed(artefact: Write, root: Path, server: tuple[str, list[str]]) -> None:
    artefact("/moved/weights.pth")
    assert get(root).read_bytes() == FILES["/weights.pth"]
    assert server[1] == ["/moved/weights.pth", "/weights.pth"]


def test_the_mirror_comes_before_the_publisher(
    artefact: Write, root: Path, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact("/weights.pth")
    monkeypatch.setenv(fetch.MIRROR, server[0] + "/moved/")
    assert get(root).read_bytes() == FILES["/weights.pth"]
    assert server[1] == ["/moved/weights.pth", "/weights.pth"]


def test_a_mirror_without_the_file_or_with_another_gives_way_to_the_publisher(
    artefact: Write, root: Path, server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact("/weights.pth", file="renamed.pth")
    monkeypatch.setenv(fetch.MIRROR, server[0] + "/mirror")
    assert get(root) == root / "checkpoints" / "renamed.pth"
    assert server[1] == ["/mirror/renamed.pth", "/weights.pth"]
    (root / "checkpoints" / "renamed.pth").unlink()
    monkeypatch.setitem(FILES, "/renamed.pth", b"another file")
    assert get(root).read_bytes() == FILES["/weights.pth"]


def test_a_checkpoint_lies_where_profiles_look_for_it(
    artefact: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact("/weights.pth")
    monkeypatch.setenv("ALLINSAM_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("ALLINSAM_CACHE", raising=False)
    assert checkpoints.sha256("it") == hashlib.sha256(FILES["/weights.pth"]).hexdigest()  # expected, not yet here
    with pytest.raises(FileNotFoundError, match="data fetch"):
        checkpoints.file("it")
    for variable in ("ALLINSAM_DATA", "ALLINSAM_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        with pytest.raises(MissingData) as caught:  # offline: put it there by hand
            fetch.fetch("it", offline=True)
        expected = tmp_path / variable / "checkpoints" / "weights.pth"
        assert str(expected) in str(caught.value)
        assert fetch.fetch("it", progressbar=False) == [expected]
        assert checkpoints.file("it") == expected
    expected.write_bytes(b"other weights")
    with pytest.raises(DataError, match=r"expected .* of it; damaged or another file, `allinsam data fetch it`"):
        checkpoints.sha256("it")


def test_a_missing_page_is_reported(artefact: Write, root: Path) -> None:
    artefact("/none.pth")
    with pytest.raises(DataError, match="404"):
        get(root)
    assert left_in(root) == []


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interruption_leaves_nothing_that_looks_complete(
    artefact: Write, root: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def half(address: str, part: Path, progressbar: bool) -> None:
        part.write_bytes(FILES["/weights.pth"][:10])
        raise failure

    artefact("/weights.pth")
    with monkeypatch.context() as broken:
        broken.setattr(download, "_append", half)
        with pytest.raises((DataError, KeyboardInterrupt)) as caught:
            get(root)
    assert left_in(root) == ["weights.pth.part"]
    if isinstance(caught.value, DataError):
        assert "No space left" in str(caught.value)
    assert get(root).read_bytes() == FILES["/weights.pth"]


def test_what_a_killed_download_left_is_cleared(artefact: Write, root: Path) -> None:
    artefact("/set.zip")
    (root / "set/.unpacking-set-1x/content").mkdir(parents=True)
    for left in (".other-1x.zip", ".unpacking-set-1x/content/image.txt"):
        (root / "set" / left).write_bytes(b"half")
    get(root)
    assert left_in(root) == [".other-1x.zip", "image.txt", "set.zip"]


def test_two_fetch_the_same_at_once(artefact: Write, root: Path, server: tuple[str, list[str]]) -> None:
    artefact("/set.zip")
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: get(root), range(2))) == [root / "set/set"] * 2
    assert left_in(root) == ["image.txt", "set.zip"]
    assert server[1] == ["/set.zip"]  # the second waited and found it


def test_what_is_fetched_can_be_read_by_others(artefact: Write, root: Path) -> None:
    artefact("/weights.pth")
    umask = os.umask(0o022)
    try:
        assert get(root).stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(umask)


def test_a_damaged_file_is_replaced(artefact: Write, root: Path) -> None:
    artefact("/weights.pth")
    path = get(root)
    path.write_bytes(b"x" * len(FILES["/weights.pth"]))
    with pytest.raises(DataError, match="sha256"):
        get(root, offline=True)
    path.write_bytes(b"short")
    with pytest.raises(DataError, match="5 bytes, expected 7000"):
        get(root, offline=True)
    assert get(root).read_bytes() == FILES["/weights.pth"]


def test_offline_says_which_file_to_put_where(artefact: Write, root: Path, server: tuple[str, list[str]]) -> None:
    artefact("/set.zip")
    with pytest.raises(MissingData) as caught:
        get(root, offline=True)
    assert all(part in str(caught.value) for part in (server[0] + "/set.zip", str(root / "set" / "set.zip")))
    (root / "set").mkdir(parents=True)
    (root / "set/set.zip").write_bytes(FILES["/set.zip"])
    assert (get(root, offline=True) / "image.txt").read_text() == "pixels"
    assert server[1] == []


def test_non_commercial_data_ask_first(artefact: Write, root: Path, server: tuple[str, list[str]]) -> None:
    artefact("/weights.pth", non_commercial=True, licence="CC BY-NC-SA 4.0")
    with pytest.raises(fetch.LicenceNotAccepted, match=r"CC BY-NC-SA 4\.0.*--accept-licence"):
        get(root)
    assert server[1] == []
    assert get(root, accept_licence=True).is_file()


PAGE = b"<!DOCTYPE html><html><body>Quota exceeded</body></html>"


def test_without_a_published_checksum_its_own_is_written_down_and_compared(
    artefact: Write, root: Path, caplog: pytest.LogCaptureFixture, server: tuple[str, list[str]]
) -> None:
    artefact("/set.zip", sha256=None, bytes=None)
    assert (get(root) / "image.txt").read_text() == "pixels"
    digest = hashlib.sha256(FILES["/set.zip"]).hexdigest()
    noted = root / "set" / "set.zip.sha256"
    assert noted.read_text() == f"{digest}  set.zip\n"  # as sha256sum writes and checks
    assert digest in caplog.text
    get(root)
    assert server[1] == ["/set.zip"]
    (root / "set/set.zip").write_bytes(_zip("another"))
    with pytest.raises(DataError, match=rf"expected {digest} as set.zip.sha256 says"):
        get(root, offline=True)
    get(root)  # fetched again, and the same as at first
    assert server[1] == ["/set.zip", "/set.zip"]
    noted.write_text("0" * 64)
    with pytest.raises(DataError, match=r"as set\.zip\.sha256 says .*; nothing was kept"):
        get(root)
    assert not (root / "set/set.zip").exists()


@pytest.mark.parametrize("path", ["/page.zip", "/page.pth"])
@pytest.mark.parametrize(
    "content",
    [PAGE, b"\n  <html lang=en>", b"", b"PK\x05\x06" + bytes(18), _zip()[:-30]],
    ids=["page", "page after blanks", "nothing", "empty archive", "cut archive"],
)
def test_a_page_or_half_a_file_never_becomes_the_archive(
    artefact: Write, root: Path, monkeypatch: pytest.MonkeyPatch, path: str, content: bytes
) -> None:
    monkeypatch.setitem(FILES, path, content)
    artefact(path, sha256=None, bytes=None)
    with pytest.raises(DataError, match=r"is not the file of the manifest \((a web|an empty|damaged|neither|holds)"):
        get(root)
    assert left_in(root) == []


@pytest.mark.parametrize("name", ["set.zip", "weights.pth"])
def test_a_page_kept_earlier_is_found_and_replaced(
    artefact: Write, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    monkeypatch.setitem(FILES, "/weights.pth", buffer.getvalue())
    artefact(f"/{name}", sha256=None, bytes=None)
    path = root / ("set" if name.endswith("zip") else "checkpoints") / name
    path.parent.mkdir(parents=True)
    path.write_bytes(PAGE)
    report = check.check("it", root)[0]
    assert report.status == "problem"
    assert "a web page, expected a" in report.problems[0]
    with pytest.raises(DataError, match="a web page"):
        get(root, offline=True)
    get(root)
    assert path.read_bytes() == FILES[f"/{name}"]
    report = check.check("it", root)[0]
    assert (report.status, report.notes[0]) == (
        "ok",
        "no published checksum; compared with the one written down at first use",
    )
    path.write_bytes(path.read_bytes() + b"more")
    assert check.check("it", root)[0].status == "problem"


def test_a_file_put_by_hand_is_read_before_it_is_ok(artefact: Write, root: Path) -> None:
    artefact("/set.zip", sha256=None, bytes=None)
    path = root / "set" / "set.zip"
    path.parent.mkdir(parents=True)
    data = bytearray(FILES["/set.zip"])
    data[data.index(b"pixels")] ^= 0xFF
    path.write_bytes(data)
    report = check.check("it", root)[0]
    assert report.status == "problem"
    assert "CRC" in report.problems[0]
    path.write_bytes(FILES["/set.zip"])
    report = check.check("it", root)[0]
    assert (report.status, report.notes[0]) == ("ok", "no published checksum; read to its end, its own is written down")
    assert fetch.noted_path(path).is_file()


def test_unknown_names_are_answered_with_the_known(artefact: Write, root: Path) -> None:
    artefact("/weights.pth")
    with pytest.raises(DataError, match="nothing is called 'that'; expected one of it"):
        get(root, "that")
