"""Which variants a paired test separates, and the letters of those that it does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from camsweep.reports.measure import Estimate
from camsweep.reports.statistics import block_variance, holm, paired_p

LEVEL = 0.05
Pool = tuple[np.ndarray, int] | None


def separated(estimates: Sequence[Estimate]) -> tuple[NDArray[np.bool_], int]:
    """Which pairs a paired test separates: bool ``[N, N]`` and the number of tests.

    Student's t on the differences of the seeds that both have, with the images' noise, adjusted by
    Holm over all pairs. The noise of a training is pooled over the variants with these seeds. One
    seed says nothing about another training: variants with fewer than two common seeds are never
    separated.
    """
    number = len(estimates)
    p = np.ones((number, number))
    pools: dict[tuple[int, ...], Pool] = {}
    for i, one in enumerate(estimates):
        for seeds, others in _partners(estimates, i).items():
            if len(seeds) < 2:
                continue
            if seeds not in pools:
                pools[seeds] = _pool(estimates, seeds)
            points, values = _of(one, seeds)
            theirs = [_of(estimates[j], seeds) for j in others]
            # All partners at once: 60 variants have 1,770 pairs.
            p[i, others] = paired_p(
                points - np.stack([t[0] for t in theirs]),
                values - np.stack([t[1] for t in theirs]),
                pools[seeds],
            )
    first, second = np.triu_indices(number, k=1)
    apart = np.zeros((number, number), dtype=bool)
    apart[first, second] = holm(p[first, second]) < LEVEL
    return apart | apart.T, len(first)


def _partners(estimates: Sequence[Estimate], place: int) -> dict[tuple[int, ...], list[int]]:
    """The places behind this one by the seeds that they have in common with it."""
    found: dict[tuple[int, ...], list[int]] = {}
    for other in range(place + 1, len(estimates)):
        theirs = set(estimates[other].seeds)
        common = tuple(s for s in estimates[place].seeds if s in theirs)
        found.setdefault(common, []).append(other)
    return found


def _of(estimate: Estimate, seeds: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The points ``[S]`` and image draws ``[S, B]`` of some of its seeds."""
    if estimate.seeds == seeds:
        return estimate.points, estimate.values
    rows = [estimate.seeds.index(s) for s in seeds]
    return estimate.points[rows], estimate.values[rows]


def _pool(estimates: Sequence[Estimate], seeds: tuple[int, ...]) -> Pool:
    """The noise of a training over all variants that have these seeds; None for a single one."""
    having = [e for e in estimates if set(seeds) <= set(e.seeds)]
    points = np.array([[e.points[e.seeds.index(s)] for s in seeds] for e in having])
    points = points[np.isfinite(points).all(axis=1)]
    return block_variance(points) if len(points) > 1 else None


def letters(apart: NDArray[np.bool_]) -> tuple[str, ...]:
    """A compact letter display: two places share a letter if and only if they are not separated.

    Each letter is a set of places that no pair of which is separated, as large as it can be. Sets
    are made for the first pair that no set holds yet, so that there are few; those whose pairs are
    all held by others are dropped (the sweep of Piepho 2004, "An algorithm for a letter-based
    representation of all-pairwise comparisons").

    Args:
        apart: symmetric, bool ``[N, N]``; the diagonal is not looked at.

    Returns:
        The letters of each place in the order of the alphabet: ``("a", "ab", "b")``. The
        twenty-seventh is ``a'``.
    """
    alike = ~np.asarray(apart, dtype=bool)
    np.fill_diagonal(alike, True)
    held = np.zeros_like(alike)
    sets: list[list[int]] = []
    for i in range(len(alike)):
        for j in range(i, len(alike)):
            # A pair of a place with itself: one that is separated from all needs its own letter.
            if alike[i, j] and not held[i, j]:
                members = _grown(alike, i, j)
                sets.append(members)
                held[np.ix_(members, members)] = True
    sets = _swept(sets, len(alike))
    found = [""] * len(alike)
    for index, members in enumerate(sorted(sets)):
        letter = chr(ord("a") + index % 26) + "'" * (index // 26)
        for member in members:
            found[member] += letter
    return tuple(found)


def _grown(alike: NDArray[np.bool_], i: int, j: int) -> list[int]:
    """The pair and all places that are alike to every one before, the nearest ranks first."""
    members = [i] if i == j else [i, j]
    fits = alike[i] & alike[j]
    middle = (i + j) / 2
    for other in sorted(range(len(alike)), key=lambda k: (abs(k - middle), k)):
        if other not in members and fits[other]:
            members.append(other)
            fits = fits & alike[other]
    return sorted(members)


def _swept(sets: list[list[int]], number: int) -> list[list[int]]:
    """The sets without those whose pairs are all in other sets."""
    times = np.zeros((number, number), dtype=np.int64)
    for members in sets:
        times[np.ix_(members, members)] += 1
    kept = []
    for members in sets:
        block = np.ix_(members, members)
        if (times[block] > 1).all():
            times[block] -= 1
        else:
            kept.append(members)
    return kept
