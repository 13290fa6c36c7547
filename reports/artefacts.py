"""Specs and a store -> filled artefacts: what tables and figures are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from camsweep.reports.load import Selection, Trial
from camsweep.reports.measure import Cell, Estimate, Measurements, gather
from camsweep.reports.shape import Place, Shape, shape
from camsweep.reports.spec import (
    AnySpec,
    ContrastSpec,
    CurveSpec,
    Paper,
    PicturesSpec,
    Side,
    TableSpec,
    paper,
)

OTHER_DATA = "other data"


@dataclass(frozen=True)
class Value:
    """A cell: what was measured, what was published (percent), and the hole if neither can stand.

    ``difference`` is measured minus published in points, or None where the store's data is not the
    paper's (shown as "other data") or one of the two is missing. ``effect`` is the paired
    difference to the reference row.
    """

    estimate: Estimate | None
    published: float | None = None
    difference: float | None = None
    effect: Estimate | None = None
    hole: bool = False


@dataclass(frozen=True)
class Line:
    """A row of a filled artefact; ``x`` is its place on a numeric axis."""

    name: str
    values: tuple[Value, ...]
    seeds: int = 0
    ours: bool = False
    x: float | None = None
    published_only: bool = False


@dataclass(frozen=True)
class Hole:
    """Something missing, and the command that fills it."""

    what: str
    command: str


@dataclass(frozen=True)
class Filled:
    """An artefact with its numbers; ``columns`` name ``Line.values``."""

    spec: AnySpec
    selection: Selection
    comparable: bool
    columns: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    reference: str | None = None
    shape: Shape | None = None
    holes: tuple[Hole, ...] = ()
    failed: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()
    images: int = 0

    @property
    def seeds(self) -> int:
        """The largest number of seeds of any line."""
        return max((line.seeds for line in self.lines), default=0)


@dataclass
class _Fill:
    """Collects what is missing or odd while an artefact is filled."""

    selection: Selection
    store: str
    published: Paper
    comparable: bool
    holes: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, Trial] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    images: int = 0

    def cell(self, sweep: str, label: str) -> Cell:
        found = gather(self.selection, sweep, label)
        self.failed |= {t.id: t for t in found.failed}
        if not found.trials:
            self.miss(sweep, label)
        if found.left_out:
            plural = "s" if found.left_out > 1 else ""
            self.notes.append(
                f"{label}: {found.left_out} trial{plural} with other settings left out; settings "
                "are never averaged."
            )
        return found

    def miss(self, sweep: str, what: str) -> None:
        self.holes.setdefault(sweep, [])
        if what not in self.holes[sweep]:
            self.holes[sweep].append(what)

    def command(self, sweep: str) -> str:
        return f"camsweep run {sweep} --profile {self.selection.profile} --store {self.store}"

    def value(
        self,
        estimate: Estimate | None,
        published: float | None,
        effect: Estimate | None = None,
        hole: bool = False,
    ) -> Value:
        difference = None
        if estimate is not None and published is not None and self.comparable:
            difference = 100 * estimate.mean - published
        if estimate is not None:
            self.images = max(self.images, estimate.images)
        return Value(estimate, published, difference, effect, hole)

    def finish(self, spec: AnySpec, holes: Sequence[Hole] = (), **content: Any) -> Filled:
        missing = [Hole(", ".join(what), self.command(sweep)) for sweep, what in self.holes.items()]
        return Filled(
            spec=spec,
            selection=self.selection,
            comparable=self.comparable,
            holes=(*missing, *holes),
            failed=tuple(self.failed.values()),
            notes=tuple(dict.fromkeys(self.notes)),
            images=self.images,
            **content,
        )


def is_comparable(selection: Selection, published: Paper, trials: Iterable[Trial]) -> bool:
    """Whether measured numbers may stand beside the paper's: its profile, data and image count."""
    want = published.comparable
    same = selection.profile == want.profile and selection.data_name == want.data
    return same and all(t.eval_images == want.images for t in trials if t.done)


def available(spec: AnySpec, selection: Selection) -> bool:
    """Whether the selection has at least one trial of the artefact's sweeps."""
    sweeps = spec.sweeps()
    return any(sweep in sweeps for t in selection.trials for sweep, _ in t.memberships)


def fill(spec: AnySpec, selection: Selection, measurements: Measurements, store: str) -> Filled:
    """Everything an artefact shows, from the trials of the selection.

    Args:
        spec: what to show.
        selection: the trials of one profile and data set.
        measurements: numbers of those trials.
        store: the store as the user wrote it, for the commands that fill holes.
    """
    published = paper(spec.paper)
    sweeps = spec.sweeps()
    mine = [t for t in selection.trials if any(s in sweeps for s, _ in t.memberships)]
    state = _Fill(selection, store, published, is_comparable(selection, published, mine))
    if isinstance(spec, TableSpec):
        return _table(spec, state, measurements)
    if isinstance(spec, CurveSpec):
        return _curve(spec, state, measurements)
    if isinstance(spec, ContrastSpec):
        return _contrast(spec, state, measurements)
    return _pictures(spec, state)


