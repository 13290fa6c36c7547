"""Population based training: whose trial is whose, when members are copies of others."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import PopulationBasedTraining
from search_runs import BASE, World
from tiny import build_data, write_profile

from camsweep.methods.training import EpochLog
from camsweep.platform.engine.environment import ray_session
from camsweep.platform.monitor import Monitor
from camsweep.platform.searching import changeable
from camsweep.platform.searching.changeable import explorer
from camsweep.platform.searching.members import State
from camsweep.platform.searching.population import _Driver, search_by_population
from camsweep.platform.searching.run import _session
from camsweep.platform.searching.studies import study_name
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.search import SearchSpec
from camsweep.sweeps.studies import load

RATES = {"lr": {"choice": [0.00001, 0.0001, 0.01, 0.03]}}
PBT: dict[str, Any] = {"scheduler": {"name": "pbt", "images": 4}, "samples": 4, "space": RATES}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return World(folder, build_data(folder, train=16, val=8), write_profile(folder, epochs=2))


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with ray_session(None, 2):
        yield


def outcome(world: World, ground: Any, store: str, monitor: Monitor) -> list[str]:
    """How the members ended; study, store and view must agree on each."""
    storage = load(world.store(store), ground.id)
    assert storage is not None
    study = optuna.load_study(study_name=study_name(ground), storage=storage)
    rows = {row["id"]: row for row in world.rows(store)}
    (metric,) = ground.spec.metric
    ends = []
    for trial in study.trials:
        if trial.user_attrs["origin"] != "drawn":
            continue  # drawn twice
        row = rows[trial.user_attrs["trial"]]
        assert monitor.trials[row["id"]].state == row["status"], row["cause"]
        assert row["labels"] == [trial.user_attrs["label"]]
        if row["status"] == "done":
            assert (trial.state, trial.value) == (TrialState.COMPLETE, row[f"metric.{metric}"])
        else:
            assert (trial.state, row["status"]) == (TrialState.PRUNED, "stopped"), row["cause"]
            assert row["cause"].startswith("population based: settings changed at epoch")
            assert row.get(f"metric.{metric}") is None
        ends.append(row["status"])
    return ends


def schedules(world: World, store: str) -> list[dict[str, Any]]:
    return [row for row in world.rows(store) if row["labels"][0].startswith("schedule from 0: ")]


@pytest.mark.usefixtures("_ray")
def test_a_copy_with_the_same_settings_is_not_the_trial_it_was_copied_from(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changeable, "_moved", lambda dimension, value, draws: value)
    # All wait for each other, so that the worst is copied for certain, however busy the machine.
    together = partial(PopulationBasedTraining, synch=True)
    monkeypatch.setattr("ray.tune.schedulers.PopulationBasedTraining", together)
    ground = world.ground({**BASE, "epochs": 2}, metric="background_iou", **PBT)
    count, monitor = world.run(ground, "copies", in_process=False)
    assert count == 4
    ends = outcome(world, ground, "copies", monitor)
    assert "stopped" in ends, "nobody was copied, so nothing was tried"
    assert len(ends) == 4
    changed = schedules(world, "copies")
    assert {row["status"] for row in changed} == {"stopped"}
    assert all(row["metric.background_iou"] is not None for row in changed)
    assert len(world.rows("copies")) == 4 + len(changed)
    assert world.run(ground, "copies", in_process=False)[0] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_population_changes_its_members_on_the_way(world: World) -> None:
    space = {"lr": {"log": [0.0001, 0.1]}, "p_h": {"uniform": [0.1, 0.9]}}
    ground = world.ground({**BASE, "epochs": 6}, **{**PBT, "space": space})
    count, monitor = world.run(ground, "population", in_process=False)
    assert count == 4
    assert "stopped" in outcome(world, ground, "population", monitor)
    for row in schedules(world, "population"):
        steps = row["labels"][0].removeprefix("schedule ").split("; ")
        said = [step.partition(": ")[2] for step in steps]
        assert all(one != two for one, two in pairwise(said))


@pytest.mark.parametrize(
    ("space", "settings"),
    [
        ({"a": {"choice": [1, 2, 3]}, "b": {"choice": [True, False]}}, {"a": 1, "b": True}),
        ({"a": {"uniform": [0.1, 0.9]}}, {"a": 0.9}),
        ({"a": {"int": [1, 2]}}, {"a": 1}),
        ({"a": {"choice": [[1, 2], [3]]}}, {"a": [3]}),
    ],
)
def test_changed_settings_are_others_and_inside(
    space: dict[str, Any], settings: dict[str, Any]
) -> None:
    spec = SearchSpec(space=space, samples=4)
    explore = explorer(spec, random.Random(0))
    config = {"member": {"number": 7, "settings": settings, "copy": 0}}
    copies = set()
    for _ in range(200):
        found = explore(config)["member"]
        assert found["settings"] != config["member"]["settings"]
        assert spec.contains(found["settings"]) == found["settings"]
        assert found["number"] == 7
        copies.add(found["copy"])
        config = {"member": found}
    assert len(copies) == 200


def test_a_state_notes_every_copy(tmp_path: Path) -> None:
    parent = State()
    parent.take({"lr": 0.1})
    parent.epochs.append(EpochLog(0, {"loss": 1.0}, 0.1, 1.0))
    parent.write(tmp_path)
    again, copy = State.read(tmp_path), State.read(tmp_path)
    again.take({"lr": 0.1})
    assert again.changes == [], "paused and gone on"
    copy.take({"lr": 0.1}, 3)
    assert copy.changes == [1]
    copy.write(tmp_path)
    paused, second = State.read(tmp_path), State.read(tmp_path)
    paused.take({"lr": 0.1}, 3)
    second.take({"lr": 0.1}, 4)
    assert (paused.changes, second.changes) == ([1], [1, 1])


def test_every_member_leaves_a_row_however_it_ends(world: World) -> None:
    ground = world.ground({**BASE, "epochs": 2}, **PBT)
    context = world.context("ends")
    monitor = Monitor(make_plan([], world.profile, "d"))
    with _session(ground, context, load_trials(context.store), monitor) as session:
        members = [found for _ in range(4) if (found := session.next())]
        driver = _Driver(session, {found.number: found for found in members})
        configs = [{"member": {"number": found.number}} for found in members]
        driver.error("a", configs[0], "the trace")
        broke = {"id": "x", "status": "failed", "cause": "not finite", "traceback": "deep"}
        driver.result("b", configs[1], {"row": broke})
        ended = {"id": "y", "status": "stopped", "cause": "population based: changed"}
        driver.result("c", configs[2], {"row": ended})
        other = claim(context.store, members[3].trial.id, owner="another driver")
        assert other is not None
        with other:
            driver.result("d", configs[3], {"row": ended})
    rows = {row["id"]: row for row in world.rows("ends")}
    found = [rows.get(member.trial.id) for member in members]
    assert [row and (row["status"], row["cause"], row["traceback"]) for row in found] == [
        ("failed", "the member's process died (killed, or out of memory)", "the trace"),
        ("failed", "not finite", "deep"),
        ("stopped", "population based: changed", None),
        None,  # whoever runs it writes its row
    ]
    counts = monitor.counts()
    assert (counts["failed"], counts["stopped"]) == (2, 2)


@pytest.mark.filterwarnings("error")
def test_an_epoch_that_a_copy_trains_again_is_noted_once(world: World) -> None:
    ground = world.ground({**BASE, "epochs": 2}, **PBT)
    context = world.context("again")
    monitor = Monitor(make_plan([], world.profile, "d"))
    with _session(ground, context, load_trials(context.store), monitor) as session:
        found = session.next()
        assert found is not None
        for value in (0.5, 0.6):
            session.rung(found.number, 1, value)
        (trial,) = session.search.trials()
        assert trial.intermediate_values == {1: 0.5}


def test_fewer_members_than_a_population_are_not_begun(world: World) -> None:
    ground = world.ground({**BASE, "epochs": 2}, **PBT)
    context = world.context("few")
    monitor = Monitor(make_plan([], world.profile, "d"))
    with _session(ground, context, load_trials(context.store), monitor) as session:
        session.max_trials = 2
        search_by_population(session, SimpleNamespace(), "nowhere")  # type: ignore[arg-type]
        assert session.begun == session.search.samples() == 0
    (line,) = monitor.messages
    assert "pbt trains 4 members or more side by side, --max-trials allows 2" in line
