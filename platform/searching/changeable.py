"""Which settings a population may change while it trains."""

from __future__ import annotations

from typing import Any

from camsweep.methods import compose
from camsweep.methods.base import load_method
from camsweep.platform.searching.points import Ground, around
from camsweep.shards.errors import InputError
from camsweep.sweeps.plan import PlannedTrial

#: Settings of the training that say how much of it there is, so that they can't change within.
FIXED = ("batch", "epochs", "train_split", "method")
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
