"""The `search:` section of a sweep file: a space of settings and how it is searched.

search:
space:
lr: {log: [0.001, 0.1]}
p_h: {uniform: [0.1, 0.9]}
patches: {choice: [grid, superpixel]}
s_n: {int: [5, 2000], log: true, when: {patches: superpixel}}
algorithm: tpe
scheduler: asha
samples: 40
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from camsweep.shards.errors import nearest
from camsweep.shards.manifest import canonical_json
from camsweep.sweeps.dimension import Dimension, refuse_unknown, same

Point = dict[str, Any]
#: The fewest members of a population (`pbt`).
POPULATION = 4


class Scheduler(BaseModel):
    """Who ends trainings early; written as its name alone, or with settings.

    Attributes:
        name: `none` trains all to the end; `asha`, `median` and `pbt` are Ray Tune's.
        grace: asha, median: epochs that every training gets; pbt: epochs between two changes.
        reduction: asha: one training in so many goes on from each rung to the next.
        others: median: how many trainings must have come as far before one is ended.
        images: how many images of the evaluation split are measured at each epoch, evenly spread.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["none", "asha", "median", "pbt"] = "none"
    grace: int = Field(default=1, ge=1)
    reduction: float = Field(default=3.0, gt=1, le=16)
    others: int = Field(default=3, ge=1)
    images: int = Field(default=64, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        return refuse_unknown(value, cls, "scheduler")

    @model_validator(mode="after")
    def _belongs(self) -> Scheduler:
        belongs = {
            "grace": ("asha", "median", "pbt"),
            "reduction": ("asha",),
            "others": ("median",),
            "images": ("asha", "median", "pbt"),
        }
        for key in sorted(self.model_fields_set - {"name"}):
            if self.name not in belongs[key]:
                where = " and ".join(belongs[key])
                raise ValueError(f"{key} is a setting of {where}; {self.name} has none such")
        return self


class SearchSpec(BaseModel):
    """The `search:` section.

    Attributes:
        space: settings of the method by name, each with the values it may take.
        algorithm: `random`, `tpe`, `cmaes` (numbers only, no `when`) or `nsga2`.
        scheduler: who ends trainings early.
        samples: how many points of the space are tried, those of earlier runs included.
        metric: what is best: a metric of the results, or several for a Pareto front. `miou` and
            its kin are maximised, seconds, bytes and parameters minimised.
        seed: of the algorithm's draws. Every point is trained with the run's first seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: dict[str, Dimension] = Field(min_length=1)
    algorithm: Literal["random", "tpe", "cmaes", "nsga2"] = "tpe"
    scheduler: Scheduler = Scheduler()
    samples: int = Field(ge=1, le=100_000)
    metric: tuple[str, ...] = ("miou",)
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        return refuse_unknown(value, cls, "search")

    @field_validator("metric", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("metric", mode="after")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("must name one metric, or several different ones")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> SearchSpec:
        _check_conditions(self.space)
        if self.algorithm == "cmaes":
            _check_cmaes(self.space)
        several = len(self.metric) > 1
        if several and self.algorithm == "cmaes":
            raise ValueError("algorithm: cmaes has one metric; take nsga2 or tpe for several")
        if several and self.scheduler.name != "none":
            raise ValueError(
                f"scheduler: {self.scheduler.name} compares one metric; take none for several"
            )
        if self.scheduler.name == "pbt":
            _check_pbt(self)
        return self

    @property
    def directions(self) -> tuple[Literal["minimize", "maximize"], ...]:
        """Optuna's direction of each metric."""
        return tuple("minimize" if is_cost(name) else "maximize" for name in self.metric)

    @property
    def conditional(self) -> bool:
        """Whether some setting is there under some others only."""
        return any(dimension.when for dimension in self.space.values())

    def order(self) -> list[str]:
        """The settings, those that others depend on first."""
        return _ordered(self.space)

    def applies(self, name: str, point: Mapping[str, Any]) -> bool:
        """Whether the setting `name` is part of a point whose earlier settings are `point`."""
        return all(
            key in point and any(same(point[key], value) for value in values)
            for key, values in self.space[name].when.items()
        )

    def contains(self, settings: Mapping[str, Any]) -> Point | None:
        """The point that a trial's settings are, or None where they lie outside the space.

        Args:
            settings: values by name, as `TrialConfig.active()` gives them.
        """
        point: Point = {}
        for name in self.order():
            if not self.applies(name, point):
                continue
            if name not in settings or not self.space[name].contains(settings[name]):
                return None
            point[name] = settings[name]
        return point

    def content(self) -> dict[str, Any]:
        """What the study's id is made of: everything but `samples`, which may grow."""
        return self.model_dump(mode="json", exclude={"samples"})


def is_cost(metric: str) -> bool:
    """Whether less is better."""
    return metric.endswith(("seconds", "_bytes")) or metric == "parameters"


def _check_conditions(space: Mapping[str, Dimension]) -> None:
    for name, dimension in space.items():
        for key, values in dimension.when.items():
            if key not in space:
                raise ValueError(
                    f"space.{name}.when: '{key}' is no setting of the space{nearest(key, space)}"
                )
            if space[key].choice is None:
                raise ValueError(f"space.{name}.when: {key} must be a `choice` of the space")
            for value in values:
                if not space[key].contains(value):
                    known = ", ".join(str(v) for v in space[key].choice or ())
                    raise ValueError(
                        f"space.{name}.when: {key} is never {value!r}; it is one of: {known}"
                    )
    _ordered(space)


def _ordered(space: Mapping[str, Dimension]) -> list[str]:
    order: list[str] = []
    while len(order) < len(space):
        ready = [n for n, d in space.items() if n not in order and set(d.when) <= set(order)]
        if not ready:
            left = ", ".join(n for n in space if n not in order)
            raise ValueError(f"space: {left} depend on each other in a circle (`when`)")
        order += ready
    return order


def _check_cmaes(space: Mapping[str, Dimension]) -> None:
    for name, dimension in space.items():
        if dimension.choice is not None or dimension.when:
            what = "a `choice`" if dimension.choice is not None else "conditional (`when`)"
            raise ValueError(
                f"space.{name}: is {what}; cmaes moves numbers that are always there, take tpe"
            )
    if len(space) < 2:
        raise ValueError("space: cmaes needs two settings or more; take tpe")


def _check_pbt(spec: SearchSpec) -> None:
    if "epochs" in spec.space:
        raise ValueError("space.epochs: pbt trains all for the same time; leave epochs out")
    if spec.conditional:
        name = next(n for n, d in spec.space.items() if d.when)
        raise ValueError(
            f"space.{name}: is conditional (`when`), which pbt can't change on the way"
        )
    if spec.algorithm != "random":
        raise ValueError("algorithm: pbt draws its own points; write `algorithm: random`")
    if spec.samples < POPULATION:
        raise ValueError(f"samples: pbt needs a population of {POPULATION} or more")


def text_of(value: Any) -> str:
    """A value as one text, so that lists can be compared and kept."""
    return canonical_json(value).decode()
