"""The leaderboard's figures: what is efficient, what is absent, and hostile names."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from board_world import Made, made

from camsweep.reports.board.costing import cost_figure, efficient
from camsweep.reports.board.drawing import label
from camsweep.reports.board.forest import forest
from camsweep.reports.board.heat import class_heat
from camsweep.reports.board.showing import board_exhibit

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def world() -> Made:
    return made(qualities=[0.5, 0.52, 0.6], seeds=2)


def test_efficient_places_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        costs, qualities = rng.integers(1, 6, 8).tolist(), rng.integers(1, 6, 8).tolist()
        points = list(zip(costs, qualities, strict=True))
        expected = {
            (c, q)
            for c, q in points
            if not any((a <= c and b >= q) and (a, b) != (c, q) for a, b in points)
        }
        found = [points[i] for i in efficient(costs, qualities)]
        assert set(found) == expected
        assert found == sorted(found)
        assert len(found) == len(expected)


def test_the_front_is_named_and_the_rest_is_open(world: Made) -> None:
    board = world.rank()
    # The best trains 62 s, the others 60 s and 61 s; the second is cheaper than neither.
    drawn = cost_figure(board)
    assert drawn is not None
    assert "training time" in drawn.figure.layout.xaxis.title.text
    named = [t.name for t in drawn.figure.data if t.mode == "markers+text"]
    assert [name.split(".")[0] for name in named] == ["3", "2", "1"]
    slow = replace(board.entries[1], train_seconds=1e4)
    drawn = cost_figure(replace(board, entries=(board.entries[0], slow, board.entries[2])))
    assert drawn is not None
    others = [t for t in drawn.figure.data if t.name and t.name.endswith("others")]
    assert [list(t.x) for t in others] == [[1e4]]
    assert others[0].marker.symbol.endswith("-open")
    gone = [replace(e, train_seconds=math.nan) for e in board.entries]
    assert cost_figure(replace(board, entries=tuple(gone))) is None
    rich = [replace(e, gpu_hours=4.0 * e.rank) for e in board.entries]
    drawn = cost_figure(replace(board, entries=tuple(rich)))
    assert drawn is not None
    assert drawn.figure.layout.xaxis.title.text == "GPU-hours a training"
    assert sorted(x for t in drawn.figure.data if t.mode == "markers+text" for x in t.x) == [2.0]


def test_the_heat_map_shows_every_number_once_and_names_what_is_absent(world: Made) -> None:
    board = world.rank()
    first = replace(board.entries[0], class_iou=(0.8, math.nan, 0.4))
    drawn = class_heat(replace(board, entries=(first, *board.entries[1:])))
    assert drawn is not None
    inks = [t for t in drawn.figure.data if t.type == "scatter"]
    cells = {(x, y): text for t in inks for x, y, text in zip(t.x, t.y, t.text, strict=True)}
    assert len(cells) == sum(len(t.x) for t in inks) == 8
    assert (cells[0, 0], cells[2, 0]) == ("80.0", "40.0")
    assert [(a.x, a.y, a.text) for a in drawn.figure.layout.annotations] == [(1, 0, "absent")]
    assert "best at background (80.0 %) and worst at dog (40.0 %)" in drawn.alt
    assert class_heat(replace(board, entries=())) is None


def test_the_forest_tells_groups_ranks_and_single_seeds(world: Made) -> None:
    board = world.rank()
    drawn = forest(board)
    assert drawn is not None
    words = [a.text for a in drawn.figure.layout.annotations]
    assert [f"<b>{e.group}</b>" for e in board.entries] == words[0:6:2]
    single = made(qualities=[0.5, 0.6], seeds=1).rank()
    drawn = forest(single)
    assert drawn is not None
    assert [t.marker.symbol for t in drawn.figure.data] == ["circle-open"]
    assert forest(replace(board, entries=())) is None


def test_hostile_names_stay_text(world: Made) -> None:
    board = world.rank()
    entries = tuple(replace(e, name=HOSTILE, method=HOSTILE) for e in board.entries)
    shown = board_exhibit(replace(board, entries=entries, classes=(HOSTILE,) * 3))
    assert [d.name for d in shown.figures] == ["ranks", "classes", "cost"]
    for drawn in shown.figures:
        assert "<script" not in json.dumps(json.loads(drawn.figure.to_json()))
    assert label(entries[0]).startswith("1. &lt;script&gt;")
    assert [name for name, _ in shown.grids] == ["", "objects"]
    assert [name for name, _ in shown.records] == ["", "classes"]
    assert shown == board_exhibit(replace(board, entries=entries, classes=(HOSTILE,) * 3))
