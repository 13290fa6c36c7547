"""A store and the trials in it that are to be shown."""

from __future__ import annotations

from collections.abc import Callable

from camsweep.reports.load import Selection, choose, open_results, read_trials, with_stopping
from camsweep.sweeps.store import Store

#: Gets one line for each thing the user should know.
Say = Callable[[str], None]


def chosen(store: str, profile: str | None, data: str | None, say: Say) -> tuple[Store, Selection]:
    """The store opened, and the trials of one profile and data set; others are told of."""
    opened = open_results(store)
    selection = choose(read_trials(opened), profile, data)
    for other in selection.others:
        say(f"left out: {other} (choose with --profile or --data)")
    return opened, with_stopping(selection, opened)
