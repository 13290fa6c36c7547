"""Where a report's numbers come from, as facts for files that have room for a few words."""

from __future__ import annotations

from collections.abc import Iterable

from camsweep.reports.load import Selection
from camsweep.sweeps.store import Store


def provenance(store: str, selection: Selection) -> dict[str, str]:
    """Store, profile, data set, commits, versions, devices and seeds of the trials.

    Several values are joined by commas, in order.

    Args:
        store: path or URL; its query is left out.
        selection: the trials.
    """
    trials = selection.trials
    return {
        "camsweep.store": str(Store(store)),
        "camsweep.profile": selection.profile,
        "camsweep.data": selection.data_name,
        "camsweep.data_digest": selection.data_digest,
        "camsweep.commits": _list(
            f"{t.commit[:12]}{' (with local changes)' if t.dirty else ''}" for t in trials
        ),
        "camsweep.versions": _list(f"{k} {v}" for t in trials for k, v in t.versions.items()),
        "camsweep.devices": _list(t.device for t in trials),
        "camsweep.seeds": ", ".join(map(str, sorted({t.seed for t in trials}))),
    }


def _list(values: Iterable[str]) -> str:
    return ", ".join(sorted({value for value in values if value})) or "not recorded"
