"""What a variant's trials tell beside its quality: what was measured, the cost, the settings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from camsweep.reports.kinds import MAPS, what_of
from camsweep.reports.known import method_defaults
from camsweep.reports.load import Trial

#: The maps that a trial may take its headline number from, in words.
_MAPS = {"raw": "raw map", "refined": "refined map", "is_cam": "IS-CAM"}
#: How provenance writes a processor; a GPU's name has no cores.
_PROCESSOR = re.compile(r"^cpu$|, \d+ cores$")
#: Told in columns of their own.
_TOLD = frozenset({"method", "seed", "backbone", "map"})


def stage(trial: Trial, metric: str = "miou") -> str:
    """What a metric of a trial is measured on, in words.

    ``raw map``, ``refined map``, ``IS-CAM``; ``pseudo masks`` and ``segmentation`` where the trial
    goes on to them. The headline metrics are those of its last stage, of the map of the config's
    `map`; ``miou_raw`` and its like name their own. A config without it has one map, the raw one.
    """
    what = what_of(trial, metric)
    if what != MAPS:
        return what
    named = metric.removeprefix("miou_") if metric.startswith("miou_") else ""
    kind = named if named in _MAPS else str(trial.config.get("map", "raw"))
    return _MAPS.get(kind, kind)


def on_gpu(trial: Trial) -> bool:
    """Whether a trial ran on a GPU; a row without a device is taken for one of a processor."""
    return bool(trial.device) and not _PROCESSOR.search(trial.device)


def _hours(trials: Iterable[Trial], each: Callable[[Trial], float]) -> float:
    known = [sum(t.seconds.values()) * each(t) for t in trials if t.seconds]
    return sum(known) / 3600 if known else math.nan


def gpu_hours(trials: Sequence[Trial]) -> float:
    """GPU-hours of all stages of all trials; NaN where none ran on a GPU or tells its seconds.

    Each of a trial's workers has a GPU; one that shared it with others counts as if it had not, as
    rows do not tell. A stage that another trial computed before counts as if it were computed again
    where its seconds are kept.
    """
    return _hours([t for t in trials if on_gpu(t)], lambda t: t.workers)


def cpu_hours(trials: Sequence[Trial]) -> float:
    """Core-hours of the trials that ran on no GPU; NaN where none did or tells its seconds."""
    return _hours([t for t in trials if not on_gpu(t)], lambda t: t.workers * t.threads)


def settings(trial: Trial) -> Mapping[str, Any]:
    """The settings that are not the method's own, in the order of their names."""
    defaults = method_defaults(trial.method)
    return {
        name: value
        for name, value in sorted(trial.config.items())
        if name not in _TOLD and not _same(value, defaults, name)
    }


def _same(value: Any, defaults: Mapping[str, Any], name: str) -> bool:
    own = defaults.get(name)
    return name in defaults and type(value) is type(own) and bool(value == own)


def mean(values: Iterable[float]) -> float:
    """The mean of those that are known; NaN where none is."""
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan
