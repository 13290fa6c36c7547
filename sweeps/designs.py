"""Ablation designs: which components are on in which row.

    ablate:
      components: [tcp, cpcr, ohem, prcm]     # switches of the method, or {NAME: {on: .., off: ..}}
      design: leave-one-out                   # add-one-in, cumulative, factorial, fractional
      rules: {ohem: cpcr}                     # beside those that the method declares

The rows are the textbooks': with k components leave-one-out has all on and then each one off,
add-one-in all off and then each one on, cumulative switches one after the other on (k + 1 rows
each), factorial has all 2^k combinations, and fractional the smallest regular fraction of them that
has the resolution asked for (`sweeps.fractions`). Which rows are possible is another question:
`sweeps.rules`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from camsweep.shards.errors import nearest
from camsweep.sweeps.fractions import LETTERS, Fraction, confounded, smallest, spell
from camsweep.sweeps.nested import section

#: Most components of a full factorial: 4,096 rows.
MOST = 12

Design = Literal["leave-one-out", "add-one-in", "cumulative", "factorial", "fractional"]


def _switch_words(value: Any) -> Any:
    """YAML reads the keys `on` and `off` as true and false."""
    if not isinstance(value, dict):
        return value
    words = {True: "on", False: "off"}
    return {words[k] if isinstance(k, bool) else k: v for k, v in value.items()}


@dataclass(frozen=True)
class DesignRow:
    """One row: its label, and which components are on."""

    label: str
    on: Mapping[str, bool]


class Component(BaseModel):
    """The settings of a component that is on, and of one that is off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: dict[str, Any]
    off: dict[str, Any]

    @model_validator(mode="after")
    def _differs(self) -> Component:
        if self.on == self.off:
            raise ValueError("on and off are the same settings")
        return self


def _component(value: Any) -> Any:
    return section(Component)(_switch_words(value))


class Ablation(BaseModel):
    """The `ablate:` section.

    Attributes:
        components: by name, in order; a list names switches that are set to true and false.
        design: which combinations.
        order: cumulative: the order in which they come in; as listed where nothing is said.
        resolution: fractional: the least resolution, 3 or more.
        rules: which component can't be on without which others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    components: dict[str, Annotated[Component, BeforeValidator(_component)]] = Field(min_length=1)
    design: Design
    order: tuple[str, ...] | None = None
    resolution: int = Field(default=5, ge=3)
    rules: dict[str, tuple[str, ...]] = {}

    @field_validator("components", mode="before")
    @classmethod
    def _switches(cls, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        if len(set(map(str, value))) < len(value):
            raise ValueError("names a component twice")
        return {str(name): {"on": {str(name): True}, "off": {str(name): False}} for name in value}

    @field_validator("rules", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: [v] if isinstance(v, str) else v for key, v in value.items()}

    @model_validator(mode="after")
    def _fits_together(self) -> Ablation:
        names = list(self.components)
        for key, needed in self.rules.items():
            for name in (key, *needed):
                if name not in names:
                    raise ValueError(f"rules: '{name}' is no component{nearest(name, names)}")
        if self.order is not None and self.design != "cumulative":
            raise ValueError(f"order is for design: cumulative; {self.design} has none")
        if self.order is not None and sorted(self.order) != sorted(names):
            raise ValueError(f"order must name each component once: {', '.join(names)}")
        if "resolution" in self.model_fields_set and self.design != "fractional":
            raise ValueError(f"resolution is for design: fractional; {self.design} has none")
        if self.design == "factorial" and len(names) > MOST:
            raise ValueError(
                f"factorial of {len(names)} components has {2 ** len(names)} rows; "
                f"{MOST} components are the most, or take design: fractional"
            )
        _refuse_shared(self.components)
        if self.design == "fractional":
            self.fraction()
        return self

    def settings(self) -> set[str]:
        """Names of the settings that the components set."""
        parts = self.components.values()
        return {key for part in parts for side in (part.on, part.off) for key in side}

    def fraction(self) -> Fraction:
        """The fraction of a fractional design.

        Raises:
            ValueError: no fraction has the resolution.
        """
        return smallest(len(self.components), self.resolution)

    def overrides(self, row: DesignRow) -> dict[str, Any]:
        """What a row's components set."""
        values: dict[str, Any] = {}
        for name, component in self.components.items():
            values |= component.on if row.on[name] else component.off
        return values

    def broken(self, row: DesignRow) -> str | None:
        """The rule of the file that a row breaks, `prcm needs pcm`, or None."""
        for name, needed in self.rules.items():
            for other in needed:
                if row.on[name] and not row.on[other]:
                    return f"{name} needs {other}"
        return None


def _refuse_shared(components: Mapping[str, Component]) -> None:
    """Two components that set one setting would undo each other."""
    owner: dict[str, str] = {}
    for name, component in components.items():
        for key in {*component.on, *component.off}:
            if key in owner:
                raise ValueError(
                    f"components.{name} and components.{owner[key]} both set {key}; "
                    "a setting belongs to one component"
                )
            owner[key] = name


def expand(ablation: Ablation) -> list[DesignRow]:
    """The rows of a design, possible or not; the first is the natural reference.

    Their labels: `all`, `all - tcp`; `none`, `none + tcp`; `none`, `+ tcp`, `+ cpcr`; and
    `tcp=on, cpcr=off`.
    """
    names = list(ablation.components)
    every, nothing = dict.fromkeys(names, True), dict.fromkeys(names, False)
    if ablation.design == "leave-one-out":
        others = [DesignRow(f"all - {name}", every | {name: False}) for name in names]
        return [DesignRow("all", every), *others]
    if ablation.design == "add-one-in":
        others = [DesignRow(f"none + {name}", nothing | {name: True}) for name in names]
        return [DesignRow("none", nothing), *others]
    if ablation.design == "cumulative":
        rows, on = [DesignRow("none", nothing)], nothing
        for name in ablation.order or names:
            on = on | {name: True}
            rows.append(DesignRow(f"+ {name}", on))
        return rows
    if ablation.design == "fractional":
        combinations = list(ablation.fraction().rows())
    else:
        combinations = list(itertools.product((True, False), repeat=len(names)))
    return [_named(dict(zip(names, states, strict=True))) for states in combinations]


def _named(on: dict[str, bool]) -> DesignRow:
    label = ", ".join(f"{name}={'on' if state else 'off'}" for name, state in on.items())
    return DesignRow(label, on)


def describe(ablation: Ablation) -> dict[str, Any]:
    """What a design is, for `camsweep plan --json`: rows, and of a fraction its words.

    Keys of a fraction: `letters` (of the components), `generators` (`E=ABCD`), `words` (the
    defining ones), `resolution`, and `confounded`, the effects of up to two components that it
    can't tell apart.
    """
    names = list(ablation.components)
    found: dict[str, Any] = {
        "design": ablation.design,
        "components": names,
        "rows": len(expand(ablation)),
    }
    if ablation.design == "fractional":
        fraction = ablation.fraction()
        found |= {
            "letters": dict(zip(LETTERS, names, strict=False)),
            "generators": fraction.texts(),
            "words": [spell(word) for word in fraction.words()],
            "resolution": fraction.resolution,
            "confounded": confounded(fraction, names),
        }
    return found
