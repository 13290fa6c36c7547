"""A study in a storage: its name, what is noted beside its trials, how they are counted."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from camsweep.platform.searching.points import Ground
from camsweep.platform.searching.samplers import population_of
from camsweep.sweeps.studies import DRIVER, LABEL, LOST, ORIGIN, TRIAL, UNCOUNTED

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

#: A note on the study itself: NSGA-II's members of a generation.
POPULATION = "population"


def open_study(ground: Ground, storage: BaseStorage) -> Study:
    """The study of a search in a storage, made where it is not there."""
    import optuna

    spec = ground.spec
    study = optuna.create_study(
        storage=storage,
        study_name=study_name(ground),
        directions=list(spec.directions),
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),  # Tune's schedulers end trials, Optuna is only told
    )
    if POPULATION not in study.user_attrs:
        # Of the samples first asked for: more of them go on with the same generations.
        study.set_user_attr(POPULATION, population_of(spec.samples))
    if "sweep" not in study.user_attrs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # called experimental since 2023
            study.set_metric_names(list(spec.metric))
        about = {
            "sweep": ground.sweep.name,
            "title": ground.sweep.spec.title,
            "algorithm": spec.algorithm,
            "scheduler": spec.scheduler.name,
            "profile": ground.profile.name,
            "data": ground.data_digest,
        }
        for key, value in about.items():
            study.set_user_attr(key, value)
    return study


def samples_in(storage: BaseStorage, ground: Ground) -> int:
    """How many samples a search has in a storage; 0 where it has not begun."""
    import optuna

    try:
        study = optuna.load_study(study_name=study_name(ground), storage=storage)
    except KeyError:
        return 0
    return count_samples(study.get_trials(deepcopy=False))


def study_name(ground: Ground) -> str:
    """The study's name: that of the sweep, and enough of the id to tell two versions apart."""
    return f"{ground.sweep.name} {ground.id[:12]}"


def count_samples(trials: Iterable[FrozenTrial]) -> int:
    """How many of the study's trials are samples: drawn by the search, and run or running."""
    from optuna.trial import TrialState

    return sum(
        t.user_attrs.get(ORIGIN, "drawn") not in UNCOUNTED
        for t in trials
        if t.state != TrialState.WAITING
    )


def note(asked: Trial, label: str, driver: str, origin: str, trial_id: str | None = None) -> None:
    """Write down beside a study's trial what it is."""
    for key, value in ((TRIAL, trial_id), (LABEL, label), (DRIVER, driver), (ORIGIN, origin)):
        if value is not None:
            asked.set_user_attr(key, value)


def give_up(study: Study, trial: FrozenTrial) -> None:
    """End a trial whose driver is gone, and put its point first in the queue."""
    from optuna.trial import TrialState

    study._storage.set_trial_user_attr(trial._trial_id, ORIGIN, LOST)
    if trial.params:
        study.enqueue_trial(dict(trial.params))
    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def find(trials: Iterable[FrozenTrial], trial_id: str) -> FrozenTrial | None:
    """The trial of the study that stands for the same trial of ours, one with values first."""
    from optuna.trial import TrialState

    same = [
        t
        for t in trials
        if t.user_attrs.get(TRIAL) == trial_id and t.user_attrs.get(ORIGIN) != LOST
    ]
    return next((t for t in same if t.state == TrialState.COMPLETE), same[0] if same else None)
