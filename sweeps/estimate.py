"""How long a plan will take, from what the store has measured; unknown where it has nothing."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from camsweep.sweeps.plan import Plan, PlannedTrial


def seconds_by_trial(plan: Plan, history: pa.Table) -> dict[str, float] | None:
    """Expected seconds of every trial to run, without what it shares with others.

    A trial's history is the median of done trials of the same profile, method and patches;
    method and profile alone serve where there is none of the same patches.

    Args:
        plan: what is to run.
        history: the store's trial rows.

    Returns:
        Seconds by trial id, or None when any trial has no history at all.
    """
    table = _medians(history.to_pylist())
    seconds: dict[str, float] = {}
    trained: set[str] = set()
    for trial in plan.to_run:
        known = next((table[key] for key in _keys(plan, trial) if key in table), None)
        if known is None:
            return None
        training, rest = known
        shared = trial.stages["train"] in trained
        trained.add(trial.stages["train"])
        seconds[trial.id] = rest if shared else training + rest
    return seconds


def estimate(plan: Plan, history: pa.Table, concurrent: int) -> float | None:
    """Wall-clock seconds for the plan with `concurrent` trials at a time, or None if unknown."""
    seconds = seconds_by_trial(plan, history)
    if seconds is None:
        return None
    return round(sum(seconds.values()) / max(1, concurrent), 1)


def _keys(plan: Plan, trial: PlannedTrial) -> list[tuple[object, ...]]:
    method, patches = trial.config.method, getattr(trial.config, "patches", None)
    return [(plan.profile.name, method, patches), (plan.profile.name, method, "any")]


def _medians(rows: Iterable[dict[str, Any]]) -> dict[tuple[object, ...], tuple[float, float]]:
    """Median seconds of training and of what follows; pretraining is shared by nearly all."""
    groups: dict[tuple[object, ...], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        if row["status"] != "done":
            continue
        parts = (row.get("seconds.train") or 0.0, row.get("seconds.evaluate") or 0.0)
        groups[row["profile"], row["method"], row.get("config.patches")].append(parts)
        groups[row["profile"], row["method"], "any"].append(parts)
    return {
        key: (statistics.median(p[0] for p in parts), statistics.median(p[1] for p in parts))
        for key, parts in groups.items()
    }
