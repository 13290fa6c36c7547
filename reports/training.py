"""Losses by epoch of the best variants: the method's own training, and those after it.

A trial with a chain of stages has the epochs of all its trainings one after the other; in each row
the losses of the others are null, so that every loss is drawn over its own rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camsweep.reports import figures
from camsweep.reports.board.entry import Entry, Leaderboard
from camsweep.reports.exhibit import Drawn, Exhibit
from camsweep.reports.load import read_epochs
from camsweep.sweeps.store import Store

#: Variants in a figure.
CURVES = 12


@dataclass(frozen=True)
class Training:
    """A training that trials may have.

    Attributes:
        stage: whose weights it makes; trials that share it share its curve.
        loss: its column in the epochs table.
        name: of its figure.
        title: heading of its figure.
        what: the loss in words.
    """

    stage: str
    loss: str
    name: str
    title: str
    what: str


#: Not the method's total: its other terms may be ramped up, and then it rises while all goes well.
TRAININGS = (
    Training("train", "loss.cls", "", "Training curves", "classification loss"),
    Training(
        "affinity",
        "loss.affinity.loss",
        "affinity",
        "Training of the affinities",
        "loss of AffinityNet or IRN",
    ),
    Training(
        "segment",
        "loss.segment.loss",
        "segment",
        "Training of the segmentation networks",
        "segmentation loss",
    ),
)

Curve = tuple[str, list[int], list[float]]
Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def training(boards: Sequence[Leaderboard], store: Store) -> Exhibit | None:
    """The losses by epoch, mean over seeds, of the best variants of each leaderboard.

    None where no variant has two epochs, as a point is no course.

    Args:
        boards: of one profile and data set.
        store: where the epochs are.
    """
    entries = [entry for board in boards for entry in board.entries[:CURVES]]
    several = len(boards) > 1
    names = [
        f"{e.rank}. {e.name}{f' ({board.kind})' if several else ''}"
        for board in boards
        for e in board.entries[:CURVES]
    ]
    rows = read_epochs(store, [t for e in entries for t in e.trials])
    drawn, told = [], []
    for one in TRAININGS:
        curves = _curves(one, list(zip(names, entries, strict=True)), rows)
        if curves:
            alt = f"{_upper(one.what)} by epoch of {len(curves)} variants."
            drawn.append(Drawn(one.name, one.title, alt, figures.losses(curves, one.what)))
            told.append(one.what)
    if not drawn:
        return None
    selection = boards[0].selection
    caption = (
        f"{_upper(', '.join(told))} by epoch of the best variants (at most {CURVES}), mean over "
        f"seeds, data set {selection.data}, profile {selection.profile}. Of CPN the classification "
        "loss is the mean over the image and its hidden pair, so compare the course, not the level."
    )
    if len(drawn) > 1:
        caption += " Variants that share a training have one curve, by the name of the first."
    return Exhibit("training", "training", "", "Training curves", caption, tuple(drawn))


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _curves(one: Training, named: Sequence[tuple[str, Entry]], rows: Rows) -> list[Curve]:
    """The curves of a training, once for each different one."""
    found: dict[tuple[str, ...], Curve] = {}
    for name, entry in named:
        which = tuple(t.stages.get(one.stage, t.id) for t in entry.trials)
        curve = None if which in found else _curve(name, one, entry, rows)
        if curve is not None:
            found[which] = curve
    return list(found.values())[:CURVES]


def _curve(name: str, one: Training, entry: Entry, rows: Rows) -> Curve | None:
    """Mean over seeds, as far as all of them go; None where that is less than two epochs."""
    runs = [_values(rows[t.id], one.loss) for t in entry.trials if t.id in rows]
    runs = [run for run in runs if run]
    length = min(map(len, runs), default=0)
    if length < 2:
        return None
    mean = np.mean([run[:length] for run in runs], axis=0)
    # Counted from 1 in each training, wherever its rows stand in the table.
    return name, list(range(1, length + 1)), [float(value) for value in mean]


def _values(rows: Sequence[Mapping[str, Any]], loss: str) -> list[float]:
    """A loss in the rows that have it."""
    values = (row.get(loss) for row in rows)
    return [float(v) for v in values if v is not None and not math.isnan(v)]
