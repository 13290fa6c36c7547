"""Repeats of finished trials, beside the originals: did the same seed give the same numbers?

`STORE/repeats/<trial-id>-<n>.arrow` is one row: the numbers of the n-th repeat, those of the
original, digests of counts and weights, and where each was made. The original's row never changes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from camsweep.sweeps.results import artefact_name, load_curves, load_images
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import SCHEMA_VERSION, versioned

FOLDER = "repeats"
WEIGHTS = "weights.safetensors"

#: What both rows tell of the circumstances; where these differ, other rounding is no surprise.
SETUP = ("device", "threads", "workers", "accumulation", "versions")

REPEAT = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("trial_id", pa.string()),
        ("repeat", pa.int32()),
        ("method", pa.string()),
        ("seed", pa.int64()),
        ("identical", pa.bool_()),
        ("same_setup", pa.bool_()),
        ("miou", pa.float64()),
        ("original_miou", pa.float64()),
        ("metrics", pa.map_(pa.string(), pa.float64())),
        ("original_metrics", pa.map_(pa.string(), pa.float64())),
        ("images", pa.int64()),
        ("images_differing", pa.int64()),
        ("counts_digest", pa.string()),
        ("original_counts_digest", pa.string()),
        ("weights_digest", pa.string()),
        ("original_weights_digest", pa.string()),
        ("train_seconds", pa.float64()),
        ("device", pa.string()),
        ("original_device", pa.string()),
        ("host", pa.string()),
        ("original_host", pa.string()),
        ("threads", pa.int32()),
        ("workers", pa.int32()),
        ("accumulation", pa.int32()),
        ("versions", pa.map_(pa.string(), pa.string())),
        ("original_versions", pa.map_(pa.string(), pa.string())),
        ("git_commit", pa.string()),
        ("original_git_commit", pa.string()),
        ("git_dirty", pa.bool_()),
        ("command", pa.string()),
        ("started", pa.timestamp("ms", tz="UTC")),
        ("finished", pa.timestamp("ms", tz="UTC")),
    ]
)


@dataclass(frozen=True)
class Repeat:
    """One repeat of a trial, as readers need it.

    Attributes:
        trial_id: of the original.
        number: 1 for the first repeat.
        method: the trial's method.
        seed: its seed.
        identical: whether all metrics, all counts and, where both are stored, the weights are
            the same to the last bit.
        same_setup: whether device, threads, workers and versions are those of the original.
        miou: of the repeat, a fraction.
        original_miou: of the original.
        images: how many images have counts.
        images_differing: of how many of them the counts differ.
        weights_identical: whether the weights are; None where one of them is not stored.
    """

    trial_id: str
    number: int
    method: str
    seed: int
    identical: bool
    same_setup: bool
    miou: float
    original_miou: float
    images: int
    images_differing: int
    weights_identical: bool | None


def spread(some: Sequence[Repeat]) -> float:
    """Largest minus smallest mIoU of a trial and its repeats, a fraction."""
    values = [some[0].original_miou, *(repeat.miou for repeat in some)]
    return max(values) - min(values)


def repeat_name(trial_id: str, number: int) -> str:
    """The relative file of a repeat."""
    return f"{FOLDER}/{trial_id}-{number}.arrow"


def repeat_names(store: Store) -> set[str]:
    """The relative files of all repeats in the store, in one listing."""
    return {f"{FOLDER}/{name}" for name in store.names(FOLDER, ".arrow")}


def load_repeats(store: Store, ids: Iterable[str] | None = None) -> dict[str, list[Repeat]]:
    """The repeats by trial id, in order; those of the trials `ids`, or of all."""
    wanted = None if ids is None else set(ids)
    names = sorted(repeat_names(store))
    if wanted is not None:
        names = [n for n in names if n.partition("/")[2].rpartition("-")[0] in wanted]
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(store.read_table, names))
    found: dict[str, list[Repeat]] = {}
    for table in tables:
        for row in table.to_pylist():
            found.setdefault(row["trial_id"], []).append(_repeat(row))
    return {key: sorted(some, key=lambda r: r.number) for key, some in found.items()}


def _repeat(row: Mapping[str, Any]) -> Repeat:
    weights = (row["weights_digest"], row["original_weights_digest"])
    return Repeat(
        trial_id=row["trial_id"],
        number=row["repeat"],
        method=row["method"] or "",
        seed=row["seed"] or 0,
        identical=bool(row["identical"]),
        same_setup=bool(row["same_setup"]),
        miou=row["miou"],
        original_miou=row["original_miou"],
        images=row["images"] or 0,
        images_differing=row["images_differing"] or 0,
        weights_identical=weights[0] == weights[1] if all(weights) else None,
    )


def compare(
    original: Store,
    first: Mapping[str, Any],
    scratch: Store,
    second: Mapping[str, Any],
    number: int,
) -> dict[str, Any]:
    """The row of a repeat.

    Args:
        original: the store of the original.
        first: the original's trial row.
        scratch: the store that the repeat was run into.
        second: the repeat's trial row there.
        number: 1 for the first repeat.
    """
    trial_id = first["id"]
    counts = [_counts(store, trial_id) for store in (original, scratch)]
    weights = [_weights(original, first), _weights(scratch, second)]
    metrics = [_metrics(row) for row in (first, second)]
    digests = [_digest(part) for part in counts]
    same_weights = weights[0] == weights[1] or None in weights
    keys = counts[0].by_image.keys() | counts[1].by_image.keys()
    differing = sum(counts[0].by_image.get(k) != counts[1].by_image.get(k) for k in keys)
    took = {name: second.get(name) for name in REPEAT.names if name in second}
    before = {f"original_{n}": first.get(n) for n in ("device", "host", "versions", "git_commit")}
    return {
        **took,
        **before,
        "schema_version": SCHEMA_VERSION,
        "trial_id": trial_id,
        "repeat": number,
        "identical": same_weights and digests[0] == digests[1] and _same(*metrics),
        "same_setup": all(_plain(first.get(name)) == _plain(second.get(name)) for name in SETUP),
        "miou": second["metric.miou"],
        "original_miou": first["metric.miou"],
        "metrics": list(metrics[1].items()),
        "original_metrics": list(metrics[0].items()),
        "images": len(keys),
        "images_differing": differing,
        "counts_digest": digests[1],
        "original_counts_digest": digests[0],
        "weights_digest": weights[1],
        "original_weights_digest": weights[0],
    }


def write_repeat(store: Store, row: Mapping[str, Any]) -> None:
    """Write a repeat's row, of `compare`."""
    table = pa.Table.from_pylist([dict(row)], schema=versioned(REPEAT, FOLDER))
    store.write_table(repeat_name(row["trial_id"], row["repeat"]), table)


