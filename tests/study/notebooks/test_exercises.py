"""The exercises can be solved, and their checks tell right from wrong and from unanswered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "exercises.ipynb"
SOLVED = {
    "ex1": "def tight_box(mask):\n y, x = np.nonzero(mask)\n return x.min(), y.min(), x.max() + 1, y.max() + 1",
    "ex2": "def dice(p, t):\n return 2 * (p & t).sum() / (p.sum() + t.sum())",
    "ex3": "def jaccard_loss(p, t):\n return 1 - (p * t).sum() / (p.sum() + t.sum() - (p * t).sum())",
    "ex4": "def numbers_of_the_layer(width):\n return width // 32 * width + width",
    "ex5": """
def f1_of_nuclei(p, t):
    pairs = [(p == i, t == j) for i in set(p[p > 0]) for j in set(t[t > 0])]
    right = sum(2 * (a & b).sum() >= (a | b).sum() for a, b in pairs)
    return 2 * right / (len(set(p[p > 0])) + len(set(t[t > 0])))""",
    "ex6": "def weight(w, s, y):\n return np.exp(w) * y * s * y",
    "ex7": "first_shift = next(shift for shift in range(0, 40, 2) if dice_with(shift) < LIMIT)",
}
WRONG = {
    "ex1": "def tight_box(mask):\n y, x = np.nonzero(mask)\n return x.min(), y.min(), x.max(), y.max()",
    "ex2": "def dice(p, t):\n return (p & t).sum() / (p | t).sum()",
    "ex3": "def jaccard_loss(p, t):\n return (p * t).sum() / (p.sum() + t.sum() - (p * t).sum())",
    "ex4": "def numbers_of_the_layer(width):\n return width // 32 * width",
    "ex5": "def f1_of_nuclei(p, t):\n return 1.0",
    "ex6": "def weight(w, s, y):\n return np.exp(w) * s",
    "ex7": "first_shift = 0",
}


def said(answers: dict[str, str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The first word of what each check prints, with the cells of the answers replaced."""
    space: dict[str, Any] = {}
    found = []
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            capsys.readouterr()
            exec(compile(answers.get(cell.id, cell.source), cell.id, "exec"), space)
            if cell.id.endswith("-check") and cell.id != "ex-check":
                found.append(capsys.readouterr().out.split(".")[0])
    return found


@pytest.mark.parametrize(
    ("answers", "expected"),
    [({}, "Not answered yet"), (SOLVED, "Right"), (WRONG, "Not yet")],
    ids=["unanswered", "solved", "wrong"],
)
def test_a_check_tells(answers: dict[str, str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(answers, capsys) == [expected] * len(SOLVED)
