"""Ray Tune's schedulers, made from a `search:` section; they also work without a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camsweep.sweeps.search import SearchSpec

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from ray.tune.schedulers import TrialScheduler

#: Keys of what a training reports after an epoch.
EPOCH, VALUE = "epoch", "value"


def make_scheduler(spec: SearchSpec, longest: int) -> TrialScheduler:
    """Tune's scheduler for a search.

    Args:
        spec: names the scheduler and its settings; not `pbt`.
        longest: the most epochs of any training.
    """
    from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule

    class Median(MedianStoppingRule):
        """Ends a training whose best value is below the median of the others' means."""

        def on_trial_complete(self, tune_controller: Any, trial: Any, result: Any) -> None:
            """Leave out the last result, which has no epoch and is measured on all images."""

    chosen = spec.scheduler
    rule: dict[str, Any] = {"metric": VALUE, "mode": "max", "time_attr": EPOCH}
    if chosen.name == "asha":
        return AsyncHyperBandScheduler(
            **rule, max_t=longest, grace_period=chosen.grace, reduction_factor=chosen.reduction
        )
    if chosen.name == "median":
        return Median(
            **rule,
            grace_period=chosen.grace,
            min_samples_required=chosen.others,
            # Never pause a training in favour of one that waits: it would have to start anew.
            min_time_slice=10**9,
        )
    return FIFOScheduler()


@dataclass(frozen=True)
class _Trial:
    """What the schedulers ask of a trial."""

    trial_id: str
    status: str = "RUNNING"


class _Controller:
    """What the schedulers ask of Tune."""

    def get_live_trials(self) -> list[_Trial]:
        """Nobody waits: trials are ended, never paused."""
        return []


class Rule:
    """A scheduler outside of Tune: told of values, it says who goes on.

    For a search in one process, and for telling a new scheduler what an earlier run has seen.
    """

    def __init__(self, scheduler: TrialScheduler) -> None:
        """Wrap a scheduler of `make_scheduler`."""
        self.scheduler: Any = scheduler
        self._controller = _Controller()
        self._trials: dict[str, _Trial] = {}

    def goes_on(self, name: str, epoch: int, value: float) -> bool:
        """Whether a training goes on that is worth `value` after `epoch` epochs."""
        from ray.tune.schedulers import TrialScheduler

        trial = self._trials.get(name)
        if trial is None:
            trial = self._trials[name] = _Trial(name)
            self.scheduler.on_trial_add(self._controller, trial)
        action = self.scheduler.on_trial_result(
            self._controller, trial, {EPOCH: epoch, VALUE: value}
        )
        return bool(action != TrialScheduler.STOP)

    def recall(self, trials: list[FrozenTrial], sign: float) -> None:
        """Tell the scheduler of trainings of earlier runs, which Tune itself forgets.

        Args:
            trials: of the study.
            sign: 1 where more is better, else -1.
        """
        for trial in trials:
            for epoch, value in sorted(trial.intermediate_values.items()):
                self.goes_on(f"earlier-{trial.number}", epoch, sign * value)


def sign_of(spec: SearchSpec) -> float:
    """1 where more of the metric is better, else -1: schedulers always maximise."""
    return 1.0 if spec.directions[0] == "maximize" else -1.0


def cause_of_stop(spec: SearchSpec, epoch: int) -> str:
    """Why a training was ended early, for its row."""
    chosen = spec.scheduler
    if chosen.name == "asha":
        rule = f"not among the best 1/{chosen.reduction:g}"
    else:
        rule = "below the median of the others"
    noun = "epoch" if epoch == 1 else "epochs"
    return f"ended early by {chosen.name} after {epoch} {noun}: {rule}"
