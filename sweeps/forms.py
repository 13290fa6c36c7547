"""A sweep's form as reports need it: which cell sets what, which rows of a design can't be.

    STORE/sweeps/<name>-<id>.json    one a sweep, profile, data set and form

Trial rows name their sweep and label alone. Shipped sweeps can be read again by their name; of a
user's own the store must know the form itself, even when the file has gone or was changed since
(`sweeps.remembered` writes it when a run starts).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from camsweep.shards.manifest import canonical_json
from camsweep.sweeps.designs import Ablation
from camsweep.sweeps.nested import section
from camsweep.sweeps.spec import Cell, Sweep
from camsweep.sweeps.store import Store

FOLDER = "sweeps"
FORMAT = 1


class FormCell(BaseModel):
    """One cell.

    Attributes:
        label: unique in the sweep.
        settings: what it sets, of base, arm, components and axes.
        arm: its arm; empty without arms.
        point: its values of the axes.
        on: which components are on; None without a design.
        rule: the rule by which it can't be, `ohem needs cpcr`; empty where it can.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    settings: dict[str, Any]
    arm: str = ""
    point: dict[str, Any] = {}
    on: dict[str, bool] | None = None
    rule: str = ""

    @property
    def group(self) -> tuple[str, str]:
        """What cells of one design share: the arm, and the point of the axes as JSON."""
        return self.arm, json.dumps(self.point, sort_keys=True)


class Form(BaseModel):
    """The form of a sweep.

    Attributes:
        format: of the file.
        name: as trial rows have it.
        path: what `camsweep run` takes: the file, or a shipped name.
        title: one line for people.
        notes: what a reader should know.
        reference: the published numbers to lay beside, `cpn/fig6`.
        compare: label of the cell that the others are compared with.
        axes: settings and their values.
        ablate: components and design.
        search: whether a search chooses its trials; it has no cells then.
        adaptive: whether a rule adds seeds, so that cells have different numbers of them.
        cells: all, also those that can't be.
        spec: the whole file as it was checked.
        profile: of the run; empty for a shipped sweep read by its name.
        data_digest: of the run's data set; empty likewise.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    name: str
    path: str
    title: str
    notes: str = ""
    reference: str = ""
    compare: str | None = None
    axes: dict[str, list[Any]] = {}
    ablate: Annotated[Ablation | None, BeforeValidator(section(Ablation))] = None
    search: bool = False
    adaptive: bool = False
    cells: tuple[FormCell, ...] = ()
    spec: dict[str, Any] = {}
    profile: str = ""
    data_digest: str = ""

    @property
    def labels(self) -> list[str]:
        """Labels of the cells that can be."""
        return [cell.label for cell in self.cells if not cell.rule]

    @cached_property
    def id(self) -> str:
        """Of what its cells set: the same for another title, other notes, another folder."""
        cells = [cell.model_dump(mode="json", exclude={"rule"}) for cell in self.cells]
        return _digest([self.name, self.profile, self.data_digest, cells])

    def as_json(self) -> dict[str, Any]:
        """The content of its file."""
        content = self.model_dump(mode="json", exclude={"ablate"})
        # Without what was not written: a resolution is refused where the design has none.
        kept = self.ablate.model_dump(mode="json", exclude_unset=True) if self.ablate else None
        return {**content, "ablate": kept}

    @property
    def file(self) -> str:
        """The relative file that it is kept in."""
        return f"{FOLDER}/{safe_name(self.name)}-{self.id}.json"


def safe_name(name: str) -> str:
    """A name as a part of a file's name: letters, digits and dashes; `sweep` if none are left."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60] or "sweep"


def form_of(
    sweep: Sweep,
    *,
    profile: str = "",
    data_digest: str = "",
    excluded: Mapping[str, str] | None = None,
) -> Form:
    """The form of a sweep file.

    Args:
        sweep: the file.
        profile: the profile's name.
        data_digest: of the data set.
        excluded: rules by label that exclude a cell, beside those of the file.
    """
    whole = Sweep(sweep.name, sweep.path, sweep.spec)
    spec, rows = whole.spec, whole.rows()
    # In the order of `Sweep.rows`: arms, then the design, then the axes.
    arms = list(spec.arms) or [""]
    points = list(itertools.product(*spec.axes.values()))
    designed = len(rows) // max(1, len(arms) * len(points))
    places = itertools.product(arms, range(designed), points)
    cells = [
        FormCell(
            label=row.label,
            settings=_plain(row.overrides),
            arm=arm,
            point=_plain(dict(zip(spec.axes, point, strict=True))),
            on=dict(row.row.on) if row.row else None,
            rule=_rule(whole, row, excluded or {}),
        )
        for row, (arm, _, point) in zip(rows, places, strict=False)
    ]
    possible = [cell.label for cell in cells if not cell.rule]
    compare = whole.reference()
    return Form(
        name=sweep.name,
        path=sweep.path if sweep.path.endswith((".yaml", ".yml")) and _own(sweep) else sweep.name,
        title=spec.title,
        notes=spec.notes or "",
        reference=spec.reference or "",
        compare=compare if compare in possible else next(iter(possible), None),
        axes=_plain(spec.axes),
        ablate=spec.ablate,
        search=spec.search is not None,
        adaptive=not isinstance(spec.seeds, int),
        cells=tuple(cells),
        # The number of seeds or a rule: pydantic would warn of the other.
        spec=spec.model_dump(mode="json", exclude_unset=True, warnings=False),
        profile=profile,
        data_digest=data_digest,
    )


def read_forms(store: Store) -> tuple[list[Form], list[str]]:
    """What the store knows of the forms of its sweeps.

    Returns:
        The forms by name and id, and a line on each file that could not be read: damaged, or of a
        newer camsweep.
    """
    forms, problems = [], []
    for name in store.names(FOLDER, ".json"):
        where = f"{store}/{FOLDER}/{name}"
        try:
            content = json.loads(store.read(f"{FOLDER}/{name}"))
            number = content["format"]
            if not isinstance(number, int) or number > FORMAT:
                problems.append(
                    f"{where}: left out, written by a newer camsweep (format {number!r}, this one "
                    f"reads {FORMAT}); update camsweep"
                )
                continue
            forms.append(Form.model_validate(content))
        except FileNotFoundError:
            continue  # deleted since it was listed
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            problems.append(f"{where}: left out, {key}: {first['msg']}; the next run writes it")
        except (ValueError, KeyError, TypeError, RecursionError):
            problems.append(f"{where}: left out, damaged; delete it, the next run writes it again")
    return sorted(forms, key=lambda form: (form.name, form.id)), problems


def _own(sweep: Sweep) -> bool:
    """Whether a sweep is a user's file: shipped ones are named by their paper's folder."""
    return "/" not in sweep.name


def _rule(sweep: Sweep, row: Cell, excluded: Mapping[str, str]) -> str:
    return sweep.broken_rule(row) or excluded.get(row.label, "")


def _plain(value: Any) -> Any:
    """A value as JSON would give it back: tuples are lists, dates are text."""
    return json.loads(json.dumps(value, default=str))


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]
