"""Which trials belong to which form of a sweep: an edited file keeps its name and its labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from camsweep.reports.load import Selection, Trial
from camsweep.sweeps.forms import Form, FormCell, form_of
from camsweep.sweeps.spec import load_sweep, shipped_names


def known_forms(selection: Selection, kept: Iterable[Form]) -> list[Form]:
    """Every form that trials of the selection may have: those kept, shipped ones, and bare ones.

    A bare form has nothing but the labels: its trials are older than the store's memory of forms.

    Args:
        selection: the trials of one profile and data set.
        kept: of `sweeps.forms.read_forms`.
    """
    place = (selection.profile, selection.data_digest)
    forms = [form for form in kept if (form.profile, form.data_digest) == place]
    labels: dict[str, dict[str, None]] = {}
    for trial in sorted(selection.trials, key=lambda t: t.age):
        for sweep, label in trial.memberships:
            labels.setdefault(sweep, {})[label] = None
    shipped = set(shipped_names())
    for name in sorted(labels):
        if name in shipped:
            form = form_of(load_sweep(name))
            same = [f.cells == form.cells for f in forms if f.name == name]
            forms += [] if any(same) else [form]
        elif all(form.name != name for form in forms):
            cells = tuple(FormCell(label=label, settings={}) for label in labels[name])
            forms.append(Form(name=name, path="", title=name, cells=cells))
    return forms


def with_trials(forms: Sequence[Form], selection: Selection) -> list[tuple[Form, Selection]]:
    """Each form with the selection reduced to its own trials; forms without a trial are left out.

    Where a name has several forms, a trial belongs to the form whose settings it has, compared
    where the forms differ. The form with the newest trial comes first among those of a name.
    """
    by_name: dict[str, list[Form]] = {}
    for form in forms:
        by_name.setdefault(form.name, []).append(form)
    found = []
    for name, some in by_name.items():
        mine = [t for t in selection.trials if any(sweep == name for sweep, _ in t.memberships)]
        parts = {form.id: _reduced(form, some, mine) for form in some}
        kept = [form for form in some if parts[form.id]]
        kept.sort(key=lambda form: max(t.age for t in parts[form.id]), reverse=True)
        # The others stay for their commands: a hole is filled as its neighbours were.
        ids = {form.id: {t.id for t in parts[form.id]} for form in kept}
        for form in kept:
            others = [_without(t, name) for t in selection.trials if t.id not in ids[form.id]]
            trials = sorted([*parts[form.id], *others], key=lambda t: t.id)
            found.append((form, replace(selection, trials=tuple(trials))))
    return found


def _reduced(form: Form, others: Sequence[Form], trials: Sequence[Trial]) -> list[Trial]:
    """The form's trials, each with no other cells of this sweep than it stands in."""
    cells = {cell.label: cell for cell in form.cells}
    found = []
    for trial in trials:
        labels = [label for sweep, label in trial.memberships if sweep == form.name]
        mine = {x for x in labels if x in cells and _belongs(trial, cells[x], form, others)}
        if mine:
            uses = (u for u in trial.memberships if u[0] != form.name or u[1] in mine)
            found.append(replace(trial, memberships=tuple(uses)))
    return found


def _belongs(trial: Trial, cell: FormCell, form: Form, others: Sequence[Form]) -> bool:
    if len(others) == 1:
        return True
    rivals = [c for f in others if f is not form for c in f.cells if c.label == cell.label]
    differing = {
        key
        for rival in rivals
        for key in {*rival.settings, *cell.settings}
        if rival.settings.get(key, rivals) != cell.settings.get(key, rivals)
    }
    mine = _likeness(trial, cell.settings, differing)
    if mine is None:
        return False
    found = (_likeness(trial, rival.settings, differing) for rival in rivals)
    return all(theirs is None or theirs <= mine for theirs in found)


def _likeness(trial: Trial, settings: Mapping[str, Any], keys: set[str]) -> int | None:
    """In how many of the settings a trial agrees; None where it contradicts one."""
    config = {**trial.config, "method": trial.method}
    agreeing = 0
    for key in keys & settings.keys():
        if key in trial.overrides or key not in config:
            continue  # --set went over it, or it can't act under the others
        if config[key] != settings[key] and str(config[key]) != str(settings[key]):
            return None
        agreeing += 1
    return agreeing


def _without(trial: Trial, sweep: str) -> Trial:
    if all(name != sweep for name, _ in trial.memberships):
        return trial
    return replace(trial, memberships=tuple(u for u in trial.memberships if u[0] != sweep))
