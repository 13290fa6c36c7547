"""Which weighted sum of a design's rows an effect is. Pure functions of sets; no numbers measured.

A row is the set of the components that are on in it, its coalition. Each function gives weights by
coalition; the effect is the sum of the rows' mIoU times them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from camsweep.sweeps.fractions import Fraction

Coalition = frozenset[str]
Weights = dict[Coalition, float]


@dataclass(frozen=True)
class Effect:
    """An effect as a weighted sum of rows.

    Attributes:
        kind: of one component, or of two together.
        name: the components, ``A`` or ``A x B``.
        aliases: what it can't be told apart from, by the same kind of names.
        weights: by coalition; empty where no rows give it.
        used: how many contexts (settings of the other components) it is averaged over.
        possible: how many there would be if every row that can be were measured.
    """

    kind: Literal["main", "interaction"]
    name: str
    weights: Weights
    used: int
    possible: int
    aliases: tuple[str, ...] = ()


def name_of(components: Sequence[str]) -> str:
    """``A x B``, with the sign of multiplication."""
    return " × ".join(components)


def contrast(
    parts: Sequence[str], components: Sequence[str], rows: Collection[Coalition]
) -> tuple[Weights, int]:
    """On minus off of one part, or the difference of differences of several, over equal contexts.

    Averaged over the contexts (what is on of the other components) in which every combination of
    the parts is a row, so that a rule that keeps rows out does not mix another component's effect
    in. Over a complete factorial it is the textbook's effect: the mean over rows with it on minus
    that over rows with it off.

    Args:
        parts: one component or more.
        components: all of the design.
        rows: coalitions that there are.

    Returns:
        Weights by coalition (empty without a context) and the number of contexts.
    """
    there = set(rows)
    others = [name for name in components if name not in parts]
    states = [
        (frozenset(some), (-1) ** (len(parts) - size))
        for size in range(len(parts) + 1)
        for some in itertools.combinations(parts, size)
    ]
    # From the rows, not from all 2^k contexts: a design may have few of them.
    contexts = {row & frozenset(others) for row in there}
    whole = [c for c in contexts if all(c | state in there for state, _ in states)]
    weights: Weights = {}
    for context in sorted(whole, key=sorted):
        for state, sign in states:
            weights[context | state] = sign / len(whole)
    return weights, len(whole)


def factorial_effects(
    components: Sequence[str], measured: Collection[Coalition], possible: Collection[Coalition]
) -> list[Effect]:
    """Every effect of one component and of two together of a factorial, whole or not.

    Args:
        components: in order.
        measured: the coalitions of measured rows.
        possible: those of all rows that can be.
    """
    found = []
    for size in (1, 2):
        for parts in itertools.combinations(components, size):
            weights, used = contrast(parts, components, measured)
            _, most = contrast(parts, components, possible)
            kind: Literal["main", "interaction"] = "main" if size == 1 else "interaction"
            found.append(Effect(kind, name_of(parts), weights, used, most))
    return found


def fraction_effects(
    components: Sequence[str], fraction: Fraction, measured: Collection[Coalition]
) -> list[Effect] | None:
    """Every effect of up to two components of a fraction, aliases together.

    Least squares of the model with all of them: over the whole fraction that is the textbook's
    contrast, and where rows are missing the rest gives it if it can.

    Args:
        components: in order.
        fraction: of so many factors.
        measured: the coalitions of measured rows.

    Returns:
        None where the measured rows can't tell the effects apart.
    """
    rows = sorted(measured, key=sorted)
    words = [frozenset[int](), *fraction.words()]
    chains: dict[frozenset[frozenset[int]], list[frozenset[int]]] = {}
    for size in (1, 2):
        for some in itertools.combinations(range(fraction.factors), size):
            effect = frozenset(some)
            chains.setdefault(frozenset(effect ^ w for w in words), []).append(effect)
    groups = list(chains.values())
    signs = np.array([[1.0 if name in row else -1.0 for name in components] for row in rows])
    columns = [np.prod(signs[:, sorted(group[0])], axis=1) for group in groups] if rows else []
    if len(rows) < len(groups) + 1:
        return None
    model = np.stack([np.ones(len(rows)), *columns], axis=1)
    if np.linalg.matrix_rank(model) < model.shape[1]:
        return None
    solved = np.linalg.pinv(model)[1:]
    found = []
    for group, line in zip(groups, solved, strict=True):
        names = [name_of([components[i] for i in sorted(effect)]) for effect in group]
        main = len(group[0]) == 1
        # A coefficient of -1/+1 coding is half the difference, or a quarter of that of differences.
        scale = 2.0 if main else 4.0
        weights = {r: float(scale * w) for r, w in zip(rows, line, strict=True) if abs(w) > 1e-12}
        kind: Literal["main", "interaction"] = "main" if main else "interaction"
        found.append(Effect(kind, names[0], weights, len(rows), fraction.runs, tuple(names[1:])))
    return found
