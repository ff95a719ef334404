"""Does the faster arithmetic find the same nuclei? mini-SAM on MoNuSeg's six validation images, if they are there."""

from __future__ import annotations

from allinsam_core.annotation.attention import fold, has_bfloat16
from allinsam_core.data.case import Case
from allinsam_core.data.errors import PlainError
from allinsam_core.metrics import pixel
from allinsam_core.model import Model, load
from benchmarks.ratio import Row, not_run
from study.datasets import monuseg
from study.root import data_root

WAYS = {"as segment computes here": None, "bfloat16": True}


def measure(quick: bool) -> list[Row]:
    """The largest difference of Dice to eager float32: of what `segment` does here, and of bfloat16."""
    if quick:
        return []
    try:
        cases = monuseg.load(data_root(), "val")
    except (PlainError, OSError) as error:
        return [not_run(f"six validation images, {way}", str(error).partition("\n")[0]) for way in WAYS]
    former = load("mini")
    object.__setattr__(former, "bfloat16", False)
    fold(former.networks, False)
    expected = [dice(former, case) for case in cases]
    rows = []
    for way, short in WAYS.items():
        present = load("mini")
        if short is not None:
            object.__setattr__(present, "bfloat16", short)
        apart = max(abs(dice(present, case) - score) for case, score in zip(cases, expected, strict=True))
        about = {"tolerance": 0.001, "difference_of": "Dice of mini-SAM, largest of six"}
        about |= {"precision": "bf16" if short or has_bfloat16("cpu") else "fp32"}
        rows.append(Row(f"six validation images, {way}", None, None, difference=apart, **about))
    return rows


def dice(model: Model, case: Case) -> float:
    return pixel.evaluate(model.probability(case.image, case.spacing)[0], case.mask).dice
