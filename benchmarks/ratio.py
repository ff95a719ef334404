"""A ratio: two ways to the same result, timed in turns in one process, and how far their results differ."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.limits import work


@dataclass(frozen=True)
class Row:
    """One measurement.

    before, now: seconds, bytes or operations of the former way and of the present one, medians. unit: of both.
    goal: the ratio before / now to reach, or where `limit` is set the largest value of `now`. difference: of the two
    results, as `difference_of` says, at most `tolerance`. clock: medians on the clock, where processor time is counted.
    repeats: measurements behind each median. precision: of the present way's products. operations, moved: of both ways,
    as `limits.Work` has them.
    """

    name: str
    before: float | None
    now: float | None
    unit: str = "s"
    goal: float | None = None
    limit: float | None = None
    difference: float | None = None
    tolerance: float | None = None
    difference_of: str = ""
    clock: tuple[float, float] | None = None
    note: str = ""
    repeats: int | None = None
    precision: str = "fp32"
    operations: tuple[float, float] | None = None
    moved: tuple[float, float] | None = None

    @property
    def key(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    @property
    def ratio(self) -> float | None:
        return self.before / self.now if self.before is not None and self.now else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is; None where nothing was run or there is no goal."""
        if self.now is None or (self.goal is None and self.limit is None):
            return None
        enough = self.goal is None or (self.ratio is not None and self.ratio >= self.goal)
        return enough and (self.limit is None or self.now <= self.limit)

    @property
    def same(self) -> bool:
        """Whether the two results agree."""
        return self.difference is None or self.tolerance is None or self.difference <= self.tolerance

    @property
    def measured(self) -> dict[str, Any]:
        """All of it, as its record has it."""
        return {**asdict(self), "ratio": self.ratio, "reached": self.reached, "same": self.same}


def not_run(name: str, why: str, goal: float | None = None, unit: str = "s") -> Row:
    """A row of what this machine cannot measure."""
    return Row(name, None, None, unit, goal, note=why)


def compare(
    name: str,
    before: Callable[[], Any],
    now: Callable[[], Any],
    repeats: int,
    difference: Callable[[Any, Any], float] | None = None,
    synchronise: Callable[[], object] = lambda: None,
    clocked: bool = False,
    counted: bool = False,
    **about: Any,
) -> Row:
    """Medians of processor seconds of both ways, in turns, after one call of each; and of seconds on the clock.

    synchronise: waits for an accelerator. clocked: the clock counts. difference: of what the first calls returned.
    counted: count operations and bytes too, in one more call of each.
    """
    ways = (before, now)
    first = [way() for way in ways]
    seconds: tuple[list[float], list[float]] = ([], [])
    clock: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for index, way in enumerate(ways):
            synchronise()
            wall, processor = time.perf_counter(), time.process_time()
            way()
            synchronise()
            clock[index].append(time.perf_counter() - wall)
            seconds[index].append(time.process_time() - processor)
    medians, walls = ([median(each) for each in times] for times in (seconds, clock))
    apart = None if difference is None else difference(*first)
    former, present = walls if clocked else medians
    if counted:
        old, new = work(before), work(now)
        about |= {"operations": (old.operations, new.operations), "moved": (old.moved, new.moved)}
    return Row(name, former, present, difference=apart, clock=(walls[0], walls[1]), repeats=repeats, **about)
