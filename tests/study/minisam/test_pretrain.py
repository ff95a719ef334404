"""mini-SAM's pre-training objective on a tiny SAM, and the run around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from allinsam_core.annotation import ellipse
from allinsam_core.annotation import sam as sams
from allinsam_core.data.case import Case
from allinsam_core.learning.augment import AugmentSettings, Batch, CropSampler
from allinsam_core.learning.train import TrainSettings
from study.minisam import pretrain
from study.minisam import recipe as pretrain_run
from study.simulation import simulate

NOTHING = AugmentSettings(turns=False, zoom=0, stain=0, shift=0, blur=0, noise=0)


def labels() -> torch.Tensor:
    """Two images of 64 px: a 20 × 10 rectangle and a speck; an 8 × 8 square."""
    instances = torch.zeros(2, 64, 64, dtype=torch.int64)
    instances[0, 10:30, 40:50] = 5
    instances[0, 60:62, 60:62] = 9
    instances[1, 4:12, 6:14] = 2
    return instances


def test_prompts_belong_to_their_nuclei() -> None:
    instances = labels()
    tight = 0
    for seed in range(60):
        prompts = pretrain.draw_prompts(instances, 4, np.random.default_rng(seed))
        assert prompts.image.tolist() == [0, 1]  # the speck is too small
        for n, value in enumerate((5, 2)):
            mask = instances[n] == value
            assert torch.equal(prompts.mask[n, 0] > 0, mask)
            x, y = prompts.point[n, 0].long().tolist()
            assert mask[y, x]
        left, top, right, bottom = prompts.box[0].tolist()
        tight += (left, top, right, bottom) == (40, 10, 50, 30)
        # sides move by at most 20 % outwards and 8 % inwards: of the width 10, of the height 20
        assert 38 <= left <= 40.8
        assert 6 <= top <= 11.6
        assert 49.2 <= right <= 52
        assert 28.4 <= bottom <= 34
    assert 10 <= tight <= 30  # one in three


def test_prompts_per_image_are_bounded_and_boxes_stay_inside() -> None:
    grid = torch.arange(64) // 8
    instances = (grid[:, None] * 8 + grid + 1)[None]
    prompts = pretrain.draw_prompts(instances, 6, np.random.default_rng(0))
    assert len(prompts.image) == 6
    assert prompts.box.min() >= 0
    assert prompts.box.max() <= 64
    none = pretrain.draw_prompts(torch.zeros(2, 64, 64, dtype=torch.int64), 6, np.random.default_rng(0))
    assert [tuple(t.shape) for t in none] == [(0,), (0, 4), (0, 1, 2), (0,), (0, 1, 64, 64), (0,)]


def test_the_forward_pass_is_sams_own(tiny_sam: sams.Sam) -> None:
    model = pretrain.PromptableSam(tiny_sam).eval()
    image = torch.rand(2, 3, 64, 64)
    prompts = pretrain.draw_prompts(labels(), 4, np.random.default_rng(0))
    with torch.no_grad():
        for is_box, with_ellipse in ((True, False), (True, True), (False, False)):
            chosen = prompts._replace(is_box=torch.full((2,), is_box), ellipse=torch.full((2,), with_ellipse))
            _, masks, ious = model(image, chosen)
            for n in range(2):
                one = {"image": image[n] * 255, "original_size": (64, 64)}
                if with_ellipse:
                    one["mask_inputs"] = ellipse.logits(chosen.box[n : n + 1], 64, 16)
                if is_box:
                    one["boxes"] = chosen.box[n : n + 1]
                else:
                    one |= {"point_coords": chosen.point[n : n + 1], "point_labels": torch.ones(1, 1)}
                for many, tokens in ((False, slice(0, 1)), (True, slice(1, None))):
                    (theirs,) = tiny_sam([one], multimask_output=many)
                    torch.testing.assert_close(masks[n, tokens], theirs["low_res_logits"][0], atol=1e-4, rtol=1e-4)
                    torch.testing.assert_close(ious[n, tokens], theirs["iou_predictions"][0], atol=1e-4, rtol=1e-4)


def test_ellipses_come_with_boxes_alone_and_as_often_as_asked() -> None:
    grid = torch.arange(64) // 8
    instances = (grid[:, None] * 8 + grid + 1)[None]
    with_one, boxes = 0, 0
    for seed in range(30):
        prompts = pretrain.draw_prompts(instances, 12, np.random.default_rng(seed), ellipses=0.8)
        plain = pretrain.draw_prompts(instances, 12, np.random.default_rng(seed))
        assert not (prompts.ellipse & ~prompts.is_box).any()
        assert not plain.ellipse.any()
        assert torch.equal(prompts.box, plain.box)
        with_one, boxes = with_one + int(prompts.ellipse.sum()), boxes + int(prompts.is_box.sum())
    assert 0.7 < with_one / boxes < 0.9


def test_a_changed_recipe_has_another_checkpoint() -> None:
    recipe = pretrain_run.PretrainConfig()
    longer = recipe.with_steps(2000, 4000, 1000, 1000)
    assert longer.phases[1].train.steps == 4000
    assert recipe.until(0) == longer.until(0)  # the first phase is the same and need not be done again
    assert recipe.until(1) != longer.until(1)
    assert recipe.until(0) != recipe.model_copy(update={"seed": 1}).until(0)


def test_costs_and_ious_by_hand() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[..., :2, :] = 1
    logits = torch.stack([torch.zeros(4, 4), 40 * (2 * target[0, 0] - 1), torch.full((4, 4), 40.0)])[None]
    costs = pretrain.mask_costs(logits, target)[0]
    # indifferent: focal 0.5 · 0.25 · ln 2, Dice 8/17; perfect: 0; everything: focal 0.75 · 40 / 2, Dice 1 − 17/25
    expected = [20 * 0.125 * np.log(2) + 8 / 17, 0.0, 20 * 15 + 8 / 25]
    assert costs.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert pretrain.true_ious(logits, target)[0].tolist() == pytest.approx([0, 1, 0.5])


def test_the_best_candidate_and_the_single_mask_pay() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[..., :2, :] = 1
    perfect, wrong = 40 * (2 * target - 1), -40 * (2 * target - 1)
    ious = torch.tensor([[1.0, 0, 1, 0]])
    good = pretrain.prompt_loss(torch.cat([perfect, wrong, perfect, wrong], dim=1), ious, target)
    assert float(good) == pytest.approx(0, abs=1e-4)
    bad = pretrain.prompt_loss(torch.cat([wrong, perfect, perfect, perfect], dim=1), 1 - ious * 0, target)
    assert float(bad) > 100
    off = pretrain.prompt_loss(torch.cat([perfect, wrong, perfect, wrong], dim=1), ious * 0 + 0.5, target)
    assert float(off) == pytest.approx(0.25, abs=1e-4)  # (0.5)² for each of the four


def test_a_step_teaches_every_part_and_an_empty_image_is_fine(tiny_sam: sams.Sam) -> None:
    model = pretrain.PromptableSam(tiny_sam)
    batch = Batch(torch.rand(2, 3, 64, 64), labels(), ("a", "b"))
    value = pretrain.step_loss(2)(model, batch)
    value.backward()
    for part in (tiny_sam.image_encoder, tiny_sam.mask_decoder):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters())
    empty = Batch(batch.image, torch.zeros_like(batch.instances), batch.names)
    assert pretrain.step_loss(2)(model, empty).isfinite()


def test_evaluation_figures_are_shares(tiny_sam: sams.Sam) -> None:
    batches = [Batch(torch.rand(2, 3, 64, 64), labels(), ("a", "b"))] * 4
    with torch.no_grad():
        figures = pretrain.evaluate(pretrain.PromptableSam(tiny_sam).eval(), batches)
    assert figures.keys() == {"loss", "dice", "box_iou", "point_iou", "ellipse_iou"}
    assert all(0 <= figures[k] <= 1 for k in figures if k != "loss")


def test_shipped_weights_are_half_precision_and_load_strictly(tiny_sam: sams.Sam, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    pretrain_run.ship(tiny_sam, path)
    weights = sams.read_weights(path)
    before = {k: v.clone() for k, v in tiny_sam.state_dict().items()}
    sams.load_strictly(tiny_sam, weights, path, "tiny")
    for name, tensor in tiny_sam.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=1e-3, rtol=1e-3)
    assert path.stat().st_size < 2.2 * sum(v.numel() for v in before.values())


@pytest.fixture
def small_run(tiny_sam: sams.Sam, monkeypatch: pytest.MonkeyPatch) -> pretrain_run.PretrainConfig:
    """Pre-training of the tiny SAM on two simulated tiles."""
    tiles = [simulate.tile(seed, size=64) for seed in (1, 2)]
    sources = pretrain_run.Sources(tiles, [0.5, 0.5], tiles[:1])
    monkeypatch.setattr(pretrain_run, "gather", lambda config, root: sources)

    def build(name: str, checkpoint: Path | None = None) -> sams.Sam:
        if checkpoint is not None:
            sams.load_strictly(tiny_sam, sams.read_weights(checkpoint), checkpoint, "tiny")
        return tiny_sam

    monkeypatch.setattr(pretrain_run.sams, "build", build)
    train = TrainSettings(steps=2, batch_size=1, learning_rate=1e-3, validate_every=2, warmup=1)
    phases = [pretrain.Phase(name=name, ellipses=share, train=train) for name, share in (("one", 0.0), ("two", 1.0))]
    return pretrain_run.PretrainConfig(field=64, phases=tuple(phases))


def test_pretraining_leaves_weights_and_a_record(
    small_run: pretrain_run.PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study import records
    from study.minisam import pretraining

    monkeypatch.setenv("ALLINSAM_DATA", str(tmp_path))
    record = records.read(pretraining.execute(small_run, tmp_path / "out", "cpu"))
    assert [phase["train"]["steps"] for phase in record["config"]["phases"]] == [2, 2]
    assert record["data"]["train"]["images"] == 2
    assert record["data"]["held_out"]["images"] == 1
    assert record["training"]["best"] == 4  # counted over both phases
    assert [v["step"] for v in record["training"]["validations"]] == [2, 4]
    assert record["weights"]["bytes"] == (tmp_path / "out" / "mini_sam.safetensors").stat().st_size
    for name in ("commit", "environment", "fit_seconds", "peak_memory_bytes", "config_hash"):
        assert record[name], name


def test_a_further_phase_goes_on_from_the_weights_of_a_record(
    small_run: pretrain_run.PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study import records
    from study.minisam import pretraining

    monkeypatch.setenv("ALLINSAM_DATA", str(tmp_path))
    first = small_run.model_copy(update={"phases": small_run.phases[:1]})
    earlier = pretraining.execute(first, tmp_path / "first", "cpu")
    weights = tmp_path / "first" / "mini_sam.safetensors"
    monkeypatch.setitem(pretraining.sam.SHIPPED, "mini", weights)
    before = sams.read_weights(weights)
    record = records.read(pretraining.execute(small_run, tmp_path / "second", "cpu", earlier))
    assert [v["step"] for v in record["training"]["validations"]] == [2, 4]
    assert record["training"]["validations"][0] == records.read(earlier)["training"]["validations"][0]
    assert record["fit_seconds"] > records.read(earlier)["fit_seconds"] > 0
    assert record["earlier"]["weights"] == records.read(earlier)["weights"]
    assert not list((tmp_path / "second").glob("one-*"))  # the finished phase is not done again
    after = sams.read_weights(tmp_path / "second" / "mini_sam.safetensors")
    changed = max(float((after[k].float() - before[k].float()).abs().max()) for k in before)
    assert 0 < changed < 0.1  # near where it started: two small steps, no other initial weights

    with pytest.raises(ValueError, match=r"lost\.json: no such file, expected a pre-training's record"):
        pretraining.execute(small_run, tmp_path / "third", "cpu", tmp_path / "lost.json")
    records.write({"config_hash": "0", "config": {}}, tmp_path / "other.json")
    with pytest.raises(
        ValueError, match=r"other\.json: a record without .*training, weights, expected a pre-training's"
    ):
        pretraining.execute(small_run, tmp_path / "third", "cpu", tmp_path / "other.json")
    with pytest.raises(ValueError, match="device 'tpu' is not on this machine"):
        pretraining.execute(small_run, tmp_path / "third", "tpu")
    with pytest.raises(ValueError, match="expected the first of them"):
        pretraining.execute(first, tmp_path / "third", "cpu", earlier)
    weights.write_bytes(b"others")
    with pytest.raises(ValueError, match="name the record of the weights that ship"):
        pretraining.execute(small_run, tmp_path / "third", "cpu", earlier)


def test_sources_have_their_shares_and_nothing_held_out_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def case(name: str, value: int) -> Case:
        labels = np.zeros((32, 32), np.uint16)
        labels[8:24, 8:24] = 1
        return Case(name, np.full((32, 32, 3), value, np.uint8), labels, 0.25, "dsb2018")

    stained = [case(f"stained{i}", 200) for i in range(6)]
    raw = [case(f"fluorescence{i}", 20) for i in range(3)]
    asked: list[tuple[int, int]] = []

    def tiles(count: int, first_seed: int) -> list[Case]:
        asked.append((count, first_seed))
        return [case(f"tile{first_seed + i}", 100) for i in range(count)]

    monkeypatch.setattr(
        pretrain_run.dsb2018, "load", lambda root, kinds: stained if "stained-brightfield" in kinds else raw
    )
    monkeypatch.setattr(pretrain_run, "simulated_tiles", tiles)
    config = pretrain_run.PretrainConfig(simulated=4, simulated_held_out=2, stained_held_out=2, nucleus=18.0)
    sources = pretrain_run.gather(config, Path("nowhere"))
    held, trained = {c.name for c in sources.held_out}, {c.name for c in sources.cases}
    assert len(held) == 4
    assert not held & trained
    assert sum(name.startswith("stained") for name in held) == 2
    weight = dict.fromkeys(config.shares, 0.0)
    for c, w in zip(sources.cases, sources.weights, strict=True):
        kind = "rendered" if "rendered" in c.name else "simulated" if c.name.startswith("tile") else c.name[:-1]
        weight[kind] += w
    assert weight == pytest.approx(config.shares)
    assert [count for count, _ in asked] == [4, 2]
    assert abs(asked[0][1] - asked[1][1]) > 4  # seeds apart


def test_held_out_batches_are_always_the_same() -> None:
    sampler = CropSampler([simulate.tile(3, size=64)], 32, 32, 2, 1, NOTHING)
    first, second = (pretrain.held_out_batches(sampler, 3) for _ in range(2))
    assert all(torch.equal(a.image, b.image) for a, b in zip(first, second, strict=True))
