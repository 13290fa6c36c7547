"""What `camsweep run` says before and after it runs."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from camsweep.platform.execute import Outcome, Where
    from camsweep.platform.notify import Ending
    from camsweep.platform.prepare import Prepared


def say_plan(prepared: Prepared, console: Console) -> None:
    """Print what was asked for and what of it is there."""
    counts = prepared.plan.counts()
    lines = [
        f"{counts['requested']} trials requested, {counts['unique']} unique, "
        f"{counts['cached']} found in {prepared.context.store}, {counts['to_run']} to run "
        f"(data {prepared.data}, profile {prepared.profile.name})"
    ]
    if prepared.plan.excluded:
        lines.append(
            f"{len(prepared.plan.excluded)} combinations excluded by rules (camsweep plan)"
        )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def run_audit(
    prepared: Prepared, times: int, console: Console, where: Where, ending: Ending
) -> int:
    """`--repeat`: run finished trials again, print what differs, return the exit status."""
    from camsweep.platform.execute import execute
    from camsweep.platform.repeat import audit, lines

    found = audit(prepared, times, lambda part: execute(part, console, where))
    for line in lines(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for title, cause in found.failed.items():
        print(f"camsweep: failed: {title}: {cause}", file=sys.stderr)
    ending.done, ending.failed = len(found.repeats), len(found.failed)
    if found.interrupted:
        ending.status = "interrupted"
        return 130
    ending.status = "failed" if found.failed else "done"
    return 1 if found.failed else 0


def conclude(outcome: Outcome, store: str) -> int:
    """Say how the run ended and return the exit status."""
    counts = outcome.monitor.counts()
    if outcome.left_out:
        print(f"camsweep: {outcome.left_out} trials left for another time, as the limit says")
    for state in outcome.monitor.failures():
        print(f"camsweep: failed: {state.title}: {state.cause}", file=sys.stderr)
    skipped = outcome.monitor.skipped()
    if skipped:
        shown = ", ".join(skipped[:5]) + (", …" if len(skipped) > 5 else "")
        noun = "sample" if len(skipped) == 1 else "samples"
        print(f"camsweep: {len(skipped)} damaged {noun} left out: {shown}", file=sys.stderr)
    if outcome.interrupted:
        left = counts["waiting"] + counts["running"]
        print(f"camsweep: {left} trials not done yet", file=sys.stderr)
        return 130
    if counts["failed"]:
        hint = f"camsweep status --store {shlex.quote(store)}"
        print(f"camsweep: {counts['failed']} failed; tracebacks: {hint}", file=sys.stderr)
        return 1
    return 0


def fill(ending: Ending, prepared: Prepared, outcome: Outcome) -> None:
    """Tell the command of `--notify` how the run ended."""
    monitor = outcome.monitor
    counts, best = monitor.counts(), monitor.best()
    ending.done, ending.failed = counts["done"], counts["failed"]
    ending.stopped = counts["stopped"]
    ending.left = counts["waiting"] + counts["running"]
    ending.cached = len(prepared.plan.cached)
    ending.best = best.miou if best else None
    ending.message = monitor.summary()
    ending.status = "failed" if counts["failed"] else "done"
    if outcome.interrupted:
        ending.status = "interrupted"
