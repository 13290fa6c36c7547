"""Seeds that pay: rounds of seeds for the arms of a comparison whose difference is still open.

A round is everything the plan asks for. When all of it is done, each arm's differences to the
reference, paired by seed, are judged by the sweep's rule (`sweeps.seeds`); open arms get the next
seed, and so does the reference. Nothing of this is kept between runs: the same command again reads
the rows of the store and comes to the same round. A trial that failed leaves its seed out of the
pairs; the seed counts towards `max`, so that rounds end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.planned import Use
from camsweep.sweeps.results import done_ids, is_done
from camsweep.sweeps.seeds import Decision, SeedRule, decide
from camsweep.sweeps.spec import Sweep


@dataclass(frozen=True)
class Arm:
    """One arm of a comparison and where it stands.

    Attributes:
        label: the cell's.
        seeds: those that the plan has for it, in order.
        paired: those of them that are done, here and in the reference.
        decision: what the rule says.
    """

    label: str
    seeds: tuple[int, ...]
    paired: tuple[int, ...]
    decision: Decision


@dataclass(frozen=True)
class Comparison:
    """A sweep whose seeds are added by a rule, and its arms without the reference."""

    sweep: str
    reference: str
    rule: SeedRule
    arms: tuple[Arm, ...]


def more_seeds(plan: Plan, history: pa.Table, *, skip_damaged: bool = False) -> Plan | None:
    """The plan of the next round, after everything in `plan` was run; None if there is none.

    Args:
        plan: what was run.
        history: the store's trial rows, read after that.
        skip_damaged: whether trials count that left out damaged samples.

    Returns:
        A plan with something to run. None where all comparisons are decided, where no sweep has a
        rule, or where the round is not finished (interrupted, cut by a limit).
    """
    if plan.left_out:
        return None
    done = done_ids(history, skip_damaged)
    ended = {row["id"] for row in _ended(history, skip_damaged)}
    ran = [t.id for t in plan.to_run]
    if not ended.issuperset(ran):
        return None
    failed = frozenset(trial_id for trial_id in ran if trial_id not in done)
    after = replace(
        plan,
        cached=plan.cached | (frozenset(ran) - failed),
        tried=plan.tried | failed,
    )
    found = caught_up(after, history, skip_damaged=skip_damaged)
    return found if found.to_run else None


def caught_up(plan: Plan, history: pa.Table, *, skip_damaged: bool = False) -> Plan:
    """The plan with all rounds that the store has results of; the plan itself without rules.

    A new run calls this first, so that what `camsweep plan` shows is the round that would be run.

    Args:
        plan: of `make_plan`.
        history: the store's trial rows.
        skip_damaged: whether trials count that left out damaged samples.
    """
    done = done_ids(history, skip_damaged)
    while not plan.to_run:
        more = _open_cells(plan, history, skip_damaged)
        if not more:
            return plan
        asked = plan.asked
        wider = make_plan(
            plan.sweeps,
            plan.profile,
            plan.data_digest,
            cached=done,
            seeds=asked.seeds,
            first_seed=asked.first_seed,
            overrides=asked.overrides,
            weights=asked.weights,
            more=more,
        )
        also = {trial.id: trial.also for trial in plan.trials}
        trials = tuple(replace(t, also=also.get(t.id, ())) for t in wider.trials)
        plan = replace(wider, trials=trials, tried=plan.tried)
    return plan


def comparisons(plan: Plan, history: pa.Table, *, skip_damaged: bool = False) -> list[Comparison]:
    """Where every arm of the sweeps with a rule stands, by the rows of the store.

    A seed that the plan has and that is still to run does not count towards `min` and `max`: one
    that was not run yet, that a search ended early, or that left out damaged samples where those
    don't count.

    Args:
        plan: what was asked for.
        history: the store's trial rows.
        skip_damaged: whether trials count that left out damaged samples.
    """
    if plan.asked.seeds is not None:
        return []
    cells = _cells(plan)
    miou = {
        row["id"]: row.get("metric.miou") if row["status"] == "done" else None
        for row in _ended(history, skip_damaged)
    }
    references = dict(plan.references)
    return [
        _compare(sweep, rule, references[sweep.name], cells, miou)
        for sweep in plan.sweeps
        if isinstance(rule := sweep.spec.seeds, SeedRule) and sweep.name in references
    ]


def _compare(
    sweep: Sweep,
    rule: SeedRule,
    reference: str,
    cells: Mapping[Use, Mapping[int, str]],
    miou: Mapping[str, float | None],
) -> Comparison:
    base = cells[sweep.name, reference]
    arms = []
    for (name, label), seeds in cells.items():
        if name != sweep.name or label == reference:
            continue
        pairs = {
            seed: (miou.get(seeds[seed]), miou.get(base[seed])) for seed in seeds if seed in base
        }
        known = {s: (a, b) for s, (a, b) in pairs.items() if a is not None and b is not None}
        differences = [100 * (a - b) for a, b in known.values()]
        tried = sum(trial_id in miou for trial_id in seeds.values())
        decision = decide(differences, tried, rule)
        arms.append(Arm(label, tuple(seeds), tuple(known), decision))
    return Comparison(sweep.name, reference, rule, tuple(arms))


def _open_cells(plan: Plan, history: pa.Table, skip_damaged: bool) -> dict[Use, int]:
    """How many seeds each cell of a sweep with an open arm has in the next round."""
    counts: dict[Use, int] = {}
    for found in comparisons(plan, history, skip_damaged=skip_damaged):
        wanted = {
            arm.label: len(arm.seeds) + (arm.decision.verdict == "open") for arm in found.arms
        }
        if any(arm.decision.verdict == "open" for arm in found.arms):
            wanted[found.reference] = max(wanted.values())
            counts |= {(found.sweep, label): count for label, count in wanted.items()}
    # Sweeps that are decided keep what they have.
    if counts:
        counts = {use: len(seeds) for use, seeds in _cells(plan).items()} | counts
    return counts


def _cells(plan: Plan) -> dict[Use, dict[int, str]]:
    """The id of each cell's trial by seed, cells in the order of the files."""
    cells: dict[Use, dict[int, str]] = {}
    for sweep in plan.sweeps:
        for cell in sweep.rows():
            cells[sweep.name, cell.label] = {}
    for trial in plan.trials:
        for use in trial.uses:
            cells[use][trial.config.seed] = trial.id
    return {use: dict(sorted(seeds.items())) for use, seeds in cells.items() if seeds}


def _ended(history: pa.Table, skip_damaged: bool) -> list[dict[str, Any]]:
    """The rows of the trials that count as done or that failed."""
    names = ("id", "status", "skipped", "metric.miou")
    rows = history.select([n for n in names if n in history.column_names]).to_pylist()
    return [row for row in rows if row["status"] == "failed" or is_done(row, skip_damaged)]
