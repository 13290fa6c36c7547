"""From names of sweeps to finished trials: what `camsweep plan` and `camsweep run` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from camsweep.methods.weights import file_sha256
from camsweep.platform.attempts import make_jobs, run_job
from camsweep.platform.checks import check_reading, check_splits, check_weights
from camsweep.platform.context import RunContext
from camsweep.platform.data import find_data
from camsweep.platform.engine import run_on_ray
from camsweep.platform.ledger import ledger
from camsweep.platform.monitor import Monitor
from camsweep.platform.progress import view
from camsweep.platform.provenance import collect
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.node.cores import usable_cores
from camsweep.shards.places import Place, as_place
from camsweep.shards.verify import check_digests
from camsweep.sweeps.estimate import estimate, seconds_by_trial
from camsweep.sweeps.plan import Plan, PlannedTrial, make_plan
from camsweep.sweeps.profile import Profile, load_profile
from camsweep.sweeps.results import add_uses, done_ids, load_trials, merged_uses
from camsweep.sweeps.spec import expand_names, load_sweep, shipped_names
from camsweep.sweeps.store import Store


@dataclass(frozen=True)
class Request:
    """What the user asked for, as the command line gives it.

    Attributes:
        names: sweeps, papers or sweep files.
        profile: a profile's name or file.
        data: a data folder or URL, or None for the profile's own.
        store: where results go.
        seeds: seeds a cell, instead of the sweep's number.
        settings: settings of `--set`.
        weights: files of pretrained weights by backbone; the key "" stands for all others.
        first_seed: the first seed of every cell.
        skip_damaged: leave out samples that can't be read.
        only: labels of the cells to run, by sweep; a sweep that is not named runs whole.
    """

    names: Sequence[str]
    profile: str
    data: str | None
    store: Store
    seeds: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    first_seed: int = 0
    skip_damaged: bool = False
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Prepared:
    """A request resolved: the plan, everything a trial needs, and the store's trial rows."""

    plan: Plan
    profile: Profile
    context: RunContext
    history: pa.Table

    @property
    def data(self) -> Place:
        """Where the shards are."""
        return as_place(self.context.data)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    monitor: Monitor
    interrupted: bool


def prepare(request: Request) -> Prepared:
    """Resolve a request; starts nothing.

    Raises:
        InputError: anything in it is wrong.
    """
    sweeps = [
        replace(load_sweep(name), only=request.only.get(name, ()))
        for name in expand_names(list(request.names))
    ]
    profile = load_profile(request.profile)
    digests = {name: file_sha256(Path(path)) for name, path in request.weights.items()}

    def planned(digest: str, cached: set[str]) -> Plan:
        return make_plan(
            sweeps,
            profile,
            digest,
            cached=cached,
            seeds=request.seeds,
            first_seed=request.first_seed,
            overrides=request.settings,
            weights=digests,
        )

    # A misspelt setting or a wrong store is refused before any data is looked for.
    planned("", set())
    history = load_trials(request.store)
    data = find_data(request.data, profile)
    manifest = load_manifest(data)
    plan = planned(manifest.digest, done_ids(history, request.skip_damaged))
    plan = replace(plan, trials=_tell_other_sweeps(plan, request.settings, digests))
    check_splits(plan, manifest, data)
    check_weights(plan, request.weights, len(manifest.classes))
    context = RunContext(
        store=request.store,
        data=data.url,
        profile=profile.name,
        data_name=manifest.name,
        data_digest=manifest.digest,
        device=local_device(profile.gpus),
        threads=profile.threads,
        workers=profile.workers,
        skip_damaged=request.skip_damaged,
        weights={name: str(Path(path).absolute()) for name, path in request.weights.items()},
        provenance=collect(),
    )
    return Prepared(plan, profile, context, history)


