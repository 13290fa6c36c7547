"""What a plan needs of its data and weights, checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from camsweep.methods.config import TrialConfig
from camsweep.methods.weights import Known, check_known, examine_weights
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import Manifest, load_manifest
from camsweep.shards.node.space import BUDGET_GB, BUDGET_VARIABLE
from camsweep.shards.opening import load_index
from camsweep.shards.places import Place
from camsweep.shards.places.cache import (
    BYTES_VARIABLE,
    CACHE_DAYS,
    CACHE_GB,
    DAYS_VARIABLE,
    limit,
)
from camsweep.sweeps.plan import Plan, PlannedTrial


def check_splits(plan: Plan, manifest: Manifest, data: Place) -> None:
    """Every trial finds its splits, and enough images in them for a batch.

    Raises:
        InputError: it does not.
    """
    for trial in plan.trials:
        for key in ("train_split", "eval_split"):
            split = getattr(trial.config, key)
            if split not in manifest.splits:
                names = ", ".join(manifest.splits)
                raise InputError(f"{data}: has no split '{split}' ({key}); it has: {names}")
        count = manifest.splits[trial.config.train_split].count
        if trial.config.epochs and trial.config.batch > count:
            raise InputError(
                f"{data}: split '{trial.config.train_split}' has {count} images, less than a batch "
                f"of {trial.config.batch}; --set batch={count} or less"
            )


def check_reading(trials: Iterable[PlannedTrial], data: Place) -> None:
    """The indexes can be read, and evaluated splits have masks: else each trial would fail singly.

    Raises:
        InputError: they can't, they have none, or a bound of the cache is no number.
    """
    limit(BYTES_VARIABLE, CACHE_GB)
    limit(DAYS_VARIABLE, CACHE_DAYS)
    limit(BUDGET_VARIABLE, BUDGET_GB)
    manifest = load_manifest(data)
    configs = [trial.config for trial in trials]
    evaluated = {config.eval_split for config in configs}
    for split in sorted(evaluated | {config.train_split for config in configs}):
        index = load_index(data, manifest, split)
        masks = index.members.get("mask.png")
        bare = [] if masks is None else (masks.length < 0).nonzero()[0].tolist()
        if split in evaluated and (masks is None or bare):
            key = index.keys[bare[0] if bare else 0]
            raise InputError(
                f"{data}: image {key} of split '{split}' has no mask; evaluate on a split with "
                "masks (--set eval_split=…)"
            )


def check_weights(plan: Plan, weights: Mapping[str, str], classes: int) -> None:
    """Every network that starts from a file can take its weights, all of them; no file is idle.

    Raises:
        InputError: a file is missing, does not fit, or serves no trial.
    """
    known: dict[str, Known] = {}
    checked: set[TrialConfig] = set()
    for trial in plan.trials:
        config = trial.config.model_copy(update={"seed": 0})
        if config in checked:
            continue
        checked.add(config)
        if config.pretrain != "weights":
            if config.epochs == 0:
                raise InputError("epochs: 0 evaluates given weights; it needs pretrain: weights")
            continue
        name: str = config.backbone if config.backbone in weights else ""
        if name not in weights:
            raise InputError(
                f"--weights: profile '{plan.profile.name}' starts from pretrained weights; give "
                f"--weights {config.backbone}=FILE, or --set pretrain=none for random ones"
            )
        source = f"--weights {weights[name]}"
        if name not in known:
            known[name] = examine_weights(Path(weights[name]), source)
        holds = check_known(known[name], config, classes)
        if config.epochs == 0 and holds == "backbone":
            raise InputError(f"{source}: is a backbone only; epochs: 0 needs a whole network")
    for name in sorted(weights.keys() - known.keys()):
        which = f"backbone {name}" if name else "weights"
        raise InputError(f"--weights {weights[name]}: no trial here starts from {which}")
