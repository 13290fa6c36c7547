"""Which trials of a selection stand in a cell of a table, so that all its rows are of one kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from camsweep.reports.load import Selection, Trial, settings_text

Overrides = dict[str, str]


@dataclass(frozen=True)
class Cell:
    """The trials of one (sweep, label): one done trial a seed, the failed ones, what was left out.

    Attributes:
        sweep: the sweep's name.
        label: of the sweep's cell.
        trials: by seed.
        failed: those that failed under the same overrides.
        left_out: how many done trials of the same overrides are of another variant (another
            profile file, another recipe) or an older run of the same: never averaged with these.
        apart: the done trials of other overrides; they may stand in no row of the same artefact.
    """

    sweep: str
    label: str
    trials: tuple[Trial, ...]
    failed: tuple[Trial, ...]
    left_out: int
    apart: tuple[Trial, ...] = ()


def newest_per_seed(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """The newest trial of each seed, in the order of seeds."""
    by_seed = {t.seed: t for t in sorted(trials, key=lambda t: t.age)}
    return tuple(by_seed[seed] for seed in sorted(by_seed))


def _same_value(text: str, value: Any) -> bool:
    """Whether ``--set key=text`` would give the value that a config has."""
    if text == str(value):  # YAML reads 1e-05 as text
        return True
    try:
        return bool(yaml.safe_load(text) == value)
    except yaml.YAMLError:
        return False


def fits(trial: Trial, overrides: Overrides) -> bool:
    """Whether a run with ``overrides`` would have made this trial.

    A row's own overrides are only those that changed it. A setting that is not among them fits too
    where it would change nothing: the method does not have it, or has that value anyway. So the
    baseline of a run with ``--set p_h=0.3`` stands beside CPN's rows of that run.
    """
    if any(overrides.get(key) != value for key, value in trial.overrides.items()):
        return False
    config = {**trial.config, "method": trial.method}
    return all(
        key not in config or _same_value(value, config[key])
        for key, value in overrides.items()
        if key not in trial.overrides
    )


def one_overrides(selection: Selection, cells: Sequence[tuple[str, str]]) -> Overrides:
    """The overrides that all rows of an artefact must have: those most of its done trials have.

    Trials are counted once a cell and seed. On a tie the plain run wins, then the newest.

    Args:
        selection: the trials of one profile and data set.
        cells: (sweep, label) pairs of the artefact.
    """
    wanted = set(cells)
    members = [(t, wanted.intersection(t.memberships)) for t in selection.trials]
    done = [(t, cells_of) for t, cells_of in members if cells_of and t.done]
    # Where all failed, the failures are what the artefact shows.
    mine = done or [(t, cells_of) for t, cells_of in members if cells_of]

    def weight(overrides: Overrides) -> tuple[int, bool, tuple[float, str]]:
        fitting = [(t, cells_of) for t, cells_of in mine if fits(t, overrides)]
        number = len({(cell, t.seed) for t, cells_of in fitting for cell in cells_of})
        newest = max((t.age for t, _ in fitting if t.overrides == overrides), default=(0.0, ""))
        return number, not overrides, newest

    candidates = {settings_text(t.overrides): t.overrides for t, _ in mine}
    return max(candidates.values(), key=weight, default={})


def gather(selection: Selection, sweep: str, label: str, overrides: Overrides) -> Cell:
    """The cell's trials of these overrides: the variant with most seeds, the newest that tie."""
    members = selection.members.get((sweep, label), ())
    mine = [t for t in members if fits(t, overrides)]
    variants: dict[str, list[Trial]] = {}
    for trial in mine:
        if trial.done:
            variants.setdefault(trial.variant, []).append(trial)

    def weight(trials: list[Trial]) -> tuple[int, tuple[float, str]]:
        return len({t.seed for t in trials}), max(t.age for t in trials)

    best: list[Trial] = max(variants.values(), key=weight, default=[])
    chosen = newest_per_seed(best)
    left_out = sum(len(v) for v in variants.values()) - len(chosen)
    failed = tuple(t for t in mine if not t.done)
    apart = tuple(t for t in members if t.done and not fits(t, overrides))
    return Cell(sweep, label, chosen, failed, left_out, apart)