def _tell_other_sweeps(
    plan: Plan, settings: Mapping[str, Any], weights: Mapping[str, str]
) -> tuple[PlannedTrial, ...]:
    """The plan's trials with the cells of all shipped sweeps that they fill."""
    seeds = [trial.config.seed for trial in plan.trials]
    uses: dict[str, tuple[tuple[str, str], ...]] = {}
    for name in shipped_names():
        try:
            other = make_plan(
                [load_sweep(name)],
                plan.profile,
                plan.data_digest,
                seeds=max(seeds) - min(seeds) + 1,
                first_seed=min(seeds),
                overrides=settings,
                weights=weights,
            )
        except InputError:
            continue  # this sweep varies what --set sets, or its methods have no such setting
        for trial in other.trials:
            uses[trial.id] = (*uses.get(trial.id, ()), *trial.uses)
    return tuple(replace(trial, also=uses.get(trial.id, ())) for trial in plan.trials)


def local_device(gpus: float) -> str:
    """Where a trial runs in this process: on the GPU if its profile asks for one and there is."""
    import torch

    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"


def _tell_cached(prepared: Prepared) -> None:
    """Tell finished trials of the sweeps that use them now; those that know are left alone."""
    rows = prepared.history.select(["id", "sweeps", "labels"]).to_pylist()
    known = {row["id"]: set(merged_uses(row, ())) for row in rows}
    for trial in prepared.plan.trials:
        if trial.id in prepared.plan.cached and not known[trial.id].issuperset(trial.all_uses):
            add_uses(prepared.context.store, trial.id, trial.all_uses)


def expected_seconds(prepared: Prepared, max_concurrent: int | None) -> float | None:
    """Wall-clock seconds of the plan on this machine from the store's history, or None."""
    cores = usable_cores()
    slots = max_concurrent or max(1, cores // prepared.profile.threads)
    return estimate(prepared.plan, prepared.history, slots)


def execute(
    prepared: Prepared,
    console: Console,
    *,
    in_process: bool = False,
    debug: bool = False,
    address: str | None = None,
    gpus: float | None = None,
    max_concurrent: int | None = None,
    time_budget: float | None = None,
) -> Outcome:
    """Run what the store lacks.

    Args:
        prepared: from `prepare`.
        console: where the view is drawn.
        in_process: one trial after another here, without Ray.
        debug: with `in_process`, raise the first failure instead of recording it.
        address: a Ray cluster's address.
        gpus: GPUs a trial, instead of the profile's.
        max_concurrent: at most so many trials at a time.
        time_budget: seconds.

    Returns:
        What happened.

    Raises:
        InputError: the store can't be written, or the data is damaged.
    """
    plan, context = prepared.plan, prepared.context
    context.store.require_writable()
    splits = {getattr(t.config, k) for t in plan.to_run for k in ("train_split", "eval_split")}
    check_reading(plan, prepared.data)
    lenient = context.skip_damaged
    for problem in check_digests(prepared.data, sorted(splits), raise_=not lenient):
        console.print(f"damaged: {problem}", markup=False, highlight=False, soft_wrap=True)
    _tell_cached(prepared)
    monitor = Monitor(plan, expected=seconds_by_trial(plan, prepared.history))
    jobs = make_jobs(plan.to_run)
    interrupted = False
    if not jobs:
        return Outcome(monitor, interrupted)
    command = context.provenance.command
    with ledger(context.store, monitor, command, str(prepared.data)), view(monitor, console):
        try:
            if in_process:
                for job in jobs:
                    run_job(job, context, monitor.progress, monitor.finished, reraise=debug)
            else:
                run_on_ray(
                    jobs,
                    context,
                    monitor,
                    cpus=prepared.profile.threads,
                    gpus=gpus,
                    profile_gpus=prepared.profile.gpus,
                    max_concurrent=max_concurrent,
                    address=address,
                    time_budget=time_budget,
                )
        except KeyboardInterrupt:
            interrupted = True
    counts = monitor.counts()
    interrupted = interrupted or bool(counts["waiting"] + counts["running"])
    return Outcome(monitor, interrupted)
