"""A store -> its leaderboard, and one for each other profile and data set that it holds."""

from __future__ import annotations

from collections.abc import Collection

from camsweep.reports.board.boards import boards, one_board
from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.filters import Filters
from camsweep.reports.choosing import Say, chosen, with_unread
from camsweep.reports.counted import COUNTED
from camsweep.reports.load import Selection, Trial, choose, read_trials
from camsweep.reports.measure import Measurements
from camsweep.reports.repeated import Repeats
from camsweep.reports.uncollected import uncollected
from camsweep.sweeps.repeats import load_repeats
from camsweep.sweeps.store import Store

# Boards beside the chosen one: their resamples, a share of its own, but never fewer than these.
SHARE, FEWEST = 5, 200
_ALL = Filters()


def rank(
    store: str,
    metric: str = "miou",
    profile: str | None = None,
    data: str | None = None,
    say: Say = print,
    filters: Filters = _ALL,
    columns: Collection[str] = tuple(COUNTED),
) -> Leaderboard:
    """The leaderboard of a store.

    Args:
        store: path or URL.
        metric: a metric column, higher is better.
        profile: a profile's name, or None for the one with most trials.
        data: the beginning of a data digest, or None.
        say: gets one line for each other profile and data set that the store holds, and for what
            was measured on another stage or split.
        filters: which variants are ranked, and how many of the best are told.
        columns: metrics of `COUNTED` that are looked at, beside the one ranked by; fewer are
            quicker.

    Raises:
        InputError: no such store, profile, data set or metric, or no variant that fits a filter.
    """
    with uncollected():
        opened, selection = chosen(store, profile, data, say)
        wanted = tuple(name for name in COUNTED if name in {*columns, metric, "miou"})
        measurements = Measurements(opened, selection.trials, metrics=wanted)
        board = one_board(selection, measurements, metric, load_repeats(opened), filters, say)
    with_unread(selection, measurements.unread, say)
    return board


def other_boards(
    store: Store,
    selection: Selection,
    repeats: Repeats,
    *,
    resamples: int,
    seed: int,
) -> tuple[Leaderboard, ...]:
    """The leaderboards of the store's other profiles and data sets, in the order of their names.

    From fewer resamples, as their captions tell: they stand beside the report, which is about the
    selection.

    Args:
        store: whose trials.
        selection: the chosen trials, whose board is not among them.
        repeats: of the trials that were run again, by id.
        resamples: of the chosen board's bootstrap.
        seed: of the bootstrap.
    """
    if not selection.others:
        return ()
    mine = (selection.profile, selection.data_name, selection.data_digest)
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in read_trials(store):
        group = (trial.profile, trial.data_name, trial.data_digest)
        if trial.done and group != mine:
            groups.setdefault(group, []).append(trial)
    fewer = min(resamples, max(resamples // SHARE, FEWEST))
    found: list[Leaderboard] = []
    for group in sorted(groups):
        other = choose(groups[group], group[0], group[2])
        measurements = Measurements(store, other.trials, resamples=fewer, seed=seed)
        found += boards(other, measurements, repeats)
    return tuple(found)
