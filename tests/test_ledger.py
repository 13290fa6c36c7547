"""The ledger: run files, the state of every trial, and what `camsweep status` says of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from camsweep.platform import ledger as ledger_module
from camsweep.platform import liveness, runfiles
from camsweep.platform.cli.main import main
from camsweep.platform.context import Progress
from camsweep.platform.ledger import last_run, ledger
from camsweep.platform.liveness import look
from camsweep.platform.monitor import Monitor
from camsweep.platform.runfiles import KEPT_RUNS, read_plans, read_runs
from camsweep.platform.states import Entry, count_states, ledger_states
from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing import leases
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.leasing.processes import Process, this_process
from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.results import load_trials, write_trial
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import trial_table

RUN = """
import sys, time
from camsweep.platform import ledger as module
from camsweep.platform.context import Progress
from camsweep.platform.monitor import Monitor
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store
store = Store(sys.argv[1])
plan = make_plan([load_sweep("cpn/table4")], load_profile("embedded"), "digest", seeds=1)
monitor = Monitor(plan)
module.HEARTBEAT_SECONDS = 0.05
with module.ledger(store, monitor, "camsweep run cpn/table4", "data"):
    first = plan.trials[0].id
    claim(store, first, owner="driver")
    monitor.progress(Progress(first, "train", 2, 6))
    while b'"train"' not in store.read("runs/" + store.names("runs")[0]):
        time.sleep(0.02)
    print("going", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def plan() -> Plan:
    return make_plan([load_sweep("cpn/table4")], load_profile("embedded"), "digest", seeds=1)


def row(plan: Plan, index: int, status: str = "done", **columns: Any) -> dict[str, Any]:
    """A row of the plan's trial, as a worker writes it."""
    trial = plan.trials[index]
    values: dict[str, Any] = {
        "id": trial.id,
        "sweeps": trial.sweeps,
        "labels": trial.labels,
        "method": trial.config.method,
        "seed": trial.config.seed,
        "status": status,
        "attempts": 1,
        "cause": None if status == "done" else "out of memory",
        "overrides": {},
        "profile": plan.profile.name,
        "data_digest": plan.data_digest,
        "finished": datetime.now(UTC),
        **({"metric.miou": 0.5} if status == "done" else {}),
    }
    return values | columns


def put(store: Store, values: dict[str, Any]) -> None:
    write_trial(store, values["id"], {"trials": trial_table(values)})


def entries(store: Store) -> list[Entry]:
    return ledger_states(store, load_trials(store).to_pylist(), look(store))


def states(store: Store) -> dict[str, int]:
    return {state: n for state, n in count_states(entries(store)).items() if n}


def begun(plan: Plan) -> Monitor:
    """A monitor of a run whose first trial has begun."""
    monitor = Monitor(plan)
    monitor.progress(Progress(plan.trials[0].id, "train", 2, 6))
    return monitor


def rewrite(store: Store, **changes: Any) -> None:
    """Change what the newest run's file says."""
    name = f"runs/{store.names('runs')[-1]}"
    store.write(name, json.dumps({**json.loads(store.read(name)), **changes}).encode())


def test_every_state_in_turn(store: Store, plan: Plan) -> None:
    with ledger(store, begun(plan), "camsweep run cpn/table4", "data"):
        assert states(store) == {"planned": 5}
        with claim(store, plan.trials[0].id, owner="driver") or pytest.fail("no lease"):
            assert states(store) == {"planned": 4, "leased": 1}
            (leased,) = [e for e in entries(store) if e.state == "leased"]
            assert leased.id == plan.trials[0].id
            assert leased.holder is not None
            assert leased.holder.owner == "driver"
            assert leased.runs == tuple(look(store).live)
            put(store, row(plan, 0))
            assert states(store) == {"planned": 4, "done": 1}
        put(store, row(plan, 1, "failed"))
        assert states(store) == {"planned": 3, "done": 1, "failed": 1}
        with claim(store, plan.trials[1].id, owner="driver") or pytest.fail("no lease"):
            assert states(store) == {"planned": 3, "done": 1, "leased": 1}
        put(store, row(plan, 2, "stopped"))
    # The run is over: what it planned and did not do is still known as planned.
    assert states(store) == {"planned": 2, "done": 1, "failed": 1, "stopped": 1}
    assert look(store).live == frozenset()


def test_a_result_of_an_older_recipe_is_superseded(store: Store, plan: Plan) -> None:
    old, new = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    put(store, row(plan, 0, id="old", finished=old))
    assert states(store) == {"done": 1}
    put(store, row(plan, 0, "failed", id="new", finished=new))
    assert states(store) == {"done": 1, "failed": 1}  # a failure takes no result's place
    put(store, row(plan, 0, id="new", finished=new))
    assert {e.id: e.state for e in entries(store)} == {"old": "superseded", "new": "done"}
    put(store, row(plan, 1, "failed", id="bad", finished=old))
    put(store, row(plan, 1, "failed", id="worse", finished=new))
    assert states(store) == {"superseded": 2, "done": 1, "failed": 1}


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"profile": "voc12"},
        {"data_digest": "another"},
        {"overrides": {"epochs": "3"}},
        {"labels": ["p_h=0.9"]},
        {"finished": datetime(2025, 1, 1, tzinfo=UTC)},
    ],
    ids=["seed", "profile", "data", "set", "cell", "older"],
)
def test_what_is_not_of_the_same_cell_supersedes_nothing(
    store: Store, plan: Plan, other: dict[str, Any]
) -> None:
    put(store, row(plan, 0, id="old", finished=datetime(2026, 1, 1, tzinfo=UTC)))
    put(store, row(plan, 0, **{"id": "new", **other}))
    found = {e.id: e.state for e in entries(store)}
    assert found["old"] == "done"


