from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camsweep.methods.base import Batch, Method, load_method, make_config
from camsweep.methods.config import TrialConfig
from camsweep.methods.optimise import cycle_progress, make_optimiser, poly_factor, set_rate
from camsweep.methods.sampling import TrainingSet, step_generator, step_seed
from camsweep.methods.training import EpochLog, TrainingDiverged, build_net, load_net, train
from camsweep.shards.epochs import EpochBatches
from camsweep.shards.errors import DamagedSample, InputError

CONFIG: dict[str, Any] = {
    "backbone": "small",
    "pretrain": "none",
    "crop": 32,
    "resize_max": 0,
    "jitter": [0.1, 0, 0, 0],
    "gain": 0.1,
    "epochs": 3,
    "batch": 3,
    "momentum": 0.9,
    "clip_norm": 5.0,
}


class Reader:
    """Ten random pictures of four classes, with the interface of a SplitReader."""

    manifest = SimpleNamespace(classes=("background", "a", "b", "c"))

    def __init__(self, n: int = 10) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (n, 36, 40, 3), dtype=np.uint8)
        self.labels = (rng.random((n, 3)) < 0.5).astype(np.float32)

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Any:
        return self.images[index]


class Damaged(Reader):
    """The same pictures, of which some can't be read."""

    split = "train"

    def __init__(self, damaged: set[int]) -> None:
        super().__init__()
        self.damaged = damaged

    def image(self, index: int) -> Any:
        if index in self.damaged:
            raise DamagedSample(f"train-000000.tar, sample {index}: damaged")
        return self.images[index]


class Superpixels:
    """Squares of 8 pixels."""

    def __getitem__(self, index: int) -> Any:
        rows, columns = np.indices((36, 40)) // 8
        return (rows * 5 + columns + 1).astype(np.uint16)


