"""A store -> everything a report shows, before it is written in any format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from camsweep.reports.artefacts import available, fill
from camsweep.reports.board.boards import boards
from camsweep.reports.board.entry import Leaderboard
from camsweep.reports.board.ofstore import other_boards
from camsweep.reports.board.showing import board_exhibit
from camsweep.reports.choosing import Say, chosen, with_unread
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.load import Selection
from camsweep.reports.measure import Measurements
from camsweep.reports.own.showing import is_sweep, sweep_exhibits
from camsweep.reports.repeated import with_repeats
from camsweep.reports.searches.exhibits import is_search, search_exhibits
from camsweep.reports.showing import exhibit_of
from camsweep.reports.spec import AnySpec, select, shipped
from camsweep.reports.training import training
from camsweep.sweeps.repeats import load_repeats

RESAMPLES = 1000


@dataclass(frozen=True)
class Report:
    """What a report shows.

    Attributes:
        store: as the user wrote it.
        selection: the trials of one profile and data set, and what else the store holds.
        boards: the leaderboard of what most trials measured, then those of what else trials of the
            same profile and data set measured, then those of the store's others.
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

    @property
    def own_boards(self) -> tuple[Leaderboard, ...]:
        """Those of the selection: one for each stage and split that its trials measured."""
        where = _where(self.selection)
        return tuple(board for board in self.boards if _where(board.selection) == where)

    @cached_property
    def ranked(self) -> tuple[Exhibit, ...]:
        """The exhibit of each board, which the page and the files share."""
        first, *others = self.boards
        named = (f"leaderboard/{board.kind or 'maps'}".replace(" ", "-") for board in others)
        return (board_exhibit(first), *map(board_exhibit, others, named))


def _where(selection: Selection) -> tuple[str, str, str]:
    return selection.profile, selection.data_name, selection.data_digest


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
    mine = boards(selection, measurements, repeats)
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
    curves = training(mine, opened)
    if curves is not None:
        shown.append(curves)
    selection = with_unread(selection, measurements.unread, say)
    return Report(store, selection, (*mine, *others), tuple(shown), resamples)


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
