"""What a driver does before it draws points: take up lost ones, and learn from the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from camsweep.platform.searching.search import Search, values_of
from camsweep.platform.searching.spaces import distribution, encoded
from camsweep.platform.searching.studies import give_up
from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.search import Point, text_of
from camsweep.sweeps.store import Store
from camsweep.sweeps.studies import DRIVER, LABEL, ORIGIN, SEEDS, TRIAL, WARM

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

#: A trial of the study that does not say whose it is after so long was begun by a driver that was
#: killed in between.
NAMELESS = timedelta(seconds=60)


def lease_name(driver: str) -> str:
    """The lease that a driver holds while it searches."""
    return f"search-{driver}"


def take_up_lost(search: Search, store: Store) -> int:
    """Queue the points again whose driver is dead.

    A driver is dead when the lease that it holds while it lives can be had.

    Returns:
        How many points were queued.
    """
    from optuna.trial import TrialState

    def running(driver: str | None) -> list[FrozenTrial]:
        trials = (t for t in search.trials() if t.state == TrialState.RUNNING)
        return [t for t in trials if t.user_attrs.get(DRIVER) == driver]

    trials = [t for t in search.trials() if t.state == TrialState.RUNNING]
    drivers = {str(t.user_attrs[DRIVER]) for t in trials if DRIVER in t.user_attrs}
    lost = 0
    for driver in sorted(drivers - {search.driver}):
        lease = claim(store, lease_name(driver), owner=search.driver)
        if lease is not None:
            with lease:  # of two that find it dead, one does this
                for trial in running(driver):
                    give_up(search.study, trial)
                    lost += 1
    for trial in running(None):
        begun = trial.datetime_start
        if begun is not None and datetime.now() - begun > NAMELESS:
            give_up(search.study, trial)
            lost += 1
    return lost


def warm_start(search: Search, history: pa.Table) -> int:
    """Add what the store knows of the space to the study, each point once.

    A trial counts that differs from the search's own in the settings of the space, and in its seed,
    alone: same method, data, profile, everything else. A point's value is the mean over its seeds.

    Args:
        search: whose study is told.
        history: the store's trial rows.

    Returns:
        How many points were added.
    """
    import optuna

    spec = search.spec
    known = {t.user_attrs.get(TRIAL) for t in search.trials()}
    points: dict[str, Point] = {}
    found: dict[str, list[list[float]]] = {}
    for row, point in _candidates(search, history):
        values = values_of(row, spec.metric)
        if values is None:
            continue
        key = text_of(point)
        points[key] = point
        found.setdefault(key, []).append(values)
    added = 0
    for key, point in points.items():
        trial = search.ground.trial(point)
        if trial.id in known:
            continue
        means = [sum(column) / len(column) for column in zip(*found[key], strict=True)]
        search.study.add_trial(
            optuna.create_trial(
                values=means,
                params=encoded(point),
                distributions={name: distribution(spec.space[name]) for name in point},
                user_attrs={
                    TRIAL: trial.id,
                    LABEL: trial.labels[0],
                    ORIGIN: WARM,
                    SEEDS: len(found[key]),
                },
            )
        )
        added += 1
    return added


def _candidates(search: Search, history: pa.Table) -> Iterator[tuple[dict[str, Any], Point]]:
    """Rows of the store that are points of the space, with their points."""
    ground = search.ground
    needed = {"id", "status", "method", "seed", "profile", "data_digest", "skipped"}
    if not needed.issubset(history.column_names):
        return
    mask = [
        status == "done" and digest == ground.data_digest and profile == ground.profile.name
        for status, digest, profile in zip(
            *(history[name].to_pylist() for name in ("status", "data_digest", "profile")),
            strict=True,
        )
    ]
    for row in history.filter(pa.array(mask, pa.bool_())).to_pylist():
        if row["skipped"]:
            continue
        point = ground.spec.contains(_settings(row))
        if point is None:
            continue
        try:
            same = ground.trial(point, seed=row["seed"]).id == row["id"]
        except InputError:
            continue
        if same:
            yield row, point


def _settings(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's settings by name; those that did not matter in its trial are left out."""
    found = {
        name.removeprefix("config."): value
        for name, value in row.items()
        if name.startswith("config.") and value is not None
    }
    return {"method": row["method"], **found}
