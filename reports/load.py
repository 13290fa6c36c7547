"""Trials and counts out of a store; the only module of the reports that touches its tables."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from dataclasses import fields as dataclass_fields
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from camsweep.reports.dense import Densifier
from camsweep.reports.rows import Columns, values
from camsweep.reports.uncollected import uncollected
from camsweep.reports.variants import CANONICAL, alike, variants
from camsweep.reports.variants import configs as configs_of
from camsweep.shards.errors import InputError
from camsweep.sweeps.compacting.reading import OnUnread, ignore
from camsweep.sweeps.results import artefact_name, image_blocks, load_epochs, load_trials
from camsweep.sweeps.stopping import Stopping, read_stopping
from camsweep.sweeps.store import Store


@dataclass(frozen=True)
class Trial:
    """One trial row. ``metrics`` are fractions 0..1; ``memberships`` are (sweep, label) pairs.

    ``overrides`` are the run's ``--set`` settings that changed this trial's config, ``recipe`` the
    versions of the code behind its numbers, ``skipped`` the damaged samples (``SPLIT/KEY``) that it
    left out; rows from before these were stored have ``{}``, ``""``, ``()``. ``seconds`` are
    those of each stage, ``workers`` the processes that it ran on, ``threads`` the cores of each.
    """

    id: str
    memberships: tuple[tuple[str, str], ...]
    method: str
    seed: int
    done: bool
    cause: str
    profile: str
    data_name: str
    data_digest: str
    classes: tuple[str, ...]
    train_images: int
    eval_images: int
    config: dict[str, Any]
    metrics: dict[str, float]
    stages: dict[str, str]
    train_seconds: float
    images_per_second: float
    peak_memory: float
    parameters: float
    device: str
    versions: dict[str, str]
    commit: str
    dirty: bool
    command: str
    finished: datetime | None
    overrides: dict[str, str] = field(default_factory=dict)
    recipe: str = ""
    skipped: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    workers: int = 1
    threads: int = 1
    variant: str = field(default="", compare=False)

    @property
    def settings(self) -> str:
        """The overrides as the user would type them, ``--set epochs=1``; empty for a plain run."""
        return settings_text(self.overrides)

    @property
    def age(self) -> tuple[float, str]:
        """Sorts trials from oldest to newest, by id where the times tie."""
        return self.finished.timestamp() if self.finished else 0.0, self.id


@dataclass(frozen=True)
class Counts:
    """Pixel counts of one trial: image keys and int64 ``[images, classes, 3]`` (tp, fp, fn)."""

    keys: tuple[str, ...]
    values: NDArray[np.int64]


@dataclass(frozen=True)
class Selection:
    """The trials of one profile and one data set, and what else the store holds.

    ``stopping`` tells how seeds were added to them, of sweeps that have a rule for it; ``unread``
    are lines about files of the store that could not be read, and counts that are not there. A
    store without trials has a selection without, whose names are empty.
    """

    profile: str
    data_name: str
    data_digest: str
    trials: tuple[Trial, ...]
    others: tuple[str, ...]
    stopping: tuple[Stopping, ...] = ()
    unread: tuple[str, ...] = ()

    @cached_property
    def members(self) -> Mapping[tuple[str, str], Sequence[Trial]]:
        """The trials of each (sweep, label), in the order of `trials`."""
        found: dict[tuple[str, str], list[Trial]] = {}
        for trial in self.trials:
            for use in trial.memberships:
                found.setdefault(use, []).append(trial)
        return found

    @property
    def data(self) -> str:
        """Name and short digest of the data set, as captions show it."""
        if not self.data_digest:
            return self.data_name or "unknown"
        return f"{self.data_name} ({self.data_digest[:8]})"


def open_results(url: str) -> Store:
    """The store at a path or URL.

    Raises:
        InputError: nothing is stored there.
    """
    store = Store(url)
    store.require()
    return store


def settings_text(overrides: dict[str, str]) -> str:
    """Overrides as options in the order of their names, quoted for a shell."""
    return " ".join(f"--set {shlex.quote(f'{k}={v}')}" for k, v in sorted(overrides.items()))


def variant_key(method: str, config: dict[str, Any], recipe: str = "") -> str:
    """What identifies a method variant: all settings but the seed, and the recipe, as JSON.

    Numbers of one config computed by two versions of the code are two variants.
    """
    settings = {k: v for k, v in config.items() if k != "seed"}
    return CANONICAL.encode({"method": method, "recipe": recipe, "config": settings})


def _trials(table: pa.Table) -> list[Trial]:
    columns = Columns(table)
    methods, recipes, configs, variant = _settings(table)
    seeds = columns["config.seed"]
    uses = zip(columns["sweeps"], columns["labels"], strict=True)
    fields: dict[str, Iterable[Any]] = {
        "id": columns.text("id"),
        "memberships": [tuple(dict.fromkeys(zip(s or (), n or (), strict=False))) for s, n in uses],
        "method": methods,
        "seed": columns.whole("seed"),
        "done": [status == "done" for status in columns["status"]],
        "cause": columns.text("cause"),
        "profile": columns.text("profile"),
        "data_name": columns.text("data_name"),
        "data_digest": columns.text("data_digest"),
        "classes": columns.tuples("classes"),
        "train_images": columns.whole("train_images"),
        "eval_images": columns.whole("eval_images"),
        "config": [
            config if seed is None else {**config, "seed": seed}
            for config, seed in zip(configs, seeds, strict=True)
        ],
        "metrics": columns.family("metric."),
        "stages": columns.family("stage."),
        "train_seconds": columns.numbers("train_seconds"),
        "images_per_second": columns.numbers("images_per_second"),
        "peak_memory": columns.numbers("peak_memory_bytes"),
        "parameters": columns.numbers("parameters"),
        "device": columns.text("device"),
        "versions": columns.dicts("versions"),
        "commit": columns.text("git_commit"),
        "dirty": [bool(value) for value in columns["git_dirty"]],
        "command": columns.text("command"),
        "finished": columns["finished"],
        "overrides": columns.dicts("overrides"),
        "recipe": recipes,
        "skipped": columns.tuples("skipped"),
        "seconds": columns.family("seconds."),
        "workers": [number or 1 for number in columns.whole("workers")],
        "threads": [number or 1 for number in columns.whole("threads")],
        "variant": variant,
    }
    assert fields.keys() == {field.name for field in dataclass_fields(Trial)}
    rows = zip(*fields.values(), strict=True)
    return [_made(fields, row) for row in rows]


def _made(names: Iterable[str], row: Iterable[Any]) -> Trial:
    """A trial of all its fields.

    Past the frozen class's own way, which sets them one by one through `object.__setattr__`: of ten
    thousand trials that is a tenth of the time of a whole leaderboard.
    """
    trial = object.__new__(Trial)
    trial.__dict__.update(zip(names, row, strict=True))
    return trial


def _settings(table: pa.Table) -> tuple[list[str], list[str], list[dict[str, Any]], list[str]]:
    """Method, recipe, settings without the seed and variant of each row."""
    chosen = {"method", "recipe"}
    names = [
        name
        for name in table.column_names
        if name in chosen or (name.startswith("config.") and name != "config.seed")
    ]
    some, place = alike(table.select(names))
    columns = Columns(some)
    configs, texts = configs_of(some)
    methods = [
        method or str(config.get("method", ""))
        for method, config in zip(columns["method"], configs, strict=True)
    ]
    recipes = columns.text("recipe")
    told = variants(texts, methods, recipes)
    rows = place.tolist()
    return (
        [methods[i] for i in rows],
        [recipes[i] for i in rows],
        [configs[i] for i in rows],
        [told[i] for i in rows],
    )


def read_trials(store: Store, on_unread: OnUnread = ignore) -> list[Trial]:
    """The trial rows of the store, failed ones too, sorted by id.

    Those that a search ended early (`stopped`) are left out: they are neither results nor failures.

    Args:
        store: where.
        on_unread: is given the files that can't be read, which are left out: damaged ones, and
            those of a newer camsweep.
    """
    with uncollected():
        return _read_trials(store, on_unread)


def _read_trials(store: Store, on_unread: OnUnread) -> list[Trial]:
    table = load_trials(store, on_unread)
    kept = [status != "stopped" for status in values(table["status"])]
    if not all(kept):
        table = table.filter(pa.array(kept))
    return sorted(_trials(table), key=lambda t: t.id)


Group = tuple[str, str, str]


def _group(trial: Trial) -> Group:
    return trial.profile, trial.data_name, trial.data_digest


def _belongs(trial: Trial, group: Group) -> bool:
    """Whether a trial is of a group: a failed one may not know its data, only its profile."""
    return _group(trial) == group or (
        not trial.done and not trial.data_digest and trial.profile == group[0]
    )


def choose(trials: Sequence[Trial], profile: str | None, data: str | None) -> Selection:
    """The trials of one profile and data set: as asked for, else the pair with most done trials.

    Failed trials belong to the pair that is chosen on account of done ones; only where nothing
    that was asked for is done do they make a selection of their own, so that they can be told.

    Args:
        trials: all rows of a store.
        profile: name of a profile, or None.
        data: beginning of a data digest, or None.

    Raises:
        InputError: the store has no such trials; the line lists what it has.
    """
    if not trials:
        raise InputError("the store holds no trials yet; start with `camsweep run cpn/table4`")
    done = Counter(_group(t) for t in trials if t.done)
    failed = Counter(_group(t) for t in trials if not t.done)

    def say(group: Group) -> str:
        number, word = (done[group], "trial") if group in done else (failed[group], "failed trial")
        plural = "" if number == 1 else "s"
        return f"{group[0]} on {group[1] or 'no data'} ({group[2][:8]}), {number} {word}{plural}"

    def fits(group: Group) -> bool:
        named = profile is None or group[0] == profile
        return named and (data is None or group[2].startswith(data))

    fitting = [group for group in done if fits(group)] or [g for g in failed if fits(g)]
    if not fitting:
        options = (("--profile", profile), ("--data", data))
        asked = " ".join(f"{name} {value}" for name, value in options if value is not None)
        known = "; ".join(map(say, done or failed))
        raise InputError(f"{asked}: no such trials; the store has {known}")
    chosen = max(fitting, key=lambda g: (done[g], bool(g[2]), failed[g], g))
    return Selection(
        *chosen,
        trials=tuple(t for t in trials if _belongs(t, chosen)),
        others=tuple(say(group) for group in sorted(done) if group != chosen),
    )


def with_stopping(selection: Selection, store: Store) -> Selection:
    """The selection with what the store tells of how its seeds were added."""
    found = (
        one
        for one in read_stopping(store)
        if (one.profile, one.data_digest) == (selection.profile, selection.data_digest)
    )
    return replace(selection, stopping=tuple(found))


def read_counts(
    store: Store, trials: Iterable[Trial], on_unread: OnUnread = ignore
) -> Iterator[tuple[str, Counts]]:
    """The per-image counts of the trials that have any, some trials in memory at a time.

    The time is proportional to the trials asked for. Trials of the same images share one tuple of
    keys.

    Args:
        store: where.
        trials: whose counts; those not done have none.
        on_unread: is given the files that can't be read; their trials are left out, and have
            the numbers of their rows alone. (`unread.without_counts` has told of them).
    """
    wanted = {t.id: len(t.classes) for t in trials if t.done}
    dense = Densifier(wanted, on_unread)
    for block in image_blocks(store, wanted, on_unread):
        for trial_id, keys, found in dense.counts(block):
            yield trial_id, Counts(keys, found)


def read_epochs(store: Store, trials: Iterable[Trial]) -> dict[str, list[dict[str, Any]]]:
    """The epoch rows of each trial, in order: epoch, lr, seconds and ``loss.*``."""
    rows: dict[str, list[dict[str, Any]]] = {}
    ids = [t.id for t in trials if t.done]
    for row in load_epochs(store, ids).to_pylist() if ids else []:
        rows.setdefault(row["trial_id"], []).append(row)
    for some in rows.values():
        some.sort(key=lambda row: row["epoch"])
    return rows


def read_pictures(store: Store, trial: Trial) -> dict[str, NDArray[np.uint8]]:
    """The stored pictures of a trial by key, {} where there are none."""
    name = artefact_name(trial.id, "pictures.safetensors")
    if not store.exists(name):
        return {}
    from safetensors.numpy import load

    return dict(load(store.read(name)))
