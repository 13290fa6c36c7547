"""A store and the trials in it that are to be shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from camsweep.reports.load import Selection, choose, open_results, read_trials, with_stopping
from camsweep.reports.unread import lines, without_counts
from camsweep.sweeps.compacting.reading import Unread
from camsweep.sweeps.store import Store

#: Gets one line for each thing the user should know.
Say = Callable[[str], None]

NOTHING = "the store holds no trials yet; start with `camsweep run cpn/table4`"


def with_unread(selection: Selection, unread: list[Unread], say: Say) -> Selection:
    """The selection with what was found unreadable since; each line is told once."""
    late = [line for line in lines(unread) if line not in selection.unread]
    for line in late:
        say(line)
    return replace(selection, unread=(*selection.unread, *late))


def chosen(store: str, profile: str | None, data: str | None, say: Say) -> tuple[Store, Selection]:
    """The store opened, and the trials of one profile and data set; others are told of.

    Without any trial that can be read it is an empty selection.
    """
    opened = open_results(store)
    unread: list[Unread] = []
    trials = read_trials(opened, unread.append)
    told = lines(unread)
    if not trials:
        for line in (*told, NOTHING):
            say(line)
        return opened, Selection("", "", "", (), (), unread=tuple(told))
    selection = choose(trials, profile, data)
    told += without_counts(opened, selection.trials)
    for other in selection.others:
        say(f"left out: {other} (choose with --profile or --data)")
    for line in told:
        say(line)
    return opened, replace(with_stopping(selection, opened), unread=tuple(told))
