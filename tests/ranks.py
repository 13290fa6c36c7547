"""Processes of a team for tests: plain torch.distributed over gloo, without Ray.

What they run are the functions of this module, so that spawned processes find them.
"""

from __future__ import annotations

import math
import multiprocessing
import tempfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import nn

from camsweep.methods import compose, steps
from camsweep.methods.team import TorchTeam
from camsweep.methods.training import train
from camsweep.platform import counting
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.orders import TrainOrder, dismiss, follow
from camsweep.platform.trial import run_trial
from camsweep.shards.errors import DamagedSample
from camsweep.shards.reader import SplitReader
from camsweep.sweeps.leasing.leases import LeaseLost
from camsweep.sweeps.plan import PlannedTrial

PATIENCE = 60


class Ranks:
    """Processes that wait for work, all of them the same."""

    def __init__(self, world: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.folder = tempfile.TemporaryDirectory(prefix="camsweep-ranks-")
        where = f"file://{self.folder.name}/meeting"
        self.asked = [context.Queue() for _ in range(world)]
        self.told = [context.Queue() for _ in range(world)]
        self.processes = [
            context.Process(
                target=_serve, args=(rank, world, where, self.asked[rank], self.told[rank])
            )
            for rank in range(world)
        ]
        for process in self.processes:
            process.start()

    def do(self, work: Callable[..., Any], *args: Any) -> list[Any]:
        """What ``work(team, *args)`` returns or raises on each rank."""
        for queue in self.asked:
            queue.put((work, args))
        return [queue.get(timeout=PATIENCE) for queue in self.told]

    def close(self) -> None:
        for queue in self.asked:
            queue.put(None)
        for process in self.processes:
            process.join(10)
            process.kill()
        self.folder.cleanup()


def _serve(rank: int, world: int, where: str, asked: Any, told: Any) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=where, rank=rank, world_size=world, timeout=timedelta(seconds=PATIENCE)
    )
    team = TorchTeam()
    while (order := asked.get()) is not None:
        work, args = order
        try:
            told.put(work(team, *args))
        except Exception as error:
            told.put(error)
    dist.destroy_process_group()


def run_on_team(team: TorchTeam, trial: PlannedTrial, context: RunContext) -> Any:
    """A trial as a team runs it: rank 0's row and what it reported."""
    if team.rank > 0:
        return follow(team)
    said: list[Progress] = []
    try:
        return run_trial(trial, context, said.append, team=team), said
    finally:
        dismiss(team)


