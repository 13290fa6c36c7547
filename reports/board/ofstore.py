"""A store -> its leaderboard."""

from __future__ import annotations

from camsweep.reports.board.ranking import Leaderboard, leaderboard
from camsweep.reports.choosing import Say, chosen
from camsweep.reports.measure import Measurements
from camsweep.sweeps.repeats import load_repeats


def rank(
    store: str,
    metric: str = "miou",
    profile: str | None = None,
    data: str | None = None,
    say: Say = print,
) -> Leaderboard:
    """The leaderboard of a store.

    Args:
        store: path or URL.
        metric: a metric column, higher is better.
        profile: a profile's name, or None for the one with most trials.
        data: the beginning of a data digest, or None.
        say: gets one line for each other profile and data set that the store holds.

    Raises:
        InputError: no such store, profile, data set or metric.
    """
    opened, selection = chosen(store, profile, data, say)
    measurements = Measurements(opened, selection.trials)
    return leaderboard(selection, measurements, metric, load_repeats(opened))
