"""Sweeps without a spec of their own, designs among them -> exhibits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from camsweep.reports.effects.showing import design_exhibit
from camsweep.reports.exhibit import Exhibit
from camsweep.reports.load import Selection
from camsweep.reports.measure import Measurements
from camsweep.reports.own.exhibits import own_exhibit
from camsweep.reports.own.filling import Sheet, fill_form
from camsweep.reports.own.versions import known_forms, with_trials
from camsweep.shards.errors import InputError, nearest
from camsweep.sweeps.forms import Form, FormCell, read_forms, safe_name
from camsweep.sweeps.spec import format_value
from camsweep.sweeps.store import Store

#: The pages of sweeps without a spec of their own.
PAGES = ("ablate", "own")


def is_sweep(name: str) -> bool:
    """Whether what a user asks to see is one of these pages or something on it, ``own/mine``."""
    return name.partition("/")[0] in PAGES


def sweep_exhibits(
    selection: Selection,
    measurements: Measurements,
    opened: Store,
    store: str,
    say: Callable[[str], object],
    asked: Sequence[str] | None = None,
) -> list[Exhibit]:
    """Every `ablate` design, shipped or the user's, then every other sweep of the user's own.

    Args:
        selection: the trials of one profile and data set.
        measurements: numbers of those trials.
        opened: the store; its ``sweeps/`` tells forms.
        store: the store as the user wrote it, for the commands.
        say: gets one line for each form that can't be read.
        asked: pages and ids; None for all.

    Raises:
        InputError: an id that is not there, with the nearest that is.
    """
    found = _all(selection, measurements, opened, store, say)
    if asked is None:
        return found
    known = [exhibit.id for exhibit in found]
    for name in asked:
        if name not in (*PAGES, *known):
            raise InputError(f"unknown artefact '{name}'{nearest(name, [*PAGES, *known])}")
    return [exhibit for exhibit in found if exhibit.id in asked or exhibit.page in asked]


def _all(
    selection: Selection,
    measurements: Measurements,
    opened: Store,
    store: str,
    say: Callable[[str], object],
) -> list[Exhibit]:
    kept, problems = read_forms(opened)
    for problem in problems:
        say(problem)
    of_designs, of_own = _Names(), _Names()
    designs, own = [], []
    # Other shipped sweeps have specs.
    wanted = [f for f in known_forms(selection, kept) if f.ablate is not None or "/" not in f.name]
    forms = with_trials(wanted, selection)
    # Shipped ones first: a user's file of the same name is the one that gets a longer name.
    for form, mine in sorted(forms, key=lambda pair: ("/" not in pair[0].name, pair[0].name)):
        if form.search:
            continue
        if form.ablate is not None:
            for cells, where in _designs(form):
                sheet = fill_form(form, mine, measurements, store, cells)
                if _enough(sheet, shipped="/" in form.name):
                    label = form.name.removeprefix("ablate/") + (f" {where}" if where else "")
                    name = of_designs.take(safe_name(label), form.id)
                    title = f"{form.title}: {where}" if where else form.title
                    designs.append(design_exhibit(sheet, form.ablate, measurements, name, title))
        else:
            sheet = fill_form(form, mine, measurements, store)
            own.append(own_exhibit(sheet, of_own.take(safe_name(form.name), form.id)))
    return [*designs, *own]


def _designs(form: Form) -> Iterable[tuple[Sequence[FormCell], str]]:
    """The cells of each of the form's designs, one an arm and point of the axes, and its name."""
    groups: dict[tuple[str, str], list[FormCell]] = {}
    for cell in form.cells:
        groups.setdefault(cell.group, []).append(cell)
    for cells in groups.values():
        point = [f"{key}={format_value(value)}" for key, value in cells[0].point.items()]
        yield cells, ", ".join([*([cells[0].arm] if cells[0].arm else []), *point])


def _enough(sheet: Sheet, *, shipped: bool) -> bool:
    """Whether a design is shown: as of shipped artefacts, half of its rows must have a trial.

    A trial serves every shipped sweep that asks for it; a user's own sweep was asked for.
    """
    tried = {use for trial in sheet.failed for use in trial.memberships}
    have = sum(bool(r.trials) or (sheet.form.name, r.label) in tried for r in sheet.rows)
    return 2 * have >= len(sheet.rows) if shipped else have > 0


class _Names:
    """Names that no file system and no link takes for another of them."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str, more: str) -> str:
        """The name, with ``more`` where it is taken already, and a number where that is, too."""
        found, number = name, 1
        while found.lower() in self._taken:
            found = f"{name}-{more[:8]}" + (f"-{number}" if number > 1 else "")
            number += 1
        self._taken.add(found.lower())
        return found
