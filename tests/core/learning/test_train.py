"""The one training loop, on networks of a few weights."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from allinsam_core.learning import devices, train
from allinsam_core.learning.augment import Batch, prefetched
from allinsam_core.learning.devices import fabric_on
from allinsam_core.learning.optimizer import cooldown_start, learning_rate
from allinsam_core.learning.train import TrainSettings, load_trained_state, trained_state
from allinsam_core.settings import SettingsError, validated


def batch(step: int, size: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(step)
    image = torch.rand(size, 3, 4, 4, generator=generator)
    return Batch(image, (image[:, 0] > 0.5).long(), tuple(f"item{step}.{i}" for i in range(size)))


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(model(batch.image), batch.mask)


def network(*, dropout: bool = False) -> nn.Module:
    torch.manual_seed(7)
    middle = nn.Dropout(0.5) if dropout else nn.Identity()
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4) if dropout else nn.Tanh(), middle, nn.Conv2d(4, 1, 1))


def fit(model: nn.Module, settings: TrainSettings, folder: Path, **more: object) -> train.History:
    return train.fit(model, more.pop("sample", batch), loss, settings, folder, fabric=Fabric(accelerator="cpu"), **more)  # type: ignore[arg-type]


def scripted(losses: list[float]) -> Callable[[nn.Module], dict[str, float]]:
    """Validation losses in the order given, whatever the model."""
    values: Iterator[float] = iter(losses)

    def validate(model: nn.Module) -> dict[str, float]:
        assert not model.training
        value = next(values)
        return {"loss": value, "dice": -value}

    return validate


def measured(model: nn.Module) -> dict[str, float]:
    value = float(loss(model, batch(999)))
    return {"loss": value, "dice": 1 - value}


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


# ---- schedules


def test_the_rate_by_hand() -> None:
    cosine = TrainSettings(steps=110, warmup=10, learning_rate=1.0, final_rate=0.2)
    assert learning_rate(cosine, 0) == pytest.approx(0.1)
    assert learning_rate(cosine, 9) == pytest.approx(1.0)
    assert learning_rate(cosine, 10) == pytest.approx(1.0)
    assert learning_rate(cosine, 35) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)  # a quarter of the way
    assert learning_rate(cosine, 60) == pytest.approx(0.6)
    assert learning_rate(cosine, 110) == pytest.approx(0.2)
    poly = TrainSettings(steps=100, learning_rate=2.0, schedule="poly")
    assert learning_rate(poly, 0) == pytest.approx(2.0)
    assert learning_rate(poly, 50) == pytest.approx(2 * 0.5**0.9)
    assert learning_rate(poly, 100) == 0
    constant = TrainSettings(steps=100, learning_rate=0.3, schedule="constant", warmup=2)
    assert [learning_rate(constant, s) for s in (0, 1, 2, 99)] == pytest.approx([0.15, 0.3, 0.3, 0.3])
    trapezoid = TrainSettings(steps=100, learning_rate=0.5, final_rate=0.1, schedule="trapezoid", warmup=2)
    assert [learning_rate(trapezoid, s) for s in (0, 2, 80, 90, 100)] == pytest.approx([0.25, 0.5, 0.5, 0.3, 0.1])
    longer = trapezoid.model_copy(update={"steps": 200})
    assert all(learning_rate(longer, s) == learning_rate(trapezoid, s) for s in range(cooldown_start(trapezoid)))


def test_the_schedule_reaches_the_optimiser(tmp_path: Path) -> None:
    # SGD, one step each: the first Nesterov step moves by −rate · (1 + 0.99) · gradient
    for rate, warmup in ((0.1, 0), (0.1, 4)):
        model = network()
        before = trained_state(model)
        loss(model, batch(0)).backward()
        gradient = model[0].weight.grad.clone()
        model.zero_grad()
        settings = TrainSettings(
            steps=1, optimizer="sgd", learning_rate=rate, warmup=warmup, weight_decay=0, schedule="constant"
        )
        fit(model, settings, tmp_path / f"{warmup}")
        moved = model[0].weight.detach() - before["0.weight"]
        torch.testing.assert_close(moved, -rate / max(1, warmup) * 1.99 * gradient)


# ---- restarts


@pytest.mark.parametrize("killed_at", [3, 10, 11])
def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, killed_at: int) -> None:
    settings = TrainSettings(steps=12, learning_rate=0.05, checkpoint_every=4, validate_every=5, clip=1.0)

    def run(folder: Path, sample: Callable[[int], Batch]) -> tuple[nn.Module, train.History]:
        model = network(dropout=True)
        return model, fit(model, settings, folder, sample=sample, validate=measured, seed=3)

    whole, history = run(tmp_path / "whole", batch)

    def dying(step: int) -> Batch:
        if step == killed_at:
            raise KeyboardInterrupt
        return batch(step)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", dying)
    assert (tmp_path / "killed" / "last.ckpt").is_file() == (killed_at > 4)
    torch.manual_seed(12345)  # another process, another random state
    asked = []
    again, continued = run(tmp_path / "killed", lambda step: asked.append(step) or batch(step))
    assert asked[0] == killed_at // 4 * 4  # continued, not begun anew
    assert same(whole, again)
    assert continued.validations == history.validations
    assert continued.losses == history.losses
    assert continued.best == history.best
    assert continued.peak_memory > 0
    assert continued.seconds > 0
    assert continued.processor_seconds > 0


def test_random_draws_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    """Dropout's numbers: others in every step and for every seed, the same after a restart and after other draws."""

    def drawn(place: str, seed: int = 3, stop: int = 8) -> list[float]:
        found: list[float] = []

        def drawing(model: nn.Module, batch: Batch) -> torch.Tensor:
            found.append(float(torch.rand(())))
            return loss(model, batch)

        def validate(model: nn.Module) -> dict[str, float]:
            torch.rand(seed)
            return {"loss": 1.0, "dice": 0.0}

        settings = TrainSettings(steps=8, accumulate=2, checkpoint_every=1, validate_every=2)
        train.fit(
            network(), batch, drawing, settings, tmp_path / place, validate, seed, Fabric(accelerator="cpu"), stop=stop
        )
        return found

    whole = drawn("whole")
    assert len(set(whole)) == len(whole) == 8 * 2
    for seed in (0, 1, 2, 4, 5):
        assert not set(drawn(f"seed {seed}", seed)) & set(whole)
    first = drawn("cut", stop=5)
    torch.manual_seed(12345)
    assert first + drawn("cut") == whole


