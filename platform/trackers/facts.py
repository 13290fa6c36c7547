"""What a tracker is told of a trial: who it is, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from camsweep.sweeps.plan import PlannedTrial
from camsweep.sweeps.results import load_epochs, read_row
from camsweep.sweeps.spec import format_value
from camsweep.sweeps.store import Store

Find = Callable[[str], PlannedTrial | None]


@dataclass(frozen=True)
class TrialFacts:
    """A trial as a tracker calls it.

    Attributes:
        id: the trial's id, 64 hexadecimal digits.
        sweep: name of the first sweep that asks for it; empty where nobody planned it.
        label: of its cell there.
        seed: its seed.
        method: its method.
        config: its settings, those left out that can't act under the others.
    """

    id: str
    sweep: str = ""
    label: str = ""
    seed: int = 0
    method: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`p_h=0.3 seed 0`; the id's first digits where nobody planned the trial."""
        return f"{self.label} seed {self.seed}" if self.label else self.id[:12]

    def settings(self) -> dict[str, str]:
        """The settings as text, for trackers that know no lists."""
        return {key: format_value(value) for key, value in self.config.items()}


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Attributes:
        status: `done`, `failed` or `stopped`.
        cause: why, where it is not done.
        metrics: final numbers by name (fractions 0..1, seconds).
        epochs: values by name for every epoch, counted from 1.
        about: facts in words: host, device, commit.
    """

    status: str
    cause: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """One tracker. Its methods are called from one thread and may raise anything."""

    name: str

    def begin(self, trial: TrialFacts) -> None:
        """Open the run of a trial, or the one it had before."""

    def epoch(self, trial: TrialFacts, epoch: int, values: Mapping[str, float]) -> None:
        """Numbers of an epoch, counted from 1, of a run that is open."""

    def end(self, trial: TrialFacts, ended: Ended) -> None:
        """Write the final numbers and close the trial's run."""

    def close(self) -> None:
        """Close everything; runs still open belong to trials that were interrupted."""


def facts_of(trial_id: str, planned: PlannedTrial | None) -> TrialFacts:
    """The facts of a planned trial; the bare id for one that nobody planned."""
    if planned is None:
        return TrialFacts(trial_id)
    config = planned.config.model_dump(mode="json", exclude={"method", "seed"})
    hidden = planned.config.inactive()
    return TrialFacts(
        id=trial_id,
        sweep=planned.sweeps[0],
        label=planned.labels[0],
        seed=planned.config.seed,
        method=planned.config.method,
        config={key: value for key, value in config.items() if key not in hidden},
    )


def ended_of(row: Mapping[str, Any], store: Store | None) -> Ended:
    """How a trial ended, by its row; the store has all of it, a worker sends a part."""
    stored = read_row(store, row["id"]) if store is not None else None
    whole = {**(stored or {}), **{k: v for k, v in row.items() if v is not None}}
    metrics = {k.removeprefix("metric."): v for k, v in whole.items() if k.startswith("metric.")}
    for name in ("train_seconds", "images_per_second", "peak_memory_bytes", "parameters"):
        metrics[name] = whole.get(name)
    about = {k: str(whole[k]) for k in ("host", "device", "git_commit") if whole.get(k)}
    done = whole["status"] == "done"
    return Ended(
        status=whole["status"],
        cause=whole.get("cause") or "",
        metrics=_numbers(metrics),
        epochs=_epochs(store, row["id"]) if store is not None and done else {},
        about=about,
    )


def _epochs(store: Store, trial_id: str) -> dict[int, dict[str, float]]:
    found = {}
    for row in load_epochs(store, [trial_id]).to_pylist():
        values = {"lr": row["lr"], "epoch_seconds": row["seconds"], "loss": row.get("loss.loss")}
        for key, value in row.items():
            if key.startswith("loss.") and key != "loss.loss":
                values[f"loss/{key.removeprefix('loss.')}"] = value
        found[row["epoch"] + 1] = _numbers(values)
    return found


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in values.items() if value is not None}
