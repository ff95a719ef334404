"""The length of a page: what is read through counts, what is looked up does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.tools.reading import lengths, table


def test_words_and_numbers_of_running_text(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<nav>1 2 3</nav><article><p>With 0.5 % of the data, Dice is 0.802.</p><pre>x = 4</pre>"
        "<table><tr><td>0.7</td></tr></table><details>5 words that are folded away</details></article>"
    )
    (tmp_path / "longer.html").write_text(f"<article>{'word ' * 400}</article>")
    (tmp_path / "empty.html").write_text("<article></article>")
    longer, page = lengths(tmp_path)
    assert (longer.page, longer.words, longer.minutes, longer.density) == ("longer.html", 400, 2, 0)
    assert (page.page, page.words, page.numbers) == ("page.html", 8, 2)  # With 0.5 of the data Dice is 0.802.
    assert page.density == pytest.approx(25)
    assert [line.split() for line in table([longer, page]).splitlines()[1:]] == [
        ["longer.html", "400", "2", "0.0"],
        ["page.html", "8", "0", "25.0"],
    ]
