"""Searches in a report: points, importance, fronts, figures, from journals like those of runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import synthetic_studies as made
from optuna.trial import TrialState

from camsweep.reports.searches.contour import REACH, smoothed
from camsweep.reports.searches.front import front_of, on_front
from camsweep.reports.searches.history import improvements
from camsweep.reports.searches.importance import importance, sentences
from camsweep.reports.searches.parallel import parallel_figure
from camsweep.reports.searches.scales import ASIDE, scale_of
from camsweep.reports.searches.slices import slice_figure
from camsweep.reports.searches.studied import Setting, Study, decoded, read_study
from camsweep.reports.searches.thin import thinned
from camsweep.reports.searches.units import plotted, unit_of, value_text
from camsweep.shards.errors import InputError
from camsweep.sweeps.store import Store


def study_of(folder: Path, trials: list[Any], **about: Any) -> Study:
    name = made.write_study(folder, trials, **about)
    found = read_study(Store(str(folder)), name)
    assert found is not None
    return found


def test_points_are_read_as_they_ended(tmp_path: Path) -> None:
    point = made.draw(np.random.default_rng(0))
    warm = made.trial(point, [0.44], trial="w", origin="warm start", seeds=3)
    again = made.trial(point, [0.44], trial="w", origin="duplicate")
    lost = made.trial(point, state=TrialState.FAIL, origin="lost")
    failed = made.trial(point, state=TrialState.FAIL, cause="no memory")
    pruned = made.trial(point, state=TrialState.PRUNED, cause="behind")
    endless = made.trial(point, [math.inf])
    study = study_of(tmp_path, [warm, again, lost, failed, pruned, endless])
    assert [(p.number, p.state) for p in study.points] == [
        (0, "finished"), (3, "failed"), (4, "stopped"), (5, "failed"),
    ]  # fmt: skip
    assert study.points[0].known
    assert study.points[0].seeds == 3
    assert [p.cause for p in study.points[1:]] == [
        "no memory", "behind", "its value is no finite number",
    ]  # fmt: skip


def test_values_are_those_that_were_run(tmp_path: Path) -> None:
    params = {"patches": "grid", "grid_sizes": "[56,112]", "p_h": 0.123456789, "lr": 0.01}
    study = study_of(tmp_path, [made.trial(params, [0.4])])
    assert study.points[0].settings == {
        "patches": "grid", "grid_sizes": [56, 112], "p_h": 0.12346, "lr": 0.01,
    }  # fmt: skip
    assert decoded("[1, 2]") == "[1, 2]", "not as a search writes a list: it is a text"
    assert decoded("[oops") == "[oops"


def test_a_choice_is_known_by_its_text() -> None:
    setting = Setting("x", choices=(1, True, None, "1"))
    assert [setting.index(value) for value in (1, True, None, "1")] == [0, 1, 2, 3]


def test_the_planted_setting_matters_most(tmp_path: Path) -> None:
    study = study_of(tmp_path, made.planted(300))
    found = importance(study, 0, np.random.default_rng(0))
    assert found.shares[0].name == "lr"
    assert sum(share.size for share in found.shares) == pytest.approx(1)
    assert all(s.low <= s.size <= s.high for s in found.shares)
    assert "w_tcp" not in found.level, "nothing depends on it"
    assert found.top == 30


def test_importance_is_optunas_own(tmp_path: Path) -> None:
    """Against the whole library on the journal itself, for a metric that is minimised, too."""
    for metric, measure in (("miou", made.worth), ("train_seconds", made.seconds)):
        folder = tmp_path / metric
        study = study_of(folder, made.planted(150, measures=(measure,)), metrics=(metric,))
        found = importance(study, 0, np.random.default_rng(0), resamples=2)
        path = folder / "studies" / f"{study.id}.journal"
        storage = optuna.storages.JournalStorage(made.Quick(str(path)))
        theirs = optuna.importance.get_param_importances(
            optuna.load_study(study_name=None, storage=storage)
        )
        for share in found.shares:
            assert share.size == pytest.approx(theirs[share.name], abs=1e-3), share.name


def test_each_of_several_metrics_has_its_own_importance(tmp_path: Path) -> None:
    trials = made.planted(200, measures=(made.worth, made.seconds))
    study = study_of(tmp_path, trials, metrics=("miou", "train_seconds"))
    first = [importance(study, i, np.random.default_rng(0), 10).shares[0].name for i in (0, 1)]
    assert first == ["lr", "s_n"]


def test_noise_is_not_told_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    trials = [made.trial(made.draw(rng), [rng.normal()]) for _ in range(60)]
    found = importance(study_of(tmp_path, trials), 0, np.random.default_rng(0))
    assert len(found.level) >= 3
    assert any("within noise" in s or "Not told apart" in s for s in sentences(found))


@pytest.mark.parametrize(("count", "value"), [(0, 0.4), (1, 0.4), (19, None), (60, 0.4)])
def test_importance_without_a_basis_is_told(
    tmp_path: Path, count: int, value: float | None
) -> None:
    rng = np.random.default_rng(0)
    trials = [
        made.trial(p, [made.worth(p) if value is None else value])
        for p in (made.draw(rng) for _ in range(count))
    ]
    found = importance(study_of(tmp_path, trials), 0, np.random.default_rng(0))
    assert not found.shares
    assert ("share the best value" if count == 60 else "too few") in found.why_not


def test_the_front_is_optunas(tmp_path: Path) -> None:
    trials = made.planted(120, measures=(made.worth, made.seconds, lambda p: p["p_h"]))
    study = study_of(tmp_path, trials, metrics=("miou", "train_seconds", "parameters"))
    theirs = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    theirs.add_trials(trials)
    assert sorted(p.number for p in front_of(study)) == sorted(t.number for t in theirs.best_trials)


def test_points_alike_are_on_the_front_together() -> None:
    values = np.array([[1.0, 2.0], [1.0, 2.0], [0.5, 2.0], [2.0, 1.0]])
    assert on_front(values, (True, True)).tolist() == [True, True, False, True]
    assert on_front(values, (True, False)).tolist() == [False, False, False, True]


def test_best_so_far(tmp_path: Path) -> None:
    point = made.draw(np.random.default_rng(0))
    values = [3.0, 5.0, 4.0, 5.0, 1.0, 6.0]
    up = study_of(tmp_path, [made.trial(point, [v]) for v in values], metrics=("miou",))
    down = study_of(tmp_path, [made.trial(point, [v]) for v in values], metrics=("train_seconds",))
    assert [p.number for p in improvements(up, 0)] == [0, 1, 5]
    assert [p.number for p in improvements(down, 0)] == [0, 4]
    assert [p.number for p in up.ranked()] == [5, 1, 3, 2, 0, 4]


def test_a_scale_has_a_place_for_each_value(tmp_path: Path) -> None:
    study = study_of(tmp_path, made.planted(30))
    settings = {s.name: s for s in study.settings}
    points = study.of("finished")
    lr = scale_of(settings["lr"], points)
    assert lr.unit(0.01) == pytest.approx(0.5)
    assert lr.data(0.5) == pytest.approx(0.01)
    assert lr.axis()["type"] == "log"
    assert lr.axis()["tickvals"] == pytest.approx([0.001, 0.01, 0.1])
    s_n = scale_of(settings["s_n"], points)
    grid = next(p for p in points if p.settings["patches"] == "grid")
    assert s_n.of(grid) == ASIDE
    assert s_n.axis()["ticktext"][0] == "not<br>set"
    assert scale_of(settings["p_h"], points).axis()["type"] == "linear"


def test_no_point_of_a_conditional_space_is_dropped(tmp_path: Path) -> None:
    study = study_of(tmp_path, made.planted(40))
    sliced, note = slice_figure(study, 0, study.settings)
    assert note == ""
    panels = [t for t in sliced.data if t.name == "finished"]
    assert [len(t.x) for t in panels] == [40] * len(study.settings)
    lines, _ = parallel_figure(study, 0, study.settings)
    assert sum(list(t.x).count(None) for t in lines.data) == 40
    values = [y for t in lines.data for y in t.y if y is not None]
    assert len(values) == 40 * (len(study.settings) + 1)


def test_many_points_are_thinned_and_the_leaders_stay(tmp_path: Path) -> None:
    study = study_of(tmp_path, made.planted(1500))
    best = study.ranked()[0].number
    some, note = thinned(study.of("finished"), {best}, 100)
    assert 100 <= len(some) <= 101
    assert best in {p.number for p in some}
    assert note == f"{len(some)} of 1,500 points are drawn, evenly by number."


def test_smoothing_is_the_mean_of_the_near() -> None:
    places = np.array([[0.25, 0.5], [0.25, 0.5], [0.9, 0.9]])
    field = smoothed(places, np.array([1.0, 3.0, 10.0]), cells=5)
    assert field.shape == (5, 5)
    # The third point is 0.76 away: its weight there is exp(-29).
    assert field[2, 1] == pytest.approx(2.0)
    assert math.isnan(field[0, 4]), f"no point within {REACH}"


@pytest.mark.parametrize(
    ("metric", "value", "title", "number", "text"),
    [
        ("miou", 0.4321, "mIoU, %", 43.21, "43.2"),
        ("train_seconds", 10800.0, "training time, h", 3.0, "3.0 h"),
        ("train_seconds", 300.0, "training time, min", 5.0, "5 min"),
        ("peak_memory_bytes", 3 * 2.0**29, "peak memory, GiB", 1.5, "1.5 GiB"),
        ("parameters", 2.5e6, "parameters, M", 2.5, "2.5 M"),
    ],
)
def test_metrics_have_readable_units(
    metric: str, value: float, title: str, number: float, text: str
) -> None:
    unit = unit_of(metric, [value])
    assert (unit.title, unit.of(value)) == (title, pytest.approx(number))
    assert value_text(metric, value) == text


def test_text_for_plotly_is_no_markup() -> None:
    assert plotted("<b>x</b>") == "&lt;b&gt;x&lt;/b&gt;"
    assert len(plotted("y" * 100)) == 24


@pytest.mark.parametrize(
    "content",
    ["nonsense\n{}\n", '{"op_code": 0}\n{}\n', "[1]\n[2]\n", '{"op_code": 99}\n', "\x00\n\x00\n"],
)
def test_a_damaged_journal_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "studies" / "abc.journal"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match=r"abc\.journal") as caught:
        read_study(Store(str(tmp_path)), "abc")
    assert "\n" not in str(caught.value)


def test_lines_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    name = made.write_study(tmp_path, made.planted(3))
    path = tmp_path / "studies" / f"{name}.journal"
    text = path.read_text().replace('"study:metric_names":["miou"]', '"study:metric_names":[1,2]')
    path.write_text(text)
    with pytest.raises(InputError, match="2 metrics, 1 directions"):
        read_study(Store(str(tmp_path)), name)


def test_a_torn_last_line_and_an_empty_journal_are_no_damage(tmp_path: Path) -> None:
    name = made.write_study(tmp_path, made.planted(5))
    path = tmp_path / "studies" / f"{name}.journal"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "worker')
    found = read_study(Store(str(tmp_path)), name)
    assert found is not None
    assert len(found.points) == 5
    assert path.read_bytes() == whole + b'{"op_code": 4, "worker', "reading writes nothing"
    (tmp_path / "studies" / "new.journal").write_bytes(b"")
    assert read_study(Store(str(tmp_path)), "new") is None
