"""A study of a store as plain values: its settings, its points and how each ended."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from camsweep.shards.errors import InputError
from camsweep.sweeps.dimension import DIGITS
from camsweep.sweeps.search import text_of
from camsweep.sweeps.store import Store
from camsweep.sweeps.studies import (
    CAUSE,
    DUPLICATE,
    LABEL,
    LOST,
    ORIGIN,
    SEEDS,
    TRIAL,
    WARM,
    journal_name,
    load,
)

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

State = Literal["finished", "stopped", "failed", "running"]
NOT_FINITE = "its value is no finite number"


@dataclass(frozen=True)
class Setting:
    """One setting of the space.

    Attributes:
        name: of the method's setting.
        low: of a number, else 0.
        high: of a number, else 0.
        log: whether it was drawn on a logarithmic scale.
        whole: whether it is a whole number.
        step: between two values of a number, or None.
        choices: the values of a choice; empty for a number.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers on a scale."""
        return not self.choices

    def index(self, value: Any) -> int:
        """The place of a value among the choices: by its text, since True is not 1."""
        return [text_of(choice) for choice in self.choices].index(text_of(value))


@dataclass(frozen=True)
class Point:
    """One point that the search tried.

    Attributes:
        number: in the study, from 0.
        state: `stopped` is ended early by the scheduler.
        values: of the metrics, in their order; empty unless finished.
        settings: by name; a conditional setting that does not apply is not there.
        trial_id: of the store's trial, "" where the study does not say.
        known: it was in the store before the search began.
        seeds: over how many seeds the values are the mean.
        cause: why it was stopped or failed.
    """

    number: int
    state: State
    values: tuple[float, ...]
    settings: dict[str, Any]
    trial_id: str = ""
    label: str = ""
    known: bool = False
    seeds: int = 1
    cause: str = ""


@dataclass(frozen=True)
class Study:
    """A search and all its points.

    Attributes:
        id: of the journal.
        sweep: name of the sweep file.
        metrics: names, in order.
        maximised: whether more is better, of each metric.
        settings: in the order in which they are drawn.
        points: by number, without those drawn again and those given up.
    """

    id: str
    sweep: str
    title: str
    algorithm: str
    scheduler: str
    profile: str
    data_digest: str
    metrics: tuple[str, ...]
    maximised: tuple[bool, ...]
    settings: tuple[Setting, ...]
    points: tuple[Point, ...]

    def of(self, state: State) -> list[Point]:
        """The points that ended so, by number."""
        return [point for point in self.points if point.state == state]

    def ranked(self, metric: int = 0) -> list[Point]:
        """The finished points, best first; the earlier of two alike."""
        sign = -1.0 if self.maximised[metric] else 1.0
        return sorted(self.of("finished"), key=lambda p: (sign * p.values[metric], p.number))


def read_study(store: Store, study_id: str) -> Study | None:
    """A study of the store; None where a driver has made the journal and nothing else yet.

    Raises:
        InputError: the journal is damaged; one line that names it.
    """
    storage = load(store, study_id)
    if storage is None:
        return None
    try:
        studies = storage.get_all_studies()
        if not studies:
            return None
        about = studies[0]
        trials = storage.get_all_trials(about._study_id, deepcopy=False)
        found = about.user_attrs
        names = about.system_attrs.get("study:metric_names") or ()
        directions = [d.name == "MAXIMIZE" for d in about.directions]
        metrics = tuple(str(n) for n in names) or tuple(
            f"value {i + 1}" for i in range(len(directions))
        )
        if len(metrics) != len(directions):
            raise ValueError(f"{len(metrics)} metrics, {len(directions)} directions")
        settings = _settings(trials)
        return Study(
            id=study_id,
            sweep=str(found.get("sweep") or about.study_name),
            title=str(found.get("title") or ""),
            algorithm=str(found.get("algorithm") or ""),
            scheduler=str(found.get("scheduler") or "none"),
            profile=str(found.get("profile") or ""),
            data_digest=str(found.get("data") or ""),
            metrics=metrics,
            maximised=tuple(directions),
            settings=tuple(settings.values()),
            points=tuple(_points(trials, settings, len(directions))),
        )
    except Exception as error:
        # Whole lines that don't belong together: what Optuna makes of them may lack anything.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{store}: {journal_name(study_id)}: its lines don't fit together ({reason})"
        ) from error


def _settings(trials: Iterable[FrozenTrial]) -> dict[str, Setting]:
    found: dict[str, Setting] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if name not in found:
                found[name] = _setting(name, distribution)
    return found


def _setting(name: str, distribution: BaseDistribution) -> Setting:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return Setting(name, choices=tuple(decoded(choice) for choice in distribution.choices))
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise ValueError(f"{name}: unknown distribution {type(distribution).__name__}")
    return Setting(
        name,
        low=distribution.low,
        high=distribution.high,
        log=distribution.log,
        whole=isinstance(distribution, IntDistribution),
        step=distribution.step,
    )


def decoded(choice: Any) -> Any:
    """A choice as the sweep file has it: lists and mappings are kept as JSON text."""
    if isinstance(choice, str) and choice[:1] in ("[", "{"):
        try:
            value = json.loads(choice)
        except ValueError:
            return choice
        # Only what was written that way: another text that happens to be JSON stays text.
        if text_of(value) == choice:
            return value
    return choice


def _value(setting: Setting, drawn: Any) -> Any:
    """The value that was run: drawn numbers are rounded before they become settings."""
    if not setting.numeric:
        value = decoded(drawn)
        setting.index(value)
        return value
    if setting.whole:
        return int(drawn)
    rounded = float(f"{float(drawn):.{DIGITS}g}")
    return min(max(rounded, setting.low), setting.high)


def _points(
    trials: Iterable[FrozenTrial], settings: dict[str, Setting], metrics: int
) -> Iterable[Point]:
    states: dict[str, State] = {
        "COMPLETE": "finished",
        "PRUNED": "stopped",
        "FAIL": "failed",
        "RUNNING": "running",
    }
    for trial in trials:
        notes = trial.user_attrs
        origin = notes.get(ORIGIN)
        state = states.get(trial.state.name)
        if state is None or origin in (DUPLICATE, LOST):
            continue
        values = tuple(float(v) for v in trial.values or ()) if state == "finished" else ()
        cause = str(notes.get(CAUSE) or "")
        if state == "finished" and len(values) != metrics:
            raise ValueError(f"point {trial.number} has {len(values)} values")
        if not all(map(math.isfinite, values)):
            state, values, cause = "failed", (), NOT_FINITE
        yield Point(
            number=trial.number,
            state=state,
            values=values,
            settings={n: _value(settings[n], v) for n, v in trial.params.items()},
            trial_id=str(notes.get(TRIAL) or ""),
            label=str(notes.get(LABEL) or ""),
            known=origin == WARM,
            seeds=int(notes.get(SEEDS) or 1),
            cause=cause,
        )
