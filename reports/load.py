"""Trials and counts out of a store; the only module of the reports that touches its tables."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from camsweep.shards.errors import InputError
from camsweep.sweeps.results import artefact_name, load_epochs, load_images, load_trials
from camsweep.sweeps.stopping import Stopping, read_stopping
from camsweep.sweeps.store import Store

# Image counts are read for this many trials at once: large enough to overlap reads, small enough
# that a store of 10,000 trials never lies in memory whole.
_CHUNK = 64


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

    ``stopping`` tells how seeds were added to them, of sweeps that have a rule for it.
    """

    profile: str
    data_name: str
    data_digest: str
    trials: tuple[Trial, ...]
    others: tuple[str, ...]
    stopping: tuple[Stopping, ...] = ()

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
    values = {k: v for k, v in config.items() if k != "seed"}
    whole = {"method": method, "recipe": recipe, "config": values}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"))


def _family(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    cut = len(prefix)
    return {k[cut:]: v for k, v in row.items() if k.startswith(prefix) and v is not None}


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _trial(row: dict[str, Any]) -> Trial:
    config = _family(row, "config.")
    method = row["method"] or str(config.get("method", ""))
    sweeps = row["sweeps"] or []
    labels = row["labels"] or []
    recipe = row.get("recipe") or ""
    return Trial(
        id=row["id"],
        memberships=tuple(dict.fromkeys(zip(sweeps, labels, strict=False))),
        method=method,
        seed=int(row["seed"] or 0),
        done=row["status"] == "done",
        cause=row["cause"] or "",
        profile=row["profile"] or "",
        data_name=row["data_name"] or "",
        data_digest=row["data_digest"] or "",
        classes=tuple(row["classes"] or ()),
        train_images=int(row.get("train_images") or 0),
        eval_images=int(row.get("eval_images") or 0),
        config=config,
        metrics={k: float(v) for k, v in _family(row, "metric.").items()},
        stages=_family(row, "stage."),
        train_seconds=_number(row["train_seconds"]),
        images_per_second=_number(row["images_per_second"]),
        peak_memory=_number(row["peak_memory_bytes"]),
        parameters=_number(row["parameters"]),
        device=row["device"] or "",
        versions=dict(row["versions"] or []),
        commit=row["git_commit"] or "",
        dirty=bool(row["git_dirty"]),
        command=row.get("command") or "",
        finished=row["finished"],
        overrides=dict(row.get("overrides") or []),
        recipe=recipe,
        skipped=tuple(row.get("skipped") or ()),
        seconds={k: float(v) for k, v in _family(row, "seconds.").items()},
        workers=int(row.get("workers") or 1),
        threads=int(row.get("threads") or 1),
        variant=variant_key(method, config, recipe),
    )


def read_trials(store: Store) -> list[Trial]:
    """The trial rows of the store, failed ones too, sorted by id.

    Those that a search ended early (`stopped`) are left out: they are neither results nor failures.
    """
    rows = (row for row in load_trials(store).to_pylist() if row["status"] != "stopped")
    return sorted(map(_trial, rows), key=lambda t: t.id)


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


def _dense(table: pa.Table, classes: int) -> Counts:
    encoded = pc.dictionary_encode(table["image"].combine_chunks())
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    keys = encoded.dictionary.to_pylist()
    order = np.argsort(np.array(keys, dtype=object), kind="stable")
    place = np.empty(len(keys), dtype=np.int64)
    place[order] = np.arange(len(keys))
    image = place[encoded.indices.to_numpy(zero_copy_only=False)]
    klass = table["class"].to_numpy().astype(np.int64)
    values = np.zeros((len(keys), max(classes, int(klass.max()) + 1), 3), dtype=np.int64)
    for column, name in enumerate(("tp", "fp", "fn")):
        values[image, klass, column] = table[name].to_numpy()
    return Counts(tuple(keys[i] for i in order), values)


def read_counts(store: Store, trials: Iterable[Trial]) -> Iterator[tuple[str, Counts]]:
    """The per-image counts of the trials that have any, a chunk of trials in memory at a time."""
    wanted = {t.id: len(t.classes) for t in trials if t.done}
    ids = list(wanted)
    for start in range(0, len(ids), _CHUNK):
        table = load_images(store, ids[start : start + _CHUNK])
        if not table.num_rows:
            continue
        owners = table["trial_id"].combine_chunks()
        for trial_id in pc.unique(owners).to_pylist():
            part = table.filter(pc.equal(owners, trial_id))
            yield trial_id, _dense(part, wanted[trial_id])


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
