"""The six pages of Table 2, on results written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import records

WriteRun = Callable[..., Path]
RunPage = Callable[..., Any]
IMAGES = [f"i{k}" for k in range(6)]
ALLINSAM = "All-in-SAM (mini-SAM)"


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
    write_run("lvit_oracle", 1.0, 0, ramp(0.6))
    write_run("nnunet", 1.0, 0, ramp(0.7), label="weak")
    write_run("otsu", 0.0, 0, ramp(0.4))
    write_run("zeroshot", 0.0, 0, ramp(0.5))
    return write_run("boxes", 0.0, 0, ramp(0.9))


def test_the_table_shows_what_is_there_and_says_what_is_not(results: Path, run_page: RunPage) -> None:
    page = run_page("table2", results=str(results))
    assert [page.text(key) for key in ("printed", "quoted", "run", "tests", "whole_lead")] == [
        "14",
        "6",
        "5",
        "4",
        "not run",
    ]
    complete = page.rows("complete")[1:]
    assert len(complete) == 10 + 5
    xie, smaller = complete[:2]
    assert xie[:3] == ["Xie et al., self-supervised", "100 %", "not run"]
    assert xie[5] == "quoted 0.7063"
    assert xie[-2:] == ["–", "–"]
    assert smaller[1] == "30 %"
    assert smaller[5] == "0.525 | [0.512, 0.538] | quoted 0.6031 | −0.078"
    assert complete[5][:2] == ["BEDs, ensemble + stain", "100 % | paper: and more"]
    assert complete[9][2] == "0.625 | [0.612, 0.638] | paper 0.8134 | −0.188"
    assert complete[9][-1] == "2"
    assert sum(row[2].startswith("not run") for row in page.rows("weak")) == 3
    assert page["dice"].markup.count("<img") == 2
    test = page.rows("paired-tests")[1]
    assert test[:2] == ["U-Net", "100 %, complete"]
    assert test[2].startswith("+0.065 | ")
    assert page.rows("quoted-rows")[1][0] == "Xie et al."


def test_the_threshold_may_make_the_lead(results: Path, write_run: WriteRun, run_page: RunPage) -> None:
    for name in ("unet", "nnunet", "allinsam"):
        write_run(name, 0.005, 0, ramp(0.5), best_f1=ramp(0.6))
    write_run("scratch", 1.0, 0, ramp(0.6), best_f1=ramp(0.7))
    page = run_page("table2_threshold", results=str(results))
    assert (page.text("scratch_all_dice"), page.text("scratch_all_best_f1")) == ("+0.125", "+0.025")
    assert page.text("paper_weak_4_dice") == "+0.019"  # 0.8099 − 0.7913
    lines = {tuple(row[:2]): row for row in page.rows("leads")[1:]}
    nnunet = lines["nnU-Net v2", "4 %, complete"]
    assert nnunet[2].endswith("| paper +0.0214")  # 0.8134 − 0.7920
    assert nnunet[4] == "−0.100 | [−0.100, −0.100]"
    assert not any("truth" in name for name, _ in lines)  # told something of the truth: no rival
    assert page.text("unet_all_chosen") == "not run"
    assert "make study PROFILE=threshold" in page["chosen"].markup


def test_chosen_thresholds_stand_beside_a_half(write_run: WriteRun, run_page: RunPage) -> None:
    again = {"profile": "threshold"}
    for seed, value in ((0, 0.4), (1, 0.6)):
        write_run("allinsam", 1.0, seed, {"x": 0.8, "y": 0.6})
        write_run("unet", 1.0, seed, {"x": 0.5, "y": 0.5})
        write_run("allinsam", 1.0, seed, {"x": 0.8, "y": 0.6}, threshold=value, **again)
        write_run("unet", 1.0, seed, {"x": 0.9, "y": 0.8}, threshold=0.8, **again)
    for name in ("unet", "nnunet", "allinsam"):
        write_run(name, 0.005, 0, {"x": 0.5, "y": 0.5})
    write_run("scratch", 1.0, 0, {"x": 0.5, "y": 0.5})
    write_run("otsu", 0.0, 0, {"x": 0.3, "y": 0.3})
    results = write_run("otsu", 0.0, 0, {"x": 0.4, "y": 0.4}, threshold=0.75, **again)
    page = run_page("table2_threshold", results=str(results))
    ours, unet, otsu = page.rows("chosen")[1:]
    own = "0.700 | [0.600, 0.800]"
    assert ours == [ALLINSAM, "100 %", "0.40, 0.60", own, own, "–", "2"]
    dices = ["0.500 | [0.500, 0.500]", "0.850 | [0.800, 0.900]"]
    assert unet == ["U-Net", "100 %", "0.80, 0.80", *dices, "−0.150 | [−0.200, −0.100]", "2"]
    assert otsu[-2:] == ["–", "1"]
    texts = {key: page.text(key) for key in ("allinsam_all_threshold", "unet_all_chosen", "unet_all_lead", "otsu_half")}
    assert texts == {
        "allinsam_all_threshold": "0.50",
        "unet_all_chosen": "0.850",
        "unet_all_lead": "−0.150",
        "otsu_half": "0.300",
    }


def test_single_nuclei_and_costs(results: Path, run_page: RunPage) -> None:
    header, *rows = run_page("table2_instances", results=str(results)).rows("instances")
    assert header[2:-1] == ["aji_plus", "pq", "f1_instance_50", "ap_50"]
    assert ["nnU-Net v2", "100 %, weak"] in [row[:2] for row in rows]
    page = run_page("table2_costs", results=str(results))
    (unet,) = (row for row in page.rows("costs") if row[0] == "U-Net")
    assert unet == ["U-Net", "100 %, complete", "0.00", "0.00", "90", "1", "2", "3.0", "0.22", "2"]
    assert page.text("watts") == "4.4"


# ---- what was tried


def trial(results: Path, profile: str, method: str, dice: float, rate: float, **window: int) -> None:
    config: dict[str, Any] = {"profile": profile, "method": method, "label": "complete", "fraction": 1.0, "seed": 0}
    config["train"] = {"learning_rate": rate, "steps": 150, "batch_size": 4}
    config["model"] = {"kind": method.partition("-")[0], "zero_init": method.endswith("zero")}
    config |= {"window": {"field": 150, "size": 256} | window}
    named = {"run_id": records.run_id(config), "config_hash": records.hash_of(config)}
    record = {**named, "config": config, "simulated": False}
    environment = {"device_name": "a processor", "threads": 1}
    more = {
        "data": {"test": {"images": 2, "sha256": "same"}},
        "environment": environment,
        "parameters": {"trained": 35_088},
        "fit_seconds": 61.4,
        "predict_seconds": 1,
    }
    rows = pd.DataFrame({"image": ["x", "y"], "dice": [dice, dice + 0.1]})
    records.save(record | more, results / profile / named["run_id"], rows=rows)


def test_trials_by_method_with_the_one_that_was_taken_first(tmp_path: Path, run_page: RunPage) -> None:
    trial(tmp_path, "mini", "allinsam", 0, 1e-3)
    trial(tmp_path, "mini", "unet", 0, 1e-2)
    for method, dice, rate in (("unet-1e-3", 0.55, 1e-3), ("unet-1e-2", 0.5, 1e-2), ("allinsam-1e-3", 0.6, 1e-3)):
        trial(tmp_path, "choice", method, dice, rate)
    trial(tmp_path, "choice", "allinsam-3e-4-zero", 0.9, 3e-4)
    trial(tmp_path, "choice", "allinsam-finer", 0.7, 1e-3, field=112)
    trial(tmp_path, "choice", "allinsam-wider", 0.9, 1e-3, field=200, size=336)
    page = run_page("table2_choices", results=str(tmp_path))
    assert [row[:-1] for row in page.rows("choice")[1:]] == [
        [ALLINSAM, "0.001", "150 → 256", "0.650", "61", "✓"],
        [f"{ALLINSAM}, zero start", "0.0003", "150 → 256", "0.950", "61", ""],
        [ALLINSAM, "0.001", "200 → 336", "0.950", "61", ""],
        [ALLINSAM, "0.001", "112 → 256", "0.750", "61", ""],
        ["U-Net", "0.01", "150 → 256", "0.550", "61", "✓"],
        ["U-Net", "0.001", "150 → 256", "0.600", "61", ""],
    ]
    assert page.text("missed") == "0.050"  # the U-Net's; another start or window is no learning rate
    assert [page.text(key) for key in ("narrow", "finer", "wider")] == ["0.650", "0.750", "0.950"]


def test_without_trials_the_page_says_how_to_make_them(tmp_path: Path, run_page: RunPage) -> None:
    trial(tmp_path, "mini", "allinsam", 0, 1e-3)
    assert "make study PROFILE=choice" in run_page("table2_choices", results=str(tmp_path))["choice"].markup


# ---- longer, without augmentation, other crops


def test_without_runs_the_robustness_page_says_how_to_make_them(results: Path, run_page: RunPage) -> None:
    page = run_page("table2_robustness", results=str(results))
    for key, profile in (("longer", "longer"), ("ablation", "ablation"), ("draws", "draws"), ("draws-dice", "draws")):
        assert f"make study PROFILE={profile}" in page[key].markup
    assert page.text("allinsam_4x") == "not run"


def test_longer_training_stands_beside_the_profiles_own(write_run: WriteRun, run_page: RunPage) -> None:
    for seed in (0, 1):
        write_run("allinsam", 1.0, seed, {"x": 0.8, "y": 0.7})
        write_run("unet", 1.0, seed, {"x": 0.6, "y": 0.6})
        write_run("unet", 0.04, seed, {"x": 0.1, "y": 0.1})  # other amounts do not count
        write_run("allinsam", 1.0, seed, {"x": 0.9, "y": 0.7}, profile="longer")
        results = write_run("unet", 1.0, seed, {"x": 0.8, "y": 0.8}, profile="longer")
    page = run_page("table2_robustness", results=str(results))
    assert page.rows("longer")[1:] == [
        [ALLINSAM, "100 %", "× 1", "0.750 | [0.700, 0.800]", "–", "–", "90", "2"],
        [ALLINSAM, "100 %", "× 4", "0.800 | [0.700, 0.900]", "–", "–", "90", "2"],
        [
            "U-Net",
            "100 %",
            "× 1",
            "0.600 | [0.600, 0.600]",
            "+0.150 | [+0.100, +0.200]",
            "+0.200 | [+0.100, +0.300]",
            "90",
            "2",
        ],
        [
            "U-Net",
            "100 %",
            "× 4",
            "0.800 | [0.800, 0.800]",
            "−0.050 | [−0.100, +0.000]",
            "+0.000 | [−0.100, +0.100]",
            "90",
            "2",
        ],
    ]
    assert (page.text("allinsam_4x"), page.text("unet_4x")) == ("0.800", "0.800")


def test_how_much_of_the_gap_is_augmentation(write_run: WriteRun, run_page: RunPage) -> None:
    for seed in (0, 1):
        write_run("allinsam", 1.0, seed, ramp(0.8))
        write_run("unet", 1.0, seed, ramp(0.7))
        write_run("allinsam", 1.0, seed, ramp(0.75), profile="ablation")
        results = write_run("unet", 1.0, seed, ramp(0.6), profile="ablation")
    write_run("unet", 1.0, 2, ramp(0.1))  # a seed without its partner does not count
    on, off, change = run_page("table2_robustness", results=str(results)).rows("ablation")[1:]
    assert (on[1], on[4]) == ("on", "+0.100 | [+0.100, +0.100]")
    assert (off[1], off[4]) == ("off", "+0.150 | [+0.150, +0.150]")
    assert (change[1], change[4]) == ("on minus off", "−0.050 | [−0.050, −0.050]")


def test_choices_of_crops_are_paired_by_seed(write_run: WriteRun, run_page: RunPage) -> None:
    write_run("allinsam", 1.0, 0, ramp(0.8))
    for seed, (ours, rival) in enumerate([(0.5, 0.4), (0.6, 0.7), (0.7, 0.4)]):
        write_run("allinsam", 0.005, seed, ramp(ours, 0), profile="draws")
        results = write_run("unet", 0.005, seed, ramp(rival, 0), profile="draws")
    write_run("allinsam", 0.005, 3, ramp(0.9, 0), profile="draws")
    page = run_page("table2_robustness", results=str(results))
    ours, unet = page.rows("draws")[1:]
    assert ours[:3] == [ALLINSAM, "4", "0.675"]
    assert unet == ["U-Net", "3", "0.500", "0.173", "0.400", "0.400", "0.700", "3"]
    assert "ahead for 2 of the 3 choices" in page.text("ahead")
    assert page["draws-dice"].markup.count("<img") == 2
