"""What a trial takes where its sweep file says nothing, and how many such fit on this machine.

`camsweep plan` and `camsweep run` both ask here, so that a limit of time cuts the same trials.
"""

from __future__ import annotations

from collections.abc import Sequence

from camsweep.platform.engine.shapes import Node, how_many, shape_of
from camsweep.shards.node.cores import usable_cores
from camsweep.sweeps.profile import Profile
from camsweep.sweeps.resources import Resources


def default_resources(
    profile: Profile, gpus: float | None, workers: int | None, with_gpu: bool
) -> Resources:
    """What each worker of a trial takes where the sweep file says nothing.

    A profile asks for GPUs only where there are any, so that one profile serves both.

    Args:
        profile: of the run.
        gpus: GPUs a worker, as the user says; None for the profile's.
        workers: processes a trial, as the user says; None for one.
        with_gpu: whether there are GPUs where the trials run.
    """
    if gpus is None:
        gpus = profile.gpus if with_gpu else 0.0
    return Resources(cpus=profile.threads, gpus=gpus, workers=workers or 1)


def local_slots(default: Resources) -> int:
    """How many trials of `default_resources` run at a time on this machine, at least one.

    Trials are placed as the engine places them: whole GPUs stay whole, and a trial that takes none
    needs no more than cores.
    """
    gpus = 0
    if default.gpus:
        import torch

        gpus = torch.cuda.device_count()
    return slots_on(default, [Node(float(usable_cores()), [1.0] * gpus)])


def slots_on(default: Resources, nodes: Sequence[Node]) -> int:
    """How many trials of `default_resources` run at a time on nodes, which are used up."""
    return max(1, how_many(shape_of(Resources(), default), nodes))
