"""Sweep files: what to vary, as named arms, axes and designs over a base configuration.

The whole grammar, with examples, is in docs/sweep-files.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from camsweep.shards.errors import InputError, nearest
from camsweep.sweeps.designs import Ablation, DesignRow, expand
from camsweep.sweeps.nested import section
from camsweep.sweeps.resources import Resources
from camsweep.sweeps.search import SearchSpec
from camsweep.sweeps.seeds import SeedRule, number_or_rule
from camsweep.sweeps.yamlfile import parse

Overrides = dict[str, Any]

#: The key of an arm that is no setting.
RESOURCES = "resources"


class SweepSpec(BaseModel):
    """One sweep file.

    Attributes:
        title: one line for people.
        reference: the published numbers to lay beside, as `paper/artefact`.
        notes: what a reader should know (rows that need another method, our own rows).
        base: settings of every trial; must name the `method` unless every arm does.
        arms: named rows, each a set of overrides, and `resources` of its own where it needs them.
        axes: settings and the values each takes; all combinations are run.
        ablate: components and the design that switches them on and off.
        search: a space to be searched, in the place of arms, axes and ablate.
        seeds: how many seeds (0, 1, …) every trial is repeated with, or the rule that adds them.
        retries: how often a failed trial is tried again.
        resources: what each worker of a trial takes.
        track: trackers to tell of the run, by name (`tensorboard: FOLDER`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    reference: str | None = None
    notes: str | None = None
    base: Overrides = {}
    arms: dict[str, Overrides] = {}
    axes: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    ablate: Annotated[Ablation | None, BeforeValidator(section(Ablation))] = None
    search: Annotated[SearchSpec | None, BeforeValidator(section(SearchSpec))] = None
    seeds: int | SeedRule = Field(default=3)
    retries: int = Field(default=1, ge=0, le=10)
    resources: Annotated[Resources, BeforeValidator(section(Resources))] = Resources()
    track: dict[str, str] = {}

    @field_validator("seeds", mode="plain")
    @classmethod
    def _number_or_rule(cls, value: Any) -> int | SeedRule:
        return number_or_rule(value)

    @field_validator("arms", mode="after")
    @classmethod
    def _resources_of_arms(cls, value: dict[str, Overrides]) -> dict[str, Overrides]:
        for name, arm in value.items():
            if RESOURCES in arm:
                try:
                    section(Resources)(arm[RESOURCES])
                except ValueError as error:
                    raise ValueError(f"{name}.resources: {error}") from None
                if not isinstance(arm[RESOURCES], dict | Resources):
                    raise ValueError(f"{name}.resources: must be a mapping such as {{gpus: 1}}")
        return value

    @model_validator(mode="after")
    def _names_a_method(self) -> SweepSpec:
        arms = list(self.arms.values()) or [{}]
        varied = {*self.axes, *(self.ablate.settings() if self.ablate else ())}
        if any("method" not in {**self.base, **arm} for arm in arms) and "method" not in varied:
            raise ValueError("base.method: missing; write e.g. `base: {method: cpn}`")
        return self

    @model_validator(mode="after")
    def _one_way_to_vary(self) -> SweepSpec:
        if self.search is not None:
            for key in ("arms", "axes", "ablate"):
                if getattr(self, key):
                    raise ValueError(f"{key}: not beside search, which chooses the trials itself")
            if isinstance(self.seeds, SeedRule):
                raise ValueError("seeds: a rule is not for search, which compares no arms")
        if self.ablate is not None:
            in_arms = {key for arm in self.arms.values() for key in arm}
            for key in sorted(self.ablate.settings()):
                if key in self.axes or key in in_arms:
                    where = "axes" if key in self.axes else "arms"
                    raise ValueError(f"ablate.components: {key} is varied by {where} too")
        return self


@dataclass(frozen=True)
class Cell:
    """One cell of a sweep: what it is called, what it sets, what it takes.

    Attributes:
        label: unique in the sweep.
        overrides: base, then arm, then components, then axes.
        resources: the arm's over the file's.
        row: of the design, where there is one.
    """

    label: str
    overrides: Overrides
    resources: Resources = field(default_factory=Resources)
    row: DesignRow | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep file by its name.

    Attributes:
        name: `cpn/fig6` for a shipped one, the file's stem for a user's own.
        path: where it was read, for error lines.
        spec: its content.
        only: labels of the cells to run; empty for all.
    """

    name: str
    path: str
    spec: SweepSpec
    only: tuple[str, ...] = ()

    def rows(self) -> list[Cell]:
        """Every cell, also those that rules exclude; none of a search."""
        spec = self.spec
        if spec.search is not None:
            return []
        arms: dict[str, Overrides] = spec.arms or {"": {}}
        design: list[DesignRow | None] = [*expand(spec.ablate)] if spec.ablate else [None]
        cells = [
            self._cell(arm, row, dict(zip(spec.axes, values, strict=True)))
            for arm in arms
            for row in design
            for values in itertools.product(*spec.axes.values())
        ]
        return [cell for cell in cells if not self.only or cell.label in self.only]

    def cells(self) -> list[tuple[str, Overrides]]:
        """The label and the overrides of every cell that the file's own rules allow.

        The rules that the methods declare see the profile too: `sweeps.plan` applies them.
        """
        return [
            (cell.label, cell.overrides) for cell in self.rows() if self.broken_rule(cell) is None
        ]

    def broken_rule(self, cell: Cell) -> str | None:
        """The file's rule that excludes a cell, `prcm needs pcm`, or None."""
        ablate = self.spec.ablate
        return None if ablate is None or cell.row is None else ablate.broken(cell.row)

    def varied(self) -> set[str]:
        """Names of the settings that its cells differ in."""
        spec = self.spec
        names = set(spec.axes).union(*spec.arms.values()) - {RESOURCES}
        names |= spec.ablate.settings() if spec.ablate else set()
        return names | (set(spec.search.space) if spec.search else set())

    def reference(self) -> str | None:
        """The label that the others are compared with: the rule's, else the first cell's.

        Raises:
            InputError: the rule names a cell that there is not.
        """
        labels = [label for label, _ in self.cells()]
        rule = self.spec.seeds
        if isinstance(rule, SeedRule) and rule.compare is not None:
            every = [cell.label for cell in Sweep(self.name, self.path, self.spec).rows()]
            if rule.compare not in every:
                hint = nearest(rule.compare, every)
                raise InputError(f"{self.path}: seeds.compare: no cell '{rule.compare}'{hint}")
            if rule.compare in labels:
                return rule.compare
        return labels[0] if labels else None

    def _cell(self, arm: str, row: DesignRow | None, point: Overrides) -> Cell:
        spec = self.spec
        own = dict(spec.arms.get(arm, {}))
        mine = Resources.model_validate(own.pop(RESOURCES, {}))
        parts = [arm] if arm else []
        parts += [row.label] if row else []
        parts += [f"{name}={format_value(value)}" for name, value in point.items()]
        components = spec.ablate.overrides(row) if row and spec.ablate else {}
        overrides = {**spec.base, **own, **components, **point}
        return Cell(", ".join(parts) or self.name, overrides, mine.over(spec.resources), row)


def format_value(value: Any) -> str:
    """A setting's value as it stands in a label: lists joined by commas."""
    if isinstance(value, list | tuple):
        return ",".join(format_value(v) for v in value)
    return str(value)


def shipped_folder() -> Path:
    """The folder of the shipped sweep files."""
    return Path(str(resources.files("camsweep.sweeps")))


def shipped_names() -> list[str]:
    """Names of the shipped sweeps, `paper/name`, sorted."""
    folder = shipped_folder()
    found = (p.relative_to(folder).with_suffix("") for p in folder.glob("*/*.yaml"))
    return sorted(str(name) for name in found if name.parts[0] != "profiles")


def load_sweep(name: str) -> Sweep:
    """A shipped sweep by name, or a sweep file by path.

    Args:
        name: `cpn/fig6`, or a path that ends in `.yaml` or `.yml`.

    Raises:
        InputError: no such sweep, or the file is wrong.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        return Sweep(path.stem, str(path), parse(path, SweepSpec))
    names = shipped_names()
    if name not in names:
        hint = nearest(name, names)
        raise InputError(f"unknown sweep '{name}'{hint} (or give a file ending in .yaml)")
    path = shipped_folder() / f"{name}.yaml"
    return Sweep(name, f"sweeps/{name}.yaml", parse(path, SweepSpec))


def expand_names(names: Iterable[str]) -> list[str]:
    """Names with a paper's name (`cpn`) replaced by all of its shipped sweeps."""
    shipped = shipped_names()
    expanded: list[str] = []
    for name in names:
        of_paper = [s for s in shipped if s.startswith(f"{name}/")]
        expanded += of_paper or [name]
    return list(dict.fromkeys(expanded))
