"""The audit: finished trials are run again from nothing and compared with what the store has.

A round is an ordinary run of the same plan into an empty store, the *scratch*, which lies in a
hidden folder of the real one: engine, leases, retries and resumption are those of any run. No
result or artefact of the store is read for it; the data set, its superpixels and files given by
`--weights` are inputs and are read again. When a round is over only the comparison is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from camsweep.reports.repeated import points
from camsweep.shards.errors import InputError
from camsweep.sweeps.identity import content_id
from camsweep.sweeps.planned import PlannedTrial
from camsweep.sweeps.recorded import planned_again
from camsweep.sweeps.repeats import (
    Repeat,
    compare,
    load_repeats,
    repeat_name,
    repeat_names,
    spread,
    write_repeat,
)
from camsweep.sweeps.results import done_ids, is_done, load_trials, read_row
from camsweep.sweeps.store import Store

if TYPE_CHECKING:
    from camsweep.platform.execute import Outcome
    from camsweep.platform.prepare import Prepared


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        repeats: of each of the plan's trials that has any, by id; earlier ones as well.
        titles: of these trials, by id.
        unfinished: trials of the plan that the store does not have, so that nothing can be
            repeated.
        failed: cause by title of the trials whose repeat failed.
        interrupted: whether it was stopped before its end; the same command goes on.
    """

    repeats: Mapping[str, list[Repeat]]
    titles: Mapping[str, str]
    unfinished: int
    failed: Mapping[str, str]
    interrupted: bool

    @property
    def differing(self) -> list[str]:
        """Ids of the trials with a repeat that is not identical."""
        return [key for key, some in self.repeats.items() if not all(r.identical for r in some)]


def audit(prepared: Prepared, times: int, run: Callable[[Prepared], Outcome]) -> Audit:
    """Have so many repeats of every finished trial of a plan; those in the store count.

    Args:
        prepared: the plan with its store.
        times: how many repeats of a trial there shall be.
        run: runs a plan: `execute` with its options.

    Raises:
        InputError: none of the plan's trials is finished.
    """
    store, plan = prepared.context.store, prepared.plan
    searched = searched_trials(prepared)
    plan = replace(
        plan,
        trials=(*plan.trials, *searched),
        cached=plan.cached | {trial.id for trial in searched},
    )
    prepared = replace(prepared, plan=plan)
    finished = [t for t in plan.trials if t.id in plan.cached]
    if not finished:
        raise InputError(
            f"--repeat: {store} has no finished trial of these sweeps yet; run them first"
        )
    failed: dict[str, str] = {}
    interrupted = False
    for number in range(1, times + 1):
        there = repeat_names(store)
        due = [t for t in finished if repeat_name(t.id, number) not in there]
        if not due or interrupted:
            continue
        folder = scratch_folder(prepared, number)
        scratch = store.inside(folder)
        try:
            outcome = run(scratch_round(prepared, scratch, {t.id for t in due}))
            interrupted = outcome.interrupted
            failed |= {t.title: t.cause or "" for t in outcome.monitor.failures()}
        finally:
            settled = [settle(store, scratch, t.id, number) for t in due]
        if all(settled) or not interrupted:
            store.delete_folder(folder)
    titles = {t.id: t.title for t in finished}
    known = load_repeats(store, titles)
    return Audit(
        repeats={key: known[key] for key in titles if key in known},
        titles=titles,
        unfinished=len(plan.trials) - len(finished),
        failed=failed,
        interrupted=interrupted,
    )


def searched_trials(prepared: Prepared) -> list[PlannedTrial]:
    """The finished trials of the plan's searches, which no sweep file lists, from their rows."""
    plan, context = prepared.plan, prepared.context
    searches = {sweep.name for sweep in plan.searches}
    listed = {trial.id for trial in plan.trials}
    found = []
    for row in prepared.history.to_pylist() if searches else ():
        mine = (row["profile"], row["data_digest"]) == (context.profile, context.data_digest)
        if (
            mine
            and row["id"] not in listed
            and searches.intersection(row["sweeps"])
            and is_done(row, context.skip_damaged)
        ):
            trial = planned_again(row)
            found += [trial] if trial is not None else []
    return found


def scratch_folder(prepared: Prepared, number: int) -> str:
    """The hidden folder of a round; the same command finds it again after an interruption."""
    return f".repeat-{number}-{content_id(sorted(t.id for t in prepared.plan.trials))[:12]}"


def scratch_round(prepared: Prepared, scratch: Store, due: set[str]) -> Prepared:
    """The plan of a round: the trials that are due, into the scratch."""
    trials = tuple(t for t in prepared.plan.trials if t.id in due)
    cached = done_ids(load_trials(scratch), prepared.context.skip_damaged) & due
    plan = replace(
        prepared.plan,
        requested=len(trials),
        trials=trials,
        cached=frozenset(cached),
        # No rule adds seeds to a repeat, no search adds trials, and no tracker is told of it.
        sweeps=(),
        asked=replace(prepared.plan.asked, seeds=1),
        tried=frozenset(),
        chosen=None,
    )
    return replace(prepared, plan=plan, context=replace(prepared.context, store=scratch))


def settle(store: Store, scratch: Store, trial_id: str, number: int) -> bool:
    """Write down the comparison of a repeat that is done.

    Returns:
        Whether there was one.
    """
    second = read_row(scratch, trial_id)
    if not is_done(second, skip_damaged=True):
        return False
    first = read_row(store, trial_id)
    if first is None or second is None:
        return False
    write_repeat(store, compare(store, first, scratch, second, number))
    return True


def lines(found: Audit) -> list[str]:
    """What the audit found, a line a trial and one a method, for people."""
    said = [
        f"{'identical' if all(r.identical for r in some) else 'differs  '}  "
        f"{found.titles[key]}: {_trial(some)}"
        for key, some in found.repeats.items()
    ]
    methods: dict[str, list[list[Repeat]]] = {}
    for some in found.repeats.values():
        methods.setdefault(some[0].method, []).append(some)
    for method, trials in sorted(methods.items()):
        bad = [some for some in trials if not all(r.identical for r in some)]
        noun = "trial" if len(trials) == 1 else "trials"
        verdict = "all identical"
        if bad:
            widest = max(map(spread, trials))
            verdict = f"{len(bad)} not reproducible, spread up to {points(widest)} mIoU points"
        said.append(f"{method}: {len(trials)} {noun} repeated, {verdict}")
    if found.unfinished:
        said.append(f"{found.unfinished} trials are not finished, so that none was repeated")
    return said


def _trial(some: list[Repeat]) -> str:
    times = "once" if len(some) == 1 else f"{len(some)} times"
    bad = [r for r in some if not r.identical]
    if not bad:
        known = all(r.weights_identical is not None for r in some)
        what = "weights, counts and metrics" if known else "counts and metrics (no weights stored)"
        return f"repeated {times}, same {what}"
    values = ", ".join(f"{100 * v:.2f}" for v in [some[0].original_miou, *(r.miou for r in some)])
    differing = max(r.images_differing for r in bad)
    text = (
        f"repeated {times}, mIoU {values} (spread {points(spread(some))} points), "
        f"counts of {differing} of {bad[0].images} images differ"
    )
    if not any(r.same_setup for r in bad):
        text += ", on another device, with other versions or workers"
    return text