def out_of_memory_on_rank_1(team: TorchTeam, trial: PlannedTrial, context: RunContext) -> Any:
    """The same on GPUs that hold two images: rank 1 notices."""
    true_losses = compose.losses

    def losses(method: Any, net: nn.Module, batch: Any, *others: Any) -> Any:
        if team.rank == 1 and len(batch.images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return true_losses(method, net, batch, *others)

    compose.losses = losses
    try:
        return run_on_team(team, trial, context)
    finally:
        compose.losses = true_losses


def nan_on_rank_1(team: TorchTeam, trial: PlannedTrial, context: RunContext) -> Any:
    """The same where rank 1's part of the fourth step has a loss that is no number."""
    true_losses, calls = compose.losses, 0

    def losses(method: Any, net: nn.Module, batch: Any, *others: Any) -> Any:
        nonlocal calls
        calls += 1
        terms = true_losses(method, net, batch, *others)
        broken = math.nan if team.rank == 1 and calls == 4 else 1
        return {name: value * broken for name, value in terms.items()}

    compose.losses = losses
    try:
        return run_on_team(team, trial, context)
    finally:
        compose.losses = true_losses


def damaged_on_rank_1(team: TorchTeam, trial: PlannedTrial, context: RunContext) -> Any:
    """The same where rank 1 alone cannot read the first image that it asks for in training."""
    true_image, bad = SplitReader.image, []

    def image(reader: SplitReader, index: int) -> Any:
        if team.rank == 1 and reader.split == "train":
            bad.append(index)
            if index == bad[0]:
                raise DamagedSample(f"{reader.where(index)}: damaged")
        return true_image(reader, index)

    SplitReader.image = image  # type: ignore[method-assign]
    try:
        return run_on_team(team, trial, context)
    finally:
        SplitReader.image = true_image  # type: ignore[method-assign]


def out_of_memory_in_the_sum_on_rank_1(
    team: TorchTeam, trial: PlannedTrial, context: RunContext
) -> Any:
    """The same where rank 1's GPU holds a step, but not once a copy of all its gradients."""
    true_cat, failed = torch.cat, []

    def cat(tensors: Any, *others: Any) -> Any:
        flat = len(tensors) > 8 and all(t.dim() == 1 for t in tensors)
        if flat and team.rank == 1 and not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 400.00 MiB")
        return true_cat(tensors, *others)

    torch.cat = cat
    try:
        return run_on_team(team, trial, context)
    finally:
        torch.cat = true_cat


def all_damaged(team: TorchTeam, trial: PlannedTrial, context: RunContext) -> Any:
    """The same where no image of the evaluated split can be read."""
    true_image = SplitReader.image

    def image(reader: SplitReader, index: int) -> Any:
        if reader.split == trial.config.eval_split:
            raise DamagedSample(f"{reader.where(index)}: damaged")
        return true_image(reader, index)

    SplitReader.image = image  # type: ignore[method-assign]
    try:
        return run_on_team(team, trial, context)
    finally:
        SplitReader.image = true_image  # type: ignore[method-assign]


def lease_lost_while_waiting(team: TorchTeam, trial: PlannedTrial, context: RunContext) -> Any:
    """The same where rank 0 loses the trial's lease while it waits for the others' counts."""
    if team.rank > 0:
        return follow(team)
    true_collect, lost = team.collect, []

    def collect(value: Any) -> Any:
        lost.append(True)
        return true_collect(value)

    def report(progress: Progress) -> None:
        if lost:
            raise LeaseLost(trial.id)

    team.collect = collect  # type: ignore[method-assign]
    try:
        return run_trial(trial, context, report, team=team)
    finally:
        del team.collect  # type: ignore[method-assign]
        dismiss(team)


def threads_that_count(team: TorchTeam, trial: PlannedTrial, context: RunContext) -> Any:
    """Threads that each rank counts with, where Ray has given it another number."""
    true_count, seen = counting._count, []

    def count(*arguments: Any) -> Any:
        seen.append(torch.get_num_threads())
        return true_count(*arguments)

    torch.set_num_threads(3)
    counting._count = count  # type: ignore[assignment]
    try:
        run_on_team(team, trial, context)
    finally:
        counting._count = true_count
        torch.set_num_threads(1)
    return seen


def no_data_on_rank_1(team: TorchTeam, trial: PlannedTrial, context: RunContext) -> Any:
    """The same where rank 1's machine does not see the data."""
    true_prepare = TrainOrder.prepare

    def prepare(order: TrainOrder, team: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory", "/data/manifest.json")

    TrainOrder.prepare = prepare  # type: ignore[method-assign]
    try:
        return run_on_team(team, trial, context)
    finally:
        TrainOrder.prepare = true_prepare  # type: ignore[method-assign]


def summed_gradients(team: TorchTeam, *arguments: Any) -> Any:
    """A training as it is on GPUs: the ranks' gradients are added up."""
    true_exact = steps.StepRun.exact
    steps.StepRun.exact = property(lambda run: False)  # type: ignore[assignment, method-assign]
    try:
        return trained(team, *arguments)
    finally:
        steps.StepRun.exact = true_exact  # type: ignore[method-assign]


def trained(team: Any, method: Any, config: Any, reader: Any, saved: Any = None) -> Any:
    """Losses by epoch and the weights, from a checkpoint `saved` if there is one."""

    class Kept:
        def load(self) -> Any:
            return saved

        def save(self, step: int, tensors: Any) -> None:
            pass

    logs: list[Any] = []
    first = team.rank == 0
    weights = train(
        method,
        config,
        reader,
        None,
        None,
        checkpoint=Kept() if first else None,
        on_epoch=logs.append if first else None,
        team=team,
    )
    # Not as tensors: torch would share their memory with a process that may end first.
    return [log.losses for log in logs], {n: v.numpy() for n, v in weights.items()}


def stopped(team: Any, method: Any, config: Any, reader: Any, after: int) -> Any:
    """The checkpoint after some steps, as arrays."""
    kept: dict[str, Any] = {}

    class Stops:
        def load(self) -> None:
            return None

        def save(self, step: int, tensors: Any) -> None:
            if step == after:
                kept.update(tensors)
                raise TimeoutError("stop here")

    checkpoint = Stops() if team.rank == 0 else None
    try:
        train(method, config, reader, None, None, checkpoint=checkpoint, every=0, team=team)
    except TimeoutError:
        return after, {name: value.numpy() for name, value in kept.items()}
    raise AssertionError("nothing stopped it")


def errors_that_differ(team: TorchTeam) -> str:
    """What each rank raises where rank 1 fails and rank 0 does not."""
    try:
        with team.together():
            if team.rank == 1:
                raise KeyError("only here")
    except Exception as error:
        return f"{type(error).__name__}: {error} / {error.__cause__}"
    return "nothing"
