"""One driver's view of a study: which point is next, and what became of it. No Ray in here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camsweep.platform.searching.points import COST, Ground, label_of
from camsweep.platform.searching.samplers import make_sampler
from camsweep.platform.searching.spaces import draw
from camsweep.shards.errors import InputError
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.search import Point, SearchSpec

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

#: Notes on the study's trials (user attributes), which optuna-dashboard shows beside them.
TRIAL, LABEL, DRIVER, ORIGIN, CAUSE = "trial", "label", "driver", "origin", "cause"
#: Origins that are no sample of this search.
UNCOUNTED = ("warm start", "duplicate", "lost")
#: Draws in a row that only repeat what is known; then random ones are taken, then it ends.
REPEATS, GIVE_UP = 10, 60


@dataclass(frozen=True)
class Suggestion:
    """A point to run: its number in the study, its settings, and the trial that it is."""

    number: int
    point: Point
    trial: PlannedTrial


class Search:
    """Asks the study for points and tells it results.

    Points that the store has an answer to are told at once and never handed out; points that were
    drawn before are told the same again and do not count as samples.
    """

    def __init__(
        self,
        ground: Ground,
        storage: BaseStorage,
        driver: str,
        answer: Callable[[str], Mapping[str, Any] | None],
    ) -> None:
        """Open the study, or begin it.

        Args:
            ground: what is searched.
            storage: of the study.
            driver: the name of this driver, for finding out later whose trials are lost.
            answer: the row of a finished trial by id, or None.
        """
        self.ground, self.driver, self.answer = ground, driver, answer
        self.study = open_study(ground, storage)
        self.finished_because: str | None = None
        self._asked: dict[int, Trial] = {}

    @property
    def spec(self) -> SearchSpec:
        """The `search:` section."""
        return self.ground.spec

    def trials(self) -> list[FrozenTrial]:
        """All trials of the study as it is now."""
        return self.study.get_trials(deepcopy=False)

    def samples(self) -> int:
        """How many samples are done or being done, by any driver."""
        return count_samples(self.trials())

    def ask(self) -> Suggestion | None:
        """The next point that needs work, or None when there are samples enough."""
        from optuna.samplers import RandomSampler

        repeats = 0
        while True:
            known = self.trials()
            if count_samples(known) >= self.spec.samples:
                self.finished_because = f"{self.spec.samples} samples"
                return None
            if repeats >= GIVE_UP:
                self.finished_because = "the space has no further points"
                return None
            sampler = make_sampler(self.spec, len(known))
            if repeats >= REPEATS:
                # The algorithm clings to one point: whatever is left of the space is found so.
                sampler = RandomSampler(sampler_seed(self.spec, len(known)))
            self.study.sampler = sampler
            asked = self.study.ask()
            point = draw(self.spec, asked)
            try:
                trial = self.ground.trial(point)
            except InputError as error:
                note(asked, label_of(point), self.driver, "drawn")
                self._fail(asked, str(error))
                continue
            before = _find(known, trial.id)
            note(asked, trial.labels[0], self.driver, "duplicate" if before else "drawn", trial.id)
            if before is not None:
                self._repeat(asked, before)
                repeats += 1
                continue
            row = self.answer(trial.id)
            self._asked[asked.number] = asked
            if row is None:
                return Suggestion(asked.number, point, trial)
            self.tell(asked.number, row)

    def report(self, number: int, epoch: int, value: float) -> None:
        """Note what a point is worth after an epoch."""
        with _unless_taken():
            self._asked[number].report(value, epoch)

    def tell(self, number: int, row: Mapping[str, Any]) -> None:
        """End a point by its trial's row: done, stopped early, or failed."""
        from optuna.trial import TrialState

        asked = self._asked.pop(number, None)
        if asked is None:
            return  # told already
        if row.get("status") == "done":
            values = values_of(row, self.spec.metric)
            if values is not None:
                self.study.tell(asked, values, skip_if_finished=True)
                return
            row = {"cause": f"the trial has no finite {' and '.join(self.spec.metric)}"}
        if row.get("status") == "stopped":
            with _unless_taken():
                asked.set_user_attr(CAUSE, str(row.get("cause")))
            self.study.tell(asked, state=TrialState.PRUNED, skip_if_finished=True)
            return
        self._fail(asked, str(row.get("cause") or "failed"))

    def lose(self, number: int) -> None:
        """Give a point up that nobody will end: it is drawn again by whoever comes next."""
        asked = self._asked.pop(number, None)
        if asked is not None:
            with _unless_taken():
                give_up(self.study, self.study._storage.get_trial(asked._trial_id))

    def lose_all(self) -> int:
        """Give up all points that this driver has not ended; returns how many there were."""
        left = list(self._asked)
        for number in left:
            self.lose(number)
        return len(left)

    def _fail(self, asked: Trial, cause: str) -> None:
        from optuna.trial import TrialState

        with _unless_taken():
            asked.set_user_attr(CAUSE, cause)
        self.study.tell(asked, state=TrialState.FAIL, skip_if_finished=True)

    def _repeat(self, asked: Trial, before: FrozenTrial) -> None:
        """End a point as the same one before has ended; one that still runs has no values yet."""
        from optuna.trial import TrialState

        if before.state == TrialState.COMPLETE:
            self.study.tell(asked, before.values)
        else:
            self.study.tell(asked, state=TrialState.FAIL)


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

    study._storage.set_trial_user_attr(trial._trial_id, ORIGIN, "lost")
    if trial.params:
        study.enqueue_trial(dict(trial.params))
    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


@contextmanager
def _unless_taken() -> Iterator[None]:
    """Do nothing where another driver took this one for dead and has ended its point."""
    from optuna.exceptions import UpdateFinishedTrialError

    with suppress(UpdateFinishedTrialError):
        yield


def values_of(row: Mapping[str, Any], metrics: Iterable[str]) -> list[float] | None:
    """A finished trial's metrics; None where one is not there or no finite number."""
    import math

    values = [row.get(name if name in COST else f"metric.{name}") for name in metrics]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    return [float(value) for value in values if value is not None]


def sampler_seed(spec: SearchSpec, number: int) -> int:
    """The seed of a random draw that stands in for the algorithm's."""
    from camsweep.platform.searching.samplers import draw_seed

    return draw_seed(spec.seed + 1, number)


def _find(trials: Iterable[FrozenTrial], trial_id: str) -> FrozenTrial | None:
    """The trial of the study that stands for the same trial of ours, one with values first."""
    from optuna.trial import TrialState

    same = [
        t
        for t in trials
        if t.user_attrs.get(TRIAL) == trial_id and t.user_attrs.get(ORIGIN) != "lost"
    ]
    return next((t for t in same if t.state == TrialState.COMPLETE), same[0] if same else None)
