"""Crafted archives: nothing leaves the folder, nothing half-done stays."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from allinsam_core.data.errors import DataError
from study.tools import archive


def zipped(folder: Path, members: dict[str, bytes], special: int | None = None) -> Path:
    path = folder / "some.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
        if special:
            info = zipfile.ZipInfo("shortcut")
            info.external_attr = (special | 0o777) << 16
            file.writestr(info, "/etc/passwd")
    return path


def tarred(folder: Path, *infos: tarfile.TarInfo) -> Path:
    path = folder / "some.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for info in infos:
            file.addfile(info, io.BytesIO(b"x" * info.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    return info


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_single_top_folder_becomes_the_target(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"Top/": b"", "Top/in/a.txt": b"a", "Top/b.txt": b"b", "__MACOSX/Top/._b": b""})
    archive.unpack(path, tmp_path / "out" / "here")
    assert left_in(tmp_path / "out") == ["a.txt", "b.txt", "here", "in"]
    assert (tmp_path / "out/here/in/a.txt").read_bytes() == b"a"


def test_several_top_entries_stay_and_tar_works_too(tmp_path: Path) -> None:
    path = tarred(tmp_path, member("./", tarfile.DIRTYPE), member("one/a", size=3), member("two", size=2))
    archive.unpack(path, tmp_path / "out" / "here")
    assert left_in(tmp_path / "out/here") == ["a", "one", "two"]
    assert (tmp_path / "out/here/one/a").read_bytes() == b"xxx"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "C:evil"])
def test_members_that_would_leave_are_refused(tmp_path: Path, name: str) -> None:
    for path in (zipped(tmp_path, {"good": b"", name: b"x"}), tarred(tmp_path, member("good"), member(name, size=1))):
        with pytest.raises(DataError, match="would leave its folder"):
            archive.unpack(path, tmp_path / "out" / "here")
        assert left_in(tmp_path / "out") == []
    assert not list(tmp_path.parent.glob("evil"))


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    crafted = [
        zipped(tmp_path, {"good": b""}, stat.S_IFLNK).rename(tmp_path / "link.zip"),
        zipped(tmp_path, {"good": b""}, stat.S_IFIFO).rename(tmp_path / "fifo.zip"),
        *(
            tarred(tmp_path, member("shortcut", kind, target="/etc/passwd")).rename(tmp_path / f"{number}.tar.gz")
            for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE))
        ),
    ]
    for path in crafted:
        with pytest.raises(DataError, match=r"'shortcut' is a (link|device|special file)"):
            archive.unpack(path, tmp_path / "out" / "here")
        assert left_in(tmp_path / "out") == []


def test_too_much_and_twice_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"zeros": bytes(10_000)})
    with pytest.raises(DataError, match="unpacks to 10000 bytes, expected at most 9999"):
        archive.unpack(path, tmp_path / "out" / "here", limit=9_999)
    archive.unpack(path, tmp_path / "out" / "here", limit=10_000)
    with pytest.raises(DataError, match="'same' is there twice"):
        archive.unpack(tarred(tmp_path, member("same"), member("same")), tmp_path / "out" / "there")
    assert left_in(tmp_path / "out") == ["here", "zeros"]


def test_a_zip_that_declares_less_than_it_holds_writes_nothing(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"zeros": bytes(10_000)})
    path.write_bytes(path.read_bytes().replace((10_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="damaged"):
        archive.unpack(path, tmp_path / "out" / "here", limit=9_999)
    assert left_in(tmp_path / "out") == []


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"first": b"fine", "second": bytes(range(256)) * 40})
    data = bytearray(path.read_bytes())
    data[data.index(b"second") + 20] ^= 0xFF  # inside the compressed content of the second member
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"some\.zip: damaged"):
        archive.unpack(path, tmp_path / "out" / "here")
    assert left_in(tmp_path / "out") == []
    path.write_bytes(b"<html>quota exceeded</html>")
    with pytest.raises(DataError, match="a web page, expected a zip or tar archive"):
        archive.unpack(path, tmp_path / "out" / "here")
    assert left_in(tmp_path / "out") == []


def claiming(method: int) -> bytes:
    """A zip whose member says that it is compressed by a method that nobody knows, or by another one than it is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("member", bytes(range(256)) * 40)
    data = bytearray(buffer.getvalue())
    data[data.index(b"PK\x03\x04") + 8] = data[data.index(b"PK\x01\x02") + 10] = method
    return bytes(data)


def cut_tar(form: str, damage: bool) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{form}") as file:  # type: ignore[call-overload]
        info = tarfile.TarInfo("member")
        info.size = 20_000
        file.addfile(info, io.BytesIO(np.random.default_rng(0).bytes(20_000)))
    data = bytearray(buffer.getvalue())
    if damage:
        data[len(data) // 2] ^= 0xFF
        data[-6] ^= 0xFF  # gzip's checksum
        return bytes(data)
    return bytes(data[: len(data) // 2])


DAMAGED = {
    "unknown method": claiming(99),  # NotImplementedError
    "bzip2, it says": claiming(12),  # OSError
    "lzma, it says": claiming(14),  # LZMAError
    **{f"{form} cut": cut_tar(form, False) for form in ("", "gz", "bz2", "xz")},  # EOFError, BadGzipFile
    **{f"{form} damaged": cut_tar(form, True) for form in ("gz", "bz2", "xz")},
}


@pytest.mark.parametrize("what", DAMAGED)
def test_every_kind_of_damage_is_one_sentence(tmp_path: Path, what: str) -> None:
    path = tmp_path / "some.zip"
    path.write_bytes(DAMAGED[what])
    with pytest.raises(DataError, match=r"some\.zip: (damaged|a web page|neither)") as caught:
        archive.unpack(path, tmp_path / "out" / "here")
    assert "cannot be written" not in str(caught.value)
    assert left_in(tmp_path / "out") == []
    assert str(archive.trouble(path)).startswith(str(path))


def test_trouble_reads_every_member(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"first": b"fine", "second": bytes(range(256)) * 40})
    assert archive.trouble(path) is None
    data = bytearray(path.read_bytes())
    data[data.index(b"second") + 20] ^= 0xFF
    path.write_bytes(data)
    assert "damaged" in str(archive.trouble(path))
    assert "holds no files" in str(archive.trouble(zipped(tmp_path, {})))
    assert "would leave its folder" in str(archive.trouble(zipped(tmp_path, {"../x": b""})))


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path, {"first": b"fine", "second": b"fine"})
    monkeypatch.setattr(archive, "_payload", lambda folder: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        archive.unpack(path, tmp_path / "out" / "here")
    assert left_in(tmp_path / "out") == []


def test_an_existing_target_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(DataError, match="exists already; delete it"):
        archive.unpack(zipped(tmp_path, {"a": b""}), tmp_path / "here")
