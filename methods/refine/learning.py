"""Which network a trial's refinement trains, and with what: published recipes and overrides."""

from __future__ import annotations

from dataclasses import replace

from camsweep.methods.refine.affinity_task import AFFINITY_TASK
from camsweep.methods.refine.config import RefineConfig
from camsweep.methods.refine.grids import CELLS, Learning, radius_of
from camsweep.methods.refine.irn_task import IRN_TASK
from camsweep.methods.refine.published import AFFINITY, IRN, Affinity, Irn
from camsweep.methods.task import Task, TaskSettings
from camsweep.shards.errors import InputError

#: Numbers of a recipe that a config may set, as ``affinity_NAME``.
OVERRIDES = ("epochs", "batch", "crop", "lr")


def task_of(config: RefineConfig) -> Task:
    """The task that ``refine: affinity`` or ``refine: irn`` trains.

    Raises:
        ValueError: the config's refinement trains nothing.
    """
    if config.refine == "affinity":
        return AFFINITY_TASK
    if config.refine == "irn":
        return IRN_TASK
    raise ValueError(f"refine: {config.refine} trains no network")


def recipe_of(config: RefineConfig) -> Affinity | Irn:
    """The published numbers of the config's refinement, its CRF within ``crf_reach``.

    Raises:
        ValueError: it trains nothing.
    """
    if task_of(config) is AFFINITY_TASK:
        found: Affinity | Irn = AFFINITY[config.affinity_recipe]
    else:
        found = IRN[config.irn_recipe]
    return replace(found, crf=found.crf.within(config.crf_reach))


def settings_of(config: RefineConfig) -> TaskSettings:
    """What the task is trained with: the recipe's numbers where the config names none.

    Images keep their size for AffinityNet and are rescaled, but not jittered, for IRN, as released.
    An own rate is the backbone's (AffinityNet) or the edge head's (IRN), the other layers' rates
    keep their published ratio to it.

    Raises:
        InputError: the task has no such backbone, or no pair fits on the crop's grid.
        ValueError: the config's refinement trains nothing.
    """
    recipe = recipe_of(config)
    own = {name: getattr(config, f"affinity_{name}") for name in OVERRIDES}
    common = TaskSettings(
        seed=config.seed,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        precision=config.precision,
        **{k: getattr(recipe, k) if value is None else value for k, value in own.items()},
    )
    radius = recipe.radius if isinstance(recipe, Affinity) else recipe.train_radius
    common = replace(common, extra=Learning(config.affinity_network, cell_of(config), radius))
    radius_of(common)  # refuses a crop that is too small
    if isinstance(recipe, Affinity):
        return replace(common, jitter=recipe.jitter)
    return replace(
        common,
        rescale=recipe.rescale,
        lr_factors=(("fc_edge", 1.0), ("fc_dp", recipe.displacement_lr / recipe.lr)),
        bias_lr_factor=1.0,
        bias_decay=True,
    )


def cell_of(config: RefineConfig) -> int:
    """Image pixels a cell of the grid that the task's network compares pixels on.

    Raises:
        InputError: the task has no such backbone.
        ValueError: the config's refinement trains nothing.
    """
    known = CELLS[task_of(config).name]
    name = config.affinity_network
    if name not in known:
        raise InputError(
            f"affinity_backbone: refine: {config.refine} has none on {name}; "
            f"one of: {', '.join(known)}"
        )
    return known[name]
