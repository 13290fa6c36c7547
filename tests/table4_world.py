"""A small store of CPN's table 4, for tests of what stands in an artefact and what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import synthetic_store as synthetic

from camsweep.reports.artefacts import fill
from camsweep.reports.filled import Filled
from camsweep.reports.load import Selection, choose, read_trials
from camsweep.reports.measure import Measurements
from camsweep.reports.spec import shipped
from camsweep.sweeps.store import Store

TABLE4 = ("cpn/table4",)
CELLS = [("cpn/table4", f"p_h=0.{i}") for i in range(1, 6)]


def make(folder: Path, **given: Any) -> Store:
    return synthetic.make(folder, **{"sweeps": TABLE4, "images": 8, "seeds": (0, 1), **given})


def selection_of(store: Store) -> Selection:
    return choose(read_trials(store), None, None)


def filled_of(store: Store, name: str = "cpn/table4", url: str = "STORE") -> Filled:
    selection = selection_of(store)
    measurements = Measurements(store, selection.trials, resamples=20)
    return fill(shipped()[name], selection, measurements, url)
