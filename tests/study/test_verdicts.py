"""The one rule for verdicts, on scores written by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from study import verdicts
from study.verdicts import Cell, compare, equivalence_margin

IMAGES = [f"i{n}" for n in range(12)]
OURS: Cell = ("allinsam", "complete", 1.0)


def scores(**methods: list[float]) -> pd.DataFrame:
    """Every method's Dice by seed; image i adds i / 100, and every other image a thousandth more to some methods."""
    lines = []
    for method, by_seed in methods.items():
        trained = method not in ("otsu", "boxes")
        for seed, level in enumerate(by_seed):
            lines += [
                {"method": method, "label": "complete", "fraction": float(trained), "seed": seed, "image": image,
                 "dice": level + n / 100 + (n % 2) * len(method) / 1e4}
                for n, image in enumerate(IMAGES)
            ]  # fmt: skip
    return pd.DataFrame(lines)


FOUND = scores(
    allinsam=[0.60, 0.60, 0.60], unet=[0.50, 0.52, 0.51], nnunet=[0.50, 0.70, 0.60], same=[0.601, 0.6, 0.6],
    otsu=[0.5], boxes=[0.7],
)  # fmt: skip


MARGIN = equivalence_margin(FOUND)


def against(rival: str, fraction: float = 1.0) -> tuple[Cell, Cell]:
    return OURS, (rival, "complete", fraction)


def test_the_margin_is_a_twentieth_from_floor_to_ceiling() -> None:
    assert equivalence_margin(FOUND) == pytest.approx(0.2 / 20, abs=1e-5)
    assert equivalence_margin(FOUND, part=0.5) == pytest.approx(0.1, abs=1e-4)
    with pytest.raises(ValueError, match="expected runs of otsu and boxes"):
        equivalence_margin(FOUND[FOUND["method"] != "boxes"])


def test_verdicts_by_hand() -> None:
    unet, nnunet, same = compare(FOUND, [against("unet"), against("nnunet"), against("same")], margin=MARGIN)
    assert unet.difference.mean == pytest.approx(0.09, abs=1e-3)
    assert (unet.verdict, unet.seeds, unet.difference.n) == ("better", 3, 12)
    # seeds of −0.1, 0 and 0.1: images alone would give an interval of no width at 0
    assert nnunet.difference.low < -0.05 < 0.05 < nnunet.difference.high
    assert nnunet.verdict == "undecided"
    assert same.verdict == "equivalent"
    assert compare(FOUND, [(against("unet")[1], OURS)], margin=MARGIN)[0].verdict == "worse"


def test_holm_is_over_what_is_asked_at_once() -> None:
    (alone,) = compare(FOUND, [against("unet")])
    first, *_ = compare(FOUND, [against("unet"), against("nnunet"), against("same")])
    assert alone.test.p_holm == alone.test.p_value == pytest.approx(2 / 2**12)
    assert first.test.p_holm == pytest.approx(3 * alone.test.p_value)
    (strict,) = compare(FOUND, [against("unet")], margin=0.2)
    assert (strict.verdict, strict.margin) == ("equivalent", 0.2)


def test_a_row_without_training_meets_every_seed() -> None:
    untrained: Cell = ("otsu", "complete", 0.0)
    first, second = compare(FOUND, [(OURS, untrained), (untrained, OURS)], margin=MARGIN)
    assert (first.seeds, second.seeds) == (3, 3)
    assert first.difference.mean == pytest.approx(-second.difference.mean)
    assert (first.verdict, second.verdict) == ("better", "worse")


def test_what_is_not_there_is_left_out_and_the_table_says_all() -> None:
    found = compare(FOUND, [against("lvit"), against("unet")], margin=MARGIN)
    (line,) = verdicts.table(found).to_dict("records")
    assert line["verdict"] == "better"
    assert line["low"] < line["difference"] < line["high"]
    assert line["second"] == ("unet", "complete", 1.0)
    assert compare(FOUND, []) == []


def test_without_a_margin_there_is_no_verdict() -> None:
    (found,) = compare(FOUND, [against("unet")])
    with pytest.raises(ValueError, match="without a margin"):
        _ = found.verdict
