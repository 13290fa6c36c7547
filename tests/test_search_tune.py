"""Searches under real Ray Tune: its scheduler ends trainings, dead workers cost nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
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
from camsweep.platform.searching.journal import journal
from camsweep.platform.searching.on_tune import search_on_tune
from camsweep.platform.searching.search import Search
from camsweep.platform.searching.session import Session
from camsweep.platform.searching.studies import study_name
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.studies import load

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
        search = Search(ground, storage, "me", lambda trial_id: None, nullcontext)
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


def test_tunes_folder_is_one_that_another_run_may_clear(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the store is shared, the folder lies in it, and stays there after a kill -9."""
    seen: list[Path] = []

    def search(session: Any, longest: int, shape: Any, storage: str, **options: Any) -> None:
        seen.append(Path(storage))
        seen[0].mkdir(parents=True)

    monkeypatch.setattr("camsweep.platform.searching.on_tune.search_on_tune", search)
    world.run(world.ground(), "shared", in_process=False, shared=True)
    (folder,) = seen
    assert folder.parent == world.folder / "shared"
    assert not folder.exists()
    dead = folder.name.replace(f"-{os.getpid()}-", "-4194305-")  # no process has such a number
    assert dead != folder.name
    (folder.parent / dead).mkdir()
    assert world.store("shared").remove_leftovers() == 1


def test_a_search_waits_for_nodes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[Any] = []
    monkeypatch.setattr(
        "camsweep.platform.engine.driver.await_room", lambda *given: waited.append(given)
    )
    monkeypatch.setattr(
        "camsweep.platform.searching.on_tune.search_on_tune", lambda *given, **options: None
    )
    world.run(world.ground(), "waits", in_process=False, wait_for_nodes=7.0)
    assert waited == [(Shape(1, 0.0, 1), 7.0)]
