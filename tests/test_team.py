"""A trial on two processes equals the trial on one; what fails on one rank fails for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
import torch
from ranks import Ranks
from test_training import CONFIG, Reader
from tiny import build_data, write_profile, write_sweep

from camsweep.methods.base import load_method, make_config
from camsweep.methods.team import SOLO
from camsweep.methods.training import TrainingDiverged
from camsweep.platform.context import RunContext
from camsweep.platform.stages import read_tensors
from camsweep.platform.trial import run_trial
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.manifest import load_manifest
from camsweep.sweeps.leasing.leases import LeaseLost
from camsweep.sweeps.plan import PlannedTrial, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.results import artefact_name, load_curves, load_epochs, load_images, read_row
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store

ARMS = {
    "cam": "{method: cam}",
    "pair": "{method: cam, pair: true, patches: grid}",
    "seam": "{method: seam}",
    "grid": "{method: cpn, patches: grid}",
    "superpixel": "{method: cpn, patches: superpixel, hiding: with_replacement}",
    "sipe": "{method: sipe}",
    "ppl": "{method: ppl}",
    "cpmc": "{method: cpmc}",
}


@dataclass
class World:
    trials: dict[str, PlannedTrial]
    context: RunContext
    folder: Path

    def store(self, name: str, **changes: Any) -> RunContext:
        return replace(self.context, store=Store(str(self.folder / name)), **changes)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("team")
    # More than one group of images that are evaluated together, so that they can be shared.
    data = build_data(folder, train=16, val=20)
    arms = "\n".join(f"  {name}: {arm}" for name, arm in ARMS.items())
    sweep = load_sweep(str(write_sweep(folder, f"title: team\narms:\n{arms}\nseeds: 1\n")))
    manifest = load_manifest(data)
    plan = make_plan([sweep], load_profile(str(write_profile(folder, 2))), manifest.digest)
    context = RunContext(
        Store(str(folder / "none")), str(data), "tiny", manifest.name, manifest.digest
    )
    return World({t.labels[0]: t for t in plan.trials}, context, folder)


@pytest.fixture(scope="module")
def two() -> Iterator[Ranks]:
    pair = Ranks(2)
    yield pair
    pair.close()


#: What the others show, too.
SLOW = ("pair", "seam", "grid")


@pytest.mark.parametrize(
    "arm", [pytest.param(a, marks=pytest.mark.slow if a in SLOW else ()) for a in ARMS]
)
def test_two_workers_are_one_to_the_last_count(arm: str, world: World, two: Ranks) -> None:
    trial, alone, shared = world.trials[arm], world.store("one"), world.store("two")
    one = run_trial(trial, alone, lambda progress: None)
    row, said = two.do(ranks.run_on_team, trial, shared)[0]
    assert (one["workers"], row["workers"], row["accumulation"]) == (1, 2, 1)
    ids = [trial.id]
    losses = [load_epochs(c.store, ids).to_pydict() for c in (alone, shared)]
    for name in losses[0]:
        if name.startswith("loss."):
            np.testing.assert_allclose(losses[0][name], losses[1][name], rtol=0, atol=1e-5)
    for load in (load_images, load_curves):
        assert load(alone.store, ids).equals(load(shared.store, ids))
    metrics = [{k: v for k, v in r.items() if k.startswith("metric.")} for r in (one, row)]
    assert metrics[0] == metrics[1]
    name = artefact_name(trial.id, "pictures.safetensors")
    pictures = [read_tensors(c.store, name) for c in (alone, shared)]
    assert pictures[0].keys() == pictures[1].keys()
    assert all(torch.equal(pictures[0][k], pictures[1][k]) for k in pictures[0])
    assert [p.done for p in said if p.phase == "train"] == [1, 2]
    assert [p.done for p in said if p.phase == "evaluate"][-1] == 20


def test_summed_gradients_are_those_of_one_process_but_for_rounding(two: Ranks) -> None:
    method, config = load_method("seam"), make_config({**CONFIG, "method": "seam", "batch": 4})
    losses, weights = ranks.trained(SOLO, method, config, Reader())
    found = two.do(ranks.summed_gradients, method, config, Reader())
    for epoch, other in zip(losses, found[0][0], strict=True):
        assert other == pytest.approx(epoch, abs=1e-5)
    for name, value in weights.items():
        np.testing.assert_allclose(found[0][1][name], value, rtol=0, atol=1e-4)
        np.testing.assert_array_equal(found[0][1][name], found[1][1][name])


@pytest.mark.parametrize("step", [2, 3])
def test_a_training_goes_on_with_more_or_fewer_workers(step: int, two: Ranks) -> None:
    method, config = load_method("cam"), make_config({**CONFIG, "method": "cam", "batch": 4})
    _, whole = ranks.trained(SOLO, method, config, Reader())

    def saved(kept: Any) -> Any:
        return kept[0], {name: torch.from_numpy(value) for name, value in kept[1].items()}

    by_one = saved(ranks.stopped(SOLO, method, config, Reader(), step))
    by_two = saved(two.do(ranks.stopped, method, config, Reader(), step)[0])
    _, on_two = two.do(ranks.trained, method, config, Reader(), by_one)[0]
    _, on_one = ranks.trained(SOLO, method, config, Reader(), by_two)
    for found in (on_two, on_one):
        assert all(np.array_equal(found[name], value) for name, value in whole.items())


def test_a_loss_that_is_no_number_on_one_rank_ends_the_training(world: World, two: Ranks) -> None:
    found, other = two.do(ranks.nan_on_rank_1, world.trials["cam"], world.store("nan"))
    assert isinstance(found, TrainingDiverged)
    assert (found.epoch, found.step, found.term) == (1, 1, "cls")
    assert other is None  # it waits for what comes next


def test_what_one_rank_cannot_read_is_recorded_by_rank_0(world: World, two: Ranks) -> None:
    trial = world.trials["cam"]
    context = world.store("skipping", skip_damaged=True)
    row, _ = two.do(ranks.damaged_on_rank_1, trial, context)[0]
    assert len(row["skipped"]) == 1
    assert row["skipped"][0].startswith("train/")
    assert row["train_images"] == 15
    found, _ = two.do(ranks.damaged_on_rank_1, trial, world.store("strict"))
    assert isinstance(found, DamagedSample)


def test_out_of_memory_on_one_rank_is_tried_again_in_parts(world: World, two: Ranks) -> None:
    row, said = two.do(ranks.out_of_memory_on_rank_1, world.trials["seam"], world.store("oom"))[0]
    assert (row["workers"], row["accumulation"], row["status"]) == (2, 4, "done")
    assert "train in parts" in {p.phase for p in said}
    ids = [world.trials["seam"].id]
    alone = world.store("one-again")
    run_trial(world.trials["seam"], alone, lambda progress: None)
    one, parts = (load_epochs(s.store, ids)["loss.loss"] for s in (alone, world.store("oom")))
    np.testing.assert_allclose(one.to_numpy(), parts.to_numpy(), rtol=0, atol=1e-5)


def test_out_of_memory_in_the_sum_of_gradients_is_tried_again(world: World, two: Ranks) -> None:
    work = ranks.out_of_memory_in_the_sum_on_rank_1
    row, _ = two.do(work, world.trials["cam"], world.store("sum"))[0]
    assert (row["accumulation"], row["status"]) == (4, "done")


def test_an_error_of_rank_0_after_counting_is_its_own(world: World, two: Ranks) -> None:
    trial, context = world.trials["cam"], world.store("nothing", skip_damaged=True)
    found, other = two.do(ranks.all_damaged, trial, context)
    assert isinstance(found, InputError)
    assert "split 'val' has no images to evaluate" in str(found)
    assert other is None  # it went on, and was dismissed
    row, _ = two.do(ranks.run_on_team, trial, context)[0]
    assert row["status"] == "done"


def test_a_lease_lost_while_rank_0_waits_is_noticed_before_writing(
    world: World, two: Ranks
) -> None:
    trial, context = world.trials["cam"], world.store("late")
    found, _ = two.do(ranks.lease_lost_while_waiting, trial, context)
    assert isinstance(found, LeaseLost)
    assert read_row(context.store, trial.id) is None


def test_every_rank_counts_with_the_same_threads(world: World, two: Ranks) -> None:
    trial = world.trials["cam"]
    assert two.do(ranks.threads_that_count, trial, world.store("threads")) == [[1], [1]]
    wide = world.store("wide", threads=2)
    assert two.do(ranks.threads_that_count, trial, wide) == [[2], [2]]


def test_a_rank_without_data_says_so_and_the_team_goes_on(world: World, two: Ranks) -> None:
    found, _ = two.do(ranks.no_data_on_rank_1, world.trials["cam"], world.store("blind"))
    assert isinstance(found, FileNotFoundError)
    assert found.filename == "/data/manifest.json"
    row, _ = two.do(ranks.run_on_team, world.trials["cam"], world.store("blind"))[0]
    assert row["status"] == "done"


def test_a_batch_that_cannot_be_divided_is_refused(two: Ranks) -> None:
    config = make_config({**CONFIG, "method": "cam", "batch": 3})
    for found in two.do(ranks.trained, load_method("cam"), config, Reader()):
        assert isinstance(found, InputError)
        assert "batch: 3 images cannot be divided equally among 2 workers" in str(found)


def test_an_error_of_one_rank_is_raised_on_all_with_its_traceback(two: Ranks) -> None:
    zero, one = two.do(ranks.errors_that_differ)
    assert zero.startswith("KeyError: 'only here' / on rank 1 of the team:")
    assert "errors_that_differ" in zero
    assert one == "KeyError: 'only here' / None"
