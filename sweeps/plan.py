"""The plan: every trial the sweeps ask for, once, with its stages and where it is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from camsweep.methods.base import load_method, method_names
from camsweep.methods.config import TrialConfig
from camsweep.shards.errors import InputError, nearest
from camsweep.shards.validation import first_problem
from camsweep.sweeps.identity import STAGES, stage_ids
from camsweep.sweeps.profile import Profile
from camsweep.sweeps.spec import Overrides, Sweep


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
    """

    config: TrialConfig
    stages: dict[str, str]
    uses: tuple[tuple[str, str], ...]
    retries: int = 1
    overrides: dict[str, Any] = field(default_factory=dict)
    also: tuple[tuple[str, str], ...] = ()

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
    def all_uses(self) -> tuple[tuple[str, str], ...]:
        """The cells of this plan's sweeps, then those of other shipped ones."""
        return tuple(dict.fromkeys([*self.uses, *self.also]))

    @property
    def title(self) -> str:
        """How the live view calls it."""
        return f"{self.sweeps[0]} {self.labels[0]} seed {self.config.seed}"


@dataclass(frozen=True)
class Plan:
    """Every distinct trial of one or more sweeps under a profile and a data set.

    Attributes:
        requested: how many trials the cells and seeds ask for before sharing.
        trials: the distinct ones, in the order of the sweep files.
        cached: ids of those the store already has.
    """

    profile: Profile
    data_digest: str
    requested: int
    trials: tuple[PlannedTrial, ...]
    cached: frozenset[str] = field(default_factory=frozenset)

    @property
    def to_run(self) -> list[PlannedTrial]:
        """The trials that are not in the store yet."""
        return [t for t in self.trials if t.id not in self.cached]

    def stage_counts(self) -> dict[str, int]:
        """How many distinct stages of each kind the trials need."""
        return {stage: len({t.stages[stage] for t in self.trials}) for stage in STAGES}

    def counts(self) -> dict[str, int]:
        """How many trials were asked for, are distinct, are in the store, and are to run."""
        to_run = len(self.to_run)
        return {
            "requested": self.requested,
            "unique": len(self.trials),
            "cached": len(self.trials) - to_run,
            "to_run": to_run,
        }

    def to_json(self, estimate_seconds: float | None) -> dict[str, Any]:
        """The plan as the contract of `camsweep plan --json` gives it."""
        stages = self.stage_counts()
        return {
            **self.counts(),
            "stages": sum(stages.values()),
            "stage_counts": stages,
            "estimate_seconds": "unknown" if estimate_seconds is None else estimate_seconds,
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
) -> Plan:
    """Resolve every cell to a configuration and share what is the same.

    Args:
        sweeps: the sweep files.
        profile: defaults under the sweep's own settings.
        data_digest: of the data set's manifest.
        cached: ids of finished trials.
        seeds: how many seeds, instead of the sweep's own number.
        first_seed: the first of them.
        overrides: settings of `--set`, over everything, for the methods that have them.
        weights: SHA-256 of the weights files by backbone; the key "" stands for all others.

    Raises:
        InputError: an unknown setting or a value out of range, with file and key.
    """
    uses: dict[str, list[tuple[str, str]]] = {}
    found: dict[str, tuple[TrialConfig, dict[str, str], int, Overrides]] = {}
    requested = 0
    overrides = dict(overrides or {})
    unused = set(overrides)
    for sweep in sweeps:
        _refuse_swept(sweep, overrides)
        for label, cell in sweep.cells():
            first = resolve(sweep.path, cell, profile, overrides, weights or {})
            unused -= set(type(first).model_fields)
            changed: Overrides = {}
            if overrides:
                plain = _resolve_plain(sweep.path, cell, profile, weights or {})
                changed = _changed(first, plain, overrides)
            for seed in range(first_seed, first_seed + (seeds or sweep.spec.seeds)):
                requested += 1
                config = first.model_copy(update={"seed": seed})
                stages = stage_ids(config, data_digest, profile.threads)
                trial_id = stages["evaluate"]
                before = found.get(trial_id)
                retries = max(sweep.spec.retries, before[2] if before else 0)
                found[trial_id] = (config, stages, retries, changed)
                use = (sweep.name, label)
                if use not in uses.setdefault(trial_id, []):
                    uses[trial_id].append(use)
    if unused:
        name = sorted(unused)[0]
        raise InputError(f"--set {name}: unknown setting{nearest(name, _all_settings())}")
    trials = tuple(
        PlannedTrial(config, stages, tuple(uses[i]), retries, changed)
        for i, (config, stages, retries, changed) in found.items()
    )
    known = frozenset(cached) & frozenset(found)
    return Plan(profile, data_digest, requested, trials, known)


def _refuse_swept(sweep: Sweep, overrides: Mapping[str, Any]) -> None:
    """A setting that the sweep varies can't be set: its rows would carry labels that lie."""
    varied = set(sweep.spec.axes).union(*sweep.spec.arms.values())
    for name in sorted(varied & set(overrides)):
        raise InputError(
            f"--set {name}: {sweep.path} varies it; leave it out, or write a sweep file of your own"
        )


def _resolve_plain(
    path: str, cell: Overrides, profile: Profile, weights: Mapping[str, str]
) -> TrialConfig | None:
    """The cell without `--set`; None where it is not valid without."""
    try:
        return resolve(path, cell, profile, {}, weights)
    except InputError:
        return None


def _changed(
    config: TrialConfig, plain: TrialConfig | None, overrides: Mapping[str, Any]
) -> Overrides:
    """The settings of `--set` that change a cell's active configuration."""
    after, before = config.active(), plain.active() if plain else {}
    return {k: after[k] for k in overrides if k in after and before.get(k) != after[k]}


def _all_settings() -> set[str]:
    return {field for name in method_names() for field in load_method(name).config.model_fields}


def resolve(
    path: str,
    cell: Overrides,
    profile: Profile,
    overrides: Mapping[str, Any],
    weights: Mapping[str, str],
) -> TrialConfig:
    """One cell's configuration, for seed 0: method defaults < profile < sweep < `--set`.

    Raises:
        InputError: an unknown setting or a value out of range; names the file and the key.
    """
    name = overrides.get("method", cell["method"])
    try:
        model = load_method(str(name)).config
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if "method" in overrides:
        path = f"--set method={name}: {path}"
    shared = set(model.model_fields)
    chosen = {key: value for key, value in overrides.items() if key in shared}
    settings = {
        **profile.settings,
        **profile.methods.get(str(name), {}),
        **cell,
        **chosen,
        "method": name,
        "seed": 0,
    }
    try:
        config = model.model_validate(settings)
    except ValidationError as error:
        loc = error.errors()[0]["loc"]
        where = _origin(str(loc[0]) if loc else "", cell, chosen, path, profile)
        raise InputError(f"{where}: {first_problem(error, model)}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    wanted = cell.get("map", "final")
    if wanted != "final" and wanted not in config.map_names():
        made = ", ".join(config.map_names())
        raise InputError(f"{path}: map: {name} makes no '{wanted}' map here, but {made}")
    # Which file it is follows from the backbone, which the method's recipe may have chosen.
    digest = weights.get(config.backbone, weights.get(""))
    return config.model_copy(update={"weights_sha256": digest})


def _origin(
    key: str, cell: Overrides, chosen: Mapping[str, Any], path: str, profile: Profile
) -> str:
    """Where a wrong setting was written; an empty key is a clash between several."""
    if key in chosen or (not key and chosen):
        return "--set"
    if key in cell or not key:
        return path
    return f"sweeps/profiles/{profile.name}.yaml" if profile.name else path