def test_one_cell_that_has_nothing_newer_keeps_a_result(store: Store, plan: Plan) -> None:
    old = datetime(2026, 1, 1, tzinfo=UTC)
    both = {"sweeps": ["cpn/table4", "cpn/fig6"], "labels": ["p_h=0.1", "s_n=200"]}
    put(store, row(plan, 0, **{"id": "old", "finished": old, **both}))
    put(store, row(plan, 0, id="new", sweeps=["cpn/table4"], labels=["p_h=0.1"]))
    assert states(store) == {"done": 2}
    put(store, row(plan, 0, id="more", sweeps=["cpn/fig6"], labels=["s_n=200"]))
    assert states(store) == {"done": 2, "superseded": 1}


def test_a_plan_gives_way_to_newer_results_only(store: Store, plan: Plan) -> None:
    put(store, row(plan, 0, id="old", finished=datetime(2026, 1, 1, tzinfo=UTC)))
    with ledger(store, begun(plan), "camsweep run", "data"):
        assert states(store) == {"planned": 5, "done": 1}
        put(store, row(plan, 0, id="new"))
        assert states(store) == {"planned": 4, "superseded": 2, "done": 1}


def test_two_drivers_have_two_files(store: Store, plan: Plan) -> None:
    with (
        ledger(store, begun(plan), "camsweep run a", "data"),
        ledger(store, begun(plan), "camsweep run b", "data"),
    ):
        seen = look(store)
        assert len(seen.live) == 2
        assert {r.content["command"] for r in seen.runs} == {"camsweep run a", "camsweep run b"}
        assert states(store) == {"planned": 5}
        assert all(len(e.runs) == 2 for e in entries(store))
    assert [r.content["state"] for r in read_runs(store)] == ["stopped", "stopped"]


def test_a_run_that_never_began_leaves_nothing(store: Store, plan: Plan) -> None:
    with ledger(store, Monitor(plan), "camsweep run", "data"):
        assert states(store) == {"planned": 5}
    assert read_runs(store) == []
    assert store.names("plans") == []


def test_a_plan_that_grows_is_written_again(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "HEARTBEAT_SECONDS", 0.02)
    more = make_plan([load_sweep("cpn/table4")], load_profile("embedded"), "digest", seeds=2)
    monitor = begun(plan)
    with ledger(store, monitor, "camsweep run", "data"):
        assert states(store) == {"planned": 5}
        monitor.plan_for(more.trials)
        end = time.monotonic() + 10
        while states(store) != {"planned": 10}:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_heartbeats_tell_where_trials_are(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "HEARTBEAT_SECONDS", 0.02)
    monitor = Monitor(plan)
    with ledger(store, monitor, "camsweep run", "data"):
        monitor.progress(Progress(plan.trials[3].id, "train", 4, 6, node="far"))
        end = time.monotonic() + 10
        while not (trials := read_runs(store)[-1].content["trials"]):
            assert time.monotonic() < end
            time.sleep(0.01)
    (told,) = trials.values()
    assert (told["phase"], told["done"], told["total"], told["node"]) == ("train", 4, 6, "far")
    assert read_runs(store)[-1].content["counts"]["waiting"] == 4


