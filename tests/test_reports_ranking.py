"""The leaderboard's numbers and names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import synthetic_store as synthetic
from reports_world import World

from camsweep.reports.board.ranking import leaderboard
from camsweep.reports.board.records import board_records
from camsweep.reports.board.text import leaderboard_caption, ranks
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
