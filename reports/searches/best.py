"""The best points as a table, what to believe of them, and the sweep that tells more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import yaml

from camsweep.reports.commands import HELD_OUT, run_command
from camsweep.reports.exhibit import Records
from camsweep.reports.load import Trial
from camsweep.reports.searches.studied import Point, Study
from camsweep.reports.searches.units import setting_text, title_of, value_text
from camsweep.reports.words import BLANK
from camsweep.shards.errors import InputError
from camsweep.sweeps.spec import load_sweep, shipped_names

#: Points in the table, points that are worth more seeds, and how many of those each.
LISTED, AGAIN, SEEDS = 10, 3, 5
FILE = "best.yaml"
#: Columns of a trial's row that a metric may be, by the metric's name.
_COSTS = {
    "train_seconds": "train_seconds",
    "peak_memory_bytes": "peak_memory",
    "parameters": "parameters",
}
#: Settings of a row that are given by other options, or not at all.
_ELSEWHERE = ("method", "seed", "weights_sha256")


@dataclass(frozen=True)
class Seeds:
    """The trials with a point's settings: the search's own, and those of other seeds.

    Attributes:
        own: the trial that the search ran; None where the store has it no more.
        others: finished, same settings and recipe, by seed.
    """

    own: Trial | None
    others: tuple[Trial, ...]


def seeds_of(point: Point, trials: Sequence[Trial]) -> Seeds:
    """The trials of a point among those of the store."""
    own = next((t for t in trials if t.id == point.trial_id), None) if point.trial_id else None
    if own is None:
        return Seeds(None, ())
    others = [t for t in trials if t.done and t.variant == own.variant and t.seed != own.seed]
    return Seeds(own, tuple(sorted(others, key=lambda t: (t.seed, t.id))))


def _metric(trial: Trial, name: str) -> float:
    value = getattr(trial, _COSTS[name]) if name in _COSTS else trial.metrics.get(name)
    return float("nan") if value is None else float(value)


def again_text(study: Study, found: Seeds) -> str:
    """What other seeds gave, in the first metric: ``45.1 (seeds 10, 11)``."""
    name = study.metrics[0]
    values = {t.seed: _metric(t, name) for t in found.others}
    values = {seed: v for seed, v in values.items() if v == v}
    if not values:
        return BLANK
    plural = "s" if len(values) > 1 else ""
    listed = ", ".join(map(str, values))
    return f"{value_text(name, mean(values.values()))} (seed{plural} {listed})"


def seed_text(point: Point, found: Seeds) -> str:
    """The seed that the search trained a point with."""
    if point.known:
        return f"mean of {point.seeds}" if point.seeds > 1 else "known before"
    return str(found.own.seed) if found.own else BLANK


def best_rows(
    study: Study, points: Sequence[Point], trials: Sequence[Trial]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Headers and rows of the table of the best points."""
    settings = [s.name for s in study.settings]
    headers = ("point", *settings, *map(title_of, study.metrics), "seed", "other seeds", "trial")
    rows = []
    for point in points:
        found = seeds_of(point, trials)
        rows.append(
            (
                str(point.number),
                *(
                    setting_text(point.settings[n]) if n in point.settings else BLANK
                    for n in settings
                ),
                *(
                    value_text(name, value)
                    for name, value in zip(study.metrics, point.values, strict=True)
                ),
                seed_text(point, found),
                again_text(study, found),
                point.trial_id[:12] or BLANK,
            )
        )
    return headers, tuple(rows)


