"""From a point of a search space to a trial like any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from camsweep.sweeps.identity import content_id
from camsweep.sweeps.plan import PlannedTrial, make_plan
from camsweep.sweeps.profile import Profile
from camsweep.sweeps.search import Point, SearchSpec
from camsweep.sweeps.spec import Sweep, format_value

#: Metrics that every trial has; those of its maps (`miou_raw`, ...) come with them.
QUALITY = ("miou", "background_iou", "foreground_iou")
#: Columns of a trial's row that can be a metric too, of the whole training.
COST = ("train_seconds", "peak_memory_bytes", "parameters")


@dataclass(frozen=True)
class Ground:
    """What all points of a search share.

    Attributes:
        sweep: with a `search:` section.
        profile: defaults under the sweep's own settings.
        data_digest: of the data set's manifest.
        overrides: settings of `--set`.
        weights: SHA-256 of the weights files by backbone.
        seed: every point is trained with it.
    """

    sweep: Sweep
    profile: Profile
    data_digest: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    @property
    def spec(self) -> SearchSpec:
        """The `search:` section."""
        spec = self.sweep.spec.search
        if spec is None:
            raise ValueError(f"{self.sweep.path} has no `search:` section")
        return spec

    @property
    def id(self) -> str:
        """The study's id: of everything that can change what a point is worth, or which is next.

        How many samples are asked for is not in it: more of them go on with the same study.
        """
        return content_id(
            {
                "search": self.spec.content(),
                "base": self.sweep.spec.base,
                "set": dict(self.overrides),
                "profile": self.profile.model_dump(mode="json", exclude={"title"}),
                "weights": dict(self.weights),
                "data": self.data_digest,
                "seed": self.seed,
            }
        )

    def trial(self, point: Point, *, seed: int | None = None) -> PlannedTrial:
        """The trial of a point.

        Args:
            point: settings by name.
            seed: instead of the search's own.

        Raises:
            InputError: the method can't have these settings.
        """
        arms = {label_of(point): point}
        spec = self.sweep.spec.model_copy(update={"search": None, "arms": arms, "seeds": 1})
        plan = make_plan(
            [replace(self.sweep, spec=spec, only=())],
            self.profile,
            self.data_digest,
            seeds=1,
            first_seed=self.seed if seed is None else seed,
            overrides=self.overrides,
            weights=self.weights,
        )
        return plan.trials[0]


def label_of(point: Point) -> str:
    """How tables call a point: `lr=0.01, patches=grid`."""
    return ", ".join(f"{name}={format_value(value)}" for name, value in point.items())


def around(spec: SearchSpec, name: str, pinned: Point | None = None) -> Iterator[Point]:
    """Points that differ in one setting alone: both ends of its range, or its choices.

    Args:
        spec: the space.
        name: of the setting.
        pinned: values of others; without, each has the first that goes with the rest.
    """
    for value in spec.space[name].corners():
        yield beside(spec, {**(pinned or {}), name: value})


def beside(spec: SearchSpec, pinned: Point) -> Point:
    """The point with the pinned values and, for the others, the first that goes with them."""
    wanted = dict(pinned)
    left = list(pinned)
    while left:
        for key, values in spec.space[left.pop()].when.items():
            if key not in wanted:
                wanted[key] = values[0]
                left.append(key)
    point: Point = {}
    for name in spec.order():
        if spec.applies(name, point):
            point[name] = wanted.get(name, next(iter(spec.space[name].corners())))
    return point


def metric_names(trial: PlannedTrial) -> list[str]:
    """What a trial can be judged by."""
    maps = [f"miou_{name}" for name in trial.config.map_names()]
    return [*QUALITY, *maps, *COST]


def longest_training(ground: Ground) -> int:
    """The most epochs that a point of the space may have."""
    dimension = ground.spec.space.get("epochs")
    if dimension is not None:
        return int(max(dimension.corners()))
    return sample_trial(ground).config.epochs


def sample_trial(ground: Ground) -> PlannedTrial:
    """Some trial of the space, for checks of data and weights before a search starts."""
    return ground.trial(beside(ground.spec, {}))
