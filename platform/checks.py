"""What a plan needs of its data and weights, checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from camsweep.methods.config import TrialConfig
from camsweep.methods.pretrained.match import build_empty, refuse
from camsweep.methods.weights import Known, check_known, examine_weights
from camsweep.platform.lessons import Lesson
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
from camsweep.sweeps.resolve import ROLES, weights_for


def check_splits(plan: Plan, manifest: Manifest, data: Place) -> None:
    """Every trial finds its splits, and enough images in them for a batch.

    Raises:
        InputError: it does not.
    """
    for trial in plan.trials:
        for key in split_keys(trial):
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
        for role, batch in _later_batches(trial).items():
            if batch > count:
                raise InputError(
                    f"{data}: split '{trial.config.train_split}' has {count} images, less than a "
                    f"batch of {batch}; --set {role}_batch={count} or less"
                )


def split_keys(trial: PlannedTrial) -> tuple[str, ...]:
    """Settings that name the splits a trial reads; all but the first are evaluated."""
    later = ("segment_split",) if "segment" in trial.stages else ()
    return ("train_split", "eval_split", *later)


def _later_batches(trial: PlannedTrial) -> dict[str, int]:
    """Images a step of the trainings after the maps, by their stage."""
    if not {"affinity", "segment"} & trial.stages.keys():
        return {}
    from camsweep.platform.chain.lessons import AffinityLesson, SegmentLesson

    lessons: dict[str, Lesson] = {"affinity": AffinityLesson(), "segment": SegmentLesson()}
    return {
        stage: lesson.learner(trial.config, 1)[1].batch
        for stage, lesson in lessons.items()
        if stage in trial.stages
    }


def check_reading(trials: Iterable[PlannedTrial], data: Place) -> None:
    """The indexes can be read, and evaluated splits have masks: else each trial would fail singly.

    Raises:
        InputError: they can't, they have none, or a bound of the cache is no number.
    """
    limit(BYTES_VARIABLE, CACHE_GB)
    limit(DAYS_VARIABLE, CACHE_DAYS)
    limit(BUDGET_VARIABLE, BUDGET_GB)
    manifest = load_manifest(data)
    trials = list(trials)
    configs = [trial.config for trial in trials]
    evaluated = {getattr(trial.config, key) for trial in trials for key in split_keys(trial)[1:]}
    for split in sorted(evaluated | {config.train_split for config in configs}):
        index = load_index(data, manifest, split)
        masks = index.members.get("mask.png")
        bare = [] if masks is None else (masks.length < 0).nonzero()[0].tolist()
        if split in evaluated and (masks is None or bare):
            key = index.keys[bare[0] if bare else 0]
            raise InputError(
                f"{data}: image {key} of split '{split}' has no mask; evaluate on a split with "
                "masks (--set eval_split=…, or segment_split=…)"
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
        for role in ROLES:
            if role in trial.stages:
                _check_role(config, role, weights, known)
    used = {weights[name] for name in known}
    for name in sorted(name for name in weights if weights[name] not in used):
        which = f"backbone {name}" if name else "weights"
        raise InputError(f"--weights {weights[name]}: no trial here starts from {which}")


def _check_role(
    config: TrialConfig, role: str, weights: Mapping[str, str], known: dict[str, Known]
) -> None:
    """A later stage's network finds the weights of its backbone."""
    network = getattr(config, f"{role}_network")
    path = weights_for(config, weights, role)
    if path is None:
        raise InputError(
            f"--weights: the stage '{role}' starts from pretrained weights of {network}; give "
            f"--weights {network}=FILE, or {role}=FILE for that stage alone"
        )
    name = next(n for n, file in weights.items() if file == path)
    if name not in known:
        known[name] = examine_weights(Path(path), f"--weights {path}")
    if known[name].kind.whole:
        raise InputError(
            f"--weights {path}: holds {known[name].title}; the stage '{role}' starts from a "
            f"backbone, give --weights {role}=FILE"
        )
    refuse(build_empty(network), known[name])
