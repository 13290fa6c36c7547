"""How much each setting matters for being among the best points: PED-ANOVA, with its noise.

Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
Arbitrary Subspaces" (IJCAI 2023), in Optuna's form, which also weighs whether a conditional
setting is there at all.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from camsweep.reports.searches.studied import Point, Setting, Study
from camsweep.sweeps.search import text_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial

#: "The best" are this share of the points, but never fewer points than `FEWEST_TOP`.
QUANTILE, FEWEST_TOP = 0.1, 5
#: With fewer points than this, the best would be more than a quarter of all.
FEWEST = 4 * FEWEST_TOP
RESAMPLES = 60
#: Points of a resample at most: its spread is scaled to what all points would have.
RESAMPLED = 500
_Z = 1.959964


@dataclass(frozen=True)
class Share:
    """A setting's part of the importance of all: its size and a 95 % interval, each 0..1."""

    name: str
    size: float
    low: float
    high: float


@dataclass(frozen=True)
class Importance:
    """What mattered for a metric.

    Attributes:
        metric: its name.
        shares: largest first; empty where there is no telling.
        points: that it is computed from.
        top: how many of them are "the best".
        level: settings whose share is not told apart from the largest, itself included.
        why_not: where there are no shares: why.
    """

    metric: str
    shares: tuple[Share, ...]
    points: int
    top: int
    level: tuple[str, ...] = ()
    why_not: str = ""


def importance(
    study: Study, metric: int, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Importance:
    """The importance of each setting for being among the best points.

    The interval is normal, from a bootstrap over the points: a bootstrap's own percentiles would be
    shifted, since points drawn twice make each density narrower. More than `RESAMPLED` points are
    resampled in part, and the spread is scaled by the square root of the part.

    Args:
        study: with its points.
        metric: index into the study's metrics.
        rng: of the bootstrap.
        resamples: of the bootstrap, 2 or more.
    """
    name = study.metrics[metric]
    points = study.of("finished")
    sign = -1.0 if study.maximised[metric] else 1.0
    losses = np.array([sign * p.values[metric] for p in points])
    top = max(FEWEST_TOP, math.ceil(QUANTILE * len(points)))
    if len(points) < FEWEST:
        words = f"{len(points)} finished points are too few, it takes {FEWEST}"
        return Importance(name, (), len(points), 0, why_not=words)
    best = int((losses <= np.partition(losses, top - 1)[top - 1]).sum())
    if best > len(points) // 2:
        words = f"{best} of {len(points)} points share the best value, nothing sets them apart"
        return Importance(name, (), len(points), best, why_not=words)
    trials = _trials(study, points, metric)
    settings = sorted(s.name for s in study.settings if any(s.name in p.settings for p in points))
    sizes = _shares(study, metric, trials, settings, top / len(points))
    if not sizes.any():
        words = "no setting's values differ between the best points and the others"
        return Importance(name, (), len(points), best, why_not=words)
    drawn = np.empty((resamples, len(settings)))
    size = min(len(trials), RESAMPLED)
    for index in range(resamples):
        some = [trials[i] for i in rng.integers(0, len(trials), size)]
        quantile = max(top / len(points), FEWEST_TOP / size)
        drawn[index] = _shares(study, metric, some, settings, quantile)
    scale = math.sqrt(size / len(trials))
    spread = _Z * scale * drawn.std(axis=0, ddof=1)
    order = sorted(range(len(settings)), key=lambda i: (-sizes[i], settings[i]))
    first = order[0]
    gaps = _Z * scale * (drawn[:, [first]] - drawn).std(axis=0, ddof=1)
    return Importance(
        name,
        tuple(
            Share(
                settings[i],
                float(sizes[i]),
                float(max(0.0, sizes[i] - spread[i])),
                float(min(1.0, sizes[i] + spread[i])),
            )
            for i in order
        ),
        len(points),
        best,
        tuple(settings[i] for i in order if i == first or sizes[first] - sizes[i] <= gaps[i]),
    )


def _shares(
    study: Study,
    metric: int,
    trials: Sequence[FrozenTrial],
    settings: Sequence[str],
    quantile: float,
) -> NDArray[np.float64]:
    """Parts of the settings, summing to 1; zeros where none has any."""
    from optuna.importance import PedAnovaImportanceEvaluator

    there = [name for name in settings if any(name in t.params for t in trials)]
    evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a branch with a single point, an experimental class
        found = evaluator.evaluate(_holding(study, metric, trials), there)
    values = np.array([max(found.get(name, 0.0), 0.0) for name in settings])
    total = values.sum()
    return values / total if total > 0 else values


def _holding(study: Study, metric: int, trials: Sequence[FrozenTrial]) -> OptunaStudy:
    """A study of one metric with just these trials: adding them one by one to one takes seconds."""
    from optuna.study import Study as OptunaStudy
    from optuna.study import StudyDirection

    direction = StudyDirection.MAXIMIZE if study.maximised[metric] else StudyDirection.MINIMIZE

    class Holding(OptunaStudy):
        def __init__(self) -> None:
            """Without a storage."""

        @property
        def directions(self) -> list[StudyDirection]:
            return [direction]

        def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
            return list(trials)

    return Holding()


def _trials(study: Study, points: Sequence[Point], metric: int) -> list[FrozenTrial]:
    from optuna.trial import FrozenTrial, TrialState

    spaces = {setting.name: _distribution(setting) for setting in study.settings}
    return [
        FrozenTrial(
            number=point.number,
            state=TrialState.COMPLETE,
            value=point.values[metric],
            datetime_start=None,
            datetime_complete=None,
            params=_params(point, study),
            distributions={name: spaces[name] for name in point.settings},
            user_attrs={},
            system_attrs={},
            intermediate_values={},
            trial_id=point.number,
        )
        for point in points
    ]


def _params(point: Point, study: Study) -> dict[str, Any]:
    numeric = {setting.name for setting in study.settings if setting.numeric}
    return {k: v if k in numeric else text_of(v) for k, v in point.settings.items()}


def _distribution(setting: Setting) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not setting.numeric:
        return CategoricalDistribution([text_of(choice) for choice in setting.choices])
    if setting.whole:
        return IntDistribution(
            int(setting.low), int(setting.high), log=setting.log, step=int(setting.step or 1)
        )
    return FloatDistribution(setting.low, setting.high, log=setting.log, step=setting.step)


def sentences(found: Importance) -> list[str]:
    """What the shares say, and what they don't."""
    if not found.shares:
        return [f"Importance: {found.why_not}."]
    about = (
        f"Importance (PED-ANOVA): how much a setting's values differ between the best {found.top} "
        f"of {found.points:,} finished points and all of them, as a share of all settings. It is "
        "importance for being among the best in this space as it was searched, not the size of an "
        f"effect. Bars: 95 % interval, bootstrap over points ({RESAMPLES} resamples)."
    )
    if len(found.shares) == 1:
        return [about]
    level = ", ".join(found.level)
    if len(found.level) == len(found.shares):
        return [about, "Nothing is separated: every setting's share is within noise of the first."]
    if len(found.level) == 1:
        return [about, f"{level} stands apart from all others."]
    return [about, f"Not told apart from the first: {level}. The others matter less."]
