"""The exercises can be solved, and their checks tell right from wrong and from unanswered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "exercises.ipynb"
SOLVED = [
    "def tight_box(mask):\n y, x = np.nonzero(mask)\n return x.min(), y.min(), x.max() + 1, y.max() + 1",
    "def dice(p, t):\n return 2 * (p & t).sum() / (p.sum() + t.sum())",
    "def jaccard_loss(p, t):\n return 1 - (p * t).sum() / (p.sum() + t.sum() - (p * t).sum())",
    "def numbers_of_the_layer(width):\n return width // 32 * width + width",
    """
def f1_of_nuclei(p, t):
    pairs = [(p == i, t == j) for i in set(p[p > 0]) for j in set(t[t > 0])]
    right = sum(2 * (a & b).sum() >= (a | b).sum() for a, b in pairs)
    return 2 * right / (len(set(p[p > 0])) + len(set(t[t > 0])))""",
    "def weight(w, s, y):\n return np.exp(w) * y * s * y",
    "first_shift = next(shift for shift in range(0, 40, 2) if dice_with(shift) < LIMIT)",
]
WRONG = [
    "def tight_box(mask):\n y, x = np.nonzero(mask)\n return x.min(), y.min(), x.max(), y.max()",
    "def dice(p, t):\n return (p & t).sum() / (p | t).sum()",
    "def jaccard_loss(p, t):\n return (p * t).sum() / (p.sum() + t.sum() - (p * t).sum())",
    "def numbers_of_the_layer(width):\n return width // 32 * width",
    "def f1_of_nuclei(p, t):\n return 1.0",
    "def weight(w, s, y):\n return np.exp(w) * s",
    "first_shift = 0",
]


def said(answers: list[str] | None, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What each check says first, with the cells to be filled in replaced by the answers."""
    given, check, space, found = iter(answers or ()), False, dict[str, Any](), []
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            capsys.readouterr()
            to_fill = cell.source.endswith(("return ...", "first_shift = ..."))
            source = next(given) if to_fill and answers else cell.source
            exec(compile(source, "exercises.ipynb", "exec"), space)
            if check:
                found.append(capsys.readouterr().out.split(".")[0])
            check = to_fill  # the cell behind it
    return found


@pytest.mark.parametrize(
    ("answers", "expected"),
    [(None, "Not answered yet"), (SOLVED, "Right"), (WRONG, "Not yet")],
    ids=["unanswered", "solved", "wrong"],
)
def test_a_check_tells(answers: list[str] | None, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(answers, capsys) == [expected] * len(SOLVED)
