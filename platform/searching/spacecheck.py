"""What is wrong with a search space, found out before anything starts."""

from __future__ import annotations

import json
from typing import Any

from camsweep.platform.searching.points import (
    COST,
    Ground,
    around,
    beside,
    longest_training,
    metric_names,
)
from camsweep.shards.errors import InputError, nearest
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.search import Point


def check_space(ground: Ground) -> None:
    """Refuse a space or metric that can't work, before anything starts.

    Every end of a range and every choice is tried once, beside one value of the others.

    Raises:
        InputError: one line with the file and the key.
    """
    spec, path = ground.spec, ground.sweep.path
    for name in spec.space:
        if name in ground.sweep.spec.base:
            raise InputError(
                f"{path}: search.space.{name}: base sets it as well; leave one of them out"
            )
        if name in ground.overrides:
            raise InputError(f"--set {name}: {path} searches it; leave it out")
        if name == "seed":
            raise InputError(f"{path}: search.space.seed: is no setting to choose; see search.seed")
    for name in spec.space:
        ids: set[str] = set()
        for point in around(spec, name):
            trial = _possible(ground, point)
            _check_metric(ground, trial)
            ids.add(trial.id)
        if len(ids) < 2 and not _matters(ground, name):
            raise InputError(
                f"{path}: search.space.{name}: changes nothing here; leave it out, or say when it "
                "does (`when`)"
            )
    _check_rungs(ground)


def _possible(ground: Ground, point: Point) -> PlannedTrial:
    """The trial of a point.

    Raises:
        InputError: it can't be; names the setting and, where that helps, its condition.
    """
    try:
        return ground.trial(point)
    except InputError as error:
        path, why = ground.sweep.path, str(error)
        text = why.removeprefix(f"{path}: ")
        about = text.partition(":")[0]
        if text == why or about not in ground.spec.space:
            raise  # of --set or the profile
        for name in sorted(point, key=lambda name: name != about):
            if (when := condition(ground, name, point)) is not None:
                asked = ", ".join(f"{key}: {_yaml(value)}" for key, value in when.items())
                what = text.partition("; set ")[0] if name == about else f"{name}: {text}"
                raise InputError(
                    f"{path}: search.space.{what}; add `when: {{{asked}}}` to {name}, so that it "
                    "is searched only there"
                ) from error
        raise InputError(f"{path}: search.space.{text}") from error


def condition(ground: Ground, name: str, point: Point) -> Point | None:
    """The `when` without which a setting makes some points impossible.

    Args:
        ground: of the search.
        name: of the setting.
        point: an impossible point with it.

    Returns:
        The setting's conditions with one more, under which each of its values goes and without
        which the rest goes; None where there is no such choice in the space.
    """
    spec = ground.spec
    for other in point:
        choices = spec.space[other].choice
        if other == name or choices is None or name in spec.space[other].when:
            continue
        good: list[Any] = []
        bad: list[Any] = []
        for value in choices:
            pinned = {**point, other: value}
            ways = (beside(spec, {**pinned, name: way}) for way in spec.space[name].corners())
            whole = all(name in way and _trial(ground, way) is not None for way in ways)
            (good if whole else bad).append(value)
            rest = {k: v for k, v in beside(spec, pinned).items() if k != name}
            if not whole and _trial(ground, rest) is None:
                break
        else:
            if good and bad:
                known = {k: v[0] if len(v) == 1 else v for k, v in spec.space[name].when.items()}
                return {**known, other: good[0] if len(good) == 1 else good}
    return None


def _trial(ground: Ground, point: Point) -> PlannedTrial | None:
    try:
        return ground.trial(point)
    except InputError:
        return None


def _yaml(value: Any) -> str:
    """A value as one writes it in a sweep file."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_yaml, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def _matters(ground: Ground, name: str) -> bool:
    """Whether a setting does anything under some value of another one."""
    spec = ground.spec
    for other in spec.space:
        for value in spec.space[other].corners():
            trials = [_trial(ground, p) for p in around(spec, name, {other: value})]
            if len({trial.id for trial in trials if trial is not None}) > 1:
                return True
    return False


def _check_metric(ground: Ground, trial: PlannedTrial) -> None:
    names = metric_names(trial)
    for metric in ground.spec.metric:
        if metric not in names:
            raise InputError(
                f"{ground.sweep.path}: search.metric: '{metric}' is nothing that "
                f"{trial.config.method} gives with {trial.labels[0]}{nearest(metric, names)}"
            )


def _check_rungs(ground: Ground) -> None:
    spec, path = ground.spec, ground.sweep.path
    if spec.scheduler.name == "none":
        return
    if spec.metric[0] in COST:
        raise InputError(
            f"{path}: search.scheduler: {spec.scheduler.name} needs a metric that is measured on "
            f"the way, such as miou, not {spec.metric[0]}"
        )
    longest = longest_training(ground)
    if spec.scheduler.grace >= longest:
        raise InputError(
            f"{path}: search.scheduler.grace: {spec.scheduler.grace} is not below the "
            f"{longest} epochs of a training; nothing could be ended early"
        )
