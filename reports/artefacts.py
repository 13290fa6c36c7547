"""Specs and a store -> filled artefacts: what tables and figures are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from camsweep.reports.cells import Cell, Overrides, fits, gather, one_overrides
from camsweep.reports.commands import run_command
from camsweep.reports.load import Selection, Trial, settings_text
from camsweep.reports.measure import Estimate, Measurements
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
from camsweep.sweeps.spec import load_sweep

OTHER_DATA = "other data"
OTHER_SETTINGS = "other settings"


@dataclass(frozen=True)
class Value:
    """A cell: what was measured, what was published (percent), and the hole if neither can stand.

    ``difference`` is measured minus published in points, or None where ``unlike`` says why the two
    can't be compared ("other data", "other settings") or one of the two is missing. ``effect`` is
    the paired difference to the reference row.
    """

    estimate: Estimate | None
    published: float | None = None
    difference: float | None = None
    effect: Estimate | None = None
    hole: bool = False
    unlike: str = ""


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
    """An artefact with its numbers.

    ``columns`` name ``Line.values``; ``unlike`` says why the numbers can't be compared with the
    paper's, empty where they can; ``settings`` are the overrides of all rows, ``--set epochs=1``.
    """

    spec: AnySpec
    selection: Selection
    unlike: str
    settings: str = ""
    columns: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()
    reference: str | None = None
    shape: Shape | None = None
    holes: tuple[Hole, ...] = ()
    failed: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()
    images: int = 0

    @property
    def comparable(self) -> bool:
        """Whether measured and published numbers may be subtracted."""
        return not self.unlike

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
    unlike: str
    overrides: Overrides
    origins: Sequence[Trial]
    holes: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, Trial] = field(default_factory=dict)
    apart: set[str] = field(default_factory=set)
    seeds: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    images: int = 0

    def cell(self, sweep: str, label: str) -> Cell:
        found = gather(self.selection, sweep, label, self.overrides)
        self.failed |= {t.id: t for t in found.failed}
        self.apart |= {t.id for t in found.apart}
        self.seeds |= {t.seed for t in found.trials}
        if not found.trials:
            self.miss(sweep, label)
        if found.left_out:
            plural = "s" if found.left_out > 1 else ""
            self.notes.append(
                f"{label}: {found.left_out} trial{plural} left out, of other settings, another "
                "version of the recipe or an older run; they are never averaged with these."
            )
        return found

    def miss(self, sweep: str, what: str) -> None:
        self.holes.setdefault(sweep, [])
        if what not in self.holes[sweep]:
            self.holes[sweep].append(what)

    def command(self, sweep: str) -> str:
        profile = self.selection.profile
        return run_command(sweep, profile, self.store, self.origins, self.seeds, self.overrides)

    def value(
        self,
        estimate: Estimate | None,
        published: float | None,
        effect: Estimate | None = None,
        hole: bool = False,
    ) -> Value:
        difference = None
        if estimate is not None and published is not None and not self.unlike:
            difference = 100 * estimate.mean - published
        if estimate is not None:
            self.images = max(self.images, estimate.images)
        return Value(estimate, published, difference, effect, hole, self.unlike)

    def finish(self, spec: AnySpec, holes: Sequence[Hole] = (), **content: Any) -> Filled:
        if self.apart:
            plural = "s" if len(self.apart) > 1 else ""
            self.notes.append(
                f"{len(self.apart)} trial{plural} of runs with other --set settings left out: all "
                "rows are of one set of settings, the one with most results."
            )
        missing = [Hole(", ".join(what), self.command(sweep)) for sweep, what in self.holes.items()]
        return Filled(
            spec=spec,
            selection=self.selection,
            unlike=self.unlike,
            settings=settings_text(self.overrides),
            holes=(*missing, *holes),
            failed=tuple(self.failed.values()),
            notes=tuple(dict.fromkeys(self.notes)),
            images=self.images,
            **content,
        )


def unlike_paper(published: Paper, selection: Selection, trials: Iterable[Trial]) -> str:
    """Why measured numbers may not stand beside the paper's, from facts about the trials.

    Args:
        published: says what the trials must be like.
        selection: whose profile they have.
        trials: those of the artefact, of one set of overrides.

    Returns:
        Empty where they are comparable, else `OTHER_DATA` or `OTHER_SETTINGS`.
    """
    want = published.comparable
    done = [t for t in trials if t.done]
    alike = all(t.classes == want.classes and t.eval_images == want.images for t in done)
    if not done or not alike:
        return OTHER_DATA
    plain = selection.profile == want.profile and not any(t.overrides for t in done)
    return "" if plain else OTHER_SETTINGS


def available(spec: AnySpec, selection: Selection) -> bool:
    """Whether at least half of the cells of one of the artefact's sweeps have a trial.

    A trial serves every shipped sweep that asks for it, so one cell alone says nothing: a report
    that nobody asked more of would be full of holes.
    """
    have = {use for trial in selection.trials for use in trial.memberships}
    for sweep in spec.sweeps():
        labels = {label for label, _ in load_sweep(sweep).cells()}
        if 2 * sum((sweep, label) in have for label in labels) >= len(labels):
            return True
    return False


def fill(spec: AnySpec, selection: Selection, measurements: Measurements, store: str) -> Filled:
    """Everything an artefact shows, from the trials of the selection.

    Args:
        spec: what to show.
        selection: the trials of one profile and data set.
        measurements: numbers of those trials.
        store: the store as the user wrote it, for the commands that fill holes.
    """
    published = paper(spec.paper)
    overrides = one_overrides(selection, spec.cells())
    cells = set(spec.cells())
    mine = [t for t in selection.trials if cells.intersection(t.memberships) and fits(t, overrides)]
    unlike = unlike_paper(published, selection, mine)
    # Whose commands tell how to fill a hole: the artefact's own trials first, then the newest.
    own = {t.id for t in mine}
    known = [t for t in selection.trials if t.data_digest == selection.data_digest]
    known.sort(key=lambda t: (t.id in own, t.age), reverse=True)
    state = _Fill(selection, store, published, unlike, overrides, known)
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
    # No command fills these: the sweep gets the arm when camsweep gets the method.
    what = f"{names} ({reason}; {spec.sweep} has no such arm yet)"
    return [Hole(what, "")] if rows else []


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
    """The mean over a side's points; None unless all are measured: fewer give another number."""
    found = []
    for label in side.labels:
        estimate = measurements.estimate(state.cell(side.sweep, label).trials, metric)
        if estimate is not None:
            found.append(estimate)
    return measurements.average(found) if len(found) == len(side.labels) else None


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