class Memory:
    """A checkpoint in memory that can stop the training after a step (3 make an epoch)."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.saved: tuple[int, dict[str, Tensor]] | None = None
        self.stop_after = stop_after

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        return self.saved

    def save(self, step: int, tensors: dict[str, Tensor]) -> None:
        self.saved = (step, {name: value.clone() for name, value in tensors.items()})
        if step == self.stop_after:
            raise KeyboardInterrupt


def run(config: TrialConfig, **given: Any) -> dict[str, Tensor]:
    method = load_method(config.method)
    return train(method, config, Reader(), Superpixels(), None, **given)


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("method", ["cam", "cpn"])
@pytest.mark.parametrize("stop_after", [3, 6, 1, 5, 8])
def test_resuming_after_any_step_gives_the_same_bits(method: str, stop_after: int) -> None:
    config = make_config({"method": method, **CONFIG})
    logs: list[EpochLog] = []
    whole = run(config, on_epoch=logs.append)
    memory = Memory(stop_after)
    with pytest.raises(KeyboardInterrupt):
        run(config, checkpoint=memory, every=0)
    assert memory.saved is not None
    assert memory.saved[0] == stop_after
    memory.stop_after = None
    later: list[EpochLog] = []
    resumed = run(config, checkpoint=memory, on_epoch=later.append)
    assert same(whole, resumed)
    assert [log.epoch for log in later] == list(range(stop_after // 3, 3))
    assert [log.losses for log in later] == [log.losses for log in logs[stop_after // 3 :]]


def test_dropout_is_drawn_anew_each_step_and_again_after_a_resume() -> None:
    cam = load_method("cam")

    def losses(net: nn.Module, batch: Batch, config: Any, progress: float) -> dict[str, Tensor]:
        kept = nn.functional.dropout2d(batch.output(net).scores, 0.5)
        return {"loss": kept.square().mean(), "kept": (kept != 0).float().mean()}

    dropping = Method("cam", "CAM", cam.config, cam.build, losses)
    config = make_config({"method": "cam", **CONFIG})
    whole = train(dropping, config, Reader(), None, None)
    memory = Memory(4)
    with pytest.raises(KeyboardInterrupt):
        train(dropping, config, Reader(), None, None, checkpoint=memory, every=0)
    memory.stop_after = None
    torch.rand(7)  # whatever else drew in between
    assert same(train(dropping, config, Reader(), None, None, checkpoint=memory), whole)
    seeds = {step_seed(0, e, s, u) for e in range(3) for s in range(3) for u in (1, 2)}
    assert len(seeds) == 18


def test_no_epochs_give_the_weights_back() -> None:
    config = make_config({"method": "cam", **CONFIG, "epochs": 0})
    method = load_method("cam")
    assert same(run(config), build_net(method, config, 4, None).state_dict())


def test_the_schedule_starts_anew_in_each_cycle() -> None:
    found = [cycle_progress(step, 10, 3) for step in range(10)]
    assert [length for _, length in found] == [4, 4, 4, 4, 3, 3, 3, 3, 3, 3]
    assert [within for within, _ in found] == [0, 1, 2, 3, 0, 1, 2, 0, 1, 2]
    assert [cycle_progress(step, 5, 1) for step in (0, 4)] == [(0, 5), (4, 5)]


def test_a_finished_checkpoint_trains_nothing() -> None:
    config = make_config({"method": "cam", **CONFIG})
    memory = Memory()
    whole = run(config, checkpoint=memory)
    assert memory.saved is not None
    assert memory.saved[0] == 9
    logs: list[EpochLog] = []
    assert same(run(config, checkpoint=memory, on_epoch=logs.append), whole)
    assert logs == []


def test_loader_processes_do_not_change_the_result() -> None:
    config = make_config({"method": "cpn", **CONFIG, "epochs": 2})
    assert same(run(config), run(config, workers=2))


def test_the_seed_changes_weights_and_the_global_generator_is_left_alone() -> None:
    one, two = (make_config({"method": "cam", **CONFIG, "seed": s, "epochs": 1}) for s in (0, 1))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = run(one)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert same(first, run(one))
    assert not same(first, run(two))


def test_every_step_and_epoch_draws_anew() -> None:
    keys = [(seed, epoch, step) for seed in range(3) for epoch in range(4) for step in range(5)]
    assert len({step_generator(*key).initial_seed() for key in keys}) == len(keys)
    batches = EpochBatches(10, 3, seed=0)
    orders = []
    for epoch in range(3):
        batches.epoch = epoch
        found = list(batches)
        assert [len(batch) for batch in found] == [3, 3, 3]
        assert {e for batch in found for e, _ in batch} == {epoch}
        orders.append([index for batch in found for _, index in batch])
        assert len(set(orders[-1])) == 9
    assert len({tuple(order) for order in orders}) == 3


def test_bf16_trains_and_differs() -> None:
    values = {"method": "cpn", **CONFIG, "epochs": 1}
    full = run(make_config(values))
    half = run(make_config({**values, "precision": "bf16"}))
    assert not same(full, half)
    assert all(v.dtype != torch.bfloat16 for v in half.values())


def test_trained_weights_load_again_and_batch_norm_never_moved() -> None:
    config = make_config({"method": "cpn", **CONFIG, "epochs": 1})
    method = load_method("cpn")
    fresh = build_net(method, config, 4, None).state_dict()
    trained = run(config)
    assert same(load_net(method, config, 4, trained).state_dict(), trained)
    norm = [k for k in trained if "norm" in k or "running" in k]
    assert norm
    assert all(torch.equal(trained[k], fresh[k]) for k in norm)
    assert not torch.equal(trained["classifier.weight"], fresh["classifier.weight"])


def test_divergence_names_epoch_step_and_term() -> None:
    calls = 0

    def losses(net: nn.Module, batch: Batch, config: Any, progress: float) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        cam = load_method("cam").losses(net, batch, config, progress)
        bad = cam["cls"] * (math.nan if calls == 5 else 1)
        return {"loss": cam["cls"] + bad, "cls": cam["cls"], "tcp": bad}

    cam = load_method("cam")
    broken = Method("cam", "CAM", cam.config, cam.build, losses)
    with pytest.raises(TrainingDiverged, match="tcp is not finite at epoch 1, step 1") as caught:
        train(broken, make_config({"method": "cam", **CONFIG}), Reader(), None, None)
    assert (caught.value.epoch, caught.value.step, caught.value.term) == (1, 1, "tcp")


def test_broken_weights_are_never_kept() -> None:
    cam = load_method("cam")

    def losses(net: nn.Module, batch: Batch, config: Any, progress: float) -> dict[str, Tensor]:
        value = cam.losses(net, batch, config, progress)["cls"]
        # A finite loss whose gradient is none: what a step breaks without a word.
        root = (value * (0 if progress > 0.4 else 1)).sqrt()
        return {"loss": value.detach() + root, "cls": value}

    broken = Method("cam", "CAM", cam.config, cam.build, losses)
    memory = Memory()
    config = make_config({"method": "cam", **CONFIG})
    with pytest.raises(TrainingDiverged, match="weights is not finite at epoch 1, step 1"):
        train(broken, config, Reader(), None, None, checkpoint=memory, every=0)
    assert memory.saved is not None
    assert memory.saved[0] == 4
    assert all(torch.isfinite(v).all() for v in memory.saved[1].values())


def test_a_split_smaller_than_a_batch_is_refused() -> None:
    config = make_config({"method": "cam", **CONFIG, "batch": 11})
    with pytest.raises(InputError, match="batch: 11 is more than the 10 samples"):
        run(config)


def test_superpixels_are_asked_for_only_where_they_matter() -> None:
    method = load_method("cpn")
    values = {"method": "cpn", **CONFIG, "epochs": 1}
    with pytest.raises(ValueError, match="superpixels"):
        train(method, make_config(values), Reader(), None, None)
    grid = make_config({**values, "patches": "grid"})
    assert same(train(method, grid, Reader(), None, None), run(grid))


def test_parameter_groups_and_the_poly_schedule() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Conv2d(3, 4, 1)
            self.head = nn.Conv2d(4, 2, 1)

    net = Net()
    net.backbone.bias.requires_grad_(False)  # type: ignore[union-attr]
    config = make_config({"method": "cam", **CONFIG, "lr": 0.1, "weight_decay": 0.01})
    optimiser = make_optimiser(net, config)
    found = {(g["lr"], g["weight_decay"], len(g["params"])) for g in optimiser.param_groups}
    assert found == {(0.1, 0.01, 1), (1.0, 0.01, 1), (2.0, 0.0, 1)}
    as_sipe = config.model_copy(update={"bias_lr_factor": 1.0, "bias_decay": True})
    groups = make_optimiser(net, as_sipe).param_groups
    assert {(g["lr"], g["weight_decay"], len(g["params"])) for g in groups} == {
        (0.1, 0.01, 1), (1.0, 0.01, 2),
    }  # fmt: skip
    set_rate(optimiser, poly_factor(5, 10, 0.9))
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**0.9)
    assert poly_factor(12, 10, 0.9) == poly_factor(9, 10, 0.9)


def test_the_released_optimiser(shared: Any) -> None:
    """Four groups of CPN's PolyOptimizer, whose momentum is its weight decay."""
    golden = np.load(shared / "golden" / "misc.seed0.npz")
    lrs = golden["opt_cpn/lr_used"]
    for decays, name, power in (([5e-4, 0, 5e-4, 0], "cpn", 0.9), (None, "sipe", 0.9)):
        lrs, wanted = golden[f"opt_{name}/lr_used"], golden[f"opt_{name}/params"]
        groups = lrs.shape[1]
        decay = decays or [1e-4] * groups
        parameters = [
            nn.Parameter(
                torch.tensor(np.random.RandomState(20 + i).standard_normal(3), dtype=torch.float32)
            )
            for i in range(groups)
        ]
        optimiser = torch.optim.SGD(
            [
                {"params": [p], "lr": lr, "base_lr": lr, "weight_decay": wd}
                for p, lr, wd in zip(parameters, lrs[0], decay, strict=True)
            ],
            lr=0.1,
            momentum=decay[0],
        )
        total = int(golden[f"opt_{name}/max_step"])
        for step in range(10):
            set_rate(optimiser, poly_factor(step, total, power))
            used = [group["lr"] for group in optimiser.param_groups]
            np.testing.assert_allclose(used, lrs[step], rtol=1e-12)
            for i, parameter in enumerate(parameters):
                drawn = np.random.RandomState(10 * step + i).standard_normal(3)
                parameter.grad = torch.tensor(drawn, dtype=torch.float32)
            optimiser.step()
            now = np.stack([p.detach().numpy() for p in parameters])
            np.testing.assert_allclose(now, wanted[step + 1], rtol=0, atol=2e-7)


