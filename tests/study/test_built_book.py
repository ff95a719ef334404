"""The book that `make book` built, read by checker and Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from study.tools.linkcheck import MAX_PAGE_BYTES, check
from study.tools.widths import CHROMIUM, CUT, SIDEWAYS, SIZES, faults, pages

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def html() -> Path:
    built = ROOT / "book" / "_build" / "html"
    if not (built / "index.html").is_file():
        pytest.skip("no built book: run `make book` first")
    return built


def test_links_images_and_outside_resources(html: Path) -> None:
    assert check(html) == []


def test_a_planted_dead_link_is_found(html: Path, tmp_path: Path) -> None:
    shutil.copytree(html, tmp_path / "html")
    page = tmp_path / "html" / "intro.html"
    page.write_text(page.read_text(encoding="utf-8").replace("runs/table3.html", "runs/table9.html"))
    assert any("intro.html: link to runs/table9.html" in problem for problem in check(tmp_path / "html"))


def test_no_page_of_the_book_is_missing_its_numbers(html: Path) -> None:
    text = (html / "runs" / "audit.html").read_text(encoding="utf-8")
    assert text.count('class="pasted-text"') > 50


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        executable = CHROMIUM or playwright.chromium.executable_path
        if not Path(executable).is_file():
            pytest.skip("no Chromium: install Debian's `chromium` or run `playwright install chromium`")
        chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


class Visit:
    """A page in a window of one size and mode, with what went wrong while it loaded."""

    def __init__(self, browser: Any, size: str, mode: str) -> None:
        width, height = SIZES[size]
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=mode, reduced_motion="reduce"
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(120_000)
        self.trouble: list[str] = []
        self.loaded: set[str] = set()
        self.page.on("console", lambda m: m.type == "error" and self.trouble.append(f"console: {m.text}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"script: {error}"))
        self.page.on("request", lambda r: self.loaded.add(r.url))
        self.page.on("request", lambda r: r.url.startswith("http") and self.trouble.append(f"asks {r.url}"))
        self.page.on("requestfailed", lambda r: self.trouble.append(f"failed: {r.url}"))

    def open(self, path: Path, query: str = "") -> Any:
        self.loaded.clear()
        self.page.goto(path.as_uri() + query, wait_until="load")
        return self.page

    def weight(self) -> int:
        """Bytes of all files that the open page has asked for: scripts, styles and fonts included."""
        files = {Path(unquote(urlsplit(url).path)) for url in self.loaded if url.startswith("file:")}
        return sum(path.stat().st_size for path in files if path.is_file())


MUTE = """[...document.images]
  .filter(i => !i.alt.trim() || !i.complete || (!i.naturalWidth && i.offsetParent))
  .map(i => i.src)"""
FIGURES = """[...document.querySelectorAll('article figure:not(.table-figure):not(:has(.not-run))')].filter(figure =>
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


WATCH_FOCUS = """() => {
  window.reached = new Set();
  window.unseen = new Set();
  document.addEventListener('focusin', event => {
    const style = getComputedStyle(event.target);
    window.reached.add(event.target);
    if ((style.outlineStyle === 'none' || !parseFloat(style.outlineWidth)) && style.boxShadow === 'none')
      window.unseen.add(event.target.outerHTML.slice(0, 80));
  });
}"""
FOCUSABLE = """[...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
  .filter(e => !e.disabled && e.tabIndex >= 0 && e.checkVisibility({visibilityProperty: true}) &&
               !e.closest('[inert], dialog:not([open])') &&
               e.id !== 'pst-back-to-top')"""  # comes and goes while the page scrolls
MISSED = f"{FOCUSABLE}.filter(e => !window.reached.has(e)).map(e => e.outerHTML.slice(0, 80))"


def keyboard_faults(page: Any) -> list[str]:
    """Walks through the page with the Tab key: what it never reaches, and where the focus cannot be seen."""
    page.evaluate(WATCH_FOCUS)
    for _ in range(page.evaluate(f"{FOCUSABLE}.length") + 3):
        page.keyboard.press("Tab")
    missed = [f"keyboard does not reach {text}" for text in page.evaluate(MISSED)]
    return missed + [f"focus cannot be seen on {text}" for text in page.evaluate("[...window.unseen]")]


def axe_faults(page: Any) -> list[str]:
    """What axe-core calls serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    violations = axe.Axe().run(page, options={"resultTypes": ["violations"], "preload": False}).response["violations"]
    return [
        f"axe: {found['id']}: {node['html'][:100]}"
        for found in violations
        if found["impact"] in {"serious", "critical"}
        for node in found["nodes"]
    ]


@pytest.mark.browser
@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_every_page_reads_well(html: Path, browser: Any, size: str, mode: str) -> None:
    visit = Visit(browser, size, mode)
    found = []
    for path in pages(html):
        page = visit.open(path)
        name = path.relative_to(html)
        assert page.evaluate("document.documentElement.dataset.theme") == mode
        if (weight := visit.weight()) > MAX_PAGE_BYTES:
            found.append(f"{name}: weighs {weight:,} bytes, expected at most {MAX_PAGE_BYTES:,}")
        found += [f"{name}: {fault}" for fault in faults(page)]
        found += [f"{name}: figure {label} lacks its picture or caption" for label in page.evaluate(FIGURES)]
        found += [f"{name}: image {source}" for source in page.evaluate(MUTE)]
        found += [f"{name}: contrast {text}" for text in page.evaluate(CONTRAST)]
    visit.context.close()
    assert found + visit.trouble == []


@pytest.mark.browser
@pytest.mark.parametrize(("size", "mode"), [("desk", "light"), ("phone", "dark")])
def test_the_way_in_serves_keyboard_and_screen_reader(html: Path, browser: Any, size: str, mode: str) -> None:
    """The start page and a chapter only: the walk through all pages takes longer than a test may."""
    visit = Visit(browser, size, mode)
    found = []
    for path in (html / "intro.html", html / "method" / "annotation.html"):
        page = visit.open(path)
        found += [f"{path.relative_to(html)}: {text}" for text in axe_faults(page) + keyboard_faults(page)]
    visit.context.close()
    assert found + visit.trouble == []


@pytest.mark.browser
def test_the_checks_can_fail(tmp_path: Path, browser: Any) -> None:
    page = tmp_path / "p.html"
    page.write_text(
        "<style>a:focus {outline: none}</style>"
        '<article><p style="width: 900px; color: #999">pale words</p>'
        '<table style="width: 900px"></table></article><img src="http://127.0.0.1:9/x.png">'
        '<a href="#">one</a><a href="#" id="trap">two</a><a href="#">three</a>'
        "<script>document.getElementById('trap').onkeydown = event => event.preventDefault()</script>"
    )
    visit = Visit(browser, "phone", "light")
    opened = visit.open(page)
    assert opened.evaluate(SIDEWAYS) > 0
    assert len(opened.evaluate(MUTE)) == 1
    assert opened.evaluate(CUT) == ["P ", "TABLE "]
    assert len(opened.evaluate(CONTRAST)) == 1
    assert any(text.startswith("asks http://127.0.0.1") for text in visit.trouble)
    assert visit.weight() == page.stat().st_size
    assert {fault.split(": ")[1] for fault in axe_faults(opened)} >= {"color-contrast", "image-alt"}
    assert [fault.split("<")[0] for fault in keyboard_faults(opened)] == [
        "keyboard does not reach ",
        *["focus cannot be seen on "] * 2,
    ]
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


@pytest.mark.browser
def test_layers_are_switched_and_blended_by_keyboard(html: Path, browser: Any) -> None:
    visit = Visit(browser, "phone", "dark")
    page = visit.open(html / "runs" / "patch.html")
    layer = page.locator(".layer-stage img").nth(1)
    switch, slider = page.get_by_label("IF", exact=True), page.get_by_label("Opacity of IF, percent")
    assert not layer.is_visible()
    switch.focus()
    page.keyboard.press("Space")
    assert layer.is_visible()
    page.keyboard.press("Tab")
    assert slider.evaluate("element => element === document.activeElement")
    page.keyboard.press("ArrowLeft")
    assert layer.evaluate("image => image.style.opacity") == "0.95"
    visit.context.close()
    assert visit.trouble == []


@pytest.mark.browser
def test_layers_are_uncovered_and_enlarged(html: Path, browser: Any) -> None:
    visit = Visit(browser, "desk", "light")
    page = visit.open(html / "runs" / "gallery.html")
    viewer = page.locator(".layer-viewer").first
    before = viewer.locator(".layer-stage").bounding_box()["width"]
    viewer.get_by_label("Zoom", exact=True).fill("2")
    assert viewer.locator(".layer-stage").bounding_box()["width"] == pytest.approx(2 * before)
    viewer.get_by_label("Uncover the layers from the left, percent").fill("40")
    paths = viewer.locator(".layer-stage img").evaluate_all("all => all.map(image => image.style.clipPath)")
    assert [bool(path) for path in paths] == [False, *[True] * 5]  # the image itself stays whole
    assert "60%" in paths[1]
    visit.context.close()
    assert visit.trouble == []


@pytest.mark.browser
def test_a_table_is_filtered_by_its_address_and_sorted_under_a_fixed_column(html: Path, browser: Any) -> None:
    visit = Visit(browser, "phone", "light")
    page = visit.open(html / "runs" / "runs.html", "?profile=mini&method=unet")
    table = page.locator(".wide-table")
    cells = "rows => rows.filter(row => !row.hidden).map(row => [...row.cells].map(cell => cell.textContent.trim()))"
    shown = table.locator("tbody tr").evaluate_all(cells)
    assert shown
    assert {(row[0], row[1]) for row in shown} == {("mini", "unet")}
    table.get_by_role("button", name="dice", exact=True).press("Enter")
    scores = [float(row[6]) for row in table.locator("tbody tr").evaluate_all(cells)]
    assert len(set(scores)) > 1
    assert scores == sorted(scores)
    table.evaluate("box => (box.scrollLeft = 200)")
    first = table.locator("tbody tr:not([hidden]) td").first
    assert first.bounding_box()["x"] == pytest.approx(table.bounding_box()["x"], abs=1)
    assert axe_faults(page) == []
    visit.context.close()
    assert visit.trouble == []


@pytest.mark.browser
def test_without_scripts_the_layers_are_a_list_of_pictures(html: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((html / "runs" / "patch.html").as_uri())
    assert page.locator(".layers li img").count() == page.locator(".layers li strong").count() == 8
    assert all(image.is_visible() for image in page.locator(".layers li img").all())
    context.close()
