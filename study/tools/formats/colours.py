"""One colour a class of nuclei, the same in QuPath and in overlays: those of Okabe and Ito, told apart by all."""

from __future__ import annotations

from collections.abc import Sequence

Colour = tuple[int, int, int]
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (240, 228, 66),
)


def colours(names: Sequence[str]) -> dict[str, Colour]:
    """Class → RGB, in the order of the names; more than seven begin anew."""
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
