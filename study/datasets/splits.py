"""Splits are by patient."""

from __future__ import annotations

from collections.abc import Iterable

from allinsam_core.data.case import Case, Split
from allinsam_core.data.errors import DataError


def grouped(cases: Iterable[Case]) -> dict[Split, list[Case]]:
    """Cases by their split, in their order."""
    found: dict[Split, list[Case]] = {"train": [], "val": [], "test": []}
    for case in cases:
        found[case.split].append(case)
    return found


def refuse_overlap(**splits: Iterable[Case]) -> None:
    """Raise DataError, naming patient and splits, when a patient has cases in more than one of the named splits.

    A case without a patient stands for itself. Crops of a case keep its patient.
    """
    seen: dict[str, tuple[str, str]] = {}
    for split, cases in splits.items():
        for case in cases:
            who = case.patient or f"{case.source}:{case.name.partition('@')[0]}"
            where, first = seen.setdefault(who, (split, case.name))
            if where != split:
                raise DataError(
                    f"patient {who} is in {where} ({first}) and in {split} ({case.name}), expected one split; "
                    "a score on such a split would be too good, so nothing is run"
                )
