"""From names of sweeps to a plan: what `camsweep plan` and `camsweep run` share."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from camsweep.methods.weights import file_sha256
from camsweep.platform.checks import check_splits, check_weights
from camsweep.platform.context import RunContext
from camsweep.platform.data import find_data
from camsweep.platform.provenance import collect
from camsweep.platform.searching.points import Ground, sample_trial
from camsweep.platform.searching.run import check_search
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.places import Place, as_place
from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.profile import Profile, load_profile
from camsweep.sweeps.results import done_ids, load_trials
from camsweep.sweeps.sequential import caught_up
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
    """A request resolved: the plan, everything a trial needs, and the store's trial rows.

    Attributes:
        images: how many each split of the data has.
    """

    plan: Plan
    profile: Profile
    context: RunContext
    history: pa.Table
    images: Mapping[str, int]

    @property
    def data(self) -> Place:
        """Where the shards are."""
        return as_place(self.context.data)


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
    for ground in grounds(planned("", set())):
        check_search(ground)
    history = load_trials(request.store)
    data = find_data(request.data, profile)
    manifest = load_manifest(data)
    plan = planned(manifest.digest, done_ids(history, request.skip_damaged))
    plan = caught_up(plan, history, skip_damaged=request.skip_damaged)
    plan = with_other_sweeps(plan)
    every = replace(plan, trials=(*plan.trials, *map(sample_trial, grounds(plan))))
    check_splits(every, manifest, data)
    check_weights(every, request.weights, len(manifest.classes))
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
        owner=f"{socket.gethostname()}-{os.getpid()}",
        failed_before=frozenset(_failed(history)),
    )
    images = {name: split.count for name, split in manifest.splits.items()}
    return Prepared(plan, profile, context, history, images)


def grounds(plan: Plan) -> list[Ground]:
    """What the points of each of the plan's searches share."""
    asked = plan.asked
    return [
        Ground(
            sweep,
            plan.profile,
            plan.data_digest,
            asked.overrides,
            asked.weights,
            asked.first_seed,
        )
        for sweep in plan.searches
    ]


def _failed(history: pa.Table) -> list[str]:
    rows = history.select(["id", "status"]).to_pylist()
    return [row["id"] for row in rows if row["status"] == "failed"]


def with_other_sweeps(plan: Plan) -> Plan:
    """The plan, its trials told of the cells of all shipped sweeps that they fill."""
    if not plan.trials:
        return plan
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
                overrides=plan.asked.overrides,
                weights=plan.asked.weights,
            )
        except InputError:
            continue  # this sweep varies what --set sets, or its methods have no such setting
        for trial in other.trials:
            uses[trial.id] = (*uses.get(trial.id, ()), *trial.uses)
    trials = tuple(replace(trial, also=uses.get(trial.id, ())) for trial in plan.trials)
    return replace(plan, trials=trials)


def local_device(gpus: float) -> str:
    """Where a trial runs in this process: on the GPU if its profile asks for one and there is."""
    import torch

    return "cuda" if gpus > 0 and torch.cuda.is_available() else "cpu"
