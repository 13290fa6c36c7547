"""The algorithms and rules on a planted optimum, without Ray and without training."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from synthetic_search import NUMBERS, curve, done, make_search, meanwhile, until_found, worth

from camsweep.platform.searching.journal import journal, turns
from camsweep.platform.searching.rules import Rule, make_scheduler
from camsweep.platform.searching.studies import POPULATION, give_up
from camsweep.sweeps.store import Store

SEEDS = range(20)


def medians(good: float, **settings: Any) -> tuple[float, float]:
    found = [until_found(good, seed=seed, **settings) for seed in SEEDS]
    return median(trials for trials, _ in found), median(epochs for _, epochs in found)


@pytest.fixture(scope="module")
def at_random() -> tuple[float, float]:
    return medians(0.7, algorithm="random", samples=150)


def test_tpe_finds_the_optimum_in_fewer_trials(at_random: tuple[float, float]) -> None:
    trials, _ = medians(0.7, algorithm="tpe", samples=150)
    assert trials < 0.6 * at_random[0], (trials, at_random)


def test_asha_finds_the_optimum_in_fewer_epochs(at_random: tuple[float, float]) -> None:
    trials, epochs = medians(0.7, algorithm="random", scheduler="asha", samples=150)
    assert trials == at_random[0], "the rule must not end the best training"
    assert epochs < 0.5 * at_random[1], (epochs, at_random)


def test_tpe_and_asha_find_it_in_fewer_of_both(at_random: tuple[float, float]) -> None:
    trials, epochs = medians(0.7, algorithm="tpe", scheduler="asha", samples=150)
    assert trials < 0.6 * at_random[0], (trials, at_random)
    assert epochs < 0.3 * at_random[1], (epochs, at_random)


def test_cmaes_finds_the_optimum_in_fewer_trials() -> None:
    at_random = medians(0.9, algorithm="random", samples=120, space=NUMBERS)[0]
    trials = medians(0.9, algorithm="cmaes", samples=120, space=NUMBERS)[0]
    assert trials < 0.7 * at_random, (trials, at_random)


def test_the_median_rule_saves_epochs(at_random: tuple[float, float]) -> None:
    _, epochs = medians(0.7, algorithm="random", scheduler="median", samples=150)
    assert epochs < 0.6 * at_random[1], (epochs, at_random)


def costly(point: Any) -> dict[str, Any]:
    """A row whose cost grows with `p`, which is best at 0.3."""
    return {**done(point), "train_seconds": 100 * point["p"]}


def hypervolume(algorithm: str, seed: int) -> float:
    """The share of the unit square that the front dominates: worth up to 1, seconds below 100."""
    search = make_search(
        algorithm=algorithm,
        metric=["miou", "train_seconds"],
        samples=120,
        space=NUMBERS,
        seed=seed,
    )
    while (found := search.ask()) is not None:
        search.tell(found.number, costly(found.point))
    area, last = 0.0, 0.0
    for value, seconds in sorted((t.values[0], t.values[1]) for t in search.study.best_trials):
        area += max(0.0, value - last) * (1 - seconds / 100)
        last = max(last, value)
    return area


def test_nsga2_finds_a_better_front_than_random_draws() -> None:
    fronts = {a: median(hypervolume(a, seed) for seed in range(10)) for a in ("random", "nsga2")}
    assert fronts["nsga2"] > fronts["random"] + 0.05, fronts


def test_generations_stay_when_more_samples_are_asked_for() -> None:
    storage = InMemoryStorage()
    make_search(storage, algorithm="nsga2", samples=80)
    more = make_search(storage, algorithm="nsga2", samples=400)
    assert more.study.user_attrs[POPULATION] == 10
    drawn(more, 1)
    sampler: Any = more.study.sampler
    assert sampler._population_size == 10


def drawn(search: Any, count: int) -> list[Any]:
    points = []
    for _ in range(count):
        found = search.ask()
        points.append(found.point)
        search.tell(found.number, done(found.point))
    return points


@pytest.mark.parametrize("algorithm", ["random", "tpe", "cmaes", "nsga2"])
def test_a_search_that_was_stopped_goes_on_as_if_not(algorithm: str, tmp_path: Path) -> None:
    settings = {"algorithm": algorithm, "space": NUMBERS, "samples": 30}
    whole = drawn(make_search(**settings), 30)
    points = []
    for _ in range(3):
        with journal(Store(str(tmp_path)), "a" * 64) as storage:
            points += drawn(make_search(storage, **settings), 10)
    assert points == whole


def test_conditional_settings_are_drawn_where_they_belong() -> None:
    search = make_search(algorithm="tpe", samples=60)
    for point in drawn(search, 60):
        assert ("s" in point) == (point["kind"] == "a")


def test_a_small_space_ends_when_all_of_it_is_known() -> None:
    space = {"lr": {"choice": [0.001, 0.01]}, "p": {"int": [0, 2]}}
    search = make_search(algorithm="tpe", samples=50, space=space)
    points = []
    while (found := search.ask()) is not None:
        points.append(str(found.point))
        search.tell(found.number, done({**found.point, "p": 0.1 * found.point["p"]}))
    assert len(points) == len(set(points)) == 6
    assert search.finished_because == "the space has no further points"


def test_what_the_store_knows_is_never_handed_out() -> None:
    search = make_search(algorithm="random", samples=12)
    search.answer = lambda trial_id: {"status": "done", "metric.miou": 0.5}
    assert search.ask() is None
    complete = search.study.get_trials(states=[TrialState.COMPLETE])
    assert [t.value for t in complete] == [0.5] * 12


def test_failed_points_and_broken_metrics_are_no_results() -> None:
    search = make_search(algorithm="tpe", samples=3)
    for row in (
        {"status": "failed", "cause": "training diverged"},
        {"status": "done", "metric.miou": float("nan")},
    ):
        found = search.ask()
        assert found is not None
        search.tell(found.number, row)
    states = [t.state for t in search.trials()]
    assert states == [TrialState.FAIL] * 2
    assert search.trials()[0].user_attrs["cause"] == "training diverged"
    assert search.samples() == 2, "a point that failed was tried"


def test_drivers_share_a_study(tmp_path: Path) -> None:
    """Two that draw at the same time: the second begins while the first is in the middle."""
    store = Store(str(tmp_path))
    with journal(store, "b" * 64) as one, journal(store, "b" * 64) as two:
        turn = turns(store, "b" * 64)
        first, second = (
            make_search(storage, name, turn, algorithm="random", samples=8)
            for storage, name in ((one, "one"), (two, "two"))
        )
        points = []
        for _ in range(4):
            with meanwhile(first.study, second.ask) as other:
                found = first.ask()
            points += [found, other.result(timeout=30)]
            for search, point in zip((first, second), points[-2:], strict=True):
                assert point is not None
                search.tell(point.number, done(point.point))
        assert (first.ask(), second.ask()) == (None, None)
    assert len({str(found.point) for found in points if found}) == 8, "one was drawn twice"


def test_a_torn_journal_is_mended(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with journal(store, "c" * 64) as storage:
        drawn(make_search(storage, algorithm="random"), 3)
    path = tmp_path / "studies" / f"{'c' * 64}.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker_')
    with journal(store, "c" * 64) as storage:
        search = make_search(storage, algorithm="random")
        drawn(search, 1)
        assert search.samples() == 4
    assert path.read_bytes().startswith(whole)


def test_lost_points_are_drawn_first(tmp_path: Path) -> None:
    search = make_search(algorithm="tpe", samples=10)
    first, second = search.ask(), search.ask()
    assert first is not None
    assert second is not None
    search.lose_all()
    again = [search.ask(), search.ask()]
    assert [f.point for f in again if f] == [first.point, second.point]
    assert search.samples() == 2


def test_a_driver_that_was_taken_for_dead_changes_nothing() -> None:
    search = make_search(algorithm="random", samples=5, scheduler="asha")
    points = [search.ask() for _ in range(3)]
    for trial in search.trials():
        give_up(search.study, trial)
    rows = [{"status": "done", "metric.miou": 1.0}, {"status": "stopped"}, {"status": "failed"}]
    for found, row in zip(points, rows, strict=True):
        assert found is not None
        search.report(found.number, 1, 0.5)
        search.tell(found.number, row)
    states = [t.state for t in search.trials()]
    assert states == [TrialState.FAIL] * 3 + [TrialState.WAITING] * 3
    assert search.lose_all() == 0


def test_a_rule_recalls_what_earlier_runs_saw() -> None:
    search = make_search(algorithm="random", samples=9, scheduler="asha")
    for value in (0.9, 0.8, 0.7):
        found = search.ask()
        assert found is not None
        search.report(found.number, 1, curve(value, 1))
        search.tell(found.number, {"status": "done", "metric.miou": value})
    fresh, knowing = (Rule(make_scheduler(search.spec, 9)) for _ in range(2))
    knowing.recall(search.trials(), 1.0)
    assert fresh.goes_on("new", 1, curve(0.1, 1))
    assert not knowing.goes_on("new", 1, curve(0.1, 1))
    assert knowing.goes_on("better", 1, curve(0.95, 1))


def test_no_pickle_is_in_a_journal(tmp_path: Path) -> None:
    with journal(Store(str(tmp_path)), "d" * 64) as storage:
        drawn(make_search(storage, algorithm="cmaes", space=NUMBERS), 12)
    text = (tmp_path / "studies" / f"{'d' * 64}.journal").read_text()
    assert "80049" not in text  # how a pickle begins, in hexadecimal digits
    assert "optimizer" not in text


def test_the_planted_optimum_is_one() -> None:
    assert worth({"lr": 0.01, "p": 0.3, "kind": "a", "s": 200}) == 1