def test_a_run_may_end_within_its_schedule(tmp_path: Path) -> None:
    settings = TrainSettings(steps=12, learning_rate=0.05, validate_every=5)
    cut, shorter = network(), network()
    history = fit(cut, settings, tmp_path / "cut", validate=measured, stop=4)
    fit(shorter, settings.model_copy(update={"steps": 4}), tmp_path / "shorter", validate=measured)
    assert [v["step"] for v in history.validations] == [4]  # the last step is looked at
    assert history.best == 4
    assert not same(cut, shorter)  # its rate is that of the longer schedule


def test_a_finished_run_is_only_read(tmp_path: Path) -> None:
    settings = TrainSettings(steps=3, learning_rate=0.05)
    first, second = network(), network()
    fit(first, settings, tmp_path)
    fit(second, settings, tmp_path, sample=lambda step: pytest.fail("trained again"))
    assert same(first, second)


def test_a_run_that_stopped_early_stays_stopped(tmp_path: Path) -> None:
    settings = TrainSettings(steps=20, learning_rate=0.05, validate_every=1, patience=2)
    first, second = network(), network()
    fit(first, settings, tmp_path, validate=scripted([3, 2, 4, 5]))
    fit(second, settings, tmp_path, sample=lambda step: pytest.fail("trained on"), validate=scripted([]))
    assert same(first, second)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    fit(network(), TrainSettings(steps=1), tmp_path)
    with pytest.raises(ValueError, match=r"last\.ckpt: holds other trained tensors.*missing.*unexpected"):
        fit(nn.Conv2d(3, 1, 1, bias=False), TrainSettings(steps=1), tmp_path)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "a byte turned": lambda content: content[:-1500] + bytes([content[-1500] ^ 255]) + content[-1499:],
    "no archive": lambda content: b"not a checkpoint",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_training_starts_anew(tmp_path: Path, damage: str) -> None:
    settings = TrainSettings(steps=6, learning_rate=0.05, checkpoint_every=3)
    whole = network()
    fit(whole, settings, tmp_path / "whole")
    fit(network(), settings, tmp_path / "damaged", stop=3)
    last = tmp_path / "damaged" / "last.ckpt"
    content = DAMAGES[damage](last.read_bytes())
    last.write_bytes(content)
    again = network()
    with pytest.warns(UserWarning, match=r"last\.ckpt: damaged .* set aside as last\.damaged; training starts anew"):
        fit(again, settings, tmp_path / "damaged")
    assert same(whole, again)
    assert last.with_suffix(".damaged").read_bytes() == content


def test_a_file_that_lacks_what_a_checkpoint_holds_is_damaged(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "last.ckpt")
    with pytest.warns(UserWarning, match="has no best, history, optimizer, step"):
        fit(network(), TrainSettings(steps=1), tmp_path)