def _table(spec: TableSpec, state: _Fill, measurements: Measurements) -> Filled:
    numbers = state.published.artefacts.get(spec.name, {})
    cells = {r.name: state.cell(spec.sweep, r.label) for r in spec.rows if r.label is not None}
    base = cells.get(spec.reference or "")
    lines = []
    for row in spec.rows:
        given = numbers.get(row.published or "", {})
        trials = cells[row.name].trials if row.name in cells else ()
        values = []
        for column in spec.columns:
            estimate = measurements.estimate(trials, column.metric)
            missing = estimate is None and not (column.optional and bool(trials))
            if missing and trials:
                state.miss(spec.sweep, f"{row.label} / {column.name}")
            effect = None
            if base is not None and estimate is not None and row.name != spec.reference:
                reference = measurements.estimate(base.trials, column.metric)
                effect = reference and measurements.difference(estimate, reference)
            published = given.get(column.published or column.name)
            values.append(state.value(estimate, published, effect, missing))
        only = row.label is None
        lines.append(Line(row.name, tuple(values), len(trials), row.ours, published_only=only))
    headline = [c.name for c in spec.columns].index(spec.headline or spec.columns[0].name)
    values_of = [(line.name, line.values[headline]) for line in lines]
    places = [Place(name, value.estimate, value.published) for name, value in values_of]
    return state.finish(
        spec,
        _unmeasured(spec, state),
        columns=tuple(c.name for c in spec.columns),
        lines=tuple(lines),
        reference=spec.reference,
        shape=shape(places, measurements, ordered=spec.ordered),
    )


def _unmeasured(spec: TableSpec, state: _Fill) -> list[Hole]:
    """Published rows that no arm of the sweep measures."""
    rows = [row for row in spec.rows if row.label is None]
    names = ", ".join(row.name for row in rows)
    reason = "; ".join(dict.fromkeys(row.hole or "" for row in rows))
    what = f"{names} ({reason}: {spec.sweep} has no such arm; once it has)"
    return [Hole(what, state.command(spec.sweep))] if rows else []


def _curve(spec: CurveSpec, state: _Fill, measurements: Measurements) -> Filled:
    numbers = state.published.artefacts.get(spec.name, {})
    lines, places = [], []
    for point in spec.points:
        cell = state.cell(spec.sweep, point.label)
        estimate = measurements.estimate(cell.trials, spec.metric)
        published = next(iter(numbers.get(point.published or "", {}).values()), None)
        value = state.value(estimate, published, hole=estimate is None)
        lines.append(Line(point.name, (value,), len(cell.trials), x=point.x))
        places.append(Place(point.name, estimate, published))
    return state.finish(
        spec,
        columns=("mIoU",),
        lines=tuple(lines),
        shape=shape(places, measurements, ordered=True),
    )


def _side(side: Side, state: _Fill, measurements: Measurements, metric: str) -> Estimate | None:
    found = []
    for label in side.labels:
        estimate = measurements.estimate(state.cell(side.sweep, label).trials, metric)
        if estimate is not None:
            found.append(estimate)
    if 0 < len(found) < len(side.labels):
        state.notes.append(
            f"{side.name} of {side.sweep}: mean over {len(found)} of {len(side.labels)} points."
        )
    return measurements.average(found)


def _contrast(spec: ContrastSpec, state: _Fill, measurements: Measurements) -> Filled:
    numbers = state.published.artefacts.get(spec.name, {})
    lines = []
    for one in spec.contrasts:
        first = _side(one.first, state, measurements, spec.metric)
        second = _side(one.second, state, measurements, spec.metric)
        published = next(iter(numbers.get(one.published or "", {}).values()), None)
        both = measurements.difference(first, second) if first and second else None
        values = (
            state.value(first, None, hole=first is None),
            state.value(second, None, hole=second is None),
            state.value(both, published, hole=both is None),
        )
        lines.append(Line(one.name, values, len(both.seeds) if both else 0))
    names = (spec.contrasts[0].first.name, spec.contrasts[0].second.name)
    columns = (*names, f"{names[0]} - {names[1]}")
    return state.finish(spec, columns=columns, lines=tuple(lines))


def _pictures(spec: PicturesSpec, state: _Fill) -> Filled:
    for column in spec.columns:
        if column.label is not None:
            state.cell(spec.sweep, column.label)
    return state.finish(spec)
