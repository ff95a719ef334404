"""Table 2 from a results folder written by hand: rows, tests, costs, and pages that stand without results too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allinsam_core.metrics.stats import paired_wilcoxon
from study import records, table2, tables
from study.pages import side_pages, table2_figures, table2_page
from study.pages.fragments import PALETTES

WriteRun = Callable[..., Path]
IMAGES = [f"i{k}" for k in range(6)]


def ramp(start: float, slope: float = 0.01) -> dict[str, float]:
    return {image: start + slope * k for k, image in enumerate(IMAGES)}


@pytest.fixture
def results(write_run: WriteRun) -> Path:
    for seed in (0, 1):
        write_run("allinsam", 1.0, seed, ramp(0.70, 0.02))
        write_run("unet", 1.0, seed, ramp(0.65 + 0.02 * seed))
        write_run("nnunet", 0.04, seed, ramp(0.7))
        write_run("allinsam", 0.04, seed, ramp(0.6))
    write_run("xie", 0.3, 0, ramp(0.5))
    write_run("lvit", 0.25, 0, ramp(0.6))
    write_run("lvit_oracle", 1.0, 0, ramp(0.6))
    write_run("unet", 0.005, 0, ramp(0.4))
    write_run("nnunet", 1.0, 0, ramp(0.7), label="weak")
    return write_run("boxes", 0.0, 0, ramp(0.9))


def line(lines: list[table2.Line], *which: str) -> table2.Line:
    (found,) = [r for r in lines if (r.label, r.name, r.training_data) == which]
    return found


def test_every_row_of_the_paper_in_its_order_with_ours_where_run(results: Path) -> None:
    lines = table2.lines(tables.collect(results, "mini"))
    printed = [r for r in lines if r.paper]
    assert len(printed) == 14
    assert [(r.name, r.training_data) for r in printed[:3]] == [("Xie", "All"), ("Xie", "30%"), ("Xie", "10%")]
    assert [r.training_data for r in printed if r.ours] == ["30%", "25%", "4%", "All", "4%", "All"]
    assert [r.name for r in printed if r.quoted] == ["Xie"] * 3 + ["LViT"] * 2 + ["BEDs"]
    own = [(r.label, r.name, r.training_data) for r in lines if not r.paper]
    # the U-Net at 0.5 % is Table 3's; nnU-Net and All-in-SAM stand in their own rows
    assert own == [
        ("complete", "U-Net", "100 %"),
        ("complete", "LViT, text from the truth", "100 %"),
        ("complete", "mini-SAM, given the true boxes", "none"),
    ]


def test_what_stands_beside_what(results: Path) -> None:
    lines = table2.lines(tables.collect(results, "mini"))
    xie = line(lines, "complete", "Xie", "30%")
    assert xie.printed("aji_kumar") == 0.6031  # an instance index, though printed under "ADJ"
    assert xie.printed("jaccard") is None
    assert xie.difference("aji_kumar") == pytest.approx(0.525 - 0.6031)
    lvit = line(lines, "complete", "LViT", "25%")
    assert (lvit.printed("dice"), lvit.printed("jaccard"), lvit.printed("iou_column")) == (0.7994, 0.6680, None)
    nnunet = line(lines, "weak", "nnUNet", "All")
    assert [nnunet.printed(m) for m in table2.METRICS] == [0.8212, 0.6935, 0.6974, None]
    assert nnunet.difference("dice") == pytest.approx(0.725 - 0.8212)
    missing = line(lines, "complete", "Xie", "All")
    assert missing.ours is None
    assert missing.difference("aji_kumar") is None
    own = line(lines, "complete", "U-Net", "100 %")
    assert own.printed("dice") is None
    assert own.difference("dice") is None


def test_shares() -> None:
    assert [tables.fraction_of(t) for t in ("All", "All + More", "30%", "0.50%")] == [1.0, 1.0, 0.3, 0.005]


def test_tests_pair_images_and_adjust_over_all_of_them(results: Path) -> None:
    tests = table2.paired_tests(tables.collect(results, "mini"))
    # two metrics of two rivals; not 0.5 % (no All-in-SAM), not weak, none that is told of the truth
    assert tests[["metric", "fraction", "rival"]].to_numpy().tolist() == [
        ["dice", 1.0, "unet"],
        ["dice", 0.04, "nnunet"],
        ["aji_kumar", 1.0, "unet"],
        ["aji_kumar", 0.04, "nnunet"],
    ]
    first = tests.iloc[0]
    by_hand = np.array([0.70 + 0.02 * k for k in range(6)]) - np.array(
        [0.66 + 0.01 * k for k in range(6)]
    )  # seeds' mean
    assert first["difference"] == pytest.approx(by_hand.mean())
    assert first["p"] == pytest.approx(2 / 2**6) == paired_wilcoxon(by_hand, np.zeros(6)).p_value  # all six one way
    assert first["low"] < by_hand.mean() < first["high"]
    assert tests["difference"][1] == pytest.approx(-0.1)
    assert tests["p Holm"].tolist() == pytest.approx([4 * 2 / 2**6] * 4)
    assert (tests["images"] == 6).all()


def test_without_the_reference_there_is_no_test(write_run: WriteRun) -> None:
    scores = tables.collect(write_run("unet", 1.0, 0, ramp(0.5)), "mini")
    assert len(table2.paired_tests(scores)) == 0
    assert "p Holm" in table2.paired_tests(scores)


def test_costs_by_hand(results: Path) -> None:
    costs = table2.costs(results, "mini").set_index(["method", "label", "fraction"])
    unet = costs.loc[("unet", "complete", 1.0)]
    assert (unet["runs"], unet["trained"], unet["total"], unet["looks"]) == (2, 900, 1000, 2)
    assert (unet["fit s"], unet["peak GiB"]) == (90, 3)
    assert unet["Wh"] == pytest.approx((90 + 1.26) * 2 * 4.375 / 3600)  # two threads of 280 W / 64
    record = {"environment": {"device": "cuda", "threads": 2}, "fit_seconds": 1.0, "predict_seconds": 1.0}
    assert table2.energy(record) is None


def test_looks_that_chose_weights() -> None:
    training = {"validations": [{"step": 1}, {"step": 2}]}
    assert table2.looks({"config": {"method": "unet"}, "training": training}) == 2
    assert table2.looks({"config": {"method": "beds"}, "training": {"members": [training] * 3}}) == 6
    assert table2.looks({"config": {"method": "nnunet"}, "training": training}) == 0  # logged, chose nothing
    assert table2.looks({"config": {"method": "otsu"}, "training": {}}) == 0


def test_the_page_shows_what_is_there_and_says_what_is_not(results: Path) -> None:
    part = table2_page.fragments(results)
    assert (part.numbers["table2:printed"], part.numbers["table2:run"]) == ("14", "6")
    assert part.numbers["table2:tests"] == "4"
    complete = part.tables["table2_complete"].splitlines()
    assert len(complete) == 2 + 10 + 3
    assert complete[2].startswith("| Xie | All | not run |")
    assert "quoted 0.7063" in complete[2]
    assert "**0.525**" in complete[3]
    assert "quoted 0.6031<br>−0.078" in complete[3]
    assert "paper 0.8134<br>−0.188 |" in complete[11]
    assert part.tables["table2_weak"].count("not run") == 3
    targets = part.tables["table2_targets"].splitlines()[2:]
    assert [t.rsplit("|", 2)[1].strip() for t in targets] == [
        "**not reached**",
        "reached",
        "**not reached**",
        "not run",
    ]
    assert "−0.100" in targets[2]
    assert "90 s and 90 s" in targets[2]
    for palette in PALETTES:
        (axes,) = part.figures["table2_dice"](palette).axes
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert {"All-in-SAM, All", "All-in-SAM, All, weak", "mini-SAM, given the true boxes"} <= set(names)
        assert "Xie, All" not in names  # neither value
        assert axes.get_xlabel()


def test_an_adjusted_p_value_decides_whether_ahead_is_reached(write_run: WriteRun) -> None:
    images = [f"i{k}" for k in range(12)]
    write_run("nnunet", 0.04, 0, dict.fromkeys(images, 0.5))
    results = write_run("allinsam", 0.04, 0, {i: 0.6 + 0.001 * k for k, i in enumerate(images)})
    assert "| reached |" in table2_page.fragments(results).tables["table2_targets"]
    (path,) = (results / "mini").glob("nnunet*/run.json")
    records.write({**records.read(path), "fit_seconds": 60.0}, path)
    assert "| reached, but nnU-Net trained for less time |" in table2_page.fragments(results).tables["table2_targets"]
    write_run("nnunet", 0.005, 0, dict.fromkeys(images, 0.5))  # far ahead on one image, a little behind on the others
    write_run("allinsam", 0.005, 0, {i: 0.9 if k == 0 else 0.5 - 0.001 * k for k, i in enumerate(images)})
    assert "ahead, not beyond doubt" in table2_page.fragments(results).tables["table2_targets"]


# ---- augmentation off, and draws


def test_without_runs_the_page_says_how_to_make_them(tmp_path: Path) -> None:
    assert "make study PROFILE=ablation" in side_pages.ablation(tmp_path).tables["ablation"]
    assert "make study PROFILE=draws" in side_pages.draws(tmp_path).tables["draws"]
    assert not side_pages.draws(tmp_path).figures


def test_how_much_of_the_gap_is_augmentation(write_run: WriteRun) -> None:
    for seed in (0, 1):
        write_run("allinsam", 1.0, seed, ramp(0.8))
        write_run("unet", 1.0, seed, ramp(0.7))
        write_run("allinsam", 1.0, seed, ramp(0.75), profile="ablation")
        results = write_run("unet", 1.0, seed, ramp(0.6), profile="ablation")
    write_run("unet", 1.0, 2, ramp(0.1))  # a seed without its partner does not count
    on, off, share = side_pages.ablation(results).tables["ablation"].splitlines()[5:8]
    assert "**+0.100**<br>[+0.100, +0.100]" in on
    assert "6 × 2" in on
    assert "**+0.150**<br>[+0.150, +0.150]" in off
    assert "**−0.050**<br>[−0.050, −0.050]" in share


def test_longer_training_stands_beside_the_profiles_own(write_run: WriteRun) -> None:
    assert "make study PROFILE=longer" in side_pages.longer(Path("nowhere")).tables["longer"]
    for seed in (0, 1):
        write_run("allinsam", 1.0, seed, {"x": 0.8, "y": 0.7})
        write_run("unet", 1.0, seed, {"x": 0.6, "y": 0.6})
        write_run("unet", 0.04, seed, {"x": 0.1, "y": 0.1})  # other amounts do not count
        write_run("allinsam", 1.0, seed, {"x": 0.9, "y": 0.7}, profile="longer")
        results = write_run("unet", 1.0, seed, {"x": 0.8, "y": 0.8}, profile="longer")
    lines = side_pages.longer(results).tables["longer"].splitlines()[5:9]
    own = "| All-in-SAM (mini-SAM) | 100 % |"
    assert lines[0] == f"{own} ×1 | **0.750**<br>[0.700, 0.800] | – | – | 90 | 2 × 2 |"
    assert lines[1] == f"{own} ×4 | **0.800**<br>[0.700, 0.900] | – | – | 90 | 2 × 2 |"
    gaps = "**+0.150**<br>[+0.100, +0.200] | **+0.200**<br>[+0.100, +0.300]"
    assert lines[2] == f"| U-Net | 100 % | ×1 | **0.600**<br>[0.600, 0.600] | {gaps} | 90 | 2 × 2 |"
    gaps = "**−0.050**<br>[−0.100, +0.000] | **+0.000**<br>[−0.100, +0.100]"
    assert lines[3] == f"| U-Net | 100 % | ×4 | **0.800**<br>[0.800, 0.800] | {gaps} | 90 | 2 × 2 |"


def test_draws_are_paired_by_seed(write_run: WriteRun) -> None:
    for seed, (ours, rival) in enumerate([(0.5, 0.4), (0.6, 0.7), (0.7, 0.4)]):
        write_run("allinsam", 0.005, seed, ramp(ours, 0), profile="draws")
        results = write_run("unet", 0.005, seed, ramp(rival, 0), profile="draws")
    results = write_run("allinsam", 0.005, 3, ramp(0.9, 0), profile="draws")
    part = side_pages.draws(results)
    text = part.tables["draws"]
    assert "| All-in-SAM (mini-SAM) | 4 | 0.675 |" in text
    assert "| U-Net | 3 | 0.500 | 0.173 | 0.400 | 0.400 | 0.700 |" in text
    assert "ahead on 2 of 3 draws" in text
    (axes,) = part.figures["draws_dice"](PALETTES[1]).axes
    dots = [list(a.get_ydata()) for a in axes.get_lines() if a.get_marker() == "o"]
    assert dots[0] == pytest.approx([0.5, 0.6, 0.7, 0.9])
    assert axes.get_ylabel()


def test_the_figure_needs_no_result_of_ours() -> None:
    empty = pd.DataFrame({"label": [], "fraction": [], "method": []})
    lines = [r for r in table2.lines(empty) if r.label == "weak"]
    assert len(table2_figures.beside(lines).axes) == 1
