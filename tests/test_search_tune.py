"""Searches under real Ray Tune: its scheduler ends trainings, dead workers cost nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from search_runs import BASE, World, metrics
from tiny import build_data, write_profile

from camsweep.platform.engine.environment import ray_session
from camsweep.platform.engine.shapes import Shape
from camsweep.platform.monitor import Monitor
from camsweep.platform.searching.journal import journal, load
from camsweep.platform.searching.on_tune import search_on_tune
from camsweep.platform.searching.search import Search, study_name
from camsweep.platform.searching.session import Session
from camsweep.sweeps.plan import make_plan

EPOCHS = 6


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return World(folder, build_data(folder, train=16, val=8), write_profile(folder, epochs=2))


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with ray_session(None, 2):
        yield


def leftovers() -> list[Any]:
    """Actors and placement groups that still live."""
    import ray
    from ray._private.state import actors

    groups = ray.util.placement_group_table().values()
    return [
        *(a for a in actors().values() if a["State"] != "DEAD"),
        *(g for g in groups if g["state"] != "REMOVED"),
    ]


def study(world: World, ground: Any, store: str) -> optuna.Study:
    storage = load(world.store(store), ground.id)
    assert storage is not None
    return optuna.load_study(study_name=study_name(ground), storage=storage)


def test_asha_ends_the_worse_trainings_of_a_planted_optimum(world: World, tmp_path: Path) -> None:
    ground = world.ground(
        {**BASE, "epochs": EPOCHS},
        space={"lr": {"log": [0.0001, 1.0]}, "p_h": {"uniform": [0.1, 0.9]}},
        algorithm="tpe",
        scheduler="asha",
        samples=16,
    )

    def point(config: dict[str, Any], **given: Any) -> None:
        """A training that costs nothing; best at lr 0.01 and p_h 0.3."""
        import math

        from ray import tune

        trial = config["trial"]
        value = 1 - math.log10(trial.config.lr / 0.01) ** 2 - (trial.config.p_h - 0.3) ** 2
        for epoch in range(1, EPOCHS):
            tune.report({"epoch": epoch, "value": value * (1 - math.exp(-3 * epoch / EPOCHS))})
        row = {"id": trial.id, "status": "done", "metric.miou": value, "cause": None}
        tune.report({"row": row})

    context = world.context("planted")
    monitor = Monitor(make_plan([], world.profile, world.manifest.digest))
    with journal(context.store, ground.id) as storage:
        search = Search(ground, storage, "me", lambda trial_id: None)
        session = Session(search, context, monitor)
        search_on_tune(session, EPOCHS, Shape(1, 0.0, 1), str(tmp_path), slots=2, point=point)
        trials = search.trials()
    assert [t.state for t in trials].count(TrialState.RUNNING) == 0
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    assert len(complete) + len(pruned) == 16
    assert len(pruned) >= 4, "two in three should be ended on the way"
    assert search.study.best_value > 0.7
    counts = monitor.counts()
    assert (counts["done"], counts["stopped"]) == (len(complete), len(pruned))
    rows = world.rows("planted")
    assert {row["status"] for row in rows} == {"stopped"}, "the made-up trainings write no rows"
    assert {row["id"] for row in rows} == {t.user_attrs["trial"] for t in pruned}
    assert all(row["cause"].startswith("ended early by asha after") for row in rows)
    assert not leftovers()


def test_points_on_tune_equal_those_of_one_process(world: World) -> None:
    ground = world.ground({**BASE, "epochs": 1}, samples=2)
    count, monitor = world.run(ground, "tune", in_process=False)
    assert count == 2
    assert monitor.counts()["done"] == 2
    world.run(ground, "here")
    here = {row["id"]: metrics(row) for row in world.rows("here")}
    assert {row["id"]: metrics(row) for row in world.rows("tune")} == here
    assert [t.params for t in study(world, ground, "tune").trials] == [
        t.params for t in study(world, ground, "here").trials
    ]
    assert not leftovers()


@pytest.mark.slow
def test_a_population_changes_its_members_on_the_way(world: World) -> None:
    ground = world.ground(
        {**BASE, "epochs": 4},
        scheduler={"name": "pbt", "images": 8},
        samples=4,
        space={"lr": {"log": [0.0001, 0.1]}, "p_h": {"uniform": [0.1, 0.9]}},
    )
    count, monitor = world.run(ground, "population", in_process=False)
    assert count == 4
    counts = monitor.counts()
    assert counts["done"] + counts["stopped"] == 4
    assert counts["stopped"] >= 1
    for row in world.rows("population"):
        if row["status"] == "stopped":
            assert row["cause"].startswith("population based: settings changed at epoch")
            assert row["labels"][0].startswith("schedule from 0: ")
        else:
            trial = ground.trial({"lr": row["config.lr"], "p_h": row["config.p_h"]})
            assert trial.id == row["id"], "a member that was never changed is a trial like others"
    assert not leftovers()
