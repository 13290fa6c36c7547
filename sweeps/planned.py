"""What a plan is made of: trials with their cells, and rows that can't be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from camsweep.methods.config import TrialConfig
from camsweep.sweeps.resources import Resources

#: (sweep name, label): one cell.
Use = tuple[str, str]


@dataclass(frozen=True)
class PlannedTrial:
    """One distinct trial.

    Attributes:
        config: its whole configuration, the seed included.
        stages: id by stage; the last one is the trial's id.
        uses: (sweep name, label) of every cell it fills.
        retries: how often it is tried again after a failure.
        overrides: the settings of `--set` that made it another trial than the sweep's own.
        also: cells of other shipped sweeps that the same trial fills; told to the store, so that a
            report shows them without another run.
        resources: what the sweep files say that it takes; the largest of its cells and of the
            trials that share its training.
    """

    config: TrialConfig
    stages: dict[str, str]
    uses: tuple[Use, ...]
    retries: int = 1
    overrides: dict[str, Any] = field(default_factory=dict)
    also: tuple[Use, ...] = ()
    resources: Resources = field(default_factory=Resources)

    @property
    def id(self) -> str:
        """The trial's id."""
        return self.stages["evaluate"]

    @property
    def sweeps(self) -> list[str]:
        """Sweep names, parallel to `labels`."""
        return [sweep for sweep, _ in self.uses]

    @property
    def labels(self) -> list[str]:
        """Labels, parallel to `sweeps`."""
        return [label for _, label in self.uses]

    @property
    def all_uses(self) -> tuple[Use, ...]:
        """The cells of this plan's sweeps, then those of other shipped ones."""
        return tuple(dict.fromkeys([*self.uses, *self.also]))

    @property
    def title(self) -> str:
        """How the live view calls it."""
        return f"{self.sweeps[0]} {self.labels[0]} seed {self.config.seed}"


@dataclass(frozen=True)
class Excluded:
    """A row of a design that can't be: the rule it breaks, and whose rule that is."""

    sweep: str
    label: str
    rule: str
    source: str


@dataclass(frozen=True)
class Asked:
    """What was asked for beside the sweep files; see `make_plan`."""

    seeds: int | None = None
    first_seed: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
