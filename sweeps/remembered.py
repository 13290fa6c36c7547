"""Keeping the forms of a run's sweeps in the store, so that reports know them (`sweeps.forms`)."""

from __future__ import annotations

import json
from contextlib import suppress

from camsweep.sweeps.forms import Form, form_of
from camsweep.sweeps.plan import Plan
from camsweep.sweeps.resolve import excluding_rule
from camsweep.sweeps.spec import Sweep
from camsweep.sweeps.store import Store


def write_forms(store: Store, plan: Plan) -> None:
    """Keep the form of each of the plan's sweeps; for a run's start.

    A form that is there already is not written again. A full disk doesn't end the run: its report
    knows less.

    Args:
        store: where.
        plan: of the run.
    """
    for sweep in plan.sweeps:
        form = form_of(
            sweep,
            profile=plan.profile.name,
            data_digest=plan.data_digest,
            excluded=_excluded(sweep, plan),
        )
        _keep(store, form)


def _excluded(sweep: Sweep, plan: Plan) -> dict[str, str]:
    """Every row that the methods' rules exclude, also of cells that this run was not asked for."""
    found = {}
    for cell in Sweep(sweep.name, sweep.path, sweep.spec).rows():
        if cell.row is not None:
            rule = excluding_rule(sweep.path, cell.overrides, plan.profile, plan.asked.overrides)
            if rule is not None:
                found[cell.label] = rule[1]
    return found


def _keep(store: Store, form: Form) -> None:
    data = json.dumps(form.as_json(), indent=1, sort_keys=True).encode()
    with suppress(OSError):
        if not store.exists(form.file) or store.read(form.file) != data:
            store.write(form.file, data)
