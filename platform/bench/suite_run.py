"""What sharing stages saves when CPN's whole ablation suite runs on the embedded data, in seconds.

The suite is run once, as planned, with one seed. Every stage's time is measured, and summed twice:
once for each distinct stage, and once for each cell of each table that needs it. Pretraining, which
stands in for a file of weights, is left out of both.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from tempfile import TemporaryDirectory
from typing import Any

from camsweep.platform.bench.suite import ALONE, PAPER, PLANNED, PROFILE
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.errors import InputError
from camsweep.shards.places import Place
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.store import Store

SEEDS = 1


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Run the suite once, which takes an hour on two cores.

    Raises:
        InputError: a trial failed.
    """
    with TemporaryDirectory(prefix="camsweep-bench-") as store:
        words = ["run", PAPER, "--profile", PROFILE, "--seeds", str(SEEDS), "--store", store]
        command = [sys.executable, "-m", "camsweep.platform.cli.main", *words]
        done = subprocess.run(command, stdout=sys.stderr)
        if done.returncode:
            raise InputError(f"bench: suite-run: `camsweep run` ended with {done.returncode}")
        rows = load_trials(Store(store)).to_pylist()
    alone, shared = costs(rows)
    rounds = {ALONE: (alone,), PLANNED: (shared,)}
    cells = sum(map(_cells, rows))
    return Result(
        name="suite-run",
        unit="seconds of stages, measured",
        rounds=rounds,
        ratios=(ratio(rounds, ALONE, PLANNED),),
        notes=(
            f"all sweeps of {PAPER}, profile {PROFILE}, {SEEDS} seed: {cells} cells, {len(rows)} "
            "different trials, each stage measured once; pretraining left out of both",
        ),
    )


def costs(rows: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """Seconds of the stages of every cell on its own, and of the distinct stages.

    Args:
        rows: of `trials`, with `sweeps`, `stage.*` and `seconds.*`.
    """
    alone: float = 0.0
    distinct: dict[str, float] = {}
    for row in rows:
        for name, stage in row.items():
            kind, _, what = name.partition(".")
            cost = row.get(f"seconds.{what}")
            if kind == "stage" and stage and what != "pretrain" and cost is not None:
                alone += cost * _cells(row)
                # A trial may need a stage for more splits than another one does.
                distinct[stage] = max(cost, distinct.get(stage, 0.0))
    return alone, sum(distinct.values())


def _cells(row: Mapping[str, Any]) -> int:
    """Cells of the suite that a trial fills; its row tells those of other papers' sweeps too."""
    return sum(sweep.split("/")[0] == PAPER for sweep in row["sweeps"])
