"""A small store of trials of every kind, and what must be seen in it whatever happens."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa

from camsweep.sweeps.results import (
    load_curves,
    load_epochs,
    load_images,
    load_trials,
    write_trial,
)
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import curve_table, epoch_table, image_table, trial_table

Seen = dict[str, list[str]]


def row(trial_id: str, status: str = "done", **more: object) -> dict[str, object]:
    numbers = {"metric.miou": 0.5, "metric.odd": math.nan} if status == "done" else {}
    return {
        "id": trial_id,
        "sweeps": ["cpn/table4"],
        "labels": [f"of {trial_id}"],
        "method": "cpn",
        "seed": 1,
        "status": status,
        "versions": {"torch": "2"},
        "config.s_n": 200,
        **numbers,
        **more,
    }


def tables(trial_id: str, number: int) -> dict[str, pa.Table]:
    """The tables of a done trial; its numbers depend on `number`."""
    images, classes = 3, 2
    size = images * classes
    counts = {n: np.arange(size) + 10 * number + i for i, n in enumerate(("tp", "fp", "fn"))}
    return {
        "trials": trial_table(row(trial_id, **{"metric.miou": 0.01 * number})),
        "epochs": epoch_table(
            trial_id, [{"epoch": e, "lr": 0.1, "seconds": 1.0, "loss.cls": 1.0} for e in range(2)]
        ),
        "images": image_table(
            {
                "trial_id": [trial_id] * size,
                "image": np.repeat([f"val_{i}" for i in range(images)], classes),
                "class": np.tile(np.arange(classes, dtype=np.int16), images),
                **counts,
            }
        ),
        "curves": curve_table(
            {
                "trial_id": [trial_id] * 2,
                "map": ["raw"] * 2,
                "scale": ["all"] * 2,
                "threshold": [0.1, 0.2],
                "class": np.zeros(2, np.int16),
                **{n: values[:2] for n, values in counts.items()},
            }
        ),
    }


def fill(store: Store, names: str = "abcd", failed: str = "f") -> Store:
    """Done trials by one letter each, and failed ones."""
    for number, name in enumerate(names):
        write_trial(store, name, tables(name, number))
    for name in failed:
        write_trial(store, name, {"trials": trial_table(row(name, "failed", cause="lost"))})
    return store


def made(folder: Path) -> Store:
    return fill(Store(str(folder)))


def seen(store: Store) -> Seen:
    """Every row of every table as text, sorted: what a reader sees, once or twice or not at all."""
    fresh = Store(store.url)
    found = {
        "trials": load_trials(fresh),
        "epochs": load_epochs(fresh),
        "images": load_images(fresh),
        "curves": load_curves(fresh),
    }
    return {name: sorted(map(_text, table.to_pylist())) for name, table in found.items()}


def _text(values: dict[str, object]) -> str:
    return repr(sorted((k, str(v)) for k, v in values.items() if v is not None))


def packs(store: Store, table: str) -> list[str]:
    return [name for name in store.names(table) if name.startswith("pack-")]


def loose(store: Store, table: str) -> list[str]:
    return [name for name in store.names(table) if not name.startswith("pack-")]
