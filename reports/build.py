"""A store -> a folder with the page, the tables and the images of a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from camsweep.reports import export, figures, images, site
from camsweep.reports.artefacts import Filled, available, fill
from camsweep.reports.cards import artefact_card, card, leaderboard_card, plot
from camsweep.reports.leaderboard import Leaderboard, leaderboard
from camsweep.reports.load import (
    Selection,
    choose,
    open_results,
    read_epochs,
    read_trials,
    with_stopping,
)
from camsweep.reports.measure import Measurements
from camsweep.reports.pictures import Pictures, pictures
from camsweep.reports.pictures import figure as pictures_figure
from camsweep.reports.repeated import with_repeats
from camsweep.reports.spec import AnySpec, CurveSpec, PicturesSpec, select, shipped
from camsweep.reports.text import Grid, grid, leaderboard_grid
from camsweep.shards.errors import InputError, nearest
from camsweep.shards.places.files import write_whole
from camsweep.sweeps.repeats import load_repeats
from camsweep.sweeps.store import Store

FORMATS = ("html", "png", "svg", "pdf", "tex", "md", "csv")
TRAINING_CURVES = 12
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to report.

    Attributes:
        store: path or URL.
        out: the folder written to.
        artefacts: ids and papers; empty for every artefact that has a trial.
        formats: of `FORMATS`, or None for html, and png and svg if a Chromium is found.
        profile: a profile's name, or None for the one with most trials.
        data: the beginning of a data digest, or None.
        command: what the user typed, for the footer.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """

    store: str
    out: Path
    artefacts: tuple[str, ...] = ()
    formats: tuple[str, ...] | None = None
    profile: str | None = None
    data: str | None = None
    command: str = "camsweep report"
    seed: int = 0
    resamples: int = 1000


@dataclass(frozen=True)
class _Item:
    """An artefact with what it is drawn from."""

    filled: Filled
    figure: go.Figure | None
    tiles: Pictures | None


def parse_formats(text: str | None, known: tuple[str, ...] = FORMATS) -> tuple[str, ...] | None:
    """``"html,png"`` as a tuple; None stays None.

    Raises:
        InputError: an unknown format, with the nearest known one.
    """
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in known:
            raise InputError(f"--format {name}: not a format{nearest(name, known)}")
    if not names:
        raise InputError(f"--format: empty; one of: {', '.join(known)}")
    return names


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    write_whole(path, content.encode("utf-8") if isinstance(content, str) else content)


def _specs(request: Request, selection: Selection) -> list[AnySpec]:
    if request.artefacts:
        return select(list(request.artefacts))
    return [spec for spec in shipped().values() if available(spec, selection)]


def _item(filled: Filled, store: Store) -> _Item:
    spec = filled.spec
    measured = any(v.estimate is not None for line in filled.lines for v in line.values)
    if isinstance(spec, CurveSpec) and measured:
        return _Item(filled, figures.curve(filled), None)
    if isinstance(spec, PicturesSpec):
        tiles = pictures(spec, filled.selection, store)
        return _Item(filled, pictures_figure(tiles) if tiles is not None else None, tiles)
    return _Item(filled, None, None)


def _training(board: Leaderboard, store: Store) -> go.Figure | None:
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
    return figures.losses(curves) if curves else None


def _page(
    request: Request,
    selection: Selection,
    items: Sequence[_Item],
    board: Leaderboard,
    training: go.Figure | None,
) -> str:
    from plotly.offline import get_plotlyjs

    cards = [leaderboard_card(board)]
    drawn = training is not None
    for item in items:
        is_plot = item.figure is not None and item.tiles is None
        json_text = item.figure.to_json() if is_plot and item.figure is not None else None
        drawn = drawn or is_plot
        cards.append(artefact_card(item.filled, json_text, item.tiles))
    more = []
    if training is not None:
        more.append(("training", "Training curves"))
        where = f"data set {selection.data}, profile {selection.profile}"
        about = (
            f"Classification loss by epoch of the best variants (at most {TRAINING_CURVES}), mean "
            f"over seeds, {where}. Of CPN it is the mean over the image and its hidden pair, so "
            "compare the course, not the level."
        )
        figure = plot("training", training.to_json())
        cards.append(card("training", "", "Training curves", about, figure))
    facts = site.Facts(
        store=request.store,
        command=request.command,
        made=datetime.now(UTC),
        version=metadata.version("camsweep"),
        resamples=request.resamples,
    )
    filled = [item.filled for item in items]
    script = get_plotlyjs() if drawn else None
    return site.page(selection, filled, cards, more, facts, len(board.entries), script)


