"""What trials take of a cluster, and what fits on its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from camsweep.shards.errors import InputError
from camsweep.sweeps.resources import Resources

#: Ray's own granularity of resources; below it two numbers are the same.
STEP = 1e-4


@dataclass(frozen=True, order=True)
class Shape:
    """What one trial takes: `workers` processes, each with `cpus` cores and `gpus` GPUs.

    Shapes sort by size, so that the largest can be placed first.
    """

    workers: int
    gpus: float
    cpus: int

    @property
    def text(self) -> str:
        """`2 workers of 1 CPU and 1 GPU`."""
        each = f"{self.cpus} CPU" + (f" and {self.gpus:g} GPU" if self.gpus else "")
        return each if self.workers == 1 else f"{self.workers} workers of {each}"


def shape_of(asked: Resources, default: Resources) -> Shape:
    """The shape of a trial: what its sweep file says, else the run's default."""
    both = asked.over(default)
    return Shape(both.workers or 1, float(both.gpus or 0.0), both.cpus or 1)


@dataclass
class Node:
    """What is free on one node: cores, and the free share of each of its GPUs."""

    cpus: float
    gpus: list[float]

    def take(self, cpus: float, gpus: float) -> bool:
        """Take one worker's share, if it is there. A fraction stays within one GPU."""
        if self.cpus + STEP < cpus:
            return False
        if 0 < gpus < 1:
            # The fullest one that it fits: whole GPUs stay whole for those that need them.
            fitting = [i for i, free in enumerate(self.gpus) if free + STEP >= gpus]
            if not fitting:
                return False
            self.gpus[min(fitting, key=lambda i: self.gpus[i])] -= gpus
        elif gpus:
            whole = [i for i, free in enumerate(self.gpus) if free + STEP >= 1]
            if len(whole) < gpus:
                return False
            for i in whole[: int(gpus)]:
                self.gpus[i] = 0.0
        self.cpus -= cpus
        return True


def nodes_of(described: Iterable[Mapping[str, Any]]) -> list[Node]:
    """The nodes that live, empty, from what `ray.nodes()` tells."""
    found = []
    for node in described:
        if node.get("Alive"):
            has = node.get("Resources", {})
            found.append(Node(float(has.get("CPU", 0.0)), [1.0] * int(has.get("GPU", 0.0))))
    return found


def place(shape: Shape, nodes: Sequence[Node]) -> bool:
    """Place a trial on the nodes, its workers where there is room; all of them or none."""
    before = [(node.cpus, list(node.gpus)) for node in nodes]
    for _ in range(shape.workers):
        if not any(node.take(shape.cpus, shape.gpus) for node in nodes):
            for node, (cpus, gpus) in zip(nodes, before, strict=True):
                node.cpus, node.gpus = cpus, gpus
            return False
    return True


def fits_beside(shape: Shape, running: Iterable[Shape], nodes: Sequence[Node]) -> bool:
    """Whether one more trial of the shape fits beside those that run. ``nodes`` are used up."""
    for other in sorted(running, reverse=True):
        place(other, nodes)
    return place(shape, nodes)


def how_many(shape: Shape, nodes: Sequence[Node]) -> int:
    """How many trials of the shape fit at a time. ``nodes`` are used up."""
    count = 0
    while place(shape, nodes):
        count += 1
    return count


def require_room(shape: Shape, nodes: Sequence[Node]) -> None:
    """Refuse a trial that never fits.

    Raises:
        InputError: names what was asked and what there is.
    """
    cpus, gpus = sum(n.cpus for n in nodes), sum(len(n.gpus) for n in nodes)
    if place(shape, nodes):
        return
    there = f"there are {cpus:g} CPU and {gpus} GPU on {len(nodes)} node"
    there += "s" if len(nodes) != 1 else ""
    most = max((len(n.gpus) for n in nodes), default=0)
    if shape.workers * shape.gpus > gpus or shape.gpus > most:
        option, asked = (
            "--gpus-per-trial or resources.gpus",
            f"{shape.workers * shape.gpus:g} GPUs asked",
        )
    elif shape.workers > 1:
        option, asked = "--workers-per-trial or resources.workers", f"{shape.text} asked"
    else:
        option, asked = "resources.cpus or the profile's threads", f"{shape.text} asked"
    raise InputError(
        f"{option}: {asked} for a trial, {there}; ask for less, or add nodes "
        "(--wait-for-nodes TIME waits for them)"
    )