def test_a_killed_driver_is_seen_at_once(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [sys.executable, "-c", RUN, store.url]
    with subprocess.Popen(argv, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "going\n"
        assert main(["status", "--store", store.url]) == 0
        alive = capsys.readouterr().out
        assert f"(pid {run.pid}): camsweep run cpn/table4" in alive
        assert "0 done, 0 failed, 1 leased, 4 planned" in alive
        assert "running: cpn/table4 p_h=0.1 seed 0  train 2/6" in alive
        assert f"{this_process().host} holds 1:" in alive
        run.kill()
        run.wait(10)
        began = time.monotonic()
        assert main(["status", "--store", store.url]) == 0
        assert time.monotonic() - began < 5
    dead = capsys.readouterr().out
    assert "0 done, 0 failed, 5 planned" in dead
    assert "last run stopped" in dead
    assert "was running: cpn/table4 p_h=0.1 seed 0  train 2/6" in dead
    assert f"given up by {this_process().host} (pid {run.pid}), which died: cpn/table4 p_h" in dead
    assert "run the same command to go on" in dead
    assert main(["status", "--store", store.url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["states"]["planned"] == 5
    assert [r["alive"] for r in told["runs"]] == [False]
    assert told["last_run"]["command"] == "camsweep run cpn/table4"
    assert [h["pid"] for h in told["dead_leases"]] == [run.pid]
    # The next driver goes on with it.
    again = claim(store, told["dead_leases"][0]["name"], owner="next")
    assert again is not None
    again.release()


def test_a_driver_elsewhere_is_believed_dead_after_a_beat_that_did_not_come(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (runfiles, ledger_module, liveness):
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.4)
    monkeypatch.setattr(liveness, "LOOK_SECONDS", 0.1)
    far = Process("far", "its boot", 17, "123")
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "this_process", lambda: far)
        with ledger(store, begun(plan), "camsweep run", "data"):
            # Its clock is an hour behind ours, but it beats.
            now = time.time
            patch.setattr(time, "time", lambda: now() + 3600)
            assert len(look(store).live) == 1
    rewrite(store, state="running", updated=0.0)
    assert look(store).live == frozenset()
    rewrite(store, state="running", updated=time.time())
    assert len(look(store).live) == 1


def test_a_lease_elsewhere_whose_holder_fell_silent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(liveness, "LOOK_SECONDS", 0.05)
    with monkeypatch.context() as patch:
        patch.setattr(leases, "this_process", lambda: Process("far", "its boot", 17, "123"))
        far = claim(store, "a", owner="far", seconds=1.0)
    assert far is not None
    leases._heart.remove(far)
    assert [h.name for h in look(store).leases] == ["a"]
    time.sleep(1.2)
    assert [h.name for h in look(store).dead] == ["a"]
    leases._heart.add(far)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert [h.name for h in look(store).leases] == ["a"]
    far.release()


def test_old_runs_are_forgotten_and_live_ones_are_not(store: Store, plan: Plan) -> None:
    for _ in range(KEPT_RUNS + 3):
        with ledger(store, begun(plan), "camsweep run", "data"):
            pass
    with ledger(store, begun(plan), "the last", "data"):
        runs = read_runs(store)
        assert len(runs) == KEPT_RUNS + 1
        assert runs[-1].content["command"] == "the last"
        assert set(read_plans(store, runs)) == {run.name for run in runs}
        assert len(store.names("plans")) == len(runs)


def test_files_of_a_newer_version_are_one_line(
    store: Store, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    with ledger(store, begun(plan), "camsweep run", "data"):
        pass
    rewrite(store, version=99)
    assert main(["status", "--store", store.url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "written by a newer camsweep (run files of format 99" in line
    with pytest.raises(InputError, match="newer"), ledger(store, begun(plan), "run", "data"):
        pass
    store.delete(f"runs/{store.names('runs')[-1]}")
    store.write("leases/x.1", b'0\n{"version": 99}')
    assert main(["status", "--store", store.url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "leases/x.1: written by a newer camsweep" in line


def test_the_run_file_of_an_older_version_is_read(store: Store) -> None:
    old = {"state": "running", "updated": time.time() - 3600, "trials": {}, "command": "x"}
    store.write("runs/20260101-000000-host-1.json", json.dumps(old).encode())
    run = last_run(store)
    assert run is not None
    assert not run["alive"]
    assert entries(store) == []


def test_a_full_disk_does_not_end_the_run(
    store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", full)
    with ledger(store, begun(plan), "camsweep run", "data"):
        pass
