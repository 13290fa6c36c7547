"""The searches of a store as exhibits: how they went, what mattered, which points are best."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from camsweep.reports.cards import plain_table
from camsweep.reports.exhibit import Exhibit, Grid, Records
from camsweep.reports.load import Selection
from camsweep.reports.markup import join, tag
from camsweep.reports.searches.best import (
    AGAIN,
    LISTED,
    best_rows,
    next_run,
    point_records,
    warning,
)
from camsweep.reports.searches.drawings import drawings
from camsweep.reports.searches.front import front_of
from camsweep.reports.searches.importance import Importance, importance
from camsweep.reports.searches.studied import Study, read_study
from camsweep.reports.searches.telling import below, caption, listing, plainly
from camsweep.reports.words import counted
from camsweep.shards.errors import InputError, nearest
from camsweep.sweeps.store import Store
from camsweep.sweeps.studies import study_ids

PAGE = "searches"
Say = Callable[[str], None]
_SHARES = ("metric", "setting", "share", "low", "high", "points", "best_points")


def is_search(name: str) -> bool:
    """Whether what a user asks to see is this page or something on it, ``searches/cpn``."""
    return name.partition("/")[0] == PAGE


def search_exhibits(
    store: Store,
    selection: Selection,
    url: str,
    *,
    seed: int = 0,
    say: Say = print,
    asked: Sequence[str] | None = None,
) -> list[Exhibit]:
    """One exhibit for each search of the store on the selection's profile and data.

    A journal that can't be read is told, in a line of its own exhibit, and ends nothing. Optuna is
    imported only where there is a study.

    Args:
        store: opened.
        selection: whose profile and data digest a study must have.
        url: the store as the user wrote it, for commands.
        seed: of the bootstrap.
        say: gets one line for each study that can't be read.
        asked: the page or ids on it; None for all.

    Raises:
        InputError: an id that is not there, with the nearest that is.
    """
    studies: list[Study] = []
    damaged: list[str] = []
    for study_id in study_ids(store):
        try:
            study = read_study(store, study_id)
        except InputError as error:
            damaged.append(str(error))
            continue
        ours = (selection.profile, selection.data_digest)
        if study is not None and (study.profile, study.data_digest) == ours:
            studies.append(study)
    studies.sort(key=lambda s: (s.sweep, s.id))
    named = {f"{PAGE}/{n}": s for n, s in zip(_names(studies), studies, strict=True)}
    wanted = set(named if asked is None or PAGE in asked else asked)
    for name in sorted(wanted - set(named)):
        raise InputError(f"unknown artefact '{name}'{nearest(name, [PAGE, *named])}")
    shown = [
        exhibit(study, name, selection, url, np.random.default_rng(seed))
        for name, study in named.items()
        if name in wanted
    ]
    for line in damaged:
        say(f"left out: {line}")
    return [*shown, *_unread(damaged)]


def _names(studies: Sequence[Study]) -> list[str]:
    """A name for each study, of letters that ids may have, no two alike.

    With the beginning of the study's id where two share a name: settings of a file were changed.
    """
    plain = [
        re.sub(r"[^A-Za-z0-9]+", "-", s.sweep.removeprefix("searches/")).strip("-").lower()[:60]
        or "unnamed"
        for s in studies
    ]
    often = Counter(plain)
    ids = [f"{n}-{s.id[:8]}" if often[n] > 1 else n for n, s in zip(plain, studies, strict=True)]
    again = Counter(ids)
    return [
        f"{name}-{study.id}" if again[name] > 1 else name
        for name, study in zip(ids, studies, strict=True)
    ]


def _unread(lines: Sequence[str]) -> list[Exhibit]:
    if not lines:
        return []
    listed = tag("ul", *(tag("li", line) for line in lines))
    notes = tag("div", tag("div", listed, class_="missing"), class_="notes")
    about = f"{counted(len(lines), 'journal')} could not be read and is left out."
    if len(lines) > 1:
        about = f"{len(lines)} journals could not be read and are left out."
    # No sweep's name makes this id: theirs have no underscore.
    return [Exhibit(f"{PAGE}/_unread", PAGE, "", "Unreadable searches", about, notes=notes)]


def exhibit(
    study: Study, name: str, selection: Selection, url: str, rng: np.random.Generator
) -> Exhibit:
    """A study's exhibit, whatever became of it.

    Args:
        study: with its points, maybe none.
        name: the exhibit's id, ``searches/cpn``.
        selection: the trials of the same profile and data.
        url: the store as the user wrote it.
        rng: of the bootstrap of the importance.
    """
    several = len(study.metrics) > 1
    finished = study.of("finished")
    found = [importance(study, metric, rng) for metric in range(len(study.metrics))]
    front = front_of(study) if several else []
    figures, remarks = drawings(study, found, front)
    listed = (front if several else study.ranked())[:LISTED]
    grids: tuple[tuple[str, Grid], ...] = ()
    body = run = None
    about = caption(study, selection)
    title = study.title or study.sweep
    if listed:
        run = next_run(study, listed[:AGAIN], selection.trials, url)
        headers, rows = best_rows(study, listed, selection.trials)
        lines = (warning(study, selection.trials), *remarks, *plainly(run))
        table = Grid(f"{title}: {listing(study, front)}", about, headers, rows, lines)
        grids = (("", table),)
        body = join(tag("h3", listing(study, front)), plain_table(table))
    records: tuple[tuple[str, Records], ...] = ()
    if study.points:
        records = (("points", point_records(study, study.points, selection.trials)),)
    if listed:
        best = point_records(study, listed, selection.trials)
        records = (("", best), *records)
    if any(one.shares for one in found):
        records = (*records, ("importance", _share_records(found)))
    told = warning(study, selection.trials) if finished else ""
    return Exhibit(
        id=name,
        page=PAGE,
        number="",
        title=title,
        caption=about,
        figures=tuple(figures),
        body=body,
        grids=grids,
        records=records,
        notes=below(study, told, remarks, run),
        failed=len(study.of("failed")),
    )


def _share_records(found: Sequence[Importance]) -> Records:
    return Records(
        _SHARES,
        [
            {
                "metric": one.metric,
                "setting": share.name,
                "share": share.size,
                "low": share.low,
                "high": share.high,
                "points": one.points,
                "best_points": one.top,
            }
            for one in found
            for share in one.shares
        ],
    )
