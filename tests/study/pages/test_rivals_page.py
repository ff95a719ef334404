from __future__ import annotations

import re
from pathlib import Path

from study import config
from study.pages import rivals_page

PAGE = Path(__file__).parents[3] / "book" / "method" / "rivals.md"


def test_sizes_are_those_of_the_networks(tmp_path: Path) -> None:
    found = rivals_page.fragments(tmp_path)
    assert found.numbers["rivals:lvit_parameters"] == "29,908,033"
    assert found.numbers["rivals:xie_parameters"] == "51,101,809"
    table = found.tables["rivals_budgets"]
    assert "| LViT, text from the image | `mini` | 2,156,893 | 256 → 256 | – | 160 × 2 |" in table
    assert "| Xie et al., self-supervised | `mini` | 5,986,201 | 256 → 256 | 80 × 12 | 130 × 4 |" in table
    assert len(table.splitlines()) == 2 + 4 + 3


def test_the_page_names_no_number_that_is_not_there(tmp_path: Path) -> None:
    named = set(re.findall(r"\{num\}`([^`]+)`", PAGE.read_text(encoding="utf-8")))
    assert named == set(rivals_page.fragments(tmp_path).numbers)


def test_parts_of_the_data_are_the_papers() -> None:
    """LViT's and Xie's rows of Table 2: 100 and 25 %, 100, 30 and 10 %, with three seeds or more."""
    for profile in ("mini", "paper"):
        grid = config.profile(profile)
        assert grid.settings("lvit")["axes"]["fraction"] == [1.0, 0.25]
        assert grid.settings("xie")["axes"]["fraction"] == [1.0, 0.3, 0.1]
        assert len(grid.seeds) >= 3
