"""Which settings a population may change while it trains, and how it changes them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

from camsweep.methods import compose
from camsweep.methods.base import load_method
from camsweep.platform.searching.members import plain
from camsweep.platform.searching.points import Ground, around
from camsweep.shards.errors import InputError
from camsweep.sweeps.dimension import Dimension
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.search import SearchSpec

#: Settings of the training that say how much of it there is, so that they can't change within.
FIXED = ("batch", "epochs", "train_split", "method")
#: How often a setting is drawn anew, rather than moved a little.
RESAMPLE = 0.25
FACTORS = (0.8, 1.25)
#: So often changed settings are drawn until something differs; a copy is noted in any case.
TRIES = 100
CLASSES = 3  # any number: only whether two networks differ is asked


def check_population(ground: Ground) -> None:
    """Refuse settings that can't change between two epochs.

    Raises:
        InputError: one is no setting of the training, or makes another network.
    """
    for name in ground.spec.space:
        trials = [ground.trial(point) for point in around(ground.spec, name)]
        why = None
        if trials[0].config.stages_now()[name] != "train" or name in FIXED:
            why = "the training as a whole depends on it"
        elif len({str(_layout(trial)) for trial in trials}) > 1:
            why = "its values make different networks"
        if why is not None:
            raise InputError(
                f"{ground.sweep.path}: search.space.{name}: is nothing that pbt can change on the "
                f"way ({why}); leave it out"
            )


def _layout(trial: PlannedTrial) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the network's tensors; nothing is computed."""
    import torch

    config: Any = trial.config
    with torch.device("meta"):
        net = compose.build(load_method(config.method), config, CLASSES)
    return [(name, tuple(value.shape)) for name, value in net.state_dict().items()]


def explorer(spec: SearchSpec, draws: random.Random) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What Tune calls on the configuration that a member copies: other settings, inside the space.

    Each copy gets a number of its own, by which a member finds out that it is one.
    """
    copies = itertools.count(1)

    def explore(config: dict[str, Any]) -> dict[str, Any]:
        before = config["member"]["settings"]
        for _ in range(TRIES):
            settings = plain({n: _moved(spec.space[n], v, draws) for n, v in before.items()})
            if settings != before:
                break
        return {"member": {**config["member"], "settings": settings, "copy": next(copies)}}

    return explore


def _moved(dimension: Dimension, value: Any, draws: random.Random) -> Any:
    """A setting a little further, or anew: the next choice, a fifth less, a quarter more."""
    anew = draws.random() < RESAMPLE
    if dimension.choice is not None:
        choices = [plain({"": choice})[""] for choice in dimension.choice]
        if anew:
            return draws.choice(choices)
        place = choices.index(value) + draws.choice((-1, 1))
        return choices[min(max(place, 0), len(choices) - 1)]
    low, high = dimension.bounds
    if anew:
        found = draws.uniform(0, 1)
        found = low * (high / low) ** found if dimension.logarithmic else low + (high - low) * found
    else:
        found = value * draws.choice(FACTORS)
    found = min(max(found, low), high)
    step = dimension.step or (1 if dimension.whole is not None else None)
    if step is not None:
        found = low + round((found - low) / step) * step
        found = found if found <= high else found - step
    return int(found) if dimension.whole is not None else dimension.rounded(float(found))
