"""Effects and Shapley shares as weighted sums of rows, against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from camsweep.reports.effects.shapley import shapley
from camsweep.reports.effects.weights import (
    Coalition,
    Weights,
    contrast,
    factorial_effects,
    fraction_effects,
)
from camsweep.sweeps.fractions import smallest

NAMES = ("a", "b", "c", "d")


def subsets(names: tuple[str, ...] = NAMES) -> list[Coalition]:
    sizes = range(len(names) + 1)
    return [frozenset(some) for n in sizes for some in itertools.combinations(names, n)]


def game(rows: list[Coalition], seed: int = 0) -> dict[Coalition, float]:
    rng = np.random.default_rng(seed)
    return {row: float(rng.normal()) for row in rows}


def value(weights: Weights, v: dict[Coalition, float]) -> float:
    return sum(weight * v[row] for row, weight in weights.items())


def by_orders(rows: list[Coalition], v: dict[Coalition, float]) -> tuple[dict[str, float], int]:
    """Shapley by its definition: every order whose every step is a row."""
    total, orders = dict.fromkeys(NAMES, 0.0), 0
    for order in itertools.permutations(NAMES):
        prefixes = [frozenset(order[:n]) for n in range(len(order) + 1)]
        if all(prefix in rows for prefix in prefixes):
            orders += 1
            for name, before, after in zip(order, prefixes, prefixes[1:], strict=False):
                total[name] += v[after] - v[before]
    return {name: sum_ / orders for name, sum_ in total.items()}, orders


RULES = {
    "free": lambda row: True,
    "b needs a": lambda row: "b" not in row or "a" in row,
    "a chain": lambda row: ("b" not in row or "a" in row) and ("c" not in row or "b" in row),
    "d needs a or b": lambda row: "d" not in row or bool(row & {"a", "b"}),
    "both together only last": lambda row: not {"a", "b"} <= row or {"c", "d"} <= row,
}


@pytest.mark.parametrize("rule", RULES)
def test_shapley_is_the_mean_over_the_orders_that_can_be(rule: str) -> None:
    rows = [row for row in subsets() if RULES[rule](row)]
    v = game(rows)
    found = shapley(NAMES, rows)
    assert found is not None
    expected, orders = by_orders(rows, v)
    assert found.orders == orders
    shares = {name: value(weights, v) for name, weights in found.weights.items()}
    assert shares == pytest.approx(expected)
    assert sum(shares.values()) == pytest.approx(v[frozenset(NAMES)] - v[frozenset()])


def test_no_shares_where_no_order_leads_from_none_to_all() -> None:
    every = subsets()
    assert shapley(NAMES, [row for row in every if row]) is None
    assert shapley(NAMES, [row for row in every if len(row) < 4]) is None
    assert shapley(NAMES, [row for row in every if len(row) != 2]) is None
    assert shapley(NAMES, []) is None


def test_a_row_that_no_order_meets_has_no_weight() -> None:
    """{b} can be, but nothing leads from it on: it needn't be measured."""
    rows = [frozenset(s) for s in ("", "a", "b", "ac", "acd", "abcd")]
    found = shapley(NAMES, rows)
    assert found is not None
    assert found.orders == 1
    assert all(frozenset("b") not in weights for weights in found.weights.values())


def test_twelve_components_are_exact_and_quick() -> None:
    names = tuple("ABCDEFGHJKLM")
    rows = subsets(names)
    found = shapley(names, rows)
    assert found is not None
    assert found.orders == math.factorial(12)
    # v(S) = |S| ** 2 is symmetric: each component has a twelfth of the whole.
    v = {row: float(len(row) ** 2) for row in rows}
    assert [value(w, v) for w in found.weights.values()] == pytest.approx([12.0] * 12)


