"""Plans of small profiles, their sums worked out by hand from the footprints; what helps where a card is too small."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import grid, plan
from study.grid import Profile

UNET = {"kind": "unet", "channels": [4, 8]}
BEDS = {"kind": "beds", "channels": [4, 8]}


def profile(**methods: object) -> Profile:
    return Profile.model_validate(
        {
            "name": "mine",
            "about": "for tests",
            "axes": {"label": ["complete"], "fraction": [1.0], "seed": [0]},
            "common": {
                "train": {"steps": 10, "batch_size": 2, "validate_every": 5},
                "window": {"field": 500, "size": 64, "overlap": 0},
            },
            "methods": methods,
        }
    )


def test_a_run_is_its_steps_its_looks_and_its_test_images(tmp_path: Path) -> None:
    mine = profile(unet={"model": UNET}, otsu={"model": {"kind": "otsu"}})
    unet, otsu = plan.plan(mine, tmp_path)
    step = plan.step_of(mine.grid()[0])
    assert step is not None
    windows = 4  # of 500 px in an image of 1000
    expected = 10 * step.step + (2 * 6 + 14) * windows * step.forward / 2
    assert unet.work == {"fp32": expected, "bf16": 0}
    assert (unet.parameters, unet.trained, unet.memory) == (step.parameters, step.trained, step.memory)
    assert (otsu.work, otsu.parameters, otsu.finished) == ({"fp32": 0, "bf16": 0}, 0, False)


def test_shared_work_is_counted_once(tmp_path: Path) -> None:
    mine = profile(one={"model": {**BEDS, "members": 1}}, three={"model": {**BEDS, "members": 3}})
    first, second = plan.plan(mine, tmp_path)
    assert second.trained == 3 * first.trained
    step = plan.step_of(mine.grid()[0])
    assert step is not None
    member = 10 * step.step + 2 * 6 * 4 * step.forward / 2
    found = 14 * 4 * step.forward / 2
    assert first.work["fp32"] == pytest.approx(member + found)
    assert second.work["fp32"] == pytest.approx(2 * member + 3 * found)


def test_hours_by_hand() -> None:
    card = {"fp32": 10, "bf16": 100}
    assert plan.seconds({"fp32": 36e12, "bf16": 360e12}, card, 0.5) == pytest.approx(7.2 + 7.2)


def test_where_a_card_is_too_small_a_setting_is_named() -> None:
    run = grid.profile("smoke").run("allinsam", "complete", 1.0, 0)
    run = run.model_copy(update={"train": run.train.model_copy(update={"precision": "fp32"})})
    overhead = plan.assumptions()["overhead_gb"]
    whole = plan.step_of(run)
    assert whole is not None
    mixed = plan.step_of(run.model_copy(update={"train": run.train.model_copy(update={"precision": "bf16"})}))
    assert mixed is not None
    between = (whole.memory + mixed.memory) / 2e9 + overhead
    assert plan.remedy(run, {"gb": between}) == "train: {precision: bf16}"
    assert plan.remedy(run, {"gb": overhead}) == "a larger card"


def test_what_was_assumed_is_stated() -> None:
    given = plan.assumptions()
    assert 0 < given["efficiency"] < 1
    assert "arXiv" in given["efficiency_source"]
    assert all({"gb", "fp32", "bf16", "watts", "usd_per_hour"} == card.keys() for card in given["cards"].values())
