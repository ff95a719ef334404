"""The pre-training of mini2 as a run: killed anywhere, it goes on to the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from allinsam_core.annotation import sam as sams
from allinsam_core.data.errors import MissingData
from allinsam_core.learning.augment import AugmentSettings
from study.datasets.brca_m2c import PointTile
from study.minisam import corpus, mini2, pretrained_unet
from study.rivals.unet import UNetSettings
from study.simulation import simulate

TINY = sams.MiniGeometry(
    image_size=64, embed_dim=32, depth=2, num_heads=2, window_size=2, global_attn_indexes=(1,), prompt_dim=64,
    decoder_mlp_dim=32, field=64, stem=(8, 16, 24),
)  # fmt: skip


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> mini2.Mini2Config:
    """Six steps on two tiles, outlined after three, on a network of 64 px."""
    tiles = [simulate.tile(seed, size=64) for seed in (1, 2, 3)]
    image = simulate.tile(4, size=64).image
    points = [PointTile("p", image, np.array([[20, 30], [40, 10]], np.float32), np.array([1, 2]))]
    monkeypatch.setitem(sams.MINIS, "mini2", TINY)
    for module in (mini2, pretrained_unet):
        monkeypatch.setattr(module, "gather", lambda *_: corpus.Corpus(tiles[:2], [1.0, 2.0], tiles[2:]))
    monkeypatch.setattr(mini2.brca_m2c, "load", lambda *_: points)
    whole = mini2.Mini2Config(outlined=(3,), stretch=2, augment=AugmentSettings(on_nuclei=1))
    train = whole.train.model_copy(update={"steps": 6, "batch_size": 2, "checkpoint_every": 1, "precision": "fp32"})
    return whole.model_copy(update={"train": train})


def test_stops_are_stretches_rounds_and_the_end(config: mini2.Mini2Config) -> None:
    assert config.rounds == [3]
    assert config.stops == [2, 3, 4, 6]
    standard = mini2.Mini2Config()
    assert standard.stops[-1] == standard.train.steps
    assert set(standard.rounds) < set(standard.stops)


def run_killed_at(last: int, config: mini2.Mini2Config, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends when step `last` begins."""
    step = mini2.fit.__globals__["_step"]

    def killing(*arguments: object) -> float:
        if arguments[-1] == last:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setitem(mini2.fit.__globals__, "_step", killing)
        with pytest.raises(KeyboardInterrupt):
            mini2.run(config, folder.parent, folder, folder.parent, "cpu")


@pytest.mark.parametrize("last", [1, 3, 4, 5])
def test_killed_and_continued_it_gives_the_same_weights(
    config: mini2.Mini2Config, last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "whole", tmp_path / "killed"]
    mini2.run(config, tmp_path, folders[0], tmp_path, "cpu")
    run_killed_at(last, config, folders[1], monkeypatch)
    mini2.run(config, tmp_path, folders[1], tmp_path, "cpu")
    one, other = (sams.read_weights(folder / "mini_sam.safetensors") for folder in folders)
    assert all(torch.equal(one[name], other[name]) for name in one)
    lines = [[json.loads(x) for x in (f / mini2.PROGRESS).read_text().splitlines()] for f in folders]
    for line in (*lines[0], *lines[1]):
        for changing in ("seconds", "hours_left", "at"):
            del line[changing]
    assert lines[0] == lines[1]
    assert [line["step"] for line in lines[0]] == config.stops


def test_pointed_tiles_are_trained_on_from_their_round_on(
    config: mini2.Mini2Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []
    loss = mini2.objective.step_loss()

    def noting() -> object:
        return lambda model, batch: seen.append(set(batch.names)) or loss(model, batch)

    monkeypatch.setattr(mini2.objective, "step_loss", noting)
    mini2.run(config.model_copy(update={"real_share": 0.9}), tmp_path, tmp_path / "run", tmp_path, "cpu")
    assert not any("p" in names for names in seen[:3])
    assert any("p" in names for names in seen[3:])


def test_a_folder_holds_one_configuration(config: mini2.Mini2Config, tmp_path: Path) -> None:
    mini2.claim(tmp_path, config)
    mini2.claim(tmp_path, config)
    other = config.model_copy(update={"seed": 1})
    with pytest.raises(ValueError, match=f"{config.hash}, expected {other.hash}; name another folder"):
        mini2.claim(tmp_path, other)


def test_another_length_is_taken_before_the_rate_falls_and_gives_that_lengths_weights(
    config: mini2.Mini2Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "direct", tmp_path / "lengthened"]
    longer = config.of_length(10)  # its rate falls from step 8 on, that of 6 steps from step 5 on
    mini2.run(longer, tmp_path, folders[0], tmp_path, "cpu")
    run_killed_at(4, config, folders[1], monkeypatch)
    mini2.run(longer, tmp_path, folders[1], tmp_path, "cpu")
    one, other = (sams.read_weights(folder / "mini_sam.safetensors") for folder in folders)
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="10 of 10 steps are done, of 20 at most 8 can be; go on with --steps 10"):
        mini2.run(config.of_length(20), tmp_path, folders[1], tmp_path, "cpu")


def test_a_snapshot_is_the_unfinished_network(config: mini2.Mini2Config, tmp_path: Path) -> None:
    trained = mini2.run(config, tmp_path, tmp_path / "run", tmp_path, "cpu")
    found, step = mini2.snapshot(tmp_path / "run" / "last.ckpt", config)
    assert step == 6
    assert sams.weights_checksum(found) == sams.weights_checksum(trained.sam)


def test_the_u_net_learns_from_the_same_crops_in_the_same_order(
    config: mini2.Mini2Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[torch.Tensor]] = {"mini2": [], "unet": []}
    own, control = mini2.objective.step_loss(), pretrained_unet.loss
    monkeypatch.setattr(
        mini2.objective,
        "step_loss",
        lambda: lambda model, batch: seen["mini2"].append(batch.image) or own(model, batch),
    )
    monkeypatch.setattr(
        pretrained_unet, "loss", lambda model, batch: seen["unet"].append(batch.image) or control(model, batch)
    )
    with pytest.raises(FileNotFoundError, match=r"outlines-3\.npz: not there"):
        pretrained_unet.run(config, tmp_path, tmp_path / "unet", tmp_path / "mini2", tmp_path, "cpu")
    mini2.run(config, tmp_path, tmp_path / "mini2", tmp_path, "cpu")
    pretrained_unet.run(config, tmp_path, tmp_path / "unet", tmp_path / "mini2", tmp_path, "cpu")
    assert len(seen["mini2"]) == len(seen["unet"]) == 6
    assert all(torch.equal(one, other) for one, other in zip(*seen.values(), strict=True))


def test_a_u_net_starts_from_the_pre_trained_weights(config: mini2.Mini2Config, tmp_path: Path) -> None:
    mini2.run(config, tmp_path, tmp_path / "mini2", tmp_path, "cpu")
    trained = pretrained_unet.run(config, tmp_path, tmp_path / "unet", tmp_path / "mini2", tmp_path, "cpu")
    settings = UNetSettings(weights=str(tmp_path / "unet" / pretrained_unet.WEIGHTS))
    found, wanted = settings.network(9, outputs=3).state_dict(), trained.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert len(settings.base_weights()) == 64
    with pytest.raises(MissingData, match=r"nothing\.safetensors: no such file"):
        UNetSettings(weights=str(tmp_path / "nothing.safetensors")).network(9, outputs=3)
