"""Specs and a store -> filled artefacts."""

from __future__ import annotations

from collections.abc import Iterable

from camsweep.reports.cells import fits, one_overrides
from camsweep.reports.filled import OTHER_DATA, OTHER_SETTINGS, Filled, Hole, Line
from camsweep.reports.filling import Filling
from camsweep.reports.load import Selection, Trial
from camsweep.reports.measure import Estimate, Measurements
from camsweep.reports.published import Paper
from camsweep.reports.shape import Place, shape
from camsweep.reports.spec import (
    AnySpec,
    ContrastSpec,
    CurveSpec,
    PicturesSpec,
    TableSpec,
    paper,
)
from camsweep.reports.specparts import Side
from camsweep.sweeps.spec import load_sweep


def unlike_paper(
    published: Paper, artefact: str, selection: Selection, trials: Iterable[Trial]
) -> str:
    """Why measured numbers may not stand beside the paper's, from facts about the trials.

    Args:
        published: says what the trials must be like.
        artefact: its name in the paper's file, ``table1``.
        selection: whose profile they have.
        trials: those of the artefact, of one set of overrides.

    Returns:
        Empty where they are comparable, else `OTHER_DATA` or `OTHER_SETTINGS`.
    """
    want = published.like(artefact)
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
    unlike = unlike_paper(published, spec.name, selection, mine)
    # Whose commands tell how to fill a hole: the artefact's own trials first, then the newest.
    own = {t.id for t in mine}
    known = [t for t in selection.trials if t.data_digest == selection.data_digest]
    known.sort(key=lambda t: (t.id in own, t.age), reverse=True)
    state = Filling(selection, store, published, unlike, overrides, known)
    if isinstance(spec, TableSpec):
        return _table(spec, state, measurements)
    if isinstance(spec, CurveSpec):
        return _curve(spec, state, measurements)
    if isinstance(spec, ContrastSpec):
        return _contrast(spec, state, measurements)
    return _pictures(spec, state)


def _table(spec: TableSpec, state: Filling, measurements: Measurements) -> Filled:
    numbers = state.published.artefacts.get(spec.name, {})
    cells = {label: state.cell(sweep, label) for sweep, label in spec.cells()}
    bases = next((row for row in spec.rows if row.name == spec.reference), None)
    lines = []
    for row in spec.rows:
        given = numbers.get(row.published or "", {})
        values, seeds = [], 0
        for column in spec.columns:
            published = given.get(column.published or column.name)
            label = row.label_of(column.name)
            if column.metric is None or label is None:
                values.append(state.value(None, published, hole=bool(row.label)))
                continue
            trials = cells[label].trials
            seeds = max(seeds, len(trials))
            estimate = measurements.estimate(trials, column.metric)
            missing = estimate is None and not (column.optional and bool(trials))
            if missing and trials:
                state.miss(spec.sweep, f"{label} / {column.name}")
            effect = None
            base = bases.label_of(column.name) if bases is not None else None
            if base is not None and estimate is not None and row is not bases:
                reference = measurements.estimate(cells[base].trials, column.metric)
                effect = reference and measurements.difference(estimate, reference)
            values.append(state.value(estimate, published, effect, missing))
        facts = tuple(row.facts.get(name, "") for name in spec.facts)
        only = row.label is None
        lines.append(
            Line(row.name, tuple(values), seeds, row.ours, published_only=only, facts=facts)
        )
    headline = [c.name for c in spec.columns].index(spec.headline or spec.columns[0].name)
    values_of = [(line.name, line.values[headline]) for line in lines]
    places = [Place(name, value.estimate, value.published) for name, value in values_of]
    return state.finish(
        spec,
        _unmeasured(spec),
        lines,
        columns=tuple(c.name for c in spec.columns),
        reference=spec.reference,
        shape=shape(places, measurements, ordered=spec.ordered),
        facts=spec.facts,
    )


def _unmeasured(spec: TableSpec) -> list[Hole]:
    """What no arm of the sweep measures, by the reason.

    No command fills these: the sweep gets the arm when camsweep gets the method or the stage.
    """
    reasons: dict[str, list[str]] = {}
    for column in spec.columns:
        if column.hole:
            reasons.setdefault(column.hole, []).append(f"column {column.name}")
    for row in spec.rows:
        if row.hole:
            reasons.setdefault(row.hole, []).append(row.name)
    return [Hole(f"{', '.join(what)} ({reason})", "") for reason, what in reasons.items()]


def _curve(spec: CurveSpec, state: Filling, measurements: Measurements) -> Filled:
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
        lines=lines,
        columns=("mIoU",),
        shape=shape(places, measurements, ordered=True),
    )


def _side(side: Side, state: Filling, measurements: Measurements, metric: str) -> Estimate | None:
    """The mean over a side's points; None unless all are measured: fewer give another number."""
    found = []
    for label in side.labels:
        estimate = measurements.estimate(state.cell(side.sweep, label).trials, metric)
        if estimate is not None:
            found.append(estimate)
    return measurements.average(found) if len(found) == len(side.labels) else None


def _contrast(spec: ContrastSpec, state: Filling, measurements: Measurements) -> Filled:
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
    return state.finish(spec, lines=lines, columns=columns)


def _pictures(spec: PicturesSpec, state: Filling) -> Filled:
    for column in spec.columns:
        if column.label is not None:
            state.cell(spec.sweep, column.label)
    gaps = [Hole(f"{c.name} ({c.hole})", "") for c in spec.columns if c.hole]
    return state.finish(spec, gaps)
