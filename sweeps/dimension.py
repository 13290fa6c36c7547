"""One setting of a search space and the values that it may take."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from camsweep.shards.errors import nearest

KINDS = ("uniform", "log", "int", "choice")
#: Digits of a drawn number: labels stay readable, and no study is finer than its noise.
DIGITS = 5


class Dimension(BaseModel):
    """The values of one setting: exactly one of the four kinds, each with both ends included.

    Attributes:
        uniform: `[low, high]`, any number between.
        log: `[low, high]`, any number between, on a logarithmic scale; or `true` beside `int`.
        int: `[low, high]`, whole numbers.
        choice: a list of values of any kind.
        step: with `uniform` or `int`: the distance between two values.
        when: other settings and the value (or list of values) each must have; where they have not,
            the setting is no part of the point.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    uniform: tuple[float, float] | None = None
    log: tuple[float, float] | bool | None = None
    whole: tuple[int, int] | None = Field(default=None, alias="int")
    choice: tuple[Any, ...] | None = Field(default=None, min_length=1)
    step: float | None = Field(default=None, gt=0)
    when: dict[str, tuple[Any, ...]] = {}

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("write e.g. `{log: [0.001, 0.1]}`, `{choice: [grid, superpixel]}`")
        return refuse_unknown(value, cls, "space")

    @field_validator("uniform", "log", "whole", mode="before")
    @classmethod
    def _pair(cls, value: Any, info: ValidationInfo) -> Any:
        if value is True and info.field_name == "log":
            return value
        number = int if info.field_name == "whole" else int | float
        pair = isinstance(value, list | tuple) and len(value) == 2
        if not pair or any(isinstance(v, bool) or not isinstance(v, number) for v in value):
            kind = "whole numbers" if number is int else "numbers (0.001, not 1e-3)"
            raise ValueError(f"must be [low, high], two {kind}, not {value!r}")
        return value

    @field_validator("when", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("must be a mapping such as `{patches: superpixel}`")
        return {k: tuple(v) if isinstance(v, list) else (v,) for k, v in value.items()}

    @model_validator(mode="after")
    def _one_kind(self) -> Dimension:
        named = [k for k in KINDS if self._field(k) is not None and self._field(k) is not True]
        if len(named) != 1:
            raise ValueError(
                f"needs one of {', '.join(KINDS)}, has {' and '.join(named) or 'none'}"
            )
        kind = named[0]
        if isinstance(self.log, bool) and kind != "int":
            raise ValueError("log: must be `[low, high]`; `log: true` goes with int")
        if self.step is not None and (kind not in ("uniform", "int") or self.log is True):
            raise ValueError("step: goes with uniform, or with int without log")
        if kind == "int" and self.step is not None and self.step != int(self.step):
            raise ValueError(f"step: must be whole with int, not {self.step:g}")
        if kind == "choice":
            texts = [repr(value) for value in self.choice or ()]
            if len(set(texts)) < len(texts):
                raise ValueError("choice: names a value twice")
            return self
        low, high = self.bounds
        if not low < high:
            raise ValueError(f"{kind}: must be [low, high] with low below high, not {[low, high]}")
        if (kind == "log" or self.log is True) and low <= 0:
            raise ValueError(f"{kind}: a logarithmic scale needs a low end above 0, not {low:g}")
        if self.step is not None and self.step > high - low:
            raise ValueError(f"step: {self.step:g} is wider than {[low, high]}")
        return self

    def _field(self, kind: str) -> Any:
        return self.whole if kind == "int" else getattr(self, kind)

    @property
    def bounds(self) -> tuple[float, float]:
        """Low and high of a number; not for a `choice`."""
        found = self.uniform or self.whole or self.log
        assert isinstance(found, tuple)
        return found

    @property
    def logarithmic(self) -> bool:
        """Whether numbers are drawn on a logarithmic scale."""
        return self.log is not None and self.log is not False

    def contains(self, value: Any) -> bool:
        """Whether the setting may have this value."""
        if self.choice is not None:
            return any(same(value, known) for known in self.choice)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high = self.bounds
        if not low <= value <= high or (self.whole is not None and value != int(value)):
            return False
        steps = 0.0 if self.step is None else (value - low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-6)

    def rounded(self, value: Any) -> Any:
        """A drawn value as it is run: numbers to a few digits, inside the bounds."""
        if not isinstance(value, float):
            return value
        low, high = self.bounds
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)

    def corners(self) -> Iterator[Any]:
        """Values that show whether the method can have this setting at all."""
        yield from self.choice if self.choice is not None else self.bounds


def refuse_unknown(value: Any, model: type[BaseModel], where: str) -> Any:
    """The mapping as it is; a misspelt key ends in the nearest right name of this section."""
    if isinstance(value, dict):
        known = [field.alias or name for name, field in model.model_fields.items()]
        for key in value:
            if key not in known:
                raise ValueError(f"{key}: unknown in {where}{nearest(str(key), known)}")
    return value


def same(one: Any, two: Any) -> bool:
    """Equal, lists and tuples alike, and `true` is not 1."""
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return isinstance(one, bool) == isinstance(two, bool) and bool(one == two)
