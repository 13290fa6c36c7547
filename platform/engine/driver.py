"""One run on Ray: the coordinator, Tune placing slots, and the driver listening."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from camsweep.platform.attempts import Job
from camsweep.platform.background import every
from camsweep.platform.client import is_client, run_inside
from camsweep.platform.context import RunContext
from camsweep.platform.engine.coordinator import CoordinatorActor
from camsweep.platform.engine.environment import described_nodes
from camsweep.platform.engine.shapes import Shape, how_many, nodes_of, require_room, shape_of
from camsweep.platform.engine.slot import ON_HEAD, SENT
from camsweep.platform.engine.slots import Placing, place_inside, place_slots
from camsweep.platform.monitor import Monitor
from camsweep.shards.errors import InputError
from camsweep.sweeps.resources import Resources
from camsweep.sweeps.results import read_row
from camsweep.sweeps.temporary import temporary_name

POLL_SECONDS = 0.25
#: Between two looks at whether awaited nodes have come.
ARRIVAL_SECONDS = 2.0


def run_on_ray(
    jobs: Sequence[Job],
    context: RunContext,
    monitor: Monitor,
    default: Resources,
    *,
    max_concurrent: int | None = None,
    time_budget: float | None = None,
    address: str | None = None,
    wait_for_nodes: float = 0.0,
) -> None:
    """Run the jobs; Ray is there already (`ray_session`).

    Args:
        jobs: what to run.
        context: handed to every trial.
        monitor: is told of everything.
        default: what a worker takes where the sweep file says nothing.
        max_concurrent: at most so many trials at a time.
        time_budget: seconds after which no more is started and what runs is stopped.
        address: of the cluster, None for a Ray that was started here. Where others run trials,
            Tune's folder is put beside the results, as all nodes must see it.
        wait_for_nodes: seconds to wait for nodes that have what a trial needs.

    Raises:
        InputError: a trial needs more than there is, or no worker can be kept alive.
    """
    shaped = [(job, shape_of(job.trials[0].resources, default)) for job in jobs]
    shapes = [shape for _, shape in shaped]
    with ExitStack() as stack:
        if address is not None:
            stack.enter_context(announced(shapes, max_concurrent or 1))
        for shape in sorted(set(shapes), reverse=True):
            await_room(shape, wait_for_nodes)
        monitor.slots = slots_at_a_time(shapes, max_concurrent)
        coordinator = new_coordinator(stack)
        stack.enter_context(listening(coordinator, shaped, monitor))
        placing = Placing(
            coordinator,
            context,
            [job for job, _ in shaped],
            tune_storage(stack, context, address is not None),
            max_concurrent,
            time_budget,
            any(shape.workers > 1 for shape in shapes),
            _mark(stack, context) if address is not None else None,
        )
        # Through Ray Client, Tune would run in another process than its callbacks.
        inside = is_client(address)
        broken = run_inside(place_inside, placing) if inside else place_slots(placing)
    _catch_up(jobs, context, monitor)
    counts = monitor.counts()
    if broken and counts["waiting"] + counts["running"]:
        raise InputError(broken)


def await_room(shape: Shape, seconds: float) -> None:
    """Return once a trial of the shape fits on the cluster's nodes."""
    end = time.monotonic() + seconds
    while True:
        try:
            require_room(shape, nodes_of(described_nodes()))
            return
        except InputError:
            if time.monotonic() >= end:
                raise
        time.sleep(ARRIVAL_SECONDS)


@contextmanager
def announced(shapes: Sequence[Shape], limit: int) -> Iterator[None]:
    """Tell the cluster's autoscaler, if it has one, what would be used.

    Slots are placed on nodes that are there, so nothing else would ask for more.
    """
    from ray.autoscaler.sdk import request_resources

    def ask(bundles: list[dict[str, float]]) -> None:
        with suppress(Exception):  # a cluster without one, or one that can't be asked from outside
            request_resources(bundles=bundles)

    largest = sorted(shapes, reverse=True)[:limit]
    ask([{"CPU": s.cpus, "GPU": s.gpus} for s in largest for _ in range(s.workers)])
    try:
        yield
    finally:
        ask([])


def slots_at_a_time(shapes: Sequence[Shape], limit: int | None) -> int:
    """How many trials run at a time on the nodes that are there, roughly."""
    fits = max(how_many(shape, nodes_of(described_nodes())) for shape in set(shapes))
    return max(1, min(fits, limit or fits, len(shapes)))


def new_coordinator(stack: ExitStack) -> Any:
    """The actor, on the head node and started anew if its process dies; killed at the end."""
    import ray

    actor = ray.remote(CoordinatorActor).options(
        num_cpus=0, resources=ON_HEAD, max_restarts=-1, max_task_retries=-1
    )
    coordinator: Any = actor.remote()

    def end() -> None:
        # Without a connection, Ray would start a cluster of its own to kill it there.
        if ray.is_initialized():
            with suppress(ray.exceptions.RayError, ConnectionError):
                ray.kill(coordinator)

    stack.callback(end)
    return coordinator


def _mark(stack: ExitStack, context: RunContext) -> str:
    """A file in the store by which nodes can tell that they see the driver's."""
    name = temporary_name()
    context.store.write(name, b"camsweep")
    stack.callback(context.store.delete, name)
    return name


@contextmanager
def listening(
    coordinator: Any, shaped: Sequence[tuple[Job, Shape]], monitor: Monitor
) -> Iterator[None]:
    """Pass on what the coordinator has heard, every now and then and once more at the end.

    A coordinator without jobs is new, or its process died and another took its place: it is told
    them. It can't be given them when it is made, as Ray keeps such arguments only so long.
    """
    import ray

    def listen() -> None:
        try:
            events = ray.get(coordinator.poll.remote())
            if events is None:
                ray.get(coordinator.fill.remote(shaped))
                return
        except (ray.exceptions.RayError, ConnectionError):
            return  # between two coordinators; what is missed now is read from the store at the end
        for event in events:
            monitor.hear(*event)

    listen()
    with every(POLL_SECONDS, listen):
        yield
    listen()


def _catch_up(jobs: Sequence[Job], context: RunContext, monitor: Monitor) -> None:
    """Rows that were written but whose news was lost with a process."""
    for job in jobs:
        for planned in job.trials:
            if monitor.trials[planned.id].state in ("done", "failed"):
                continue
            row = read_row(context.store, planned.id)
            before = context.failed_before or frozenset()
            if row is not None and (row["status"] == "done" or planned.id not in before):
                monitor.finished({name: row.get(name) for name in SENT})


def tune_storage(stack: ExitStack, context: RunContext, shared: bool) -> str:
    """Where Tune may write, thrown away at the end. A cluster needs one that all nodes see."""
    if not shared:
        return stack.enter_context(tempfile.TemporaryDirectory(prefix="camsweep-tune-"))
    name = temporary_name()  # so that another run removes it if this one is killed
    stack.callback(context.store.delete_folder, name)
    inside = context.store.inside(name)
    return str(inside.local or inside.url)
