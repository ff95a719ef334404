"""The book that `make book` built, read by checker and Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from allinsam_core.study.linkcheck import check

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = {"desk": (1440, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def html() -> Path:
    built = ROOT / "book" / "_build" / "html"
    if not (built / "index.html").is_file():
        pytest.skip("no built book: run `make book` first")
    return built


def pages(html: Path) -> list[Path]:
    skip = {"_static", "genindex.html", "index.html"}
    return [path for path in sorted(html.rglob("*.html")) if not skip & set(path.relative_to(html).parts)]


def test_links_images_and_outside_resources(html: Path) -> None:
    assert check(html) == []


def test_a_planted_dead_link_is_found(html: Path, tmp_path: Path) -> None:
    shutil.copytree(html, tmp_path / "html")
    page = tmp_path / "html" / "audit.html"
    page.write_text(page.read_text(encoding="utf-8").replace("results/table3.html", "results/table9.html"))
    assert any("audit.html: link to results/table9.html" in problem for problem in check(tmp_path / "html"))


def test_no_page_of_the_book_is_missing_its_numbers(html: Path) -> None:
    text = (html / "audit.html").read_text(encoding="utf-8")
    assert text.count('class="num"') > 50
    assert "[missing" not in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


class Visit:
    """A page in a window of one size and mode, with what went wrong while it loaded."""

    def __init__(self, browser: Any, size: str, mode: str) -> None:
        width, height = SIZES[size]
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=mode)
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.trouble: list[str] = []
        self.page.on("console", lambda m: m.type == "error" and self.trouble.append(f"console: {m.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"script: {error}"))
        self.page.on("request", lambda r: r.url.startswith("http") and self.trouble.append(f"asks {r.url}"))
        self.page.on("requestfailed", lambda r: self.trouble.append(f"failed: {r.url}"))

    def open(self, path: Path, query: str = "") -> Any:
        self.page.goto(path.as_uri() + query, wait_until="load")
        return self.page


SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
MUTE = """[...document.images]
  .filter(i => !i.alt.trim() || !i.complete || (!i.naturalWidth && i.offsetParent))
  .map(i => i.src)"""
FIGURES = """[...document.querySelectorAll('article figure')].filter(figure =>
  [...figure.querySelectorAll('img')].filter(image => image.offsetParent).length !== 1 ||
  !figure.querySelector('figcaption')?.offsetParent).map(figure => figure.id)"""
CONTRAST = """() => {
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const linear = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const bad = new Set();
  const walker = document.createTreeWalker(document.querySelector('article'), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.offsetParent) continue;
    if (e.closest('script, style, .headerlink')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const where = `${e.tagName}.${e.className}: ${e.textContent.trim().slice(0, 30)}`;
    if (ratio < 4.5) bad.add(`${ratio.toFixed(2)} ${where}`);
  }
  return [...bad];
}"""


@pytest.mark.browser
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_every_page_reads_well(html: Path, browser: Any, size: str, mode: str) -> None:
    visit = Visit(browser, size, mode)
    faults = []
    for path in pages(html):
        page = visit.open(path)
        name = path.relative_to(html)
        assert page.evaluate("document.documentElement.dataset.theme") == mode
        if (pixels := page.evaluate(SIDEWAYS)) > 0:
            faults.append(f"{name}: scrolls {pixels} px sideways")
        faults += [f"{name}: figure {label} lacks its picture or caption" for label in page.evaluate(FIGURES)]
        faults += [f"{name}: image {source}" for source in page.evaluate(MUTE)]
        if name.name != "search.html":
            faults += [f"{name}: contrast {text}" for text in page.evaluate(CONTRAST)]
    visit.context.close()
    assert faults + visit.trouble == []


@pytest.mark.browser
def test_the_check_sees_a_wide_page_and_an_outside_request(tmp_path: Path, browser: Any) -> None:
    page = tmp_path / "p.html"
    page.write_text('<article><p style="width: 900px; color: #999">x</p></article><img src="http://127.0.0.1:9/x.png">')
    visit = Visit(browser, "phone", "light")
    opened = visit.open(page)
    assert opened.evaluate(SIDEWAYS) > 0
    assert len(opened.evaluate(MUTE)) == 1
    assert len(opened.evaluate(CONTRAST)) == 1
    assert any(text.startswith("asks http://127.0.0.1") for text in visit.trouble)
    visit.context.close()


@pytest.mark.browser
def test_search_finds_the_adapter(html: Path, browser: Any) -> None:
    visit = Visit(browser, "desk", "light")
    page = visit.open(html / "search.html", "?q=adapter")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    visit.context.close()
    assert any("method/learning.html" in link for link in found)
    assert visit.trouble == []
