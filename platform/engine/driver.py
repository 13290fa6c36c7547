"""One run on Ray: the coordinator, Tune placing slots, and the driver listening."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from camsweep.platform.attempts import Job, record_failure
from camsweep.platform.background import every
from camsweep.platform.client import is_client, run_inside
from camsweep.platform.context import RunContext
from camsweep.platform.engine.coordinator import CoordinatorActor
from camsweep.platform.engine.environment import described_nodes
from camsweep.platform.engine.shapes import Shape, how_many, nodes_of, require_room, shape_of
from camsweep.platform.engine.slot import ON_HEAD, SENT, bundles, run_slot
from camsweep.platform.monitor import Monitor
from camsweep.platform.team import free_orphans, tidied
from camsweep.platform.trial import failed_row
from camsweep.shards.errors import InputError
from camsweep.sweeps.resources import Resources
from camsweep.sweeps.results import is_done, read_row
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
            stack.enter_context(_wanted(shapes, max_concurrent or 1))
        for shape in sorted(set(shapes), reverse=True):
            _await_room(shape, wait_for_nodes)
        monitor.slots = _slots(shapes, max_concurrent)
        coordinator = _coordinator(stack)
        stack.enter_context(_listening(coordinator, shaped, monitor))
        if any(shape.workers > 1 for shape in shapes):
            stack.enter_context(tidied())
        storage = _storage(stack, context, address is not None)
        bare = [job for job, _ in shaped]
        what = (coordinator, context, bare, storage, max_concurrent, time_budget)
        # Through Ray Client, Tune would run in another process than its callbacks.
        inside = is_client(address)
        broken = run_inside(_place_inside, *what) if inside else place_slots(*what)
    _catch_up(jobs, context, monitor)
    counts = monitor.counts()
    if broken and counts["waiting"] + counts["running"]:
        raise InputError(f"no worker stays alive: {broken}")


def _await_room(shape: Shape, seconds: float) -> None:
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
def _wanted(shapes: Sequence[Shape], limit: int) -> Iterator[None]:
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


def _slots(shapes: Sequence[Shape], limit: int | None) -> int:
    """How many trials run at a time, roughly: for the view's estimate."""
    fits = max(how_many(shape, nodes_of(described_nodes())) for shape in set(shapes))
    return max(1, min(fits, limit or fits, len(shapes)))


def _coordinator(stack: ExitStack) -> Any:
    """The actor, on the head node and started anew if its process dies; killed at the end."""
    import ray

    actor = ray.remote(CoordinatorActor).options(
        num_cpus=0, resources=ON_HEAD, max_restarts=-1, max_task_retries=-1
    )
    coordinator: Any = actor.remote()
    stack.callback(ray.kill, coordinator)
    return coordinator


@contextmanager
def _listening(
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
        except ray.exceptions.RayError:
            return  # between two coordinators; what is missed now is read from the store at the end
        for event in events:
            monitor.hear(*event)

    listen()
    with every(POLL_SECONDS, listen):
        yield
    listen()


def place_slots(
    coordinator: Any,
    context: RunContext,
    jobs: Sequence[Job],
    storage: str,
    limit: int | None,
    time_budget: float | None,
) -> str | None:
    """Let Tune run slots until every job has ended; returns why it could not, or None.

    It talks to the coordinator alone, so that it can run in the driver or inside a cluster.
    """
    import ray
    from ray import tune

    from camsweep.platform.engine.placing import SlotSearcher

    searcher = SlotSearcher(
        lambda: ray.get(coordinator.demand.remote()),
        lambda name, shape: ray.get(coordinator.began.remote(name, shape)),
        lambda: nodes_of(described_nodes()),
        limit,
    )
    trainable = tune.with_resources(
        tune.with_parameters(run_slot, coordinator=coordinator, context=context),
        lambda config: bundles(Shape(*config["shape"])),
    )

    def died(name: str, cause: str, node_lost: bool) -> None:
        free_orphans()
        number = ray.get(coordinator.died.remote(name, cause, node_lost))
        if number is not None:
            for row in _give_up(jobs[number], context, cause):
                ray.get(coordinator.tell.remote("row", row))

    tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=10**6,
            reuse_actors=False,
            time_budget_s=time_budget,
            trial_dirname_creator=lambda trial: str(trial.config["slot"]),
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=storage,
            verbose=0,
            # A slot that died is not restored; another one is placed, if there is work for it.
            failure_config=tune.FailureConfig(max_failures=0),
            callbacks=[_obituaries(died)],
        ),
    ).fit()
    return searcher.broken


def _place_inside(tell: Callable[[Any], None], *what: Any) -> str | None:
    """`place_slots` in a process of the cluster; it has no news but the coordinator's."""
    return place_slots(*what)


def _obituaries(died: Callable[[str, str, bool], None]) -> Any:
    from ray import tune

    class Obituaries(tune.Callback):
        """Tells of slots whose process died; every exception of a trial is recorded in there."""

        def __init__(self, died: Callable[[str, str, bool], None]) -> None:
            self.died = died

        def __getstate__(self) -> dict[str, Any]:
            """Tune pickles its callbacks, class and all, into a snapshot that we never restore."""
            return {}

        def on_trial_error(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            self.died(trial.config["slot"], *death(_error_text(trial)))

    return Obituaries(died)


def _error_text(trial: Any) -> str:
    """What Tune keeps of an error in its own folder on the driver's disk; may be empty."""
    try:
        return Path(trial.error_file).read_text(errors="replace")
    except (OSError, TypeError):
        return ""


def death(trace: str) -> tuple[str, bool]:
    """Why a slot died, in one line, and whether its node may have gone with it.

    Args:
        trace: the text of Ray's error.
    """
    if "OutOfMemory" in trace:
        return "out of memory: the machine ran out and Ray ended the trial's process", False
    if "worker process has died" in trace:
        return "the trial's process died (killed, or out of memory)", False
    # A node that has just gone is at first only one that does not answer.
    if any(word in trace for word in ("ActorUnavailable", "ActorDied", "NodeDied", "node")):
        return "the trial's node was lost", True
    lines = [line for line in trace.strip().splitlines() if line.strip()]
    return (lines[-1].strip() if lines else "the trial's process died"), False


def _give_up(job: Job, context: RunContext, cause: str) -> Iterator[dict[str, Any]]:
    """Write down the trials of a job whose process died more often than it is started again."""
    for planned in job.trials:
        row = read_row(context.store, planned.id)
        if row is None or not is_done(row, context.skip_damaged):
            failed = failed_row(planned, context, cause, cause, planned.retries + 1)
            row = record_failure(context, failed)
        yield {name: row.get(name) for name in SENT}


def _catch_up(jobs: Sequence[Job], context: RunContext, monitor: Monitor) -> None:
    """Rows that were written but whose news was lost with a process."""
    for job in jobs:
        for planned in job.trials:
            if monitor.trials[planned.id].state in ("done", "failed"):
                continue
            row = read_row(context.store, planned.id)
            if row is not None and row["status"] == "done":
                monitor.finished({name: row.get(name) for name in SENT})


def _storage(stack: ExitStack, context: RunContext, shared: bool) -> str:
    """Where Tune may write, thrown away at the end. A cluster needs one that all nodes see."""
    if not shared:
        return stack.enter_context(tempfile.TemporaryDirectory(prefix="camsweep-tune-"))
    name = temporary_name()  # so that another run removes it if this one is killed
    stack.callback(context.store.delete_folder, name)
    local = context.store.local
    if local is not None:
        return str(local / name)
    address, mark, query = context.store.url.partition("?")
    return f"{address.rstrip('/')}/{name}{mark}{query}"
