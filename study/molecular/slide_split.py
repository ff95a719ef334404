"""Which slide goes to which split: 6:1:3 by slide, injured and normal slides in every split (paper §4.1).

The paper splits "randomly … in a 6:1:3 ratio, ensuring a balanced representation of both injured and normal
glomeruli" and does not say whether by patch. Patches of one slide share stain and tissue, so here no slide is split.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from allinsam_core.data.case import Split
from allinsam_core.data.errors import DataError

SHARES: dict[Split, float] = {"train": 0.6, "test": 0.3, "val": 0.1}  # in the order in which slides are handed out
TRIES = 500


def quota(slides: int) -> dict[Split, int]:
    """How many of so many slides of one kind go to each split.

    The first goes to train, the second to test, the third to val; each further one to the split that is furthest
    below its share. So 8 normal slides are 5 train, 1 val, 2 test, and 3 injured ones 1, 1, 1: of 11 slides 6, 2, 3,
    where shares alone would leave validation without an injured slide.
    """
    given: dict[Split, int] = dict.fromkeys(SHARES, 0)
    for split in list(SHARES)[:slides]:
        given[split] = 1
    for _ in range(slides - len(SHARES)):
        given[max(SHARES, key=lambda split: SHARES[split] * slides - given[split])] += 1
    return given


def by_slide(injured: Mapping[str, bool], patches: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, Split]:
    """The split of every slide: numbers from `quota`, for injured and normal slides apart.

    Which slides: of 500 seeded random orders the one whose shares of patches, over both kinds together and within
    each kind, come nearest to 6:1:3 (least squares). patches: slide → count, 1 each by default. A kind with one or
    two slides has none left for validation (or test); `missing` names that. DataError when there is no slide.
    """
    if not injured:
        raise DataError("no slides to split, expected at least one")
    count = {slide: (patches or {}).get(slide, 0 if patches else 1) for slide in injured}
    rng = np.random.default_rng([30724, seed])
    kinds = [sorted(slide for slide in injured if injured[slide] == kind) for kind in (True, False)]
    best, least = {}, np.inf
    for _ in range(TRIES):
        drawn: dict[str, Split] = {}
        for slides in kinds:
            places = [split for split, number in quota(len(slides)).items() for _ in range(number)]
            drawn.update(zip((slides[i] for i in rng.permutation(len(slides))), places, strict=True))
        error = sum(_error(drawn, count, group) for group in (*kinds, list(injured)))
        if error < least - 1e-12:
            best, least = drawn, error
    return {slide: best[slide] for slide in injured}


def _error(splits: Mapping[str, Split], count: Mapping[str, int], slides: list[str]) -> float:
    """Squared distance of the patches' shares from SHARES, within some slides."""
    total = max(sum(count[slide] for slide in slides), 1)
    held = {split: sum(count[slide] for slide in slides if splits[slide] == split) for split in SHARES}
    return sum((held[split] / total - share) ** 2 for split, share in SHARES.items())


def missing(splits: Mapping[str, Split], injured: Mapping[str, bool]) -> list[str]:
    """What a split lacks, in words: "val has no injured slide". Empty when every split holds both kinds."""
    return [
        f"{split} has no {'injured' if kind else 'normal'} slide"
        for split in SHARES
        for kind in (True, False)
        if not any(splits[slide] == split and injured[slide] == kind for slide in splits)
    ]
