"""Whether every page of the built book fits a desk's and a phone's window, seen by a real browser.

What is wider than its column must scroll inside a box of its own, and show by a shadow that there is more.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

LOOKS = 10  # at a page, 0.2 s apart
SIZES = {"desk": (1440, 900), "phone": (390, 844)}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# beyond its column and not inside something that scrolls; or scrolling without a sign that there is more
CUT = """(() => {
  const scrolls = '.wide-table, .cell_output, .pst-scrollable-table-container, .highlight, pre, div.math, ' +
    '.layer-frame, .sideways .output';
  const column = document.querySelector('article').getBoundingClientRect().right;
  const beyond = [...document.querySelectorAll('article *')].filter(e =>
    e.checkVisibility() && !e.closest('svg, math, .headerlink') && !e.parentElement.closest(scrolls) &&
    e.getBoundingClientRect().right > (e.closest('.full-width') ? innerWidth : column) + 1);
  const silent = [...document.querySelectorAll(
    ':is(.wide-table, .pst-scrollable-table-container, .sideways .output):not(.more)')].filter(e =>
    e.checkVisibility() && e.scrollWidth > e.clientWidth + 1);
  return [...beyond, ...silent].map(e => `${e.tagName} ${e.id || e.className}`);
})()"""


def pages(html: Path) -> list[Path]:
    """The pages that a reader opens: not the theme's templates, the index or the redirection."""
    skip = {"_static", "genindex.html", "index.html", "search.html"}
    return [path for path in sorted(html.rglob("*.html")) if not skip & set(path.relative_to(html).parts)]


def faults(page: Any) -> list[str]:
    """What does not fit, of a page that is open. page: playwright's; its script has 2 s to mark what scrolls."""
    for _ in range(LOOKS):
        pixels = page.evaluate(SIDEWAYS)
        found = [f"scrolls {pixels} px sideways"] * (pixels > 0) + [f"cut off, {what}" for what in page.evaluate(CUT)]
        if not found:
            break
        page.wait_for_timeout(200)
    return found


def check(html: Path) -> list[str] | None:
    """Every fault of every page in both windows, "page, window: what". None where there is no browser to look with."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    with sync_playwright() as playwright:
        executable = CHROMIUM or playwright.chromium.executable_path
        if not Path(executable).is_file():
            return None
        browser, found = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"]), list[str]()
        for size, (width, height) in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            for path in pages(html):
                page.goto(path.resolve().as_uri(), wait_until="load", timeout=120_000)
                found += [f"{path.relative_to(html)}, {size}: {fault}" for fault in faults(page)]
        browser.close()
    return found