def test_main_effects_and_interactions_of_a_factorial_are_the_textbooks() -> None:
    rows = subsets()
    v = game(rows)
    for effect in factorial_effects(NAMES, rows, rows):
        parts = effect.name.split(" × ")
        signs = {row: math.prod(1 if p in row else -1 for p in parts) for row in rows}
        mean = sum(signs[row] * v[row] for row in rows) / 8
        # The textbooks halve the difference of differences.
        assert value(effect.weights, v) == pytest.approx(mean if len(parts) == 1 else 2 * mean)
        assert effect.used == effect.possible == (8 if len(parts) == 1 else 4)
    assert len(factorial_effects(NAMES, rows, rows)) == 10


def test_a_rule_mixes_no_other_effect_in() -> None:
    """With b only where a is on, the plain means of b on and off differ by a's effect."""
    rows = [row for row in subsets(("a", "b", "c")) if "b" not in row or "a" in row]
    v = {row: 5.0 * ("a" in row) + 2.0 * ("b" in row) + 1.0 * ("c" in row) for row in rows}
    found = {e.name: e for e in factorial_effects(("a", "b", "c"), rows, rows)}
    assert value(found["b"].weights, v) == pytest.approx(2.0)
    assert value(found["a"].weights, v) == pytest.approx(5.0)
    assert value(found["c"].weights, v) == pytest.approx(1.0)
    assert found["a × b"].possible == 0
    assert not found["a × b"].weights
    assert value(found["b × c"].weights, v) == pytest.approx(0.0)


def test_missing_rows_leave_the_comparisons_that_are_whole() -> None:
    rows = subsets()
    there = [row for row in rows if row != frozenset("abc")]
    weights, used = contrast(("a",), NAMES, there)
    assert used == 7
    assert frozenset("bc") not in weights
    assert sum(weights.values()) == pytest.approx(0.0)
    assert contrast(("a",), NAMES, [])[1] == 0


@pytest.mark.parametrize(("factors", "resolution"), [(5, 5), (6, 4), (7, 3), (4, 4)])
def test_a_fraction_tells_what_its_aliases_let_it(factors: int, resolution: int) -> None:
    names = tuple("ABCDEFG"[:factors])
    fraction = smallest(factors, resolution)
    rows = [frozenset(n for n, on in zip(names, r, strict=True) if on) for r in fraction.rows()]
    rng = np.random.default_rng(1)
    main = {frozenset(name): rng.normal() for name in names}
    two = {frozenset(p): rng.normal() for p in itertools.combinations(names, 2)}
    # In -1/+1 coding, in which an effect of two is nothing to that of one.
    coefficient = {**main, **two}

    def sign(row: Coalition, effect: Coalition) -> int:
        return math.prod(1 if name in row else -1 for name in effect)

    v = {row: sum(c * sign(row, e) for e, c in coefficient.items()) for row in rows}
    found = fraction_effects(names, fraction, rows)
    assert found is not None
    told = [frozenset(n.split(" × ")) for e in found for n in (e.name, *e.aliases)]
    assert sorted(map(sorted, told)) == sorted(map(sorted, coefficient))
    for effect in found:
        mixed = sum(
            # What is aliased is equal in every row of the fraction.
            coefficient[frozenset(name.split(" × "))]
            for name in (effect.name, *effect.aliases)
        )
        scale = 2 if effect.kind == "main" else 4
        assert value(effect.weights, v) == pytest.approx(scale * mixed)


def test_a_fraction_that_lost_too_many_rows_tells_nothing() -> None:
    names = tuple("ABCDE")
    fraction = smallest(5, 5)
    rows = [frozenset(n for n, on in zip(names, r, strict=True) if on) for r in fraction.rows()]
    # 16 rows carry 15 effects and a mean: without one they can't be told apart.
    assert fraction_effects(names, fraction, rows[:-1]) is None
    assert fraction_effects(names, fraction, []) is None
    # Resolution III of three components: three mains of four rows.
    small = smallest(3, 3)
    some = [frozenset(n for n, on in zip("ABC", r, strict=True) if on) for r in small.rows()]
    assert fraction_effects(tuple("ABC"), small, some[1:]) is None
