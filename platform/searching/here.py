"""A search in this process, one trial after another, without Ray's workers."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from camsweep.platform.attempts import Job, run_job
from camsweep.platform.searching.rules import Rule, make_scheduler, sign_of
from camsweep.platform.searching.search import Suggestion
from camsweep.platform.searching.session import Session, recalled, watch
from camsweep.platform.trial import run_trial

#: Between two looks at a trial that another driver runs.
ELSEWHERE_SECONDS = 2.0


def search_here(session: Session, longest: int, *, reraise: bool = False) -> None:
    """Run the search's points one by one.

    Args:
        session: of the search.
        longest: the most epochs of any training.
        reraise: raise the first failure instead of recording it, for a debugger.
    """
    rule = None
    if session.spec.scheduler.name != "none":
        rule = recalled(Rule(make_scheduler(session.spec, longest)), session.search)
    while (found := session.next()) is not None:
        session.ended(found.number, _run(session, found, rule, reraise))


def _run(session: Session, found: Suggestion, rule: Rule | None, reraise: bool) -> dict[str, Any]:
    run: Any = run_trial
    if rule is not None:
        run = watch(session.spec, partial(_goes_on, session, found.number, rule)).run
    job, rows = Job((found.trial,), run), list[dict[str, Any]]()
    while run_job(job, session.context, session.audience.progress, rows.append, reraise=reraise):
        time.sleep(ELSEWHERE_SECONDS)
    return rows[-1]


def _goes_on(session: Session, number: int, rule: Rule, epoch: int, value: float) -> bool:
    session.rung(number, epoch, value)
    return rule.goes_on(str(number), epoch, sign_of(session.spec) * value)
