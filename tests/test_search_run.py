"""Searches that train, one trial after another: rows, resuming, warm starts, early ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from s3_server import Bucket, s3, server  # noqa: F401  (fixtures)
from search_runs import BASE, World, metrics
from synthetic_search import meanwhile
from tiny import build_data, write_profile

from camsweep.platform.attempts import Job, run_job
from camsweep.platform.monitor import Monitor
from camsweep.platform.searching.beginnings import lease_name
from camsweep.platform.searching.run import _session, planned_search
from camsweep.platform.searching.rungs import Watch
from camsweep.platform.searching.studies import study_name
from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.results import done_ids, is_done, load_trials
from camsweep.sweeps.studies import DRIVER, load


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return World(folder, build_data(folder, train=16, val=8), write_profile(folder, epochs=2))


def study(world: World, ground: Any, store: str) -> optuna.Study:
    storage = load(world.store(store), ground.id)
    assert storage is not None
    return optuna.load_study(study_name=study_name(ground), storage=storage)


def test_a_search_runs_trials_and_goes_on_where_it_was(world: World) -> None:
    ground = world.ground()
    count, monitor = world.run(ground, "plain", max_trials=2)
    assert count == 2
    assert monitor.counts()["done"] == 2
    assert planned_search(ground, world.store("plain"))["to_run"] == 1
    count, _ = world.run(ground, "plain")
    assert count == 1
    count, _ = world.run(ground, "plain")
    assert count == 0
    rows = world.rows("plain")
    assert [row["status"] for row in rows] == ["done"] * 3
    assert all(row["sweeps"] == ["mine"] for row in rows)
    labels = {row["labels"][0]: row for row in rows}
    for trial in study(world, ground, "plain").trials:
        row = labels[trial.user_attrs["label"]]
        assert trial.state == TrialState.COMPLETE
        assert trial.value == row["metric.miou"]
        assert trial.user_attrs["trial"] == row["id"]
        assert row["config.lr"] == pytest.approx(trial.params["lr"], rel=1e-4)


def test_what_the_store_knows_is_a_warm_start(world: World) -> None:
    ground = world.ground(samples=2)
    context = world.context("warm")
    for seed in (0, 1):
        trial = ground.trial({"lr": 0.02, "p_h": 0.4}, seed=seed)
        run_job(Job((trial,)), context, lambda progress: None, lambda row: None)
    outside = ground.trial({"lr": 0.5, "p_h": 0.4})
    run_job(Job((outside,)), context, lambda progress: None, lambda row: None)
    world.run(ground, "warm", max_trials=1)
    world.run(ground, "warm")
    trials = study(world, ground, "warm").trials
    warm = [t for t in trials if t.user_attrs["origin"] == "warm start"]
    assert len(warm) == 1, "once, and not what lies outside"
    assert warm[0].params == {"lr": 0.02, "p_h": 0.4}
    seeds = [r["metric.miou"] for r in world.rows("warm") if r["config.lr"] == 0.02]
    assert warm[0].value == pytest.approx(sum(seeds) / 2)
    assert len(trials) == 3, "two samples beside it"


def test_a_point_that_breaks_is_recorded_and_the_search_goes_on(world: World) -> None:
    ground = world.ground(
        {**BASE, "epochs": 1}, space={"lr": {"choice": [0.01, 1.0e30]}}, samples=2
    )
    _, monitor = world.run(ground, "broken")
    assert monitor.counts() == {"waiting": 0, "running": 0, "done": 1, "failed": 1, "stopped": 0}
    by_state = {t.state: t for t in study(world, ground, "broken").trials}
    assert "not finite" in by_state[TrialState.FAIL].user_attrs["cause"]
    assert world.run(ground, "broken")[0] == 0


def test_a_training_that_is_ended_early_goes_on_later(world: World) -> None:
    ground = world.ground({**BASE, "epochs": 3})
    trial = ground.trial({"lr": 0.02, "p_h": 0.5})
    asked: list[int] = []

    def goes_on(epoch: int, value: float) -> bool:
        asked.append(epoch)
        return epoch < 2

    watch = Watch("miou", 4, goes_on, lambda epoch: f"ended after {epoch}")
    rows: list[Any] = []
    run_job(Job((trial,), watch.run), world.context("early"), lambda progress: None, rows.append)
    (row,) = world.rows("early")
    assert asked == [1, 2]
    assert (row["id"], row["status"], row["cause"]) == (trial.id, "stopped", "ended after 2")
    assert row["attempts"] == 1, "an early end is no failure to be tried again"
    assert not is_done(row)
    assert trial.id not in done_ids(load_trials(world.store("early")))
    # Whoever needs the whole trial goes on from its checkpoint, with the result of a quiet run.
    found = []
    for name in ("early", "quiet"):
        seen: list[Any] = []
        run_job(Job((trial,)), world.context(name), seen.append, rows.append)
        found.append(metrics(rows[-1]))
        trained = [p.done for p in seen if p.phase == "train"]
        assert trained == ([3] if name == "early" else [1, 2, 3])
    assert found[0] == found[1]


def test_measuring_on_the_way_changes_no_result(world: World) -> None:
    ground = world.ground(
        {**BASE, "epochs": 2}, samples=1, scheduler={"name": "median", "images": 4}
    )
    world.run(ground, "watched")
    (row,) = world.rows("watched")
    point = {"lr": row["config.lr"], "p_h": row["config.p_h"]}
    rows: list[Any] = []
    run_job(
        Job((ground.trial(point),)), world.context("unwatched"), lambda progress: None, rows.append
    )
    assert rows[0]["id"] == row["id"]
    assert metrics(rows[0]) == metrics(row)
    assert list(study(world, ground, "watched").trials[0].intermediate_values) == [1]


def test_points_of_a_dead_driver_come_again_and_those_of_a_living_do_not(world: World) -> None:
    ground = world.ground()
    world.run(ground, "lost", max_trials=1)
    found = study(world, ground, "lost")
    alive = claim(world.store("lost"), lease_name("living"), owner="x")
    assert alive is not None
    with alive:
        for driver, rate in (("dead", 0.03), ("living", 0.04)):
            found.enqueue_trial({"lr": rate, "p_h": 0.5})
            trial = found.ask()
            trial.suggest_float("lr", 0.001, 0.1, log=True)
            trial.suggest_float("p_h", 0.1, 0.9)
            trial.set_user_attr(DRIVER, driver)
        count, monitor = world.run(ground, "lost")
    assert count == 1, "3 samples: one is done, one is the living driver's"
    assert any("1 points of a dead driver again" in line for line in monitor.messages)
    assert {row["config.lr"] for row in world.rows("lost")} >= {0.03}
    assert 0.04 not in {row["config.lr"] for row in world.rows("lost")}


def test_two_drivers_never_draw_the_same_point(world: World) -> None:
    ground = world.ground(samples=2)
    context = world.context("two")
    history = load_trials(context.store)
    monitors = [Monitor(make_plan([], world.profile, "d")) for _ in range(2)]
    one, two = (_session(ground, context, history, monitor) for monitor in monitors)
    with one as first, two as second:
        with meanwhile(first.search.study, second.next) as other:
            found = first.next()
        point = other.result(timeout=30)
        assert found is not None
        assert point is not None
        assert found.point != point.point
        assert first.next() is None
    assert world.run(ground, "two")[0] == 2, "what they gave up is drawn again"
    assert len(world.rows("two")) == 2


def test_a_damaged_journal_is_one_line(world: World) -> None:
    ground = world.ground(samples=1)
    world.run(ground, "damaged", max_trials=0)
    path = world.folder / "damaged" / "studies" / f"{ground.id}.journal"
    path.write_text("hello\n" + path.read_text())
    with pytest.raises(InputError, match=r"no journal of Optuna's .*move it away"):
        world.run(ground, "damaged")


def test_a_search_lives_in_a_bucket(world: World, s3: Bucket, tmp_path: Path) -> None:  # noqa: F811
    url = s3.url("results")
    ground = world.ground(samples=2)
    world.run(ground, url, max_trials=1)
    name = f"results/studies/{ground.id}.journal"
    assert name in s3.objects()
    # Another node: what it has of the journal is what the bucket has.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMSWEEP_CACHE", str(tmp_path))
        assert planned_search(ground, world.store(url))["in_study"] == 1
        busy = claim(world.store(url), f"study-{ground.id}", owner="another")
        assert busy is not None
        with busy, pytest.raises(InputError, match="another driver has this search"):
            world.run(ground, url)
        assert world.run(ground, url)[0] == 1
    assert len(world.rows(url)) == 2
