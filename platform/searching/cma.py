"""CMA-ES for Optuna, its state made anew from the study's trials at every draw.

Optuna's own sampler keeps its state in the study as a pickle, which whoever opens the study would
run. Here a trial only notes its generation; the state follows from the values of the generations
that are whole.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from camsweep.platform.searching.spaces import distribution
from camsweep.sweeps.search import SearchSpec

if TYPE_CHECKING:
    from cmaes import CMA  # type: ignore[import-untyped]
    from optuna.study import Study

GENERATION = "cma:generation"
#: The first spread, as a share of each range.
SIGMA = 1 / 6


class CmaSampler(BaseSampler):
    """Draws from a normal distribution that follows the best of each generation."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        """A sampler for one draw.

        Args:
            spec: numbers only, all unconditional.
            seed: of this draw.
        """
        self._seed = seed
        self._space: dict[str, Any] = {n: distribution(spec.space[n]) for n in spec.order()}
        self._random = RandomSampler(seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All settings: they are always there."""
        return dict(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One point of the present generation."""
        # What was stopped early counts with its last value: left out, none but the best would
        # remain, and the distribution would learn nothing of the rest.
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        done = [t for t in ended if t.value is not None]
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        optimiser, generation = self._replayed(done, sign)
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, generation)
        return self._values(optimiser.ask())

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Not reached by our spaces; random as Optuna's own."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _replayed(self, done: Sequence[FrozenTrial], sign: float) -> tuple[CMA, int]:
        """The optimiser after the generations that are whole, and the number of the next one."""
        from cmaes import CMA

        size = len(self._space)
        bounds = np.tile([0.0, 1.0], (size, 1))
        optimiser = CMA(self._start(done, sign), SIGMA, bounds=bounds, seed=self._seed)
        of_generation: dict[int, list[FrozenTrial]] = {}
        for trial in sorted(done, key=lambda t: t.number):
            if GENERATION in trial.system_attrs:
                of_generation.setdefault(trial.system_attrs[GENERATION], []).append(trial)
        generation = 0
        while len(of_generation.get(generation, ())) >= optimiser.population_size:
            members = of_generation[generation][: optimiser.population_size]
            optimiser.tell([(self._unit(m.params), sign * float(m.value or 0.0)) for m in members])
            generation += 1
        return optimiser, generation

    def _start(self, done: Sequence[FrozenTrial], sign: float) -> NDArray[np.float64]:
        """The best point that came from elsewhere (a warm start), else the middle.

        Only what was there before the first generation: the start must stay where it was.
        """
        first = min((t.number for t in done if GENERATION in t.system_attrs), default=math.inf)
        warm = [t for t in done if GENERATION not in t.system_attrs and t.number < first]
        if not warm:
            return np.full(len(self._space), 0.5)
        best = min(warm, key=lambda t: sign * float(t.value or 0.0))
        return self._unit(best.params)

    def _unit(self, params: dict[str, Any]) -> NDArray[np.float64]:
        """Settings as a point of the unit cube."""
        return np.array([_to_unit(found, params[name]) for name, found in self._space.items()])

    def _values(self, unit: NDArray[np.float64]) -> dict[str, Any]:
        values = np.clip(unit, 0.0, 1.0).tolist()
        return {
            name: _from_unit(found, value)
            for (name, found), value in zip(self._space.items(), values, strict=True)
        }


def _ends(found: Any) -> tuple[float, float]:
    """The range that the unit interval stands for; every whole number gets an equal share."""
    low, high = float(found.low), float(found.high)
    if found.step is not None:
        low, high = low - 0.5 * found.step, high + 0.5 * found.step
    if found.log:
        low, high = math.log(max(low, 0.5 * found.low)), math.log(high)
    return low, high


def _to_unit(found: Any, value: float) -> float:
    low, high = _ends(found)
    return ((math.log(value) if found.log else value) - low) / (high - low)


def _from_unit(found: Any, unit: float) -> Any:
    low, high = _ends(found)
    value = low + unit * (high - low)
    value = math.exp(value) if found.log else value
    if isinstance(found, FloatDistribution) and found.step is None:
        return min(max(value, found.low), found.high)
    steps = round((value - found.low) / found.step)
    value = min(max(found.low + steps * found.step, found.low), found.high)
    return int(value) if isinstance(found, IntDistribution) else value