def test_half_a_file_never_takes_the_place_of_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "last.ckpt"
    train.save_atomically({"step": 1}, path)

    def full_disk(content: object, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        train.save_atomically({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


# ---- steps


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    large, small = network(), network()
    settings = TrainSettings(steps=4, optimizer="sgd", learning_rate=0.02)

    def joined(step: int) -> Batch:
        parts = [batch(3 * step + i) for i in range(3)]
        return Batch(torch.cat([p.image for p in parts]), torch.cat([p.instances for p in parts]), ())

    one = fit(large, settings, tmp_path / "large", sample=joined)
    three = fit(small, settings.model_copy(update={"accumulate": 3}), tmp_path / "small")
    for a, b in zip(large.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert three.losses[-1][1] == pytest.approx(one.losses[-1][1], rel=1e-5)
    assert not same(large, network())


def test_batches_are_made_in_their_order_one_ahead_in_another_thread() -> None:
    made: list[tuple[int, bool]] = []

    def sample(index: int) -> Batch:
        made.append((index, threading.current_thread() is threading.main_thread()))
        return batch(index)

    batches = prefetched(sample, [4, 6, 8])
    first = next(batches)
    assert first.names[0] == "item4.0"
    assert [b.names[0] for b in batches] == ["item6.0", "item8.0"]
    assert made == [(4, False), (6, False), (8, False)]  # each once, none in the thread that trains
    batches = prefetched(sample, range(100))
    next(batches)
    batches.close()
    assert max(index for index, _ in made) == 8  # no more than the one ahead was made
    assert list(prefetched(sample, [])) == []


def test_two_processes_learn_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    settings = TrainSettings(steps=12, optimizer="sgd", learning_rate=0.02, accumulate=2, clip=1.0)
    model, fabric = network(), fabric_on("cpu", 2)
    train.fit(model, batch, loss, settings, tmp_path / "two", fabric=fabric, stop=7)
    two = train.fit(model, batch, loss, settings, tmp_path / "two", fabric=fabric)

    def joined(step: int) -> Batch:
        parts = [batch(2 * step + rank) for rank in range(2)]
        return Batch(torch.cat([p.image for p in parts]), torch.cat([p.instances for p in parts]), ())

    one = network()
    settings = TrainSettings(steps=12, optimizer="sgd", learning_rate=0.02, accumulate=2, clip=1.0)
    history = fit(one, settings, tmp_path / "one", sample=joined)
    assert [step for step, _ in two.losses] == [0, 6, 10, 11]
    losses = dict(history.losses)
    assert all(value == pytest.approx(losses[step], rel=1e-5) for step, value in two.losses if step != 6)
    for name, value in trained_state(one).items():
        torch.testing.assert_close(trained_state(model)[name], value)
    assert not same(one, network())


def test_a_loss_that_is_not_finite_names_step_and_batch(tmp_path: Path) -> None:
    def poisoned(step: int) -> Batch:
        good = batch(step)
        return Batch(good.image * (float("nan") if step == 5 else 1), good.instances, good.names)

    settings = TrainSettings(steps=9, accumulate=2)
    with pytest.raises(FloatingPointError, match=r"nan at step 2, in a batch of item5\.0, item5\.1\..*0\.0002"):
        fit(network(), settings, tmp_path, sample=poisoned)


def test_clipping_bounds_the_gradient(tmp_path: Path) -> None:
    model = network()
    before = trained_state(model)
    settings = TrainSettings(
        steps=1, optimizer="sgd", learning_rate=1.0, weight_decay=0, schedule="constant", clip=1e-3
    )
    fit(model, settings, tmp_path)
    moved = torch.cat([(p.detach() - before[n]).flatten() for n, p in model.named_parameters()])
    assert float(moved.norm()) == pytest.approx(1.99e-3, rel=0.01)


@pytest.mark.parametrize("able", [True, False])
def test_products_are_bfloat16_only_where_the_device_multiplies_it(
    able: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(devices, "has_bfloat16", lambda device: able)
    seen = set()
    model = network()
    model.register_forward_hook(lambda module, inputs, logits: seen.add(logits.dtype))
    fit(model, TrainSettings(steps=1, precision="bf16"), tmp_path)
    assert seen == {torch.bfloat16 if able else torch.float32}


def test_the_loop_learns_in_mixed_precision(tmp_path: Path) -> None:
    model = network()
    settings = TrainSettings(steps=60, learning_rate=0.05, precision="bf16")
    history = fit(model, settings, tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert history.losses[-1][1] < 0.7 * history.losses[0][1]
    assert not model.training


# ---- looks at the validation images


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    script = scripted([3, 1, 2, 1])

    def validate(model: nn.Module) -> dict[str, float]:
        seen.append(trained_state(model))
        return script(model)

    model = network()
    settings = TrainSettings(steps=8, learning_rate=0.05, validate_every=2)
    history = fit(model, settings, tmp_path, validate=validate)
    assert history.best == 4  # the first of the two equally good
    assert [v["step"] for v in history.validations] == [2, 4, 6, 8]
    assert all(torch.equal(v, seen[1][k]) for k, v in trained_state(model).items())
    assert not all(torch.equal(v, seen[3][k]) for k, v in seen[1].items())


def test_selection_by_dice_keeps_the_highest(tmp_path: Path) -> None:
    settings = TrainSettings(steps=3, validate_every=1, select="dice")
    assert fit(network(), settings, tmp_path, validate=scripted([1, 3, 2])).best == 1  # dice −1, −3, −2


def test_patience_counts_looks_without_improvement(tmp_path: Path) -> None:
    settings = TrainSettings(steps=20, validate_every=2, patience=2)
    history = fit(network(), settings, tmp_path, validate=scripted([5, 4, 4.5, 3, 3.5, 3.2, 1, 1, 1, 1]))
    assert [v["step"] for v in history.validations] == [2, 4, 6, 8, 10, 12]
    assert history.best == 8


def test_a_look_without_a_number_is_never_the_best(tmp_path: Path) -> None:
    settings = TrainSettings(steps=4, validate_every=1)
    history = fit(network(), settings, tmp_path, validate=scripted([float("nan"), 2, 1, float("nan")]))
    assert history.best == 3


def test_the_last_step_is_looked_at_too(tmp_path: Path) -> None:
    settings = TrainSettings(steps=5, validate_every=3)
    history = fit(network(), settings, tmp_path, validate=scripted([2, 1]))
    assert [v["step"] for v in history.validations] == [3, 5]


def test_further_validations_come_before_the_first_step_and_where_asked_and_cost_no_patience(tmp_path: Path) -> None:
    settings = TrainSettings(steps=20, learning_rate=0.05, validate_every=4, patience=1, validate_also=(0, 1, 2))
    asked, plain = network(), network()
    untrained = {name: value.clone() for name, value in asked.state_dict().items()}
    history = fit(asked, settings, tmp_path / "a", validate=scripted([1, 2, 3, 4]))
    assert [v["step"] for v in history.validations] == [0, 1, 2, 4]  # stopped: no gain within 1 x 4 steps
    assert history.best == 0
    assert all(value.equal(untrained[name]) for name, value in asked.state_dict().items())
    asked = network()
    fit(asked, settings.model_copy(update={"steps": 4}), tmp_path / "b", validate=scripted([4, 3, 2, 1]))
    fit(plain, settings.model_copy(update={"steps": 4, "validate_also": None}), tmp_path / "c", validate=scripted([1]))
    assert same(asked, plain)  # looking changes nothing


def test_a_further_validation_before_the_beginning_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"train: validate_also\.1 is -5"):
        validated(TrainSettings, {"validate_also": (0, -5)}, "train")


def test_a_resumed_run_is_not_validated_again_before_its_first_step(tmp_path: Path) -> None:
    settings = TrainSettings(steps=2, validate_every=2, checkpoint_every=1, validate_also=(0, 1))
    fit(network(), settings, tmp_path, validate=scripted([3, 2]), stop=1)
    assert [v["step"] for v in fit(network(), settings, tmp_path, validate=scripted([1])).validations] == [0, 1, 2]


# ---- what is kept


def test_the_trained_state_holds_what_learns_and_its_buffers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1, bias=False))
    model[0].requires_grad_(False)
    model[2].requires_grad_(False)
    state = trained_state(model)
    buffers = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert state.keys() == {"1.weight", "1.bias", "3.weight"} | buffers
    with torch.no_grad():
        model[3].weight += 1
    assert not torch.equal(state["3.weight"], model[3].weight)  # a copy, not a view
    load_trained_state(model, state, "here")
    assert torch.equal(state["3.weight"], model[3].weight)
    with pytest.raises(ValueError, match=r"here: holds other trained tensors.*missing \['3.weight'\]"):
        load_trained_state(model, {k: v for k, v in state.items() if k != "3.weight"}, "here")


@pytest.mark.parametrize("wrong", [torch.tensor([0.0, math.nan]), torch.tensor([math.inf, 0.0]), torch.zeros(3)])
def test_trained_tensors_that_are_not_finite_or_misshapen_are_refused(wrong: torch.Tensor) -> None:
    model = torch.nn.Linear(2, 2)
    state = {**trained_state(model), "bias": wrong}
    with pytest.raises(ValueError, match=r"^a\.safetensors: tensors of another shape, or with values .*\['bias'\]"):
        load_trained_state(model, state, "a.safetensors")
