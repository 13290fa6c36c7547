"""Letters against brute force, and variants of planted quality."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from board_world import Made, made
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from camsweep.reports.board.groups import letters, separated
from camsweep.reports.statistics import holm


def parted(text: str) -> set[str]:
    """The letters of a place; a prime belongs to the letter before."""
    found: list[str] = []
    for sign in text:
        if sign == "'":
            found[-1] += sign
        else:
            found.append(sign)
    return set(found)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_two_places_share_a_letter_exactly_if_they_are_not_separated(
    number: int, share: float, seed: int
) -> None:
    draw = np.random.default_rng(seed).random((number, number)) < share
    apart = np.triu(draw, 1) | np.triu(draw, 1).T
    found = [parted(text) for text in letters(apart)]
    assert all(found)
    for i, j in itertools.combinations(range(number), 2):
        assert bool(found[i] & found[j]) != apart[i, j]
    # No letter too many: each holds a pair (or a lone place) that no other holds.
    for letter in set().union(*found):
        rest = [names - {letter} for names in found]
        alike = [
            (i, j) for i in range(number) for j in range(i, number) if i == j or not apart[i, j]
        ]
        assert any(not rest[i] & rest[j] for i, j in alike), letter


def test_letters_of_a_known_display() -> None:
    # 1-2 and 2-3 are alike, 1-3 apart: the middle one has both letters.
    apart = np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=bool)
    assert letters(apart) == ("a", "ab", "b")
    assert letters(np.zeros((4, 4), dtype=bool)) == ("a",) * 4
    alone = ~np.eye(30, dtype=bool)
    assert letters(alone)[:2] == ("a", "b")
    assert letters(alone)[25:28] == ("z", "a'", "b'")
    assert letters(np.zeros((0, 0), dtype=bool)) == ()


@pytest.fixture(scope="module")
def world() -> Made:
    return made(qualities=[0.6, 0.6, 0.6, 0.6, 0.4], seeds=4, noise=0.004)


def test_pairs_are_those_of_an_own_computation(world: Made) -> None:
    known = [e.estimate for e in world.rank().entries]
    assert len(known) == 5
    points = np.array([e.points for e in known])
    rest = points - points.mean(1, keepdims=True) - points.mean(0) + points.mean()
    variance = (rest**2).sum() / (4 * 3)
    p = []
    for a, b in itertools.combinations(known, 2):
        of_images = (a.values - b.values).mean(axis=0).var(ddof=1)
        ratio = abs(a.mean - b.mean) / np.sqrt(2 * variance / 4 + of_images)
        p.append(2 * stats.t.sf(ratio, 12))
    adjusted = holm(np.array(p))
    apart, pairs = separated(known)
    assert pairs == 10
    expected = {pair for pair, q in zip(itertools.combinations(range(5), 2), adjusted, strict=True)
                if q < 0.05}  # fmt: skip
    assert {(i, j) for i, j in itertools.combinations(range(5), 2) if apart[i, j]} == expected
    assert (apart == apart.T).all()


def test_equal_variants_share_one_letter_and_a_worse_one_has_its_own(world: Made) -> None:
    board = world.rank()
    assert [e.group for e in board.entries] == ["a", "a", "a", "a", "b"]
    assert [e.tied for e in board.entries] == [(1, 2, 3, 4)] * 4 + [(5,)]
    assert (board.entries[-1].rank_low, board.entries[-1].rank_high) == (5, 5)
    assert board.entries[0].rank_high > 1


def test_variants_without_common_seeds_are_never_separated() -> None:
    world = made(qualities=[0.7, 0.3], seeds=1, noise=0.0)
    assert [e.group for e in world.rank().entries] == ["a", "a"]
    assert np.isnan([e.better for e in world.rank().entries]).all()
