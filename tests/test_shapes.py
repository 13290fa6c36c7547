from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camsweep.platform.engine.coordinator import Demand
from camsweep.platform.engine.placing import next_shape
from camsweep.platform.engine.shapes import (
    Node,
    Shape,
    fits_beside,
    how_many,
    nodes_of,
    place,
    require_room,
    shape_of,
)
from camsweep.shards.errors import InputError
from camsweep.sweeps.resources import Resources


def nodes(*described: tuple[float, int]) -> list[Node]:
    return [Node(cpus, [1.0] * gpus) for cpus, gpus in described]


@pytest.mark.parametrize(
    ("shape", "there", "fits"),
    [
        (Shape(1, 0.0, 1), [(8, 0)], 8),
        (Shape(1, 0.0, 2), [(3, 0), (3, 0)], 2),  # not 3: a trial's cores are of one node
        (Shape(1, 0.5, 1), [(16, 2)], 4),
        (Shape(1, 0.3, 1), [(16, 2)], 6),  # three on each GPU, none across two
        (Shape(1, 2.0, 1), [(64, 8)], 4),
        (Shape(1, 2.0, 1), [(64, 1), (64, 1)], 0),  # one process sees the GPUs of one node
        (Shape(2, 1.0, 1), [(64, 1), (64, 1)], 1),  # a team may span two
        (Shape(4, 1.0, 4), [(64, 8), (64, 8)], 4),
    ],
)
def test_how_many_fit(shape: Shape, there: list[tuple[float, int]], fits: int) -> None:
    assert how_many(shape, nodes(*there)) == fits


def test_a_fraction_fills_a_gpu_before_it_opens_another() -> None:
    there = nodes((8, 2))
    assert place(Shape(1, 0.5, 1), there)
    assert place(Shape(1, 0.5, 1), there)
    assert place(Shape(1, 1.0, 1), there)


def test_a_team_is_placed_whole_or_not_at_all() -> None:
    there = nodes((2, 0), (1, 0))
    assert not place(Shape(4, 0.0, 1), there)
    assert [node.cpus for node in there] == [2, 1]
    assert place(Shape(3, 0.0, 1), there)


def test_small_trials_go_beside_large_ones() -> None:
    large, small = Shape(2, 1.0, 2), Shape(1, 0.25, 1)
    assert fits_beside(small, [large], nodes((8, 4)))
    assert not fits_beside(small, [large, large], nodes((8, 4)))
    assert not fits_beside(large, [small] * 9, nodes((16, 4)))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (
            Shape(1, 2.0, 1),
            "--gpus-per-trial or resources.gpus: 2 GPUs asked for a trial, there are 4 CPU",
        ),
        (Shape(8, 0.0, 1), "--workers-per-trial or resources.workers: 8 workers of 1 CPU asked"),
        (Shape(1, 0.0, 64), "64 CPU asked"),
    ],
)
def test_what_never_fits_is_refused(shape: Shape, said: str) -> None:
    with pytest.raises(InputError, match=said):
        require_room(shape, nodes((4, 0)))


def test_dead_nodes_have_nothing() -> None:
    alive: dict[str, Any] = {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0}}
    assert nodes_of([alive, {**alive, "Alive": False}]) == nodes((4, 2))


def test_a_sweep_file_stands_over_the_runs_default() -> None:
    default = Resources(cpus=2, gpus=0.5, workers=1)
    assert shape_of(Resources(), default) == Shape(1, 0.5, 2)
    assert shape_of(Resources(workers=4, gpus=1), default) == Shape(4, 1.0, 2)
    assert shape_of(Resources(gpus=0), default) == Shape(1, 0.0, 2)


def test_more_than_one_gpu_is_a_whole_number() -> None:
    with pytest.raises(ValueError, match="whole number"):
        Resources(gpus=1.5)


shapes = st.builds(
    Shape,
    st.integers(1, 4),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]),
    st.integers(1, 4),
)


@given(
    st.lists(st.tuples(st.integers(1, 16), st.integers(0, 4)), min_size=1, max_size=4),
    st.dictionaries(shapes, st.integers(1, 5), min_size=1, max_size=4),
)
def test_slots_never_ask_for_more_than_there_is(
    there: list[tuple[float, int]], jobs: dict[Shape, int]
) -> None:
    """Started one by one as Tune asks for them, all fit at the same time; none is left out."""
    live: dict[Shape, int] = {}
    left = dict(jobs)
    while shape := next_shape(Demand(left, live, False, None), lambda: nodes(*there), None):
        live[shape] = live.get(shape, 0) + 1
        left[shape] -= 1
        left = {s: n for s, n in left.items() if n}
    running = [s for s, n in live.items() for _ in range(n)]
    empty = nodes(*there)
    assert all(place(s, empty) for s in sorted(running, reverse=True))
    for shape in left:
        assert not fits_beside(shape, running, nodes(*there))


def test_at_most_so_many_slots() -> None:
    one = Shape(1, 0.0, 1)
    demand = Demand({one: 5}, {one: 2}, False, None)
    assert next_shape(demand, lambda: nodes((8, 0)), 2) is None
    assert next_shape(demand, lambda: nodes((8, 0)), 3) == one


def test_the_largest_is_placed_first() -> None:
    small, large = Shape(1, 0.0, 1), Shape(4, 0.0, 2)
    demand = Demand({small: 100, large: 1}, {}, False, None)
    assert next_shape(demand, lambda: nodes((8, 0)), None) == large
