"""Searches on a tiny data set, for the tests that train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from camsweep.platform.context import RunContext
from camsweep.platform.monitor import Monitor
from camsweep.platform.searching.points import Ground
from camsweep.platform.searching.run import run_search
from camsweep.shards.manifest import load_manifest
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.resources import Resources
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store

SPACE = {"lr": {"log": [0.001, 0.1]}, "p_h": {"uniform": [0.1, 0.9]}}
#: No epoch: the weights as they are drawn, evaluated. Which trials are run is what most tests ask.
BASE = {"method": "cpn", "patches": "grid", "grid_sizes": [56, 112], "epochs": 0}


class World:
    """A data set, a profile, and stores in one folder."""

    def __init__(self, folder: Path, data: Path, profile: Path) -> None:
        self.folder, self.data = folder, data
        self.profile = load_profile(str(profile))
        self.manifest = load_manifest(data)

    def store(self, name: str) -> Store:
        return Store(name if "://" in name else str(self.folder / name))

    def context(self, store: str) -> RunContext:
        return RunContext(
            store=self.store(store),
            data=str(self.data),
            profile=self.profile.name,
            data_name=self.manifest.name,
            data_digest=self.manifest.digest,
        )

    def ground(self, base: Mapping[str, Any] = BASE, **search: Any) -> Ground:
        content = {"space": SPACE, "algorithm": "random", "samples": 3, **search}
        path = self.folder / "mine.yaml"
        path.write_text(yaml.safe_dump({"title": "x", "base": dict(base), "search": content}))
        return Ground(load_sweep(str(path)), self.profile, self.manifest.digest)

    def run(self, ground: Ground, store: str, **options: Any) -> tuple[int, Monitor]:
        """How many points were run, and what the monitor saw."""
        monitor = Monitor(make_plan([], self.profile, self.manifest.digest))
        context = replace(self.context(store), owner="the test")
        count = run_search(
            ground,
            context,
            load_trials(context.store),
            monitor,
            Resources(cpus=1, gpus=0, workers=1),
            **{"in_process": True, **options},
        )
        return count, monitor

    def rows(self, store: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = load_trials(self.store(store)).to_pylist()
        return found


def metrics(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name.startswith("metric.")}
