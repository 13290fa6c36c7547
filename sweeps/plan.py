"""The plan: every trial the sweeps ask for, once, with its stages and where it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from camsweep.shards.errors import InputError, nearest
from camsweep.sweeps.identity import STAGES
from camsweep.sweeps.making import Making, sharing
from camsweep.sweeps.order import informative_first
from camsweep.sweeps.planned import Asked, Excluded, Use
from camsweep.sweeps.planned import PlannedTrial as PlannedTrial  # others look for it here
from camsweep.sweeps.profile import Profile
from camsweep.sweeps.resolve import all_settings
from camsweep.sweeps.resolve import resolve as resolve  # others look for it here
from camsweep.sweeps.spec import Sweep


@dataclass(frozen=True)
class Plan:
    """Every distinct trial of one or more sweeps under a profile and a data set.

    Attributes:
        requested: how many trials the cells and seeds ask for before sharing.
        trials: the distinct ones, in the order of the sweep files.
        cached: ids of those the store already has.
        sweeps: what it was made of.
        asked: and what else was asked for.
        excluded: rows of designs that are left out.
        references: cells that others are compared with.
        tried: ids of trials that this run has tried and that failed; they are not run again.
        chosen: ids of the only trials to run, or None for all (`sweeps.order.limited`).
    """

    profile: Profile
    data_digest: str
    requested: int
    trials: tuple[PlannedTrial, ...]
    cached: frozenset[str] = field(default_factory=frozenset)
    sweeps: tuple[Sweep, ...] = ()
    asked: Asked = field(default_factory=Asked)
    excluded: tuple[Excluded, ...] = ()
    references: frozenset[Use] = field(default_factory=frozenset)
    tried: frozenset[str] = field(default_factory=frozenset)
    chosen: frozenset[str] | None = None

    @cached_property
    def to_run(self) -> list[PlannedTrial]:
        """The trials that are not in the store yet, the most informative first."""
        skipped = self.cached | self.tried
        wanted = [t for t in self.trials if t.id not in skipped]
        if self.chosen is not None:
            wanted = [t for t in wanted if t.id in self.chosen]
        return informative_first(wanted, self.references)

    @property
    def left_out(self) -> int:
        """How many trials are not run because of a limit."""
        if self.chosen is None:
            return 0
        return sum(
            t.id not in self.chosen and t.id not in self.cached | self.tried for t in self.trials
        )

    @property
    def searches(self) -> tuple[Sweep, ...]:
        """The sweeps whose trials a search chooses while it runs."""
        return tuple(sweep for sweep in self.sweeps if sweep.spec.search is not None)

    def stage_counts(self) -> dict[str, int]:
        """How many distinct stages of each kind the trials need."""
        return {s: len({t.stages[s] for t in self.trials if s in t.stages}) for s in STAGES}

    def counts(self) -> dict[str, int]:
        """How many trials were asked for, are distinct, are in the store, and are to run."""
        return {
            "requested": self.requested,
            "unique": len(self.trials),
            "cached": len(self.cached),
            "to_run": len(self.to_run),
        }

    def to_json(self, estimate_seconds: float | None) -> dict[str, Any]:
        """The plan as the contract of `camsweep plan --json` gives it."""
        stages = self.stage_counts()
        return {
            **self.counts(),
            "stages": sum(stages.values()),
            "stage_counts": stages,
            "estimate_seconds": "unknown" if estimate_seconds is None else estimate_seconds,
            "excluded": [vars(row) for row in self.excluded],
            "trials": [
                {
                    "id": t.id,
                    "sweeps": t.sweeps,
                    "label": t.labels[0],
                    "labels": t.labels,
                    "seed": t.config.seed,
                    "cached": t.id in self.cached,
                    "config": t.config.model_dump(mode="json"),
                    "stages": t.stages,
                    "resources": t.resources.model_dump(exclude_none=True),
                }
                for t in self.trials
            ],
        }


def make_plan(
    sweeps: Iterable[Sweep],
    profile: Profile,
    data_digest: str,
    *,
    cached: Iterable[str] = (),
    seeds: int | None = None,
    first_seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    weights: Mapping[str, str] | None = None,
    more: Mapping[Use, int] | None = None,
) -> Plan:
    """Resolve every cell to a configuration and share what is the same.

    Args:
        sweeps: the sweep files.
        profile: defaults under the sweep's own settings.
        data_digest: of the data set's manifest.
        cached: ids of finished trials.
        seeds: how many seeds, instead of the sweep's own number or rule.
        first_seed: the first of them.
        overrides: settings of `--set`, over everything, for the methods that have them.
        weights: SHA-256 of the weights files by backbone; the key "" stands for all others.
        more: how many seeds a cell has by a rule that adds them (`sweeps.sequential`).

    Raises:
        InputError: an unknown setting or a value out of range, with file and key.
    """
    sweeps = tuple(sweeps)
    asked = Asked(seeds, first_seed, dict(overrides or {}), dict(weights or {}))
    making = Making(profile, data_digest, asked, dict(more or {}), set(asked.overrides))
    for sweep in sweeps:
        making.add(sweep)
    if making.unused:
        name = sorted(making.unused)[0]
        raise InputError(f"--set {name}: unknown setting{nearest(name, all_settings())}")
    trials = sharing(making.found)
    known = frozenset(cached) & frozenset(making.found)
    return Plan(
        profile,
        data_digest,
        making.requested,
        trials,
        known,
        sweeps,
        asked,
        tuple(making.excluded),
        frozenset(making.references),
    )
