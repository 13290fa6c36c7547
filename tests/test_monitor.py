from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from camsweep.platform import ledger
from camsweep.platform.context import Progress
from camsweep.platform.ledger import last_run
from camsweep.platform.monitor import Monitor, duration
from camsweep.platform.progress import live_table, view
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store


@pytest.fixture
def monitor() -> Monitor:
    plan = make_plan([load_sweep("cpn/table4")], load_profile("embedded"), "digest", seeds=1)
    return Monitor(plan, slots=2)


def done(monitor: Monitor, index: int, miou: float = 0.5) -> None:
    trial_id = list(monitor.trials)[index]
    monitor.progress(Progress(trial_id, "train", 1, 6, 0.5, 100.0))
    monitor.finished({"id": trial_id, "status": "done", "metric.miou": miou})


def failed(monitor: Monitor, index: int) -> None:
    row = {"id": list(monitor.trials)[index], "status": "failed", "cause": "out of memory"}
    monitor.finished(row)


def test_states_are_counted(monitor: Monitor) -> None:
    assert monitor.counts() == {"waiting": 5, "running": 0, "done": 0, "failed": 0, "stopped": 0}
    assert monitor.seconds_left() is None
    done(monitor, 0, 0.25)
    done(monitor, 1, 0.75)
    failed(monitor, 2)
    monitor.progress(Progress(list(monitor.trials)[3], "train", 2, 6, 0.5, 120.0))
    assert monitor.counts() == {"waiting": 1, "running": 1, "done": 2, "failed": 1, "stopped": 0}
    assert monitor.images_per_second() == 120.0
    best = monitor.best()
    assert best is not None
    assert best.miou == 0.75
    assert monitor.seconds_left() is not None
    assert [t.cause for t in monitor.failures()] == ["out of memory"]


def test_a_trial_ends_once(monitor: Monitor) -> None:
    done(monitor, 0)
    failed(monitor, 0)
    assert monitor.counts()["done"] == 1
    assert monitor.counts()["failed"] == 0


def test_history_gives_the_time_left(monitor: Monitor) -> None:
    monitor.expected = dict.fromkeys(monitor.trials, 10.0)
    assert monitor.seconds_left() == pytest.approx(25.0)


def test_plain_lines_without_a_terminal(monitor: Monitor) -> None:
    console = Console(file=io.StringIO(), width=200)
    with view(monitor, console):
        done(monitor, 0, 0.4321)
        failed(monitor, 1)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "done     cpn/table4 p_h=0.1 seed 0: mIoU 43.21" in said
    assert "failed   cpn/table4 p_h=0.2 seed 0: out of memory" in said
    assert "\x1b" not in said


def test_live_table_in_a_terminal(monitor: Monitor) -> None:
    terminal = Console(file=io.StringIO(), width=100, height=40, force_terminal=True)
    with view(monitor, terminal):
        done(monitor, 0, 0.4321)
        monitor.progress(Progress(list(monitor.trials)[1], "train", 2, 6, 0.125, 50.0))
    drawn = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" in drawn
    assert "ended last" in drawn
    plain = Console(file=io.StringIO(), width=100)
    plain.print(live_table(monitor))
    lines = plain.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert any("1 done  1 running  3 waiting  0 failed" in line for line in lines)
    assert any("p_h=0.2 seed 0" in line and "train 2/6" in line for line in lines)
    assert any("p_h=0.1 seed 0" in line and "43.21" in line for line in lines)


def test_the_ledger_tells_what_runs(
    monitor: Monitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "HEARTBEAT_SECONDS", 0.02)
    store = Store(str(tmp_path))
    assert last_run(store) is None
    with ledger.ledger(store, monitor, "camsweep run x", "data"):
        monitor.progress(Progress(next(iter(monitor.trials)), "train", 2, 6))
        end = time.monotonic() + 10
        run = last_run(store)
        while run is None or all(t["state"] == "waiting" for t in run["trials"].values()):
            assert time.monotonic() < end
            time.sleep(0.01)
            run = last_run(store)
        assert run["alive"]
    after = last_run(store)
    assert after is not None
    assert (after["state"], after["alive"]) == ("stopped", False)


def test_a_run_that_fell_silent_is_not_alive(monitor: Monitor, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    old = {"state": "running", "updated": time.time() - 3600, "trials": {}}
    store.write("runs/20260101-000000-host-1.json", json.dumps(old).encode())
    run = last_run(store)
    assert run is not None
    assert not run["alive"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (120, "2 min"), (7200, "2.0 h"), (200000, "2.3 days")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_a_limit_leaves_out_is_not_waited_for(monitor: Monitor) -> None:
    first, second, *_ = [trial.id for trial in monitor.plan.to_run]
    monitor.finished({"id": first, "status": "done", "metric.miou": 0.5})
    monitor.follow(replace(monitor.plan, chosen=frozenset({first, second})))
    assert set(monitor.trials) == set(monitor.planned) == {first, second}
    assert monitor.counts()["waiting"] == 1
