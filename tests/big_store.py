"""A store of thousands of trials, made in seconds: the cells of CPN's sweeps and many variants.

``python tests/big_store.py FOLDER [--trials 10000] [--loose]`` writes it compacted, or as a file
for each trial and table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from synthetic_store import CLASSES, CPN, START, _miou, counts

from camsweep.methods.base import load_method
from camsweep.sweeps.compacting.listing import new_pack_name, write_stamp
from camsweep.sweeps.compacting.packfile import encode
from camsweep.sweeps.results import write_trial
from camsweep.sweeps.spec import load_sweep, shipped_names
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import (
    SCHEMA_VERSION,
    TRIAL,
    config_types,
    epoch_table,
    image_table,
    versioned,
)

IMAGES, EPOCHS, SEEDS = 100, 6, 3
#: Trials of one pack: what compacting makes of their files.
A_PACK = 4_000


def cells() -> dict[str, tuple[dict[str, Any], list[tuple[str, str]]]]:
    """The distinct configs of CPN's shipped sweeps, with where they stand."""
    found: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {}
    for sweep in shipped_names():
        if sweep.split("/")[0] == "cpn":
            for label, given in load_sweep(sweep).cells():
                cpn = given["method"] == "cpn"
                config = {**CPN, **given} if cpn else {"method": "cam", "epochs": EPOCHS}
                known = found.setdefault(json.dumps(config, sort_keys=True), (config, []))
                known[1].append((sweep, label))
    return found


def variants(number: int) -> Iterator[tuple[dict[str, Any], list[tuple[str, str]]]]:
    """So many different configs, those of the shipped sweeps first."""
    shipped = list(cells().values())[:number]
    yield from shipped
    for index in range(number - len(shipped)):
        config = {**CPN, "p_h": round(0.05 + 0.1 * (index % 9), 2), "s_n": 20 + index}
        yield config, [("mine.yaml", f"s_n={config['s_n']}, p_h={config['p_h']}")]


def full_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config with every setting that the method has, as real rows have it."""
    fields = load_method(config["method"]).config(method=config["method"])
    return {**fields.model_dump(mode="json"), "backbone": "small", **config}


def trial_row(
    trial_id: str, config: dict[str, Any], uses: list[tuple[str, str]], seed: int, at: int
) -> dict[str, Any]:
    """A row without the metrics."""
    started = START + timedelta(minutes=at)
    cpn = config["method"] == "cpn"
    return {
        "schema_version": SCHEMA_VERSION, "id": trial_id, "sweeps": [s for s, _ in uses],
        "labels": [label for _, label in uses], "method": config["method"], "seed": seed,
        "status": "done", "attempts": 1, "overrides": [], "profile": "embedded",
        "recipe": "pretrain 1, train 1, localize 1, evaluate 1, cpn 1",
        "data_name": "embedded", "data_digest": "ab12cd34ef", "classes": list(CLASSES),
        "train_images": 800, "eval_images": IMAGES, "skipped": [],
        "train_seconds": 60.0 + seed if cpn else 17.0, "images_per_second": 80.0 + 0.001 * at,
        "peak_memory_bytes": 700_000_000 + at, "parameters": 120_000 if cpn else 90_000,
        "device": "cpu, 2 cores", "host": f"node{at % 4}", "owner": "run", "workers": 1,
        "accumulation": 1, "threads": 1, "git_commit": "0123456789abcdef", "git_dirty": False,
        "versions": [("camsweep", "0.1.0"), ("torch", "2.15.0"), ("python", "3.12.3")],
        "command": "camsweep run cpn --profile embedded", "started": started,
        "finished": started + timedelta(minutes=1),
        **{f"stage.{s}": f"{s}-{trial_id[:20]}" for s in ("pretrain", "train", "localize")},
        **{f"seconds.{s}": 1.0 + seed for s in ("train", "localize", "evaluate")},
        **{f"config.{k}": v for k, v in full_config(config).items()},
    }  # fmt: skip


def metrics(values: np.ndarray, cpn: bool) -> dict[str, float]:
    """The metric columns of a trial's counts ``[images, classes, 3]``."""
    miou, background, foreground = _miou(values.sum(axis=0))
    scales = {f"metric.miou_scale_{s}": miou - 0.01 * i for i, s in enumerate((1, 0.5, 1.5, 2))}
    return {
        "metric.miou": miou, "metric.miou_raw": miou - (0.004 if cpn else 0.0),
        "metric.background_iou": background, "metric.foreground_iou": foreground,
        "metric.threshold": 0.3, "metric.miou_floor": 0.31, **scales,
        **({"metric.miou_refined": miou} if cpn else {}),
    }  # fmt: skip


def trials(number: int) -> Iterator[tuple[str, dict[str, Any], pa.Table, pa.Table]]:
    """Id, row, images and epochs of each trial."""
    keys = pa.array(np.repeat([f"val_{i:05d}" for i in range(IMAGES)], len(CLASSES)))
    classes = np.tile(np.arange(len(CLASSES), dtype=np.int16), IMAGES)
    at = 0
    for config, uses in variants(-(-number // SEEDS)):
        for seed in range(SEEDS):
            if at == number:
                return
            name = json.dumps([config, seed], sort_keys=True)
            trial_id = hashlib.sha256(name.encode()).hexdigest()
            values = counts(config, seed, IMAGES, 0.008)
            row = trial_row(trial_id, config, uses, seed, at)
            row |= metrics(values, config["method"] == "cpn")
            columns = {"trial_id": pa.array([trial_id] * len(keys)), "image": keys}
            columns |= {"class": classes}
            columns |= {n: values[..., i].ravel() for i, n in enumerate(("tp", "fp", "fn"))}
            epochs = [
                {"epoch": e, "lr": 0.01, "seconds": 10.0, "loss.cls": 0.6 / (1 + e), "loss.loss": 1}
                for e in range(EPOCHS)
            ]
            yield trial_id, row, image_table(columns), epoch_table(trial_id, epochs)
            at += 1


def row_tables(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows of trials as one table of the store's schema."""
    types = {k: t for m in ("cam", "cpn") for k, t in config_types(load_method(m).config).items()}
    names = sorted({name for row in rows for name in row} - set(TRIAL.names))
    fields = [pa.field(n, types.get(n) or pa.infer_type([r.get(n) for r in rows])) for n in names]
    schema = versioned(pa.schema([*TRIAL, *fields]), "trials")
    return pa.Table.from_pylist(rows, schema=schema)


def make(folder: Path, number: int = 10_000, *, loose: bool = False) -> Store:
    """Write the store."""
    store = Store(str(folder))
    made = trials(number)
    pack = 0
    while part := [one for _, one in zip(range(A_PACK), made, strict=False)]:
        whole = row_tables([row for _, row, _, _ in part])
        ids = [trial_id for trial_id, *_ in part]
        rows = {trial_id: whole.slice(i, 1) for i, trial_id in enumerate(ids)}
        if loose:
            for trial_id, _, images, epochs in part:
                tables = {"trials": rows[trial_id], "images": images, "epochs": epochs}
                write_trial(store, trial_id, tables)
            continue
        pack += 1
        store.write(
            f"images/{new_pack_name(pack)}", encode("images", {i: t for i, _, t, _ in part})
        )
        store.write(f"epochs/{new_pack_name(pack)}", encode("epochs", {i: t for i, *_, t in part}))
        store.write(f"trials/{new_pack_name(pack)}", encode("trials", rows))
    if not loose:
        write_stamp(store)
    return store


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--loose", action="store_true")
    asked = parser.parse_args()
    make(asked.folder, asked.trials, loose=asked.loose)