def _write_tables(request: Request, items: Sequence[_Item], board: Leaderboard) -> list[Path]:
    formats = request.formats or ()
    ranked = export.board_records(board)
    tables: list[tuple[str, Grid, list[dict[str, Any]], tuple[str, ...]]]
    tables = [("leaderboard", leaderboard_grid(board), ranked, export.RANKED)]
    tables += [
        (i.filled.spec.id.replace("/", "-"), grid(i.filled), export.tidy(i.filled), export.TIDY)
        for i in items
        if i.filled.lines
    ]
    written = []
    for name, content, records, columns in tables:
        texts = {
            "md": export.markdown(content),
            "tex": export.latex(content, name),
            "csv": export.csv_text(records, columns),
        }
        for form in (f for f in texts if f in formats):
            write(request.out / f"{name}.{form}", texts[form])
            written.append(request.out / f"{name}.{form}")
    return written


def _write_images(
    out: Path, drawn: dict[str, go.Figure], forms: Sequence[str], say: Say
) -> list[Path]:
    written: list[Path] = []
    if not drawn or not forms:
        return written
    try:
        with images.renderer() as render:
            for name, figure in drawn.items():
                for form in forms:
                    path = out / f"{name}.{form}"
                    write(path, render(figure, form))
                    written.append(path)
    except images.BrowserMissingError as error:
        say(f"images: {error}")
    return written


def _choose(store: str, profile: str | None, data: str | None, say: Say) -> tuple[Store, Selection]:
    opened = open_results(store)
    selection = choose(read_trials(opened), profile, data)
    for other in selection.others:
        say(f"left out: {other} (choose with --profile or --data)")
    return opened, with_stopping(selection, opened)


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
    opened, selection = _choose(store, profile, data, say)
    measurements = Measurements(opened, selection.trials)
    return leaderboard(selection, measurements, metric, load_repeats(opened))


def build(request: Request, say: Say = print) -> list[Path]:
    """Make a report.

    Args:
        request: what of which store, and where to.
        say: gets one line for each thing the user should know (no Chromium, other profiles).

    Returns:
        The files written, the page first where there is one.

    Raises:
        InputError: no such store, profile, data set or artefact.
    """
    if request.artefacts:
        select(list(request.artefacts))  # a wrong name is told before anything is read
    store, selection = _choose(request.store, request.profile, request.data, say)
    measurements = Measurements(
        store, selection.trials, resamples=request.resamples, seed=request.seed
    )
    repeats = load_repeats(store)
    board = leaderboard(selection, measurements, repeats=repeats)
    items = []
    for spec in _specs(request, selection):
        filled = fill(spec, selection, measurements, request.store)
        items.append(_item(with_repeats(filled, repeats), store))
    training = _training(board, store)
    written = []
    formats = request.formats or ("html",)
    wanted = tuple(f for f in images.FORMATS if f in formats)
    if wanted and "html" not in formats and not images.has_browser():
        formats = ("html", *formats)  # so that what was asked for can be seen at all
    if "html" in formats:
        path = request.out / "index.html"
        write(path, _page(request, selection, items, board, training))
        written.append(path)
    written += _write_tables(request, items, board)
    forms = wanted if request.formats is not None else ("png", "svg")
    drawn = {i.filled.spec.id.replace("/", "-"): i.figure for i in items if i.figure is not None}
    if training is not None:
        drawn["training"] = training
    return written + _write_images(request.out, drawn, forms, say)
