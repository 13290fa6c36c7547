"""Shapley shares: what each component brings, averaged over the orders in which they may come in.

For the game v(S) = mIoU with the components S on, the share of i is the mean over all orders of
v(before i, with i) - v(before i) (Shapley, "A value for n-person games", 1953). Where rules keep
rows out, only orders in which every step is a row that can be are counted: the Shapley value under
precedence constraints (Faigle and Kern, "The Shapley value for cooperative games under precedence
constraints", 1992; for rules with several ways to be met the orders are those of an antimatroid:
Algaba, Bilbao, van den Brink and Jimenez-Losada, 2003). Shares sum to v(all) - v(none).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from camsweep.reports.effects.weights import Coalition, Weights


@dataclass(frozen=True)
class Shares:
    """The shares as weighted sums of rows.

    Attributes:
        weights: of each component, by coalition.
        orders: over how many orders they are averaged.
    """

    weights: dict[str, Weights]
    orders: int


def shapley(components: Sequence[str], possible: Collection[Coalition]) -> Shares | None:
    """The shares of the components, exact, over the orders that can be.

    Args:
        components: k of them.
        possible: the coalitions that can be; all 2^k without rules.

    Returns:
        None where no order leads from none to all by rows that can be.
    """
    there = set(possible)
    every, nothing = frozenset(components), frozenset[str]()
    if nothing not in there or every not in there:
        return None
    ordered = sorted(there, key=lambda row: (len(row), sorted(row)))
    ways_to: dict[Coalition, int] = {nothing: 1}
    for row in ordered[1:]:
        before = (row - {name} for name in row)
        ways_to[row] = sum(ways_to.get(one, 0) for one in before)
    ways_from: dict[Coalition, int] = {every: 1}
    for row in reversed(ordered[:-1]):
        after = (row | {name} for name in every - row)
        ways_from[row] = sum(ways_from.get(one, 0) for one in after)
    orders = ways_to[every]
    if not orders:
        return None
    weights: dict[str, Weights] = {name: {} for name in components}
    for row in ordered:
        for name in components:
            with_it = row | {name}
            if name in row or with_it not in there:
                continue
            share = ways_to[row] * ways_from[with_it] / orders
            if share:
                weights[name][with_it] = weights[name].get(with_it, 0.0) + share
                weights[name][row] = weights[name].get(row, 0.0) - share
    return Shares(weights, orders)
