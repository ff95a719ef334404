"""Checks a folder of built HTML pages without a browser and without a network.

What must hold: every internal link and anchor leads somewhere; every image exists and has an alternative
text; no script, style, font, frame or image comes from elsewhere; no page shows a Python traceback; no page
with what it loads exceeds 2 MB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

MAX_PAGE_BYTES = 2_000_000
TRACEBACK = "Traceback (most recent call last)"
_LOADING_RELS = {"stylesheet", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "icon"}
_SOURCES = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
_CSS_URL = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")
_REFRESH = re.compile(r"url\s*=\s*(.+)", re.IGNORECASE)


@dataclass
class Page(HTMLParser):
    """What one page declares: anchors, links, what it loads, images without alternative text."""

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    mute_images: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    _inside: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.path.read_text(encoding="utf-8", errors="replace"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag if tag in {"script", "style"} else ""
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a":
            self.anchors.add(values.get("name", ""))
            if "href" in values:
                self.links.append(values["href"])
        if tag == "link" and _LOADING_RELS & set(values.get("rel", "").split()):
            self.loads.append(values.get("href", ""))
        if source := values.get(_SOURCES.get(tag, ""), ""):
            self.loads.append(source)
        self.loads += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]
        self.loads += _css_urls(values.get("style", ""))
        if tag == "img" and not values.get("alt", "").strip():
            self.mute_images.append(values.get("src", ""))
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self.links += [match.group(1).strip() for match in [_REFRESH.search(values.get("content", ""))] if match]

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.loads += _css_urls(data)
        elif self._inside != "script":
            self.text.append(data)


def check(root: Path, max_page_bytes: int = MAX_PAGE_BYTES) -> list[str]:
    """Every failure under `root`, one line each, "page: what"; an empty list means that all holds."""
    root = root.resolve()
    files = (path for path in sorted(root.rglob("*.html")) if "_static" not in path.relative_to(root).parts)
    pages = {path: Page(path) for path in files}  # _static holds a theme's templates, not pages
    if not pages:
        return [f"{root}: no HTML page found, expected a built book; run `jupyter-book build book` first"]
    problems = []
    for path, page in pages.items():
        name = path.relative_to(root)
        problems += [f"{name}: {problem}" for problem in _page_problems(page, pages, root, max_page_bytes)]
    for sheet in sorted(root.rglob("*.css")):
        urls = _css_urls(sheet.read_text(encoding="utf-8"))
        problems += [f"{sheet.relative_to(root)}: loads {url} from elsewhere" for url in urls if _is_external(url)]
    return problems


def _page_problems(page: Page, pages: dict[Path, Page], root: Path, max_page_bytes: int) -> Iterator[str]:
    if "\ufffd" in "".join(page.text):
        yield "is not in UTF-8"
    for link in page.links:
        try:
            problem = _dead(link, page, pages, root)
        except ValueError as error:
            problem = f"link to {link!r}, which is no address ({error})"
        if problem:
            yield problem
    weight = page.path.stat().st_size
    for url in dict.fromkeys(page.loads):
        try:
            external, target = _is_external(url), _target(url, page.path, root)
        except ValueError as error:
            yield f"loads {url!r}, which is no address ({error})"
            continue
        if external:
            yield f"loads {url} from elsewhere"
        elif not url.startswith("data:"):
            if target.is_file():
                weight += target.stat().st_size
            else:
                yield f"loads {url}, which does not exist"
    if weight > max_page_bytes:
        yield f"weighs {weight} bytes with what it loads, expected at most {max_page_bytes}"
    for image in page.mute_images:
        yield f"image {image} has no alternative text"
    if TRACEBACK in "".join(page.text):
        yield "shows a Python traceback"


def _dead(link: str, page: Page, pages: dict[Path, Page], root: Path) -> str | None:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    address, fragment = urldefrag(link)
    target = _target(address, page.path, root) if address else page.path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return f"link to {link}, which does not exist"
    if fragment and target in pages and unquote(fragment) not in pages[target].anchors:
        return f"link to {link}: no such anchor there"
    return None


def _target(url: str, page: Path, root: Path) -> Path:
    path = unquote(urlsplit(url).path)
    base = root if path.startswith("/") else page.parent
    return (base / path.lstrip("/")).resolve()


def _is_external(url: str) -> bool:
    return url.startswith("//") or urlsplit(url).scheme in {"http", "https", "ftp"}


def _css_urls(css: str) -> list[str]:
    return [first or second for first, second in _CSS_URL.findall(css)]
