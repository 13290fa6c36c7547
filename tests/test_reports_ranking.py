"""The leaderboard's numbers and names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic_store as synthetic
from reports_world import World

from camsweep.reports.board import ranking
from camsweep.reports.board.grids import leaderboard_grid
from camsweep.reports.board.groups import separated
from camsweep.reports.board.ranking import leaderboard
from camsweep.reports.board.records import board_records
from camsweep.reports.board.text import leaderboard_caption, ranks
from camsweep.reports.load import choose, read_trials
from camsweep.reports.measure import Measurements
from camsweep.reports.naming import variant_names
from camsweep.shards.errors import InputError


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("store")
    gone, bad = frozenset({"s_n=4000"}), frozenset({"p_h=0.3"})
    return World(synthetic.make(folder, missing=gone, failing=bad))


def test_leaderboard_ranks_and_ties(world: World) -> None:
    board = world.rank()
    means = [e.estimate.mean for e in board.entries]
    assert means == sorted(means, reverse=True)
    assert [e.rank for e in board.entries] == list(range(1, len(means) + 1))
    assert len({e.name for e in board.entries}) == len(means) == 26
    assert board.pairs == 26 * 25 // 2
    for e in board.entries:
        assert e.rank in e.tied
        assert all(e.rank in board.entries[other - 1].tied for other in e.tied)
    cam = next(e for e in board.entries if e.name == "CAM")
    assert len(cam.trials) == 3
    assert cam.train_seconds == pytest.approx(17.0)
    assert cam.images_per_second == pytest.approx(280.0)
    assert (cam.peak_memory, cam.parameters) == (700_000_000, 90_000)
    assert "cpn/table1 baseline" in cam.labels
    assert "cpn/table2 cls" in cam.labels
    assert ranks((1, 2, 3, 5)) == "1–3, 5"
    assert ranks((4,)) == "–"


def test_leaderboard_by_another_metric(world: World) -> None:
    board = world.rank("background_iou")
    assert board.entries[0].background is not None
    assert board.entries[0].estimate.mean == board.entries[0].background.mean
    with pytest.raises(InputError, match="did you mean 'miou'"):
        world.rank("mioU")


def test_estimated_labels_and_the_floor_are_told(world: World) -> None:
    selection = world.selection
    first, *others = [t for t in selection.trials if t.done]
    estimated = {"miou": 0.4, "miou_estimated": 0.4, "miou_floor": 0.117}
    trials = (replace(first, metrics=estimated), *others)
    board = leaderboard(replace(selection, trials=trials), world.measurements)
    told = [e.name for e in board.entries if e.name.endswith(" †")]
    assert len(told) <= 1
    alone = leaderboard(replace(selection, trials=trials[:1]), world.measurements)
    assert alone.entries[0].name.endswith(" †")
    caption = leaderboard_caption(alone)
    assert "† labels estimated by the maps' own background" in caption
    assert "No-skill floor (uniform maps with the true image labels): 11.7." in caption
    assert board_records(alone)[0]["no_skill_floor"] == pytest.approx(11.7)
    assert "†" not in leaderboard_caption(world.rank())


def test_names_tell_what_differs() -> None:
    base = {"patches": "superpixel", "s_n": 200, "p_h": 0.5, "prcm": True, "ramp": False}
    variants = {
        "a": ("cpn", base),
        "b": ("cpn", {**base, "prcm": False}),
        "c": ("cpn", {**base, "ramp": True}),
        "d": ("cpn", {**base, "p_h": 0.1}),
        "e": ("cpn", {"patches": "grid", "grid_sizes": [4, 7], "prcm": True, "ramp": False}),
        "f": ("strange<method>", {"epochs": 3}),
    }
    names = variant_names(variants)
    assert names["a"].endswith("superpixel S_N=200")
    assert names["b"].endswith("S_N=200, no prcm")
    assert names["c"].endswith("S_N=200, ramp")
    assert names["d"].endswith("S_N=200, p_h=0.1")
    assert names["e"].endswith("grid K={4, 7}")
    assert names["f"] == "strange<method>"


def test_a_method_as_published_has_the_plain_name_beside_its_compositions() -> None:
    plain = {"ipe": True, "gsc": True, "pair": False, "bpm": True}
    pairs = {**plain, "pair": True, "patches": "grid", "grid_sizes": [56, 112]}
    variants = {
        "sipe": ("sipe", plain),
        "pairs": ("sipe", pairs),
        "more": ("sipe", {**pairs, "grid_sizes": [4, 7]}),
        "bpm": ("sipe", {**plain, "bpm": False}),
    }
    assert variant_names(variants) == {
        "sipe": "SIPE",
        "pairs": "SIPE, grid K={56, 112}, pair",
        "more": "SIPE, grid K={4, 7}, pair",
        "bpm": "SIPE, no bpm",
    }


def test_places_beyond_those_tested_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = synthetic.make(tmp_path, sweeps=("cpn/table4",), images=8, seeds=(0, 1))
    selection = choose(read_trials(store), None, None)
    measurements = Measurements(store, selection.trials, resamples=20)
    board = ranking.leaderboard(selection, measurements)
    assert "not tested" not in str(leaderboard_grid(board))
    monkeypatch.setattr(ranking, "TESTED", 3)
    monkeypatch.setattr("camsweep.reports.board.text.TESTED", 3)
    shown = leaderboard_grid(ranking.leaderboard(selection, measurements))
    assert ["not tested" in row for row in shown.rows] == [False] * 3 + [True] * 2
    assert "Places beyond 3 are not tested." in shown.caption


def test_the_leaderboard_separates_by_students_t(tmp_path: Path) -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    given = {"sweeps": ("cpn/table1",), "images": 60, "seeds": (0, 1, 2, 3), "noise": 0.002}
    store = synthetic.make(tmp_path, **given)
    selection = choose(read_trials(store), None, None)
    measurements = Measurements(store, selection.trials, resamples=200)
    first, second = ranking.leaderboard(selection, measurements).entries
    points = first.estimate.points - second.estimate.points
    images = np.var((first.estimate.values - second.estimate.values).mean(axis=0), ddof=1)
    error = np.sqrt(np.var(points, ddof=1) / 4 + images)
    assert 2 * scipy_stats.t.sf(points.mean() / error, 3) < 0.05
    assert first.tied == (1,), "five points with four quiet seeds are separated"
    estimates = [first.estimate, second.estimate]
    apart, _ = separated(estimates)
    assert apart[0, 1]
    # the same difference with two seeds in common: one degree of freedom
    few = [measurements.estimate(e.trials[:2], "miou") for e in (first, second)]
    assert few[0] is not None
    assert few[1] is not None
    points = few[0].points - few[1].points
    images = np.var((few[0].values - few[1].values).mean(axis=0), ddof=1)
    error = np.sqrt(np.var(points, ddof=1) / 2 + images)
    expected = 2 * scipy_stats.t.sf(points.mean() / error, 1) < 0.05
    assert separated([e for e in few if e])[0][0, 1] == expected
