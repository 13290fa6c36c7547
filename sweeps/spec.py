"""Sweep files: what to vary, as named arms and axes over a base configuration."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from camsweep.shards.errors import InputError, nearest
from camsweep.sweeps.yamlfile import parse

Overrides = dict[str, Any]


class SweepSpec(BaseModel):
    """One sweep file.

    Attributes:
        title: one line for people.
        reference: the published numbers to lay beside, as `paper/artefact`.
        notes: what a reader should know (rows that need another method, our own rows).
        base: settings of every trial; must name the `method` unless every arm does.
        arms: named rows, each a set of overrides.
        axes: settings and the values each takes; all combinations are run.
        seeds: how many seeds (0, 1, …) every trial is repeated with.
        retries: how often a failed trial is tried again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    reference: str | None = None
    notes: str | None = None
    base: Overrides = {}
    arms: dict[str, Overrides] = {}
    axes: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    seeds: int = Field(default=3, ge=1, le=1000)
    retries: int = Field(default=1, ge=0, le=10)

    @model_validator(mode="after")
    def _names_a_method(self) -> SweepSpec:
        arms = list(self.arms.values()) or [{}]
        if any("method" not in {**self.base, **arm} for arm in arms) and "method" not in self.axes:
            raise ValueError("base.method: missing; write e.g. `base: {method: cpn}`")
        return self


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

    def cells(self) -> list[tuple[str, Overrides]]:
        """The label and the overrides of every cell (base, then arm, then axes)."""
        arms: dict[str, Overrides] = self.spec.arms or {"": {}}
        names = list(self.spec.axes)
        cells = []
        for arm, overrides in arms.items():
            for values in itertools.product(*self.spec.axes.values()):
                point = dict(zip(names, values, strict=True))
                parts = [arm] if arm else []
                parts += [f"{name}={format_value(value)}" for name, value in point.items()]
                label = ", ".join(parts) or self.name
                cells.append((label, {**self.spec.base, **overrides, **point}))
        return [cell for cell in cells if not self.only or cell[0] in self.only]


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


def expand_names(names: list[str]) -> list[str]:
    """Names with a paper's name (`cpn`) replaced by all of its shipped sweeps."""
    shipped = shipped_names()
    expanded: list[str] = []
    for name in names:
        of_paper = [s for s in shipped if s.startswith(f"{name}/")]
        expanded += of_paper or [name]
    return list(dict.fromkeys(expanded))
