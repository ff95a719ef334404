"""Table 1's cells, comparisons and page, from records written by hand and from a tiny grid."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from study import records
from study.molecular import table1
from study.molecular.table1 import collect, compare

SLIDES = {f"p{index}": f"S{index // 3}" for index in range(12)}  # four slides of three patches, S2 and S3 injured


def write(
    results: Path,
    annotator: str,
    seed: int,
    shift: float,
    method: str = "allinsam",
    test: str = "same",
    version: int = 0,
) -> None:
    """A podocyte run whose patch i scores 0.5 + i / 100 + shift."""
    rows = [
        {"image": name, "slide": slide, "injured": slide in ("S2", "S3")}
        | dict.fromkeys(("f1_pixel_macro", "f1_instance_50"), 0.5 + index / 100 + shift + 0.0001 * (index % 3))
        for index, (name, slide) in enumerate(SLIDES.items())
    ]
    config = {
        "profile": "mini", "method": method, "annotator": annotator, "cell_type": "podocyte", "seed": seed,
        "masks": None, "version": version,
    }  # fmt: skip
    record = {
        "run_id": records.run_id(config),
        "config_hash": records.hash_of(config),
        "config": config,
        "simulated": True,
        "data": {"test": {"images": len(rows), "sha256": test}},
        "fit_seconds": 1.0,
    }
    records.save(record, results / "mini" / "table1" / records.run_id(config), rows=pd.DataFrame(rows))


def test_cells_are_means_over_patches_and_seeds_beside_the_papers_value(tmp_path: Path) -> None:
    write(tmp_path, "Expert", 0, 0.0)
    write(tmp_path, "Expert", 1, 0.02)
    scores = collect(tmp_path, "mini")
    average = table1.cell(scores, "f1_pixel_macro", ("allinsam", "Expert"), "podocyte", "average")
    assert average is not None
    assert average.ours.mean == pytest.approx(0.5 + 0.055 + 0.01 + 0.0001)
    assert (average.ours.n, average.patches, average.seeds, average.paper) == (4, 12, 2, 0.7462)
    injured = table1.cell(scores, "f1_instance_50", ("allinsam", "Expert"), "podocyte", "injured")
    assert injured is not None
    assert (injured.patches, injured.ours.n, injured.paper) == (6, 2, None)
    assert table1.cell(scores, "f1_pixel_macro", ("allinsam", "Expert"), "mesangial", "average") is None


def test_differences_are_paired_and_judged(tmp_path: Path) -> None:
    write(tmp_path, "Expert", 0, 0.0)
    for method, shift in (("mocl", 0.1), ("sam_l_tight", 0.001), ("sam_l_random", -0.1)):
        write(tmp_path, "Expert", 0, shift, method)
    scores = collect(tmp_path, "mini")
    found = {c.first[0]: c for c in compare(scores, "f1_pixel_macro", table1.reference_pairs(scores))}
    assert found["mocl"].interval.mean == pytest.approx(0.1)
    assert found["mocl"].effect == 1.0
    assert {name: c.verdict for name, c in found.items()} == {
        "mocl": "better",
        "sam_l_tight": "equivalent",
        "sam_l_random": "worse",
    }
    assert found["mocl"].wilcoxon.p_holm > found["mocl"].wilcoxon.p_value  # a family of three
    assert table1.lay_pairs(scores) == []


def test_rows_come_in_the_papers_order_and_extra_ones_last(tmp_path: Path) -> None:
    for annotator in ("Students", "Lay without IF", "Expert"):
        for method in ("allinsam", "mocl"):
            write(tmp_path, annotator, 0, 0.0, method)
    scores = collect(tmp_path, "mini")
    assert table1.row_names(scores) == [
        ("mocl", "Expert"),
        ("mocl", "Students"),
        ("allinsam", "Expert"),
        ("allinsam", "Students"),
        ("mocl", "Lay without IF"),
        ("allinsam", "Lay without IF"),
    ]
    assert (("mocl", "Students"), ("mocl", "Lay without IF")) in table1.guidance_pairs(scores)


def test_records_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run; `make study-table1 PROFILE=mini`"):
        collect(tmp_path, "mini")
    write(tmp_path, "Expert", 0, 0.0)
    write(tmp_path, "Students", 0, 0.0, test="other")
    with pytest.raises(ValueError, match="scored on different test images"):
        collect(tmp_path, "mini")
    shutil.rmtree(tmp_path / "mini")
    write(tmp_path, "Expert", 0, 0.0)
    write(tmp_path, "Expert", 0, 0.1, version=1)
    with pytest.raises(ValueError, match="runs of the same cell and seed"):
        collect(tmp_path, "mini")


def test_rows_are_named_within_a_sentence() -> None:
    assert table1.named(("mocl", "Lay without IF")) == "MOCL, lay without IF"
    assert table1.named(("other", "anna")) == "other, anna"
