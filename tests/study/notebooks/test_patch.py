"""The page of one patch relies on the student with IF being right more often than the expert without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_the_student_with_if_is_right_more_often_than_the_expert_without(run_page: Callable[..., Any]) -> None:
    page = run_page("patch")
    expert, student, truth = (int(page.text(key)) for key in ("expert_right", "student_right", "truth"))
    assert expert < student <= truth
