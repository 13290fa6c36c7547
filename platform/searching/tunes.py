"""Tune's searcher and callback, as thin as can be. Tune pickles both: nothing of ours is in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

Config = Mapping[str, Any]


class SessionSearcher(Searcher):
    """Passes points on to Tune. Results reach the study through the callback."""

    def __init__(self, suggest: Callable[[], dict[str, Any] | None]) -> None:
        """Remember whom to ask; None from there means that there will be no more."""
        super().__init__()
        self._suggest = suggest

    def suggest(self, trial_id: str) -> Any:
        """The next point, or that there is none."""
        return self._suggest() or Searcher.FINISHED

    def set_search_properties(self, *given: Any, **named: Any) -> bool:
        """Tune's metric, mode and space mean nothing here."""
        return True

    def on_trial_result(self, *given: Any, **named: Any) -> None:
        """Told by the callback."""

    def on_trial_complete(self, *given: Any, **named: Any) -> None:
        """Told by the callback."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing is kept: the study is."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""

    def __deepcopy__(self, memo: object) -> SessionSearcher:
        """Itself: there is one study."""
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: an experiment is never restored."""
        return {}


class Endings(tune.Callback):
    """Passes news of Tune's trials on to a search's driver."""

    def __init__(
        self,
        result: Callable[[str, Config, Config], None],
        complete: Callable[[Config], None],
        error: Callable[[str, Config, str], None],
    ) -> None:
        """Remember whom to tell.

        Args:
            result: Tune's id of the trial, its configuration, and what it reported.
            complete: the configuration of a trial that ended.
            error: Tune's id, the configuration and the traceback of one whose process died.
        """
        self._result, self._complete, self._error = result, complete, error

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: an experiment is never restored."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A worker reported something."""
        self._result(trial.trial_id, trial.config, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial ended, by itself or by the scheduler."""
        self._complete(trial.config)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial's process died for good."""
        try:
            trace = str(trial.get_error() or "")
        except (OSError, AttributeError):
            trace = ""
        self._error(trial.trial_id, trial.config, trace)
