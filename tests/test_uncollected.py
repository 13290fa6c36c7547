"""The garbage collector rests while much is made, and goes on as before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from camsweep.reports.uncollected import uncollected


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    was = gc.isenabled()
    yield
    (gc.enable if was else gc.disable)()


def test_it_rests_within_and_works_after() -> None:
    gc.enable()
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled(), "the outer one is not over"
    assert gc.isenabled()


def test_after_an_error_too() -> None:
    gc.enable()
    with pytest.raises(KeyError), uncollected():
        raise KeyError
    assert gc.isenabled()


def test_who_had_it_off_keeps_it_off() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_what_was_made_is_old_and_is_still_collected() -> None:
    gc.enable()
    with uncollected():
        made: list[object] = [[] for _ in range(10)]
        made.append(made)
        ours = id(made)
    assert gc.get_freeze_count() == 0
    assert any(id(one) == ours for one in gc.get_objects(generation=2))
    del made
    assert gc.collect() > 0


def test_what_others_froze_stays_frozen() -> None:
    gc.enable()
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with uncollected():
            pass
        assert gc.get_freeze_count() == frozen > 0
    finally:
        gc.unfreeze()
