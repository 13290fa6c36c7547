"""Searches as exhibits: what a report says of them, what it survives, and the run it proposes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic_store
import synthetic_studies as made
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState
from search_runs import World
from tiny import build_data, write_profile

from camsweep.platform.attempts import Job, run_job
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.load import Selection, choose, read_trials
from camsweep.reports.searches.exhibits import search_exhibits
from camsweep.shards.errors import InputError
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store

NOTHING = Selection("embedded", "embedded", "ab12cd34ef", (), ())


def shown(folder: Path, selection: Selection = NOTHING, **options: Any) -> dict[str, Exhibit]:
    store = Store(str(folder))
    found = search_exhibits(store, selection, "STORE", **{"say": lambda line: None, **options})
    return {exhibit.id: exhibit for exhibit in found}


def names(exhibit: Exhibit) -> list[str]:
    return [drawn.name for drawn in exhibit.figures]


def records(exhibit: Exhibit, name: str) -> list[dict[str, Any]]:
    return [dict(row) for row in dict(exhibit.records)[name].rows]


def test_a_search_has_all_its_figures_and_numbers(tmp_path: Path) -> None:
    trials = made.planted(90, stopped=6, failed=15)
    made.write_study(tmp_path, trials, sweep="searches/cpn", scheduler="asha")
    exhibit = shown(tmp_path)["searches/cpn"]
    assert names(exhibit) == ["history", "importance", "slice", "contour", "parallel"]
    states = [t.state for t in trials]
    finished, failed = states.count(TrialState.COMPLETE), states.count(TrialState.FAIL)
    assert f"90 points: {finished} finished" in exhibit.caption
    assert "trainings ended early by asha" in exhibit.caption
    assert exhibit.failed == failed > 0
    best = records(exhibit, "")
    values = sorted((t.values[0] for t in trials if t.values), reverse=True)
    assert [row["metric.miou"] for row in best] == values[:10]
    assert len(records(exhibit, "points")) == 90
    assert sum(r["share"] for r in records(exhibit, "importance")) == pytest.approx(1)
    notes = str(exhibit.notes)
    assert f"chosen among {finished} points" in notes
    assert "out of memory" in notes
    (text,) = [grid for _, grid in exhibit.grids]
    assert len(text.rows) == 10
    assert any("--first-seed 10" in note for note in text.notes)
    for _, numbers in exhibit.records:
        assert numbers.table().num_rows == len(numbers.rows)


def test_several_metrics_have_a_front(tmp_path: Path) -> None:
    trials = made.planted(60, measures=(made.worth, made.seconds))
    made.write_study(tmp_path, trials, metrics=("miou", "train_seconds"))
    exhibit = shown(tmp_path)["searches/mine"]
    assert names(exhibit)[:3] == ["history", "front", "importance"]
    assert {"slice-1", "slice-2", "parallel-2"} <= set(names(exhibit))
    rows = records(exhibit, "")
    for row in rows:  # none is beaten in both
        assert not any(
            (t.values[0] > row["metric.miou"] and t.values[1] <= row["metric.train_seconds"])
            or (t.values[0] >= row["metric.miou"] and t.values[1] < row["metric.train_seconds"])
            for t in trials
        )
    assert "The Pareto front" in str(exhibit.body)


@pytest.mark.parametrize(
    ("trials", "figures", "says"),
    [
        ([], [], "No point was drawn yet"),
        (made.planted(1), ["history"], "One finished point"),
        (made.planted(2), ["history", "slice", "parallel"], "too few"),
        (
            [made.trial({"lr": 0.1}, state=TrialState.FAIL, cause="x") for _ in range(5)],
            [],
            "5 points: 5 failed",
        ),
        ([made.trial({"lr": 0.1}, state=TrialState.PRUNED)], [], "1 point: 1 stopped early"),
        ([made.trial({"lr": 0.1}, state=TrialState.RUNNING)], [], "1 not ended"),
        ([made.trial({"lr": 0.01}, [0.4]) for _ in range(30)], ["history", "slice", "parallel"],
         "share the best value"),
        ([made.trial({}, [0.1]), made.trial({}, [0.2])], ["history"], "2 finished"),
    ],
)  # fmt: skip
def test_whatever_became_of_a_search_is_told(
    tmp_path: Path, trials: list[Any], figures: list[str], says: str
) -> None:
    made.write_study(tmp_path, trials)
    exhibit = shown(tmp_path)["searches/mine"]
    assert names(exhibit) == figures
    assert says in exhibit.caption + str(exhibit.notes)


def test_only_studies_of_this_profile_and_data(tmp_path: Path) -> None:
    made.write_study(tmp_path, made.planted(2), sweep="ours")
    made.write_study(tmp_path, made.planted(2), sweep="profile", profile="voc12")
    made.write_study(tmp_path, made.planted(2), sweep="data", data="other")
    assert list(shown(tmp_path)) == ["searches/ours"]


def test_two_versions_of_a_search_have_two_ids(tmp_path: Path) -> None:
    for letter in "ab":
        made.write_study(tmp_path, made.planted(2), sweep="my/search", study_id=letter * 64)
    assert list(shown(tmp_path)) == [
        "searches/my-search-aaaaaaaa", "searches/my-search-bbbbbbbb",
    ]  # fmt: skip


def test_one_can_be_asked_for(tmp_path: Path) -> None:
    for sweep in ("first", "second"):
        made.write_study(tmp_path, made.planted(2), sweep=sweep)
    assert list(shown(tmp_path, asked=["searches/second"])) == ["searches/second"]
    assert len(shown(tmp_path, asked=["searches"])) == 2
    with pytest.raises(InputError, match="did you mean 'searches/second'"):
        shown(tmp_path, asked=["searches/secnd"])


def test_a_damaged_journal_ends_nothing(tmp_path: Path) -> None:
    made.write_study(tmp_path, made.planted(2))
    (tmp_path / "studies" / "broken.journal").write_text("<b>no</b>\n{}\n")
    said: list[str] = []
    found = shown(tmp_path, say=said.append)
    assert list(found) == ["searches/mine", "searches/_unread"]
    assert "broken.journal" in str(found["searches/_unread"].notes)
    assert len(said) == 1


def test_text_of_a_store_is_no_markup(tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)>"
    space = {bad: CategoricalDistribution([bad, "b"]), "lr": FloatDistribution(0.0, 1.0)}
    trials = [
        made.trial({bad: [bad, "b"][i % 2], "lr": i / 40}, [i / 100], space=space, trial=bad)
        for i in range(30)
    ]
    trials.append(made.trial({}, state=TrialState.FAIL, cause=bad))
    made.write_study(tmp_path, trials, sweep=bad, title=bad, metrics=("miou", bad)[:1])
    (exhibit,) = shown(tmp_path).values()
    assert "<" not in exhibit.id
    assert "<img" not in str(exhibit.body) + str(exhibit.notes)
    for drawn in exhibit.figures:
        assert "<img" not in str(drawn.figure.to_dict())


def test_the_same_store_gives_the_same_bytes(tmp_path: Path) -> None:
    made.write_study(tmp_path, made.planted(60, stopped=5))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from test_reports_searches_shown import shown\n"
        "for e in shown(Path(sys.argv[2])).values():\n"
        "    print(e.caption, e.body, e.notes, e.grids, e.records)\n"
        "    for d in e.figures: print(d.figure.to_json())\n"
    )
    tests = str(Path(__file__).parent)
    runs = [
        subprocess.run(
            [sys.executable, "-c", code, tests, str(tmp_path)],
            capture_output=True, check=True, env={"PYTHONHASHSEED": seed}, timeout=120,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert len(runs[0]) > 10_000
    assert runs[0] == runs[1]


def test_without_a_study_optuna_is_not_imported(tmp_path: Path) -> None:
    synthetic_store.make(tmp_path, sweeps=("cpn/table4",), seeds=(0,), images=8)
    code = (
        "import sys\nfrom camsweep.reports.report import assemble\n"
        "assemble(sys.argv[1], say=lambda line: None, resamples=10)\n"
        "assert 'optuna' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return World(folder, build_data(folder, train=16, val=8), write_profile(folder, epochs=1))


def test_the_proposed_sweep_trains_the_same_settings_again(world: World) -> None:
    """Planned with the search's own seed, its arms are the very trials that the search ran."""
    ground = world.ground(samples=3)
    world.run(ground, "real")
    store = world.store("real")
    selection = choose(read_trials(store), None, None)
    (exhibit,) = search_exhibits(store, selection, str(store), say=lambda line: None)
    assert exhibit.id == "searches/mine"
    best = records(exhibit, "")
    assert [row["seed"] for row in best] == [0, 0, 0]
    assert {row["trial"] for row in best} == {row["id"] for row in world.rows("real")}
    (text,) = [grid for _, grid in exhibit.grids]
    line = next(note for note in text.notes if note.startswith("The best with fresh seeds"))
    content = line.partition("write ")[2].partition(" to best.yaml")[0]
    path = world.folder / "best.yaml"
    path.write_text(content)
    sweep = load_sweep(str(path))
    assert yaml.safe_load(content)["base"]["patches"] == "grid"
    plan = make_plan([sweep], world.profile, world.manifest.digest, seeds=1)
    assert {t.id for t in plan.trials} == {row["trial"] for row in best}

    # One of them with a fresh seed: its value stands beside the winner's.
    fresh = make_plan([sweep], world.profile, world.manifest.digest, seeds=1, first_seed=10)
    label = f"point {best[0]['point']}"
    job = next(t for t in fresh.trials if t.labels == [label])
    run_job(Job((job,)), world.context("real"), lambda p: None, lambda row: None)
    selection = choose(read_trials(store), None, None)
    again = next(t for t in selection.trials if t.id == job.id)
    (exhibit,) = search_exhibits(store, selection, str(store), say=lambda line: None)
    (text,) = [grid for _, grid in exhibit.grids]
    told = text.rows[0][text.headers.index("other seeds")]
    assert told == f"{100 * again.metrics['miou']:.1f} (seed 10)"
    assert all(row[text.headers.index("other seeds")] == "–" for row in text.rows[1:])
    other = replace(selection, profile="another")
    assert search_exhibits(store, other, str(store), say=lambda line: None) == []
