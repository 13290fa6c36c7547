"""The four algorithms as Optuna samplers, each drawing from (seed, number of the trial) alone.

So a search that was stopped goes on as if it had not been. The study holds everything else that an
algorithm needs to know. Two draws of the same number would be the same point: drivers of one study
draw one by one (`journal.turns`).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from camsweep.sweeps.search import SearchSpec

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

#: NSGA-II: members of a generation, as a share of all samples.
GENERATIONS = 8
MEMBERS = (8, 50)


def population_of(samples: int) -> int:
    """NSGA-II's members of a generation, by the samples that a study is begun with."""
    low, high = MEMBERS
    return min(high, max(low, samples // GENERATIONS))


def make_sampler(spec: SearchSpec, number: int, population: int) -> BaseSampler:
    """The sampler of one draw.

    Args:
        spec: algorithm, space and seed.
        number: of the trial that is drawn.
        population: NSGA-II's members of a generation; the same for all draws of a study.
    """
    from optuna import samplers

    seed = draw_seed(spec.seed, number)
    if spec.algorithm == "random":
        return samplers.RandomSampler(seed)
    if spec.algorithm == "nsga2":
        return samplers.NSGAIISampler(population_size=population, seed=seed)
    if spec.algorithm == "cmaes":
        from camsweep.platform.searching.cma import CmaSampler

        return CmaSampler(spec, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `group` has been called experimental since 2021
        return samplers.TPESampler(
            seed=seed,
            multivariate=True,
            # Settings that appear together are modelled together; without conditions there is one
            # such group, and finding that out costs time.
            group=spec.conditional,
            constant_liar=True,
        )


def draw_seed(seed: int, number: int) -> int:
    """The seed of one draw, unlike that of any other."""
    import numpy as np

    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
