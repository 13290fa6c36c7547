"""One leaderboard for each thing that a selection's trials were measured on."""

from __future__ import annotations

from dataclasses import replace

from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.facts import stage
from camsweep.reports.board.filters import Filters
from camsweep.reports.board.ranking import leaderboard
from camsweep.reports.choosing import Say
from camsweep.reports.kinds import MAPS, Kind, by_kind
from camsweep.reports.load import Selection
from camsweep.reports.measure import Measurements
from camsweep.reports.repeated import Repeats
from camsweep.shards.errors import InputError, nearest


def boards(
    selection: Selection, measurements: Measurements, repeats: Repeats
) -> tuple[Leaderboard, ...]:
    """The leaderboards of a selection, that of most trials first.

    Args:
        selection: the trials of one profile and data set.
        measurements: numbers of those trials.
        repeats: of the trials that were run again, by id.
    """
    parts = by_kind(selection)
    return tuple(
        _named(leaderboard(part, measurements, repeats=repeats), kind, len(parts))
        for kind, part in parts.items()
    ) or (leaderboard(selection, measurements, repeats=repeats),)


def one_board(
    selection: Selection,
    measurements: Measurements,
    metric: str,
    repeats: Repeats,
    filters: Filters,
    say: Say,
) -> Leaderboard:
    """The leaderboard of what most trials measured, or of what has the stage that is asked for.

    Args:
        selection: the trials of one profile and data set.
        measurements: numbers of those trials.
        metric: a metric column, higher is better.
        repeats: of the trials that were run again, by id.
        filters: which variants are ranked.
        say: gets one line for each thing that is left out.

    Raises:
        InputError: no trial has the metric, or no variant what is filtered by.
    """
    parts = by_kind(selection, metric)
    kind = _asked(parts, metric, filters.stage)
    if kind is None:
        return leaderboard(selection, measurements, metric, repeats, filters)
    for other, part in parts.items():
        if other != kind:
            done = sum(trial.done for trial in part.trials)
            plural = "" if done == 1 else "s"
            say(f"left out: {other.text}, {done} trial{plural} (choose with --stage)")
    board = leaderboard(parts[kind], measurements, metric, repeats, filters)
    return _named(board, kind, len(parts))


def _asked(parts: dict[Kind, Selection], metric: str, asked: str | None) -> Kind | None:
    """The kind that has a stage, of several the one with most trials; None without trials."""
    if asked is None or len(parts) < 2:
        return next(iter(parts), None)
    wanted = asked.strip().casefold()
    known: set[str] = set()
    for kind, part in parts.items():
        stages = {stage(trial, metric) for trial in part.trials if trial.done}
        known |= stages
        if wanted in {name.casefold() for name in stages}:
            return kind
    raise InputError(f"--stage {asked}: no variant has it{nearest(asked, known)}")


def _named(board: Leaderboard, kind: Kind, kinds: int) -> Leaderboard:
    return replace(board, kind=kind.text if kinds > 1 or kind.what != MAPS else "")
