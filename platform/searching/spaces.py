"""A search space in Optuna's words: distributions, and a trial's values drawn one by one."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from camsweep.sweeps.dimension import Dimension, same
from camsweep.sweeps.search import Point, SearchSpec, text_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

PLAIN = (type(None), bool, int, float, str)


def distribution(dimension: Dimension) -> BaseDistribution:
    """Optuna's distribution of one setting."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if dimension.choice is not None:
        return CategoricalDistribution([encode(value) for value in dimension.choice])
    low, high = dimension.bounds
    if dimension.whole is not None:
        step = int(dimension.step or 1)
        top = int(low) + (int(high) - int(low)) // step * step
        return IntDistribution(int(low), top, log=dimension.logarithmic, step=step)
    if dimension.step is not None:
        # A high end between two steps would be moved by Optuna, with a warning. In decimals, as
        # it does: three steps of 0.3 are 0.9.
        start, width = Decimal(str(low)), Decimal(str(dimension.step))
        high = float(start + (Decimal(str(high)) - start) // width * width)
    return FloatDistribution(low, high, log=dimension.logarithmic, step=dimension.step)


def encode(value: Any) -> Any:
    """A choice as Optuna keeps it: what is no plain value goes as JSON text."""
    return value if isinstance(value, PLAIN) else text_of(value)


def decode(dimension: Dimension, value: Any) -> Any:
    """The setting's value that Optuna drew."""
    if dimension.choice is None:
        return dimension.rounded(value)
    return next(known for known in dimension.choice if same(encode(known), value))


def draw(spec: SearchSpec, trial: Trial) -> Point:
    """Draw a point, each setting only where the ones before say that it is there."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    point: Point = {}
    for name in spec.order():
        if not spec.applies(name, point):
            continue
        found = distribution(spec.space[name])
        value: Any
        if isinstance(found, CategoricalDistribution):
            value = trial.suggest_categorical(name, found.choices)
        elif isinstance(found, IntDistribution):
            value = trial.suggest_int(name, found.low, found.high, step=found.step, log=found.log)
        else:
            assert isinstance(found, FloatDistribution)
            value = trial.suggest_float(name, found.low, found.high, step=found.step, log=found.log)
        point[name] = decode(spec.space[name], value)
    return point


def encoded(point: Point) -> dict[str, Any]:
    """A point as Optuna's parameters."""
    return {name: encode(value) for name, value in point.items()}
