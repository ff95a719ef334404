import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from study.pages import audit_page, book
from study.pages.fragments import Fragments, markdown_table, score, signed

ROOT = Path(__file__).parents[3]
AUDIT = (audit_page.fragments,)  # the section whose records never depend on a study that has run


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("generated")
    book.generate(ROOT / "results", out, AUDIT)
    return out


def test_numbers_are_text_and_say_what_the_audit_says(generated: Path) -> None:
    numbers = json.loads((generated / "numbers.json").read_text(encoding="utf-8"))
    assert all(isinstance(value, str) and value for value in numbers.values())
    assert numbers["audit:jensen_adj_rows"] == "11"
    assert numbers["audit:rows"] == "12"
    assert (numbers["audit:gap_min"], numbers["audit:gap_max"]) == ("0.0035", "0.0062")
    assert numbers["audit:label_effect_4"] == "−0.0035"


def test_figures_exist_in_both_modes_and_are_the_same_bytes_each_time(generated: Path, tmp_path: Path) -> None:
    book.generate(ROOT / "results", tmp_path, AUDIT)
    names = {path.name for path in generated.glob("*.svg")}
    assert {"audit_jensen-light.svg", "audit_jensen-dark.svg"} <= names
    for name in names:
        assert (generated / name).read_bytes() == (tmp_path / name).read_bytes()
        ElementTree.parse(generated / name)  # well-formed


def test_what_is_no_longer_written_does_not_stay(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("stale")
    book.generate(ROOT / "results", tmp_path, AUDIT)
    assert not (tmp_path / "old.md").exists()


def test_a_missing_record_stops_the_book(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"column_average\.csv"):
        book.generate(tmp_path, tmp_path / "out")


def test_two_sections_may_not_write_the_same_number(tmp_path: Path) -> None:
    section = lambda results: Fragments(numbers={"a": "1"})  # noqa: E731
    with pytest.raises(ValueError, match="two sections: a"):
        book.generate(tmp_path, tmp_path / "out", (section, section))


def test_other_files_are_written_as_they_are_and_go_when_they_are_no_longer_made(tmp_path: Path) -> None:
    book.generate(tmp_path, tmp_path / "out", (lambda results: Fragments(files={"a.png": b"1", "b.jpg": b"2"}),))
    assert (tmp_path / "out" / "a.png").read_bytes() == b"1"
    book.generate(tmp_path, tmp_path / "out", (lambda results: Fragments(files={"b.jpg": b"3"}),))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"b.jpg", "numbers.json"}


def test_formats() -> None:
    assert signed(-0.00001) == "+0.0000"
    assert (score(0.82544), signed(0.0012), signed(-0.0037)) == ("0.8254", "+0.0012", "−0.0037")
    assert markdown_table(("a", "b"), [("x", "1")]) == "| a | b |\n| :-- | --: |\n| x | 1 |\n"
    with pytest.raises(ValueError, match="expected 2"):
        markdown_table(("a", "b"), [("x",)])


JUPYTER_BOOK = Path(sys.executable).with_name("jupyter-book")
needs_jupyter_book = pytest.mark.skipif(not JUPYTER_BOOK.is_file(), reason="jupyter-book is not installed")
CONFIG = """title: t
sphinx:
  local_extensions:
    record_numbers: _ext
    mathml: _ext
    themed: _ext
    launch: _ext
  config:
    html_math_renderer: mathml
"""


def build(tmp_path: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copytree(ROOT / "book" / "_ext", tmp_path / "_ext")
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    (tmp_path / "_generated").mkdir()
    (tmp_path / "_generated" / "numbers.json").write_text('{"audit:x": "0.8254"}')
    (tmp_path / "intro.md").write_text(f"# T\n\n{text}\n")
    command = [str(JUPYTER_BOOK), "build", str(tmp_path), "-W", "-n", "--keep-going"]
    here = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=here | environment)


@needs_jupyter_book
def test_a_number_and_an_equation_reach_the_page(tmp_path: Path) -> None:
    done = build(tmp_path, "Dice {num}`audit:x`, $x^2$.")
    assert done.returncode == 0, done.stdout + done.stderr
    html = (tmp_path / "_build" / "html" / "intro.html").read_text(encoding="utf-8")
    assert '<span class="num">0.8254</span>' in html
    assert "<msup>" in html
    assert "mathjax@" not in html


@needs_jupyter_book
def test_a_missing_number_equation_or_alt_text_fails_the_build(tmp_path: Path) -> None:
    done = build(tmp_path, "{num}`audit:y` $\\nonsense$\n\n```{themed-figure} _generated/f\n```")
    assert done.returncode != 0
    for message in ("no such key", "cannot write as MathML", "no :alt: text"):
        assert message in done.stdout + done.stderr


@needs_jupyter_book
def test_notebooks_are_launched_from_the_published_repository_and_from_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "live.ipynb").touch()
    homes = {"here": {}, "there": {"GITHUB_REPOSITORY": "group/study", "GITHUB_REF_NAME": "a/b"}}
    pages = {}
    for name, environment in homes.items():
        (tmp_path / name).mkdir()
        done = build(tmp_path / name, "Live ({launch}`live`).", **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        pages[name] = (tmp_path / name / "_build" / "html" / "intro.html").read_text(encoding="utf-8")
        assert '<span class="pre">make</span> <span class="pre">lab</span>' in pages[name]
    assert "mybinder" not in pages["here"]
    assert "https://mybinder.org/v2/gh/group/study/a%2Fb?labpath=notebooks%2Flive.ipynb" in pages["there"]
    assert "https://colab.research.google.com/github/group/study/blob/a%2Fb/notebooks/live.ipynb" in pages["there"]
    (tmp_path / "dead").mkdir()
    done = build(tmp_path / "dead", "{launch}`dead`")
    assert done.returncode != 0
    assert "notebooks/dead.ipynb is no file" in done.stdout + done.stderr
