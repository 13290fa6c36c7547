"""A sweep's form and a selection -> its rows with estimates, and what they lack with commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from camsweep.reports.cells import Cell, fits, gather, one_overrides
from camsweep.reports.commands import run_command
from camsweep.reports.filled import Hole
from camsweep.reports.kinds import kind_of, told
from camsweep.reports.load import Selection, Trial, settings_text
from camsweep.reports.measure import Estimate, Measurements
from camsweep.sweeps.forms import Form, FormCell

METRIC = "miou"


@dataclass(frozen=True)
class Row:
    """A row: its cell, the trials that count, what was measured, and the effect.

    ``effect`` is the paired difference to the reference row; None for that row itself, and where
    either is not measured.
    """

    cell: FormCell
    trials: tuple[Trial, ...]
    estimate: Estimate | None
    effect: Estimate | None = None

    @property
    def label(self) -> str:
        """Of the cell."""
        return self.cell.label


@dataclass(frozen=True)
class Sheet:
    """The rows of a form, or of one design of it.

    Attributes:
        form: whose.
        selection: where its trials come from.
        rows: those that can be, in the form's order.
        excluded: the cells that can't be.
        reference: label of the row that effects are taken from; None without one.
        overrides: of all rows.
        holes: cells and seeds that are missing, with the command that measures them.
        failed: failed trials.
        notes: what was left out.
    """

    form: Form
    selection: Selection
    rows: tuple[Row, ...]
    excluded: tuple[FormCell, ...]
    reference: str | None
    overrides: dict[str, str]
    holes: tuple[Hole, ...]
    failed: tuple[Trial, ...]
    notes: tuple[str, ...]

    @property
    def measured(self) -> tuple[Row, ...]:
        """The rows with an estimate."""
        return tuple(row for row in self.rows if row.estimate is not None)

    @property
    def trials(self) -> list[Trial]:
        """All that count."""
        return [trial for row in self.rows for trial in row.trials]

    @property
    def images(self) -> int:
        """Most images of any row."""
        return max((row.estimate.images for row in self.rows if row.estimate), default=0)


def fill_form(
    form: Form,
    selection: Selection,
    measurements: Measurements,
    store: str,
    cells: Sequence[FormCell] | None = None,
) -> Sheet:
    """Fill the rows of a form.

    Args:
        form: of the sweep.
        selection: the trials of one profile and data set, of this form (`own.versions`).
        measurements: numbers of those trials.
        store: the store as the user wrote it, for the commands.
        cells: those to show, of one design; all by default. The reference is the form's where it
            is among them, else the first.
    """
    wanted = [cell for cell in (form.cells if cells is None else cells) if not cell.rule]
    named = [(form.name, cell.label) for cell in wanted]
    overrides = one_overrides(selection, named)
    found = [gather(selection, form.name, cell.label, overrides) for cell in wanted]
    measurements.prefetch([trial for one in found for trial in one.trials], (METRIC,))
    measured = [
        (cell, one.trials, measurements.estimate(one.trials, METRIC))
        for cell, one in zip(wanted, found, strict=True)
    ]
    labels = [cell.label for cell in wanted]
    reference = form.compare if form.compare in labels else (labels[0] if form.compare else None)
    named_base = next((one for one in measured if one[0].label == reference), None)
    compared, base = named_base[1:] if named_base else ((), None)

    def effect(trials: Sequence[Trial], estimate: Estimate | None) -> Estimate | None:
        # The difference of a segmentation on val and of maps on train would say nothing.
        if estimate is None or base is None or _splits(trials) != _splits(compared):
            return None
        return measurements.difference(estimate, base)

    rows = tuple(
        Row(
            cell,
            trials,
            estimate,
            None if cell.label == reference else effect(trials, estimate),
        )
        for cell, trials, estimate in measured
    )
    failed = {trial.id: trial for one in found for trial in one.failed}
    return Sheet(
        form=form,
        selection=selection,
        rows=rows,
        excluded=tuple(c for c in (form.cells if cells is None else cells) if c.rule),
        reference=reference,
        overrides=overrides,
        holes=_holes(form, rows, selection, store, overrides, named),
        failed=tuple(sorted(failed.values(), key=lambda t: (t.memberships, t.seed, t.id))),
        notes=(*_left_out(found), *_unlike(trial for row in rows for trial in row.trials)),
    )


def _splits(trials: Iterable[Trial]) -> set[str]:
    return {kind_of(trial).split for trial in trials}


def _unlike(trials: Iterable[Trial]) -> tuple[str, ...]:
    """What the rows measured, where that is not all the same."""
    kinds = {kind_of(trial): trial for trial in trials}
    if len(kinds) < 2:
        return ()
    splits = len({kind.split for kind in kinds}) > 1
    apart = " Between different splits there is no effect." if splits else ""
    words = told(kinds.values()) or "maps of several splits"
    return (f"Rows measure different things: {words}.{apart}",)


def _holes(
    form: Form,
    rows: Sequence[Row],
    selection: Selection,
    store: str,
    overrides: dict[str, str],
    named: Sequence[tuple[str, str]],
) -> tuple[Hole, ...]:
    seeds = {trial.seed for row in rows for trial in row.trials}
    what = [row.label for row in rows if row.estimate is None]
    # A rule adds seeds where they pay: there nothing is missing.
    for row in rows if not form.adaptive else ():
        lacking = sorted(seeds - {trial.seed for trial in row.trials})
        if lacking and row.estimate is not None:
            plural = "s" if len(lacking) > 1 else ""
            what.append(f"{row.label} (seed{plural} {', '.join(map(str, lacking))})")
    if not what:
        return ()
    if not form.path:
        return (Hole("; ".join(what), ""),)
    cells = set(named)
    mine = {t.id for t in selection.trials if cells & set(t.memberships) and fits(t, overrides)}
    known = [t for t in selection.trials if t.data_digest == selection.data_digest]
    known.sort(key=lambda t: (t.id in mine, t.age), reverse=True)
    command = run_command(form.path, selection.profile, store, known, seeds, overrides)
    return (Hole("; ".join(what), command),)


def _left_out(found: Sequence[Cell]) -> tuple[str, ...]:
    notes = []
    apart: set[str] = set()
    for one in found:
        apart |= {trial.id for trial in one.apart}
        if one.left_out:
            plural = "s" if one.left_out > 1 else ""
            notes.append(
                f"{one.label}: {one.left_out} trial{plural} left "
                "out, of other settings, another version of the recipe or an older run; they are "
                "never averaged with these."
            )
    if apart:
        plural = "s" if len(apart) > 1 else ""
        notes.append(
            f"{len(apart)} trial{plural} of runs with other --set settings left out: all rows are "
            "of one set of settings, the one with most results."
        )
    return tuple(notes)


def settings_of(sheet: Sheet) -> str:
    """The overrides of all rows as options; empty for a plain run."""
    return settings_text(sheet.overrides)
