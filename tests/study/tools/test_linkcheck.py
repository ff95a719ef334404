from pathlib import Path

import pytest

from study.tools.linkcheck import check

GOOD = """<html><head><link rel="stylesheet" href="s.css"><link rel="canonical" href="https://example.org/"></head>
<body><h1 id="top">T</h1><a href="#top">up</a> <a href="sub/b.html#x">b</a> <a href="https://example.org">out</a>
<a href="mailto:a@b.c">m</a><img src="i.svg" alt="a picture"></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(GOOD)
    (tmp_path / "sub" / "b.html").write_text('<p id="x">b</p><a href="../index.html">home</a>')
    (tmp_path / "s.css").write_text("body { background: url(i.svg) }")
    (tmp_path / "i.svg").write_text("<svg/>")
    return tmp_path


def add(site: Path, html: str) -> list[str]:
    (site / "index.html").write_text(GOOD + html)
    return check(site)


def test_a_sound_site_has_no_problem(site: Path) -> None:
    assert check(site) == []


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ('<a href="gone.html">x</a>', "link to gone.html, which does not exist"),
        ('<a href="sub/b.html#y">x</a>', "no such anchor"),
        ('<a href="#nowhere">x</a>', "no such anchor"),
        ('<meta http-equiv="Refresh" content="0; url=gone.html">', "gone.html, which does not exist"),
        ('<img src="i.svg">', "no alternative text"),
        ('<img src="i.svg" alt=" ">', "no alternative text"),
        ('<img src="gone.png" alt="x">', "loads gone.png, which does not exist"),
        ('<script src="https://cdn.example.org/a.js"></script>', "from elsewhere"),
        ('<script src="//cdn.example.org/a.js"></script>', "from elsewhere"),
        ('<link rel="preconnect" href="https://fonts.example.org">', "from elsewhere"),
        ("<style>@import 'https://fonts.example.org/f.css';</style>", "from elsewhere"),
        ('<p style="background: url(https://example.org/a.png)">x</p>', "from elsewhere"),
        ('<a href="//[::x">x</a>', "link to '//[::x', which is no address"),
        ('<a href="b%00.html">x</a>', "which is no address"),
        ('<img src="//[::x" alt="x">', "loads '//[::x', which is no address"),
        ("<pre>Traceback (most recent call last):</pre>", "traceback"),
    ],
)
def test_each_planted_fault_is_found_and_named(site: Path, html: str, message: str) -> None:
    problems = add(site, html)
    assert len(problems) == 1
    assert message in problems[0]
    assert problems[0].startswith("index.html: ")


def test_a_page_in_another_encoding_is_named(site: Path) -> None:
    (site / "sub" / "b.html").write_bytes('<p id="x">Größe</p>'.encode("latin-1"))
    assert check(site) == ["sub/b.html: is not in UTF-8"]


def test_words_in_a_script_are_not_page_text(site: Path) -> None:
    assert add(site, "<script>var s = 'Traceback (most recent call last)'</script>") == []


def test_outside_resource_in_a_style_sheet(site: Path) -> None:
    (site / "s.css").write_text("@font-face { src: url('https://fonts.example.org/a.woff2') }")
    assert check(site) == ["s.css: loads https://fonts.example.org/a.woff2 from elsewhere"]


def test_a_heavy_page(site: Path) -> None:
    (site / "i.svg").write_text("x" * 5000)
    (problem,) = check(site, max_page_bytes=5000)
    assert "index.html: weighs" in problem


def test_no_page_at_all(tmp_path: Path) -> None:
    assert "no HTML page" in check(tmp_path)[0]