@dataclass(frozen=True)
class _Counts:
    """Pixel counts: (class, tp, fp, fn) by image, and every row of the curves."""

    by_image: dict[str, list[tuple[Any, ...]]]
    curves: list[tuple[Any, ...]]


def _counts(store: Store, trial_id: str) -> _Counts:
    """The counts of a trial in an order that does not depend on how they were written."""
    by_image: dict[str, list[tuple[Any, ...]]] = {}
    images = load_images(store, [trial_id]).drop_columns("trial_id").to_pydict()
    for image, *values in sorted(zip(*images.values(), strict=True)):
        by_image.setdefault(image, []).append(tuple(values))
    curves = load_curves(store, [trial_id]).drop_columns("trial_id").to_pydict()
    return _Counts(by_image, sorted(zip(*curves.values(), strict=True)))


def _digest(counts: _Counts) -> str:
    whole = repr((list(counts.by_image.items()), counts.curves))
    return hashlib.sha256(whole.encode()).hexdigest()


def _weights(store: Store, row: Mapping[str, Any]) -> str | None:
    """SHA-256 of the trained weights' file, None where it is not stored (any more)."""
    stage = row.get("stage.train")
    folder = f"{stage}-skipping" if row.get("skipped") else stage
    name = artefact_name(str(folder), WEIGHTS)
    if stage is None or not store.exists(name):
        return None
    return hashlib.sha256(store.read(name)).hexdigest()


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        key.removeprefix("metric."): float(value)
        for key, value in sorted(row.items())
        if key.startswith("metric.") and value is not None
    }


def _same(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """Whether two sets of numbers are the same; what is no number in both is the same, too."""
    return first.keys() == second.keys() and all(
        value == second[key] or (math.isnan(value) and math.isnan(second[key]))
        for key, value in first.items()
    )


def _plain(value: Any) -> Any:
    """A map column's value as a dict, whichever way it was read."""
    return dict(value) if isinstance(value, list) else value