def test_a_damaged_sample_ends_the_training_by_its_name() -> None:
    config = make_config({"method": "cam", **CONFIG})
    with pytest.raises(DamagedSample, match="sample 3: damaged"):
        train(load_method("cam"), config, Damaged({3}), None, None)


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_samples_are_left_out_and_told_and_batches_keep_their_size(workers: int) -> None:
    config = make_config({"method": "cam", **CONFIG})
    method, told = load_method("cam"), []
    logs: list[EpochLog] = []

    def run_damaged(damaged: set[int], workers: int) -> dict[str, Tensor]:
        return train(
            method, config, Damaged(damaged), None, None,
            on_epoch=logs.append, on_damaged=told.append, workers=workers,
        )  # fmt: skip

    first = run_damaged({3, 7}, workers)
    # One of ten is dropped with the last short batch of an epoch; three epochs name both.
    assert set(told) == {3, 7}
    assert len(logs) == 3
    assert same(first, run_damaged({3, 7}, 0))
    assert not same(first, run_damaged(set(), 0))


def test_a_substitute_is_the_same_whatever_was_read_before() -> None:
    config = make_config({"method": "cam", **CONFIG})
    fresh = TrainingSet(config, Damaged({3, 7}), None, skip_damaged=True)
    known = TrainingSet(config, Damaged({3, 7}), None, skip_damaged=True)
    for index in range(10):
        known[1, index]
    assert torch.equal(fresh[0, 3][0], known[0, 3][0])
    assert [known[0, index][3] for index in range(10)] == [-1, -1, -1, 3, -1, -1, -1, 7, -1, -1]
    drawn = {known[epoch, 3][0].sum().item() for epoch in range(20)}
    assert len(drawn) > 5  # not always the same sample in its place


def test_where_all_is_damaged_the_training_ends() -> None:
    config = make_config({"method": "cam", **CONFIG})
    everything = TrainingSet(config, Damaged(set(range(10))), None, skip_damaged=True)
    with pytest.raises(DamagedSample, match="no sample"):
        everything[0, 0]
