"""What a slot does in its worker process: pull jobs and run them until there are none."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, replace
from typing import Any

from camsweep.platform.attempts import run_job
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.engine.coordinator import Order
from camsweep.platform.engine.shapes import Shape

#: Keeps what must not be on a spot machine on the head node; takes nothing worth having of it.
ON_HEAD = {"node:__internal_head__": 0.0001}
#: What a worker sends of a finished trial's row; the rest is in the store.
SENT = ("id", "status", "cause", "metric.miou", "skipped")


@dataclass(frozen=True)
class TellProgress:
    """Sends where a trial stands to the coordinator. Ranks of a team may be sent one."""

    coordinator: Any

    def __call__(self, progress: Progress) -> None:
        """Send it; nobody waits for the answer."""
        here = replace(progress, node=progress.node or socket.gethostname())
        self.coordinator.tell.remote("progress", here)


@dataclass(frozen=True)
class TellRow:
    """Sends the part of a final row that the driver needs."""

    coordinator: Any

    def __call__(self, row: dict[str, Any]) -> None:
        """Send it, and wait: a row must not be lost when the process dies right after."""
        import ray

        ray.get(self.coordinator.tell.remote("row", {name: row.get(name) for name in SENT}))


def run_slot(
    config: dict[str, Any], coordinator: Any, context: RunContext, mark: str | None = None
) -> None:
    """Tune's trainable; see `serve`."""
    from ray import tune

    tune.report({"jobs": serve(config, coordinator, context, mark)})


def serve(
    config: dict[str, Any], coordinator: Any, context: RunContext, mark: str | None = None
) -> int:
    """Run jobs until there are none.

    Args:
        config: `slot`, the name, and `shape`, the three numbers of a `Shape`.
        coordinator: handle of the actor.
        context: handed to every trial.
        mark: a file that the driver has put into the store, to be found there from every node.

    Returns:
        How many.
    """
    import ray

    name, shape = config["slot"], Shape(*config["shape"])
    context = replace(context, device="cuda" if shape.gpus > 0 else "cpu", owner=_owner(context))
    report, done = TellProgress(coordinator), TellRow(coordinator)
    ray.get(coordinator.began.remote(name, shape, socket.gethostname()))
    jobs = 0
    seen = mark is None or context.store.exists(mark)
    if not seen:
        ray.get(coordinator.refuse.remote(_unseen(context)))
    while seen:
        order: Order = ray.get(coordinator.take.remote(name, shape))
        if order.wait is not None:
            time.sleep(order.wait)
            continue
        if order.job is None:
            break
        if shape.workers == 1:
            left = run_job(order.job, context, report, done, attempt=order.attempt)
        else:
            from camsweep.platform.team import run_job_on_team

            left = run_job_on_team(
                order.job,
                context,
                shape.workers,
                cpus=shape.cpus,
                gpus=shape.gpus,
                report=report,
                done=done,
                attempt=order.attempt,
            )
        if left:
            coordinator.tell.remote("elsewhere", left)
        ray.get(coordinator.ended.remote(name, order.number, bool(left)))
        jobs += 1
    ray.get(coordinator.left.remote(name))
    return jobs


def _unseen(context: RunContext) -> str:
    return (
        f"--store {context.store}: node {socket.gethostname()} has another folder there than the "
        "driver; name one that all nodes share, or s3://BUCKET/..."
    )


def _owner(context: RunContext) -> str:
    return f"{context.owner}/{socket.gethostname()}-{os.getpid()}"


def bundles(shape: Shape) -> Any:
    """What Tune reserves for a slot.

    A team's own processes are reserved by Ray Train, all or none. What waits for them takes
    nothing that they could need, and sits where the driver's node is: on no spot machine.
    """
    from ray import tune

    if shape.workers > 1:
        return tune.PlacementGroupFactory([ON_HEAD])
    return tune.PlacementGroupFactory([{"CPU": shape.cpus, "GPU": shape.gpus}])