def point_records(study: Study, points: Sequence[Point], trials: Sequence[Trial]) -> Records:
    """Points as numbers: one record a point; shares as they are stored, not in percent.

    Settings have the prefix ``config.`` and metrics ``metric.``, so that neither hides the other.
    """
    owner = {t.id: t for t in trials}
    rows: list[dict[str, Any]] = []
    for point in points:
        own = owner.get(point.trial_id)
        values = point.values or (None,) * len(study.metrics)
        rows.append(
            {
                "study": study.id,
                "sweep": study.sweep,
                "point": point.number,
                "state": point.state,
                **{f"config.{n}": setting_text(v) for n, v in point.settings.items()},
                **{f"metric.{m}": v for m, v in zip(study.metrics, values, strict=True)},
                "known_before": point.known,
                "seeds": point.seeds,
                "seed": own.seed if own and not point.known else None,
                "trial": point.trial_id or None,
                "cause": point.cause or None,
                "profile": study.profile,
                "data_digest": study.data_digest,
            }
        )
    # A text column where a setting is a choice or a list; numbers stay numbers.
    numeric = {s.name for s in study.settings if s.numeric}
    for row, point in zip(rows, points, strict=True):
        row |= {f"config.{n}": v for n, v in point.settings.items() if n in numeric}
    columns = (
        *("study", "sweep", "point", "state"),
        *(f"config.{s.name}" for s in study.settings),
        *(f"metric.{m}" for m in study.metrics),
        *("known_before", "seeds", "seed", "trial", "cause", "profile", "data_digest"),
    )
    return Records(columns, rows)


def warning(study: Study, trials: Sequence[Trial]) -> str:
    """Why the winner's value is not to be believed."""
    finished = study.of("finished")
    numbers = {t.id: t.seed for t in trials}
    seeds = sorted({numbers[p.trial_id] for p in finished if p.trial_id in numbers})
    on = f"seed {seeds[0]}" if len(seeds) == 1 else "one seed each"
    what = "The winner was" if len(study.metrics) == 1 else "The front was"
    return (
        f"{what} chosen among {len(finished):,} points, on {on} and on the evaluation split: its "
        "value is too good, by an amount that grows with the number of points. Believe it when "
        "fresh seeds show it again."
    )


@dataclass(frozen=True)
class NextRun:
    """The sweep that runs the best few with fresh seeds.

    Attributes:
        sweep: the file's content.
        command: that runs it.
        remark: what the user must fill in; empty where nothing.
    """

    sweep: Mapping[str, Any]
    command: str
    remark: str = ""

    def text(self, *, flow: bool = False) -> str:
        """The file as YAML; in one line where `flow`."""
        return str(
            yaml.safe_dump(
                dict(self.sweep),
                sort_keys=False,
                allow_unicode=True,
                default_flow_style=flow or None,
                width=10**9 if flow else 88,
            )
        ).strip()


def next_run(study: Study, points: Sequence[Point], trials: Sequence[Trial], url: str) -> NextRun:
    """The sweep file and the command that measure points again with seeds of their own.

    Args:
        study: of the search.
        points: to be run, best first.
        trials: of the store, of this profile and data.
        url: the store as the user wrote it.
    """
    rows = {t.id: t for t in trials}
    owners = [rows[p.trial_id] for p in points if p.trial_id in rows]
    base, overrides, remark = _base(study, owners)
    arms = {f"point {p.number}": p.settings for p in points}
    title = f"The best of {study.sweep}, with fresh seeds"
    sweep = {"title": title, "base": base, "arms": arms, "seeds": SEEDS}
    searched = [t.seed for t in trials if t.id in {p.trial_id for p in study.points}]
    first = max([HELD_OUT, *(seed + 1 for seed in searched)])
    command = run_command(FILE, study.profile, url, owners, range(first, first + SEEDS), overrides)
    return NextRun(sweep, command, remark)


def _base(study: Study, owners: Sequence[Trial]) -> tuple[dict[str, Any], Mapping[str, str], str]:
    """The file's `base:`, what the command sets, and what is left to the user."""
    shipped = _shipped_base(study)
    if shipped is not None:
        return shipped, owners[0].overrides if owners else {}, ""
    if not owners:
        return {}, {}, f"Fill in `base:` from the file of {study.sweep}: its trials are not stored."
    # The user's own file may lie anywhere: everything that its trials were run with is said.
    first = owners[0]
    searched = {s.name for s in study.settings}
    settings = {
        name: value
        for name, value in sorted(first.config.items())
        if name not in searched
        and name not in _ELSEWHERE
        # What only one arm has comes from its own settings: another could not have it.
        and all(o.config.get(name) == value for o in owners)
    }
    return {"method": first.method, **settings}, {}, ""


def _shipped_base(study: Study) -> dict[str, Any] | None:
    if study.sweep not in shipped_names():
        return None
    try:
        spec = load_sweep(study.sweep).spec
    except InputError:
        return None
    names = {s.name for s in study.settings}
    return dict(spec.base) if spec.search and names <= set(spec.search.space) else None
