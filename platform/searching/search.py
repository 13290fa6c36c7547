"""One driver's view of a study: which point is next, and what became of it. No Ray in here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camsweep.platform.searching.points import COST, Ground, label_of
from camsweep.platform.searching.samplers import make_sampler
from camsweep.platform.searching.spaces import draw
from camsweep.platform.searching.studies import (
    POPULATION,
    count_samples,
    find,
    give_up,
    note,
    open_study,
)
from camsweep.shards.errors import InputError
from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.search import Point, SearchSpec
from camsweep.sweeps.studies import CAUSE, DUPLICATE

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial, Trial

#: What a worker sends of a finished trial's row, beside the search's metrics.
SENT = ("id", "status", "cause", "metric.miou", "skipped")
#: Draws in a row that only repeat what is known; then random ones are taken, then it ends.
REPEATS, GIVE_UP = 10, 60


@dataclass(frozen=True)
class Suggestion:
    """A point to run: its number in the study, its settings, and the trial that it is."""

    number: int
    point: Point
    trial: PlannedTrial


#: Optuna's trial, its point, the trial of ours (None: impossible), and the same one before.
_Drawn = tuple["Trial", Point, PlannedTrial | None, "FrozenTrial | None"]


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
        turn: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        """Open the study, or begin it.

        Args:
            ground: what is searched.
            storage: of the study.
            driver: the name of this driver, for finding out later whose trials are lost.
            answer: the row of a finished trial by id, or None.
            turn: gives what is held while a point is drawn, so that drivers draw one by one.
        """
        self.ground, self.driver, self.answer = ground, driver, answer
        self._turn = turn
        self.study = open_study(ground, storage)
        self.finished_because: str | None = None
        self._asked: dict[int, Trial] = {}
        self._reported: set[tuple[int, int]] = set()

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
        repeats = 0
        while True:
            with self._turn():
                found = self._draw(repeats)
            if found is None:
                return None
            asked, point, trial, before = found
            if trial is None:
                continue
            if before is not None:
                self._repeat(asked, before)
                repeats += 1
                continue
            row = self.answer(trial.id)
            self._asked[asked.number] = asked
            if row is None:
                return Suggestion(asked.number, point, trial)
            self.tell(asked.number, row)

    def _draw(self, repeats: int) -> _Drawn | None:
        """Draw a point and write it down; None when there are samples enough.

        The draw follows from how many trials there are, and what was drawn before is found by
        what is written down: between the two no other driver may draw.
        """
        from optuna.samplers import RandomSampler

        known = self.trials()
        if count_samples(known) >= self.spec.samples:
            self.finished_because = f"{self.spec.samples} samples"
            return None
        if repeats >= GIVE_UP:
            self.finished_because = "the space has no further points"
            return None
        sampler = make_sampler(self.spec, len(known), self.study.user_attrs[POPULATION])
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
            return asked, point, None, None
        before = find(known, trial.id)
        note(asked, trial.labels[0], self.driver, DUPLICATE if before else "drawn", trial.id)
        return asked, point, trial, before

    def report(self, number: int, epoch: int, value: float) -> None:
        """Note what a point is worth after an epoch, the first time: copies train epochs again."""
        if (number, epoch) in self._reported:
            return
        self._reported.add((number, epoch))
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


@contextmanager
def _unless_taken() -> Iterator[None]:
    """Do nothing where another driver took this one for dead and has ended its point."""
    from optuna.exceptions import UpdateFinishedTrialError

    with suppress(UpdateFinishedTrialError):
        yield


def news_of(row: Mapping[str, Any], spec: SearchSpec) -> dict[str, Any]:
    """The part of a finished trial's row that its driver needs."""
    return {name: row.get(name) for name in (*SENT, *map(_column, spec.metric))}


def values_of(row: Mapping[str, Any], metrics: Iterable[str]) -> list[float] | None:
    """A finished trial's metrics; None where one is not there or no finite number."""
    import math

    values = [row.get(_column(name)) for name in metrics]
    if any(value is None or not math.isfinite(value) for value in values):
        return None
    return [float(value) for value in values if value is not None]


def _column(metric: str) -> str:
    return metric if metric in COST else f"metric.{metric}"


def sampler_seed(spec: SearchSpec, number: int) -> int:
    """The seed of a random draw that stands in for the algorithm's."""
    from camsweep.platform.searching.samplers import draw_seed

    return draw_seed(spec.seed + 1, number)
