"""Fetching ahead: order, bounds, errors at their place, and no thread left behind."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camsweep.shards.node.loading import load


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("camsweep-load")]


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 30),
    workers=st.integers(0, 4),
    ahead=st.none() | st.integers(1, 40),
    slow=st.integers(1, 5),
)
def test_results_come_in_the_order_of_the_items(
    n: int, workers: int, ahead: int | None, slow: int
) -> None:
    def fetch(item: int) -> int:
        if item % slow == 0:  # so that later items are ready first
            time.sleep(0.001)
        return item * item

    got = list(load(fetch, range(n), workers=workers, ahead=ahead))
    assert got == [item * item for item in range(n)]


@pytest.mark.parametrize("workers", [1, 3])
def test_never_more_than_ahead_are_taken(workers: int) -> None:
    taken: list[int] = []
    items = (taken.append(item) or item for item in itertools.count())
    results = load(lambda item: item, items, workers=workers, ahead=5)
    for got in range(20):
        assert next(results) == got
        assert len(taken) == got + 1 + 5  # the one that the consumer holds, and five beyond it
    results.close()
    assert threads() == []


def test_nothing_is_fetched_before_the_first_is_asked_for() -> None:
    fetched: list[int] = []
    results = load(fetched.append, range(9), workers=2)
    time.sleep(0.02)
    assert fetched == []
    next(results)
    assert fetched


def test_several_are_fetched_at_once() -> None:
    both = threading.Barrier(2, timeout=20)
    assert sorted(load(lambda item: both.wait() * 0 + item, [1, 2], workers=2)) == [1, 2]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_error_comes_after_the_results_before_it(workers: int) -> None:
    def fetch(item: int) -> int:
        if item == 3:
            raise KeyError("three")
        time.sleep(0.002)
        return item

    results = load(fetch, range(9), workers=workers, ahead=8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    assert list(results) == []
    assert threads() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_items_comes_at_its_place_too(workers: int) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("the list ends here")

    results = load(lambda item: item, items(), workers=workers, ahead=8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the list ends here"):
        next(results)
    assert threads() == []


def test_stopping_early_fetches_nothing_more() -> None:
    fetched: list[int] = []

    def fetch(item: int) -> int:
        time.sleep(0.005)
        fetched.append(item)
        return item

    for result in load(fetch, range(1000), workers=2, ahead=100):
        if result == 2:
            break
    # `break` drops the iterator, which waits for what is being fetched.
    assert threads() == []
    count = len(fetched)
    assert count < 20
    time.sleep(0.02)
    assert len(fetched) == count


def test_wrong_bounds_are_refused_at_the_call() -> None:
    with pytest.raises(ValueError, match="workers is -1"):
        load(str, [], workers=-1)
    with pytest.raises(ValueError, match="ahead is 0"):
        load(str, [], ahead=0)


def test_needs_no_torch() -> None:
    code = (
        "import sys; from camsweep.shards.node.loading import load; "
        "assert list(load(str, range(3))) == ['0', '1', '2']; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
