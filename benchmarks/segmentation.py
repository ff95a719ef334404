"""Does the faster arithmetic find the same nuclei? mini-SAM on MoNuSeg's six validation images, if they are there."""

from __future__ import annotations

import numpy as np

from allinsam_core.annotation.attention import fold
from allinsam_core.data.errors import PlainError
from allinsam_core.metrics import pixel
from allinsam_core.model import load
from benchmarks.ratio import Row, not_run
from study.datasets import monuseg
from study.root import data_root

NAME = "mini-SAM on six validation images: Dice of bfloat16 against float32"


def measure(quick: bool) -> list[Row]:
    """The largest difference of Dice between eager float32 and what `segment` does."""
    if quick:
        return []
    try:
        cases = monuseg.load(data_root(), "val")
    except (PlainError, OSError) as error:
        return [not_run(NAME, str(error).partition("\n")[0])]
    former, present = load("mini"), load("mini")
    object.__setattr__(former, "bfloat16", False)
    fold(former.networks, False)
    apart = []
    for case in cases:
        scores = [pixel.evaluate(m.probability(case.image, case.spacing)[0], case.mask).dice for m in (former, present)]
        apart.append(abs(scores[0] - scores[1]))
    return [
        Row(NAME, None, None, difference=float(np.max(apart)), tolerance=0.001, difference_of="Dice, largest of six")
    ]
