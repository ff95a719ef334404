"""How long the built pages are to read: words of each, minutes, and how many of every hundred words are numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

WORDS_A_MINUTE = 200
_WORD = re.compile(r"\w[\w.,%−-]*")
_NUMBER = re.compile(r"[\d.,%−-]*\d[\d.,%−-]*")
_UNREAD = {"script", "style", "table", "pre", "nav", "details", "math", "svg"}  # looked up, not read through


@dataclass(frozen=True)
class Length:
    """Of one page, its running text and captions alone: tables, code, equations and folded parts are left out."""

    page: str
    words: int
    numbers: int

    @property
    def minutes(self) -> float:
        return self.words / WORDS_A_MINUTE

    @property
    def density(self) -> float:
        """Numbers in every hundred words."""
        return 100 * self.numbers / max(self.words, 1)


class _Article(HTMLParser):
    """The text between <article> and </article>, without what is not read through."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.inside, self.unread, self.text = 0, 0, list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside += tag == "article"
        self.unread += tag in _UNREAD

    def handle_endtag(self, tag: str) -> None:
        self.inside -= tag == "article"
        self.unread -= tag in _UNREAD

    def handle_data(self, data: str) -> None:
        if self.inside and not self.unread:
            self.text.append(data)


def lengths(root: Path) -> list[Length]:
    """Of every page below `root` that has text, longest first."""
    found = []
    for path in sorted(root.rglob("*.html")):
        words = _WORD.findall("".join(_Article(path.read_text(encoding="utf-8")).text))
        if words:
            numbers = sum(_NUMBER.fullmatch(word) is not None for word in words)
            found.append(Length(str(path.relative_to(root)), len(words), numbers))
    return sorted(found, key=lambda length: -length.words)


def table(found: list[Length]) -> str:
    """The report as text, one line a page."""
    lines = [f"{'page':44}{'words':>8}{'minutes':>9}{'numbers per 100 words':>23}"]
    lines += [f"{f.page:44}{f.words:8,}{f.minutes:9.0f}{f.density:23.1f}" for f in found]
    return "\n".join(lines)
