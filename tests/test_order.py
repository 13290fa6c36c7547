from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from camsweep.sweeps.order import ends, limited
from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.spec import Sweep, SweepSpec, load_sweep

PROFILE = load_profile("embedded")


def plan(*texts: str, **options: Any) -> Plan:
    sweeps = [
        Sweep(f"s{i}", f"s{i}.yaml", SweepSpec.model_validate({"title": "x", **yaml.safe_load(t)}))
        for i, t in enumerate(texts)
    ]
    return make_plan(sweeps, PROFILE, "digest", **options)


def order(found: Plan) -> list[tuple[str, int]]:
    return [(t.labels[0], t.config.seed) for t in found.to_run]


def test_every_cell_has_a_seed_before_any_has_two() -> None:
    found = make_plan([load_sweep("cpn/table2"), load_sweep("cpn/fig6")], PROFILE, "digest")
    seeds = [t.config.seed for t in found.to_run]
    assert seeds == sorted(seeds)
    assert len(seeds) == len(found.trials) == 3 * 16
    for count in range(1, len(seeds) + 1):
        have = Counter(use for t in found.to_run[:count] for use in t.uses)
        cells = {use for t in found.trials for use in t.uses}
        assert max(have.values()) - min(have[use] for use in cells) <= 1, "an unbalanced prefix"


def test_what_others_are_compared_with_comes_first_then_what_fills_more_cells() -> None:
    one = "{base: {method: cpn}, arms: {base: {}, a: {s_n: 5}, b: {s_n: 50}}, seeds: 2}"
    two = "{base: {method: cpn, s_n: 50}, arms: {first: {epochs: 9}, b: {}}, seeds: 1}"
    found = plan(one, two)
    labels = ["base", "first", "b", "a", "base", "a", "b"]
    assert [label for label, _ in order(found)] == labels


def test_the_named_reference_comes_first() -> None:
    text = (
        "{base: {method: cam}, arms: {a: {}, b: {lr: 1}, c: {lr: 2}},"
        " seeds: {until: 1, min: 2, compare: c}}"
    )
    assert order(plan(text)) == [(label, seed) for seed in (0, 1) for label in ("c", "a", "b")]


def test_a_shared_training_stays_together() -> None:
    arms = "{a: {}, b: {lr: 1}, c: {scales: [1.0]}, d: {lr: 1, scales: [1.0]}}"
    found = plan(f"{{base: {{method: cam}}, arms: {arms}, seeds: 1}}")
    assert [label for label, _ in order(found)] == ["a", "c", "b", "d"]


def test_what_is_cached_is_not_in_the_order() -> None:
    text = "{base: {method: cam}, axes: {lr: [1, 2, 3]}, seeds: 2}"
    first = plan(text)
    again = plan(text, cached=[first.trials[0].id, first.trials[3].id])
    left = [t.id for t in first.to_run if t.id not in again.cached]
    assert [t.id for t in again.to_run] == left
    assert len(left) == 4


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 15))
def test_any_number_of_trials_is_the_beginning_of_the_order(
    cells: int, seeds: int, most: int
) -> None:
    values = list(range(1, cells + 1))
    found = plan(f"{{base: {{method: cam}}, axes: {{lr: {values}}}, seeds: {seeds}}}")
    cut = limited(found, max_trials=most)
    assert [t.id for t in cut.to_run] == [t.id for t in found.to_run[:most]]
    assert cut.left_out == max(0, len(found.to_run) - most)
    assert len(cut.trials) == len(found.trials)


def test_a_budget_cuts_what_would_not_end_in_time() -> None:
    found = plan("{base: {method: cam}, axes: {lr: [1, 2, 3, 4, 5]}, seeds: 1}")
    seconds = {t.id: 10.0 for t in found.trials}
    for budget, slots, kept in ((35, 1, 3), (30, 1, 3), (29, 1, 2), (20, 2, 4), (5, 1, 1)):
        cut = limited(found, time_budget=budget, seconds=seconds, slots=slots)
        assert len(cut.to_run) == kept, (budget, slots)
    assert limited(found, time_budget=5) is found, "nothing is known, so the clock decides"
    assert limited(found, max_trials=2, time_budget=15, seconds=seconds).counts()["to_run"] == 1


def test_jobs_go_to_the_slot_that_is_free_first() -> None:
    arms = "{a: {}, b: {lr: 1}, c: {scales: [1.0]}, d: {lr: 2}}"
    found = plan(f"{{base: {{method: cam}}, arms: {arms}, seeds: 1}}").to_run
    labels = [t.labels[0] for t in found]
    took = dict(zip(labels, (6.0, 1.0, 2.0, 3.0), strict=True))  # a, c share a training
    end = ends(found, {t.id: took[t.labels[0]] for t in found}, 2)
    assert [(t.labels[0], end[t.id]) for t in found] == [
        ("a", 6.0),
        ("c", 7.0),
        ("b", 2.0),
        ("d", 5.0),
    ]


@pytest.mark.parametrize("slots", [0, 1])
def test_one_slot_is_the_least(slots: int) -> None:
    found = plan("{base: {method: cam}, axes: {lr: [1, 2]}, seeds: 1}").to_run
    assert max(ends(found, {t.id: 1.0 for t in found}, slots).values()) == 2.0
