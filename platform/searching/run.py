"""What the rest of camsweep calls: check a search, plan it, run it."""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pyarrow as pa

from camsweep.platform.context import RunContext
from camsweep.platform.searching.beginnings import lease_name, take_up_lost, warm_start
from camsweep.platform.searching.journal import journal, turns
from camsweep.platform.searching.points import Ground, longest_training
from camsweep.platform.searching.session import Audience, Session
from camsweep.platform.searching.spacecheck import check_space
from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.resources import Resources
from camsweep.sweeps.results import is_done, read_row
from camsweep.sweeps.store import Store
from camsweep.sweeps.studies import journal_name, load


def check_search(ground: Ground, workers: int = 1) -> None:
    """Refuse what can't work, before anything starts.

    Args:
        ground: what is to be searched.
        workers: processes that train one trial together, where the file says nothing.

    Raises:
        InputError: a wrong space, metric or scheduler; one line with file and key.
    """
    check_space(ground)
    scheduler = ground.spec.scheduler.name
    if scheduler == "pbt":
        from camsweep.platform.searching.changeable import check_population

        check_population(ground)
    together = ground.sweep.spec.resources.workers or workers
    if scheduler != "none" and together > 1:
        raise InputError(
            f"{ground.sweep.path}: search.scheduler: {scheduler} ends trainings of one worker "
            f"alone, not of {together}; take none, or --workers-per-trial 1"
        )


def planned_search(ground: Ground, store: Store) -> dict[str, Any]:
    """What `camsweep plan` says of a search.

    Args:
        ground: of `check_search`.
        store: where its study would be.

    Returns:
        `sweep`, `study` (the id), `journal` (the store's file), `algorithm`, `scheduler`, `metric`,
        `settings` (of the space), `samples` asked for, `in_study` (samples that are there), and
        `to_run` (those that are left, one training each at most).
    """
    from camsweep.platform.searching.studies import samples_in

    spec = ground.spec
    storage = load(store, ground.id)
    there = 0 if storage is None else samples_in(storage, ground)
    return {
        "sweep": ground.sweep.name,
        "study": ground.id,
        "journal": journal_name(ground.id),
        "algorithm": spec.algorithm,
        "scheduler": spec.scheduler.name,
        "metric": list(spec.metric),
        "settings": list(spec.space),
        "samples": spec.samples,
        "in_study": there,
        "to_run": max(0, spec.samples - there),
    }


def run_search(
    ground: Ground,
    context: RunContext,
    history: pa.Table,
    audience: Audience,
    default: Resources,
    *,
    in_process: bool = False,
    reraise: bool = False,
    max_concurrent: int | None = None,
    max_trials: int | None = None,
    time_budget: float | None = None,
    shared: bool = False,
    wait_for_nodes: float = 0.0,
) -> int:
    """Run a search until it has its samples, or no more may be run.

    Args:
        ground: what is searched.
        context: where trials read and write.
        history: the store's trial rows, for the warm start.
        audience: the run's monitor.
        default: what a worker takes where the sweep file says nothing.
        in_process: one trial after another here; else on Ray, which is there already.
        reraise: with `in_process`, raise the first failure instead of recording it.
        max_concurrent: trials at a time at most.
        max_trials: points to run at most; those that the store answers do not count.
        time_budget: seconds.
        shared: other nodes than this one may run trials: Tune's folder is put beside the results.
        wait_for_nodes: seconds to wait for nodes that have what a trial needs.

    Returns:
        How many points were run.

    Raises:
        InputError: as `check_search`; the study is damaged or, in object storage, another driver's;
            a trial needs more than there is.
        KeyboardInterrupt: Ctrl-C; the next run goes on with the points that were not done.
    """
    check_search(ground, default.workers or 1)
    if in_process and ground.spec.scheduler.name == "pbt":
        raise InputError(
            f"{ground.sweep.path}: search.scheduler: pbt trains its members side by side; leave "
            "out --in-process"
        )
    if not in_process:
        from camsweep.platform.searching.inside import outside, search_from_outside

        if outside():
            return search_from_outside(
                *(audience, ground, context, history, default),
                max_concurrent=max_concurrent,
                max_trials=max_trials,
                time_budget=time_budget,
                shared=True,
                wait_for_nodes=wait_for_nodes,
            )
    longest = longest_training(ground)
    with _session(ground, context, history, audience) as session:
        session.max_trials = max_trials
        if time_budget is not None:
            session.deadline = time.monotonic() + time_budget
        if in_process:
            from camsweep.platform.searching.here import search_here

            search_here(session, longest, reraise=reraise)
        else:
            _on_ray(session, default, longest, max_concurrent, shared, wait_for_nodes)
        because = session.search.finished_because
        if because:
            audience.messages.append(f"search   {ground.sweep.name}: ended: {because}")
        return session.begun


@contextmanager
def _session(
    ground: Ground, context: RunContext, history: pa.Table, audience: Audience
) -> Iterator[Session]:
    """The study, open, with what earlier runs left behind taken up."""
    from camsweep.platform.searching.search import Search

    store, driver = context.store, driver_name()

    def answer(trial_id: str) -> dict[str, Any] | None:
        row = read_row(store, trial_id)
        return row if is_done(row, context.skip_damaged) else None

    with ExitStack() as stack:
        own = claim(store, lease_name(driver), owner=context.owner)
        if own is not None:
            stack.enter_context(own)
        if store.local is None:
            # A journal in object storage is one driver's: the last upload would win.
            whole = claim(store, f"study-{ground.id}", owner=context.owner)
            if whole is None:
                raise InputError(
                    f"{ground.sweep.path}: another driver has this search in {store}; wait for it, "
                    "or share a store on a disk"
                )
            stack.enter_context(whole)
        storage = stack.enter_context(journal(store, ground.id))
        with store.lock(f"begin-{ground.id}"):
            search = Search(ground, storage, driver, answer, turns(store, ground.id))
            stack.callback(search.lose_all)
            lost = take_up_lost(search, store)
            known = warm_start(search, history)
        for count, what in ((lost, "points of a dead driver again"), (known, "known points")):
            if count:
                audience.messages.append(f"search   {ground.sweep.name}: {count} {what}")
        yield Session(search, context, audience)


def driver_name() -> str:
    """A name that no other driver has, fit for a lease."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    return f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


def _on_ray(
    session: Session,
    default: Resources,
    longest: int,
    max_concurrent: int | None,
    shared: bool,
    wait_for_nodes: float,
) -> None:
    from camsweep.platform.engine.driver import await_room, tune_storage
    from camsweep.platform.engine.environment import described_nodes
    from camsweep.platform.engine.shapes import how_many, nodes_of, shape_of
    from camsweep.platform.searching.on_tune import search_on_tune
    from camsweep.platform.searching.population import search_by_population

    ground = session.search.ground
    shape = shape_of(ground.sweep.spec.resources, default)
    await_room(shape, wait_for_nodes)
    slots = how_many(shape, nodes_of(described_nodes()))
    slots = min(slots, max_concurrent or slots, ground.spec.samples)
    session.audience.slots = slots
    left = None  # of the time budget, after the wait
    if session.deadline is not None:
        left = max(1.0, session.deadline - session.clock())
    with ExitStack() as stack:
        storage = tune_storage(stack, session.context, shared)
        if session.spec.scheduler.name == "pbt":
            search_by_population(session, shape, storage, time_budget=left)
        else:
            search_on_tune(session, longest, shape, storage, slots=slots, time_budget=left)
