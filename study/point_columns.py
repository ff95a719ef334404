"""What the tables of runs that are judged by points call their columns; read without the networks that made them."""

from __future__ import annotations

from study.detection import DISTANCE

ANY = "any"  # all classes as one
NONE = "none"  # a nucleus without a partner
MICROMETRES = (1.0, 2.0, DISTANCE, 4.0, 6.0)  # distances that the counts are kept of


def hits_column(word: str, micrometres: float) -> str:
    """The column of a class's true positives at a distance."""
    return f"hits_{word}_{micrometres:g}um"
