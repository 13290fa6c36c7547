"""A store -> everything a report shows, before it is written in any format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from camsweep.reports import figures
from camsweep.reports.artefacts import available, fill
from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.ofstore import other_boards
from camsweep.reports.board.ranking import leaderboard
from camsweep.reports.board.showing import board_exhibit
from camsweep.reports.choosing import Say, chosen, with_unread
from camsweep.reports.exhibit import Drawn, Exhibit
from camsweep.reports.load import Selection, read_epochs
from camsweep.reports.measure import Measurements
from camsweep.reports.own.showing import is_sweep, sweep_exhibits
from camsweep.reports.repeated import with_repeats
from camsweep.reports.searches.exhibits import is_search, search_exhibits
from camsweep.reports.showing import exhibit_of
from camsweep.reports.spec import AnySpec, select, shipped
from camsweep.sweeps.repeats import load_repeats
from camsweep.sweeps.store import Store

TRAINING_CURVES = 12
RESAMPLES = 1000


@dataclass(frozen=True)
class Report:
    """What a report shows.

    Attributes:
        store: as the user wrote it.
        selection: the trials of one profile and data set, and what else the store holds.
        boards: the leaderboard, then one for each other profile and data set of the store.
        exhibits: everything else, page by page in order.
        resamples: of the bootstrap.
    """

    store: str
    selection: Selection
    boards: tuple[Leaderboard, ...]
    exhibits: tuple[Exhibit, ...]
    resamples: int = RESAMPLES

    @property
    def board(self) -> Leaderboard:
        """The leaderboard of the selection."""
        return self.boards[0]

    @cached_property
    def ranked(self) -> tuple[Exhibit, ...]:
        """The exhibit of each board, which the page and the files share."""
        return tuple(map(board_exhibit, self.boards))


def assemble(
    store: str,
    artefacts: Sequence[str] = (),
    profile: str | None = None,
    data: str | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    say: Say = print,
) -> Report:
    """Everything that a store has to show.

    Args:
        store: path or URL.
        artefacts: ids and papers; empty for every artefact that has a trial.
        profile: a profile's name, or None for the one with most trials.
        data: the beginning of a data digest, or None.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        say: gets one line for each thing the user should know.

    Raises:
        InputError: no such store, profile, data set or artefact.
    """
    papers = of_papers(artefacts)
    opened, selection = chosen(store, profile, data, say)
    measurements = Measurements(opened, selection.trials, resamples=resamples, seed=seed)
    repeats = load_repeats(opened)
    board = leaderboard(selection, measurements, repeats=repeats)
    others = other_boards(opened, selection, repeats, resamples=resamples, seed=seed)
    shown = []
    for spec in _specs(papers, selection) if papers or not artefacts else []:
        filled = with_repeats(fill(spec, selection, measurements, store), repeats)
        shown.append(exhibit_of(filled, opened, measurements))
    if not artefacts or any(map(is_sweep, artefacts)):
        asked = [name for name in artefacts if is_sweep(name)] if artefacts else None
        shown += sweep_exhibits(selection, measurements, opened, store, say, asked)
    if not artefacts or any(map(is_search, artefacts)):
        asked = [name for name in artefacts if is_search(name)] if artefacts else None
        shown += search_exhibits(opened, selection, store, seed=seed, say=say, asked=asked)
    curves = training(board, opened)
    if curves is not None:
        shown.append(curves)
    selection = with_unread(selection, measurements.unread, say)
    return Report(store, selection, (board, *others), tuple(shown), resamples)


def of_papers(artefacts: Sequence[str]) -> list[str]:
    """Those of the names that are papers or their artefacts, not sweeps or searches of a store.

    Raises:
        InputError: such a name is unknown, told before anything is read.
    """
    names = [name for name in artefacts if not (is_sweep(name) or is_search(name))]
    select(names)
    return names


def _specs(artefacts: Sequence[str], selection: Selection) -> list[AnySpec]:
    if artefacts:
        return select(list(artefacts))
    return [spec for spec in shipped().values() if available(spec, selection)]


def training(board: Leaderboard, store: Store) -> Exhibit | None:
    """Classification loss by epoch, mean over seeds, of the best variants.

    Not the total: its other terms may be ramped up, and then it rises while all goes well. None
    where no variant has two epochs, as a point is no course.
    """
    entries = board.entries[:TRAINING_CURVES]
    rows = read_epochs(store, [t for e in entries for t in e.trials])
    curves = []
    for entry in entries:
        runs = [rows[t.id] for t in entry.trials if t.id in rows]
        runs = [run for run in runs if all(row.get("loss.cls") is not None for row in run)]
        length = min((len(run) for run in runs), default=0)
        if length > 1:
            mean = np.mean([[row["loss.cls"] for row in run[:length]] for run in runs], axis=0)
            # Stored from 0; people count from 1.
            epochs = [int(row["epoch"]) + 1 for row in runs[0][:length]]
            curves.append((f"{entry.rank}. {entry.name}", epochs, [float(v) for v in mean]))
    if not curves:
        return None
    selection = board.selection
    caption = (
        f"Classification loss by epoch of the best variants (at most {TRAINING_CURVES}), mean over "
        f"seeds, data set {selection.data}, profile {selection.profile}. Of CPN it is the mean "
        "over the image and its hidden pair, so compare the course, not the level."
    )
    alt = f"Classification loss by epoch of {len(curves)} variants."
    drawn = Drawn("", "Training curves", alt, figures.losses(curves))
    return Exhibit("training", "training", "", "Training curves", caption, (drawn,))
