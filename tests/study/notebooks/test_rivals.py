"""The page on LViT and Xie et al.: sizes of the networks, budgets of the profiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from study import grid


def test_sizes_are_those_of_the_networks(run_page: Callable[..., Any]) -> None:
    page = run_page("rivals")
    assert page.text("lvit_parameters") == "29,908,033"
    assert page.text("xie_parameters") == "51,101,809"
    rows = page.rows("budgets")[1:]
    assert ["LViT, text from the image", "mini", "2,156,893", "256 → 256", "–", "160 × 2"] in rows
    assert ["Xie et al., self-supervised", "mini", "5,986,201", "256 → 256", "80 × 12", "130 × 4"] in rows
    assert len(rows) == 4 + 3


def test_parts_of_the_data_are_the_papers() -> None:
    """LViT's and Xie's rows of Table 2: 100 and 25 %, 100, 30 and 10 %, with three seeds or more."""
    for profile in ("mini", "paper"):
        found = grid.profile(profile)
        assert found.settings("lvit")["axes"]["fraction"] == [1.0, 0.25]
        assert found.settings("xie")["axes"]["fraction"] == [1.0, 0.3, 0.1]
        assert len(found.seeds) >= 3
