"""Scaling and the suite that was run: what of them is arithmetic, and one small run."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from camsweep.platform.bench import scaling, suite_run
from camsweep.platform.bench.scheduling import planned
from camsweep.platform.context import Progress
from camsweep.shards.errors import InputError


def test_only_what_ran_while_all_slots_were_there_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of trials count, also of those that had not ended."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    plan = planned(4)
    clock = scaling.Clock(plan, slots=2)
    first, second, third, _ = (trial.id for trial in plan.trials)
    clock.hear("slot", "a", 1)
    clock.hear("progress", Progress(first, "train", 0, 1))  # 5 s before there are two slots
    now[0] = 105.0
    with pytest.raises(InputError, match="not all slots"):
        clock.busy()
    assert math.isinf(clock.stopped)
    clock.hear("slot", "a", 1)
    clock.hear("progress", Progress(second, "train", 0, 1))
    now[0] = 120.0
    clock.hear("row", {"id": first, "status": "done", "metric.miou": 0.5})
    now[0] = 125.0
    clock.hear("row", {"id": second, "status": "done", "metric.miou": 0.5})
    now[0] = 130.0
    clock.hear("progress", Progress(third, "train", 0, 1))
    assert clock.stopped == 105 + scaling.ROUNDS * scaling.SLEEP
    assert clock.busy() == pytest.approx(15 + 20 + (clock.stopped - 130))


def test_a_run_stops_after_enough_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an interrupt of the main thread, as news come in another."""
    asked: list[bool] = []
    monkeypatch.setattr(scaling._thread, "interrupt_main", lambda: asked.append(True))
    plan = planned(3)
    clock = scaling.Clock(plan, enough=2)
    row: dict[str, Any] = {"status": "done", "metric.miou": 0.5}
    clock.finished({"id": plan.trials[0].id, **row})
    clock.finished({"id": plan.trials[0].id, **row})  # twice is once
    assert not asked
    clock.finished({"id": plan.trials[1].id, **row})
    assert asked == [True]


def test_a_part_that_fails_is_one_line() -> None:
    """Its last words, and what it was."""
    with pytest.raises(InputError, match=r"scaling: sleep x failed \(ValueError"):
        scaling._measured("sleep", "x")  # type: ignore[arg-type]


def test_the_driver_with_its_trials_planned() -> None:
    """One real run, as the benchmark makes it: the most it held, and its own share."""
    held, own = scaling._measured("plan", 20)
    assert 50 < own < held < 5000


def test_shared_stages_cost_once_and_each_cell_on_its_own() -> None:
    """Pretraining is left out of both; a trial in two of the paper's tables is two cells."""
    rows = [
        {
            "sweeps": ["cpn/table1", "cpn/fig5", "sipe/table1", "study/directions"],
            "stage.pretrain": "p",
            "seconds.pretrain": 1000.0,
            "stage.train": "t",
            "seconds.train": 10.0,
            "stage.localize": "l",
            "seconds.localize": None,
            "stage.evaluate": "e1",
            "seconds.evaluate": 1.0,
        },
        {
            "sweeps": ["cpn/table5"],
            "stage.train": "t",
            "seconds.train": 9.0,
            "stage.refine": "r",
            "seconds.refine": 3.0,
            "stage.evaluate": "e2",
            "seconds.evaluate": 1.0,
        },
    ]
    alone, shared = suite_run.costs(rows)
    assert alone == 2 * (10 + 1) + (9 + 3 + 1)
    assert shared == 10 + 1 + 3 + 1


def test_a_suite_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the exit status of `camsweep run`."""
    monkeypatch.setattr(suite_run, "PROFILE", "nosuch")
    with pytest.raises(InputError, match="ended with 2"):
        suite_run.run(None, 0.0, 1)
