"""Measurements of speed: counts by hand, records of rows, and that no work creeps in, by counts that do not drift."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import benchmarks.__main__ as command
from allinsam_core.annotation import sam as sams
from allinsam_core.annotation.attention import fold
from allinsam_core.learning.adapter import AdaptedSam
from benchmarks import pixels, slide
from benchmarks.limits import work
from benchmarks.ratio import Row, compare
from study import finished, records
from study.footprint import footprint

# ---- counts and ratios


def test_operations_and_bytes_by_hand() -> None:
    first, second, bias = torch.rand(3, 4), torch.rand(4, 5), torch.rand(3, 5)
    found = work(lambda: (first @ second).view(15).view(3, 5) + bias)
    assert found.operations == 2 * 3 * 4 * 5
    assert found.calls == 2
    assert found.moved == 3 * 4 * 15  # the sum alone: two maps of 15 values of 4 bytes are read, one is written


def test_a_ratio_its_goal_and_its_agreement() -> None:
    row = Row("segment, 1000 × 1000 px", 6.0, 2.0, goal=3.0, difference=0.1, tolerance=0.2)
    assert (row.key, row.ratio, row.reached, row.same) == ("segment-1000-1000-px", 3.0, True, True)
    assert Row("a", 6.0, 2.1, goal=3.0).reached is False
    assert Row("a", 6.0, 2.0, limit=1.9).reached is False
    assert Row("a", 6.0, 2.0).reached is None
    assert not Row("a", 6.0, 2.0, difference=0.3, tolerance=0.2).same


def test_both_ways_are_compared_and_counted() -> None:
    matrix = torch.rand(8, 8)
    row = compare(
        "squares", lambda: matrix @ matrix @ matrix, lambda: matrix @ matrix, 3, lambda a, b: 1.5, counted=True
    )
    assert row.operations == (2 * 2 * 8**3, 2 * 8**3)
    assert (row.difference, row.repeats) == (1.5, 3)


def test_the_former_pixel_metrics_are_the_present_ones() -> None:
    assert [row.difference for row in pixels.measure(quick=True)] == [0.0, 0.0]


def test_a_made_slide_is_segmented_and_measured(tmp_path: Path) -> None:
    found = slide.segmented(tmp_path, 1024, 1024, dense=True)
    assert sum(found["nuclei"].values()) > 500  # one in every 34 × 34 px
    assert found["mm2"] == pytest.approx(0.256**2, rel=0.2)
    assert found["peak_memory_bytes"] > 1e8
    assert found["processor_seconds"] > 0


def test_the_annotators_answer_is_timed_without_its_embedding() -> None:
    row = slide.mask_of_a_box(2)
    assert (row.limit, row.repeats) == (0.15, 2)
    assert row.now is not None


# ---- records


def test_each_row_is_a_record_that_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pixels, "measure", lambda quick: [Row("one, fast", 2.0, 1.0, goal=1.5), Row("two", 1.0, 1.0)])
    assert command.main(["--only", "pixels", "--results", str(tmp_path)]) == 0
    assert "2.00×" in capsys.readouterr().out
    folders = [tmp_path / "benchmarks" / name for name in ("one-fast", "two")]
    assert list(finished.check(tmp_path)) == [(folder, "") for folder in folders]
    record = records.read(folders[0] / records.FILE)
    assert record["config"]["benchmark"] == "one, fast"
    assert (record["measured"]["ratio"], record["measured"]["reached"]) == (2.0, True)
    assert record["load"] >= 0
    assert record["rates"].keys() == {"fp32", "bf16", "bytes"}
    path = folders[1] / records.FILE
    path.write_text(path.read_text().replace('"before": 1.0', '"before": 9.0'))
    assert "was changed" in dict(finished.check(tmp_path))[folders[1]]


def test_results_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "measure", lambda quick: [Row("one", 2.0, 1.0, difference=1.0, tolerance=0.1)])
    assert command.main(["--only", "pixels", "--quick"]) == 1


# ---- no more work than before


def encoder_operations() -> int:
    """Of mini-SAM's encoder on 256 × 256 px in closed form: tokens, windows, heads, distances and the neck."""
    g = sams.MiniGeometry()
    side, dim, tokens = g.image_size // g.patch_size, g.embed_dim, (g.image_size // g.patch_size) ** 2
    patches = 2 * tokens * dim * 3 * g.patch_size**2
    neck = 2 * tokens * g.prompt_dim * (dim + 9 * g.prompt_dim)
    blocks = 0
    for block in range(g.depth):
        reach = side if block in g.global_attn_indexes else g.window_size
        layers = 2 * tokens * dim * (3 * dim + dim + 8 * dim)  # queries, keys, values; output; the two of the MLP
        attention = 2 * 2 * tokens * reach**2 * dim
        distances = 2 * 2 * tokens * reach * dim
        blocks += layers + attention + distances
    return patches + blocks + neck


class Encoder(nn.Module):
    """A SAM's encoder alone, its first channel as if it were logits."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = sams.build("mini").image_encoder

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.encoder(image)[:, :1]
        return nn.functional.interpolate(found, size=image.shape[-2:])


def test_the_encoder_takes_its_operations_and_no_more() -> None:
    plain, folded = (
        footprint(lambda folded=folded: fold(Encoder(), folded), 1, 256).forward for folded in (False, True)
    )  # type: ignore[misc]
    assert plain == encoder_operations()
    g = sams.MiniGeometry()
    longer = 2 * (g.image_size // g.patch_size) ** 2 * g.num_heads  # each unit of a query's and key's length
    added = sum(
        longer * reach**2 * 2 * reach
        for block in range(g.depth)
        for reach in [16 if block in g.global_attn_indexes else g.window_size]
    )
    assert folded == plain + added


def test_a_training_step_takes_no_more_than_two_forward_passes_and_the_decoders_weights() -> None:
    """Of a frozen encoder only the gradients that flow through it are computed, of half of it with late placement."""
    every, late = (footprint(lambda p=p: AdaptedSam(sams.build("mini"), p, 8), 4, 256) for p in ("all", "late"))  # type: ignore[arg-type, misc]
    assert every.parameters == late.parameters
    assert 2 * every.forward < every.step < 2.2 * every.forward
    assert late.step < 1.7 * late.forward


def test_kernels_of_a_block_of_the_encoder() -> None:
    """At most as many as there were; a call more in each block is seen."""
    torch.manual_seed(0)
    block, tokens = sams.build("mini").image_encoder.blocks[0], torch.rand(1, 16, 16, 192)
    with torch.no_grad():
        plain, folded = (work(lambda f=f: fold(block, f)(tokens)).calls for f in (False, True))  # type: ignore[misc]
    assert plain <= 43
    assert folded <= 54
