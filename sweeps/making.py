"""Making a plan: cells to configurations, rules applied, and what is the same shared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from camsweep.shards.errors import InputError
from camsweep.sweeps.identity import stage_ids
from camsweep.sweeps.planned import Asked, Excluded, PlannedTrial, Use
from camsweep.sweeps.profile import Profile
from camsweep.sweeps.resolve import (
    changed,
    excluding_rule,
    refuse_swept,
    resolve,
    resolve_plain,
    settings_of,
)
from camsweep.sweeps.resources import Resources
from camsweep.sweeps.seeds import SeedRule
from camsweep.sweeps.spec import Cell, Overrides, Sweep


def seeds_of(sweep: Sweep, asked: Asked) -> int:
    """How many seeds every cell of a sweep starts with."""
    given = sweep.spec.seeds
    return asked.seeds or (given.min if isinstance(given, SeedRule) else given)


@dataclass
class Making:
    """The trials of a plan that is being made.

    Attributes:
        profile: defaults under the sweeps' own settings.
        data_digest: of the data set's manifest.
        asked: what was asked for beside the sweep files.
        more: seeds that a cell has by a rule that adds them.
        unused: settings of `--set` that no method seen so far has.
        requested: how many trials were asked for.
        found: the distinct ones, by id.
        excluded: rows of designs that are left out.
        references: cells that others are compared with.
    """

    profile: Profile
    data_digest: str
    asked: Asked
    more: Mapping[Use, int]
    unused: set[str]
    requested: int = 0
    found: dict[str, PlannedTrial] = field(default_factory=dict)
    excluded: list[Excluded] = field(default_factory=list)
    references: list[Use] = field(default_factory=list)

    def add(self, sweep: Sweep) -> None:
        """Add every cell of a sweep."""
        refuse_swept(sweep, self.asked.overrides)
        if sweep.spec.search is not None:
            self.unused -= settings_of(sweep.path, sweep.spec.base, self.asked.overrides)
            return
        cells = [cell for cell in sweep.rows() if self._possible(sweep, cell)]
        if not cells and self.excluded:
            last = self.excluded[-1]
            raise InputError(
                f"{sweep.path}: ablate: rules exclude every row ({last.label}: {last.rule})"
            )
        for cell in cells:
            self._add(sweep, cell)
        reference = sweep.reference()
        labels = [cell.label for cell in cells]
        if reference not in labels:
            rule = sweep.spec.seeds
            if isinstance(rule, SeedRule) and reference == rule.compare:
                why = next(e.rule for e in self.excluded if e.label == reference)
                raise InputError(f"{sweep.path}: seeds.compare: '{reference}' can't be: {why}")
            reference = labels[0] if labels else None
        if reference is not None:
            self.references.append((sweep.name, reference))

    def _possible(self, sweep: Sweep, cell: Cell) -> bool:
        if cell.row is None:
            return True
        rule, source = sweep.broken_rule(cell), sweep.path
        if rule is None:
            of_method = excluding_rule(
                sweep.path, cell.overrides, self.profile, self.asked.overrides
            )
            if of_method is None:
                return True
            source, rule = of_method
        self.excluded.append(Excluded(sweep.name, cell.label, rule, source))
        return False

    def _add(self, sweep: Sweep, cell: Cell) -> None:
        asked = self.asked
        where = sweep.path if cell.row is None else f"{sweep.path}: {cell.label}"
        first = resolve(where, cell.overrides, self.profile, asked.overrides, asked.weights)
        self.unused -= set(type(first).model_fields)
        own: Overrides = {}
        if asked.overrides:
            plain = resolve_plain(sweep.path, cell.overrides, self.profile, asked.weights)
            own = changed(first, plain, asked.overrides)
        use = (sweep.name, cell.label)
        count = max(seeds_of(sweep, asked), self.more.get(use, 0))
        for seed in range(asked.first_seed, asked.first_seed + count):
            self.requested += 1
            config = first.model_copy(update={"seed": seed})
            stages = stage_ids(config, self.data_digest, self.profile.threads)
            trial = PlannedTrial(
                config, stages, (use,), sweep.spec.retries, own, resources=cell.resources
            )
            before = self.found.get(trial.id)
            self.found[trial.id] = trial if before is None else _merged(before, trial)


def _merged(one: PlannedTrial, two: PlannedTrial) -> PlannedTrial:
    """One trial for the cells of both."""
    return replace(
        two,
        uses=tuple(dict.fromkeys([*one.uses, *two.uses])),
        retries=max(one.retries, two.retries),
        resources=one.resources.largest(two.resources),
    )


def sharing(found: Mapping[str, PlannedTrial]) -> tuple[PlannedTrial, ...]:
    """The trials, those that share a training with the same resources: they are one job."""
    largest: dict[str, Resources] = {}
    for trial in found.values():
        stage = trial.stages["train"]
        largest[stage] = largest.get(stage, Resources()).largest(trial.resources)
    return tuple(
        replace(trial, resources=largest[trial.stages["train"]]) for trial in found.values()
    )
