"""Writing, reading and reporting the rows of 10,000 trials, against a JSON file each and pandas.

Rows are those of real trials, with every setting of CPN. A report here is the least of one: mean
and deviation of the mIoU of every variant over its seeds.
"""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from camsweep.methods.cpn import CpnConfig
from camsweep.platform.bench.rounds import alternate
from camsweep.platform.bench.table import Result, ratio
from camsweep.shards.errors import InputError
from camsweep.shards.places import Place
from camsweep.sweeps.compacting.compact import compact
from camsweep.sweeps.results import load_trials, write_trial
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import config_types, trial_table

TRIALS = 10_000
SEEDS = 5
GOAL = "at least 10"

WRITE, READ, PACKED, REPORT = "write", "read", "read, compacted", "report"
JSON = "JSON and pandas: "

Report = dict[str, tuple[float, float]]


def run(data: Place | None, seconds: float, repeat: int) -> Result:
    """Measure all by turns; each lasts what it lasts, whatever ``seconds`` is.

    Raises:
        InputError: the reports differ, or pandas is not installed.
    """
    rows = made_rows(TRIALS)
    with TemporaryDirectory(prefix="camsweep-bench-") as scratch:
        ours, packed, theirs = (Path(scratch) / name for name in ("store", "packed", "json"))
        write_ours(packed, rows)
        compact(Store(str(packed)))
        write_ours(ours, rows)
        write_json(theirs, rows)
        table, frame = load_trials(Store(str(packed))), read_json(theirs)
        _compare(report_ours(table), report_pandas(frame))
        rounds = alternate(
            {
                WRITE: lambda: _took(lambda: write_ours(ours, rows), ours),
                JSON + WRITE: lambda: _took(lambda: write_json(theirs, rows), theirs),
                READ: lambda: _took(lambda: load_trials(Store(str(ours)))),
                PACKED: lambda: _took(lambda: load_trials(Store(str(packed)))),
                JSON + READ: lambda: _took(lambda: read_json(theirs)),
                REPORT: lambda: _took(lambda: report_ours(table)),
                JSON + REPORT: lambda: _took(lambda: report_pandas(frame)),
            },
            repeat,
        )
    return Result(
        name="store",
        unit="seconds",
        rounds=rounds,
        ratios=(
            ratio(rounds, JSON + WRITE, WRITE, GOAL),
            ratio(rounds, JSON + READ, READ, GOAL),
            ratio(rounds, JSON + READ, PACKED, GOAL),
            ratio(rounds, JSON + REPORT, REPORT, GOAL),
        ),
        notes=(
            f"{len(rows):,} trials of {len(rows[0])} columns, {SEEDS} seeds a variant, rows alone "
            "(no counts by image); warm file cache",
            "write: a file a trial, whole or not at all, as every trial writes its own; read: all "
            "rows as one table; report: mean and deviation of the mIoU by variant, equal in both",
        ),
    )


def _took(make: Callable[[], object], folder: Path | None = None) -> float:
    """Seconds; a folder that is written is removed before, which does not count."""
    if folder is not None:
        shutil.rmtree(folder)
    begun = time.perf_counter()
    make()
    return time.perf_counter() - begun


def made_rows(number: int) -> list[dict[str, Any]]:
    """The rows of so many trials, of `SEEDS` seeds a variant; seed 0."""
    rng = np.random.default_rng(0)
    config = CpnConfig().model_dump(mode="json")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rows = []
    for index in range(number):
        variant, seed = divmod(index, SEEDS)
        settings = {**config, "s_n": 2 + variant, "seed": seed}
        rows.append(
            {
                "id": f"{index:064x}",
                "sweeps": ["mine.yaml"],
                "labels": [f"s_n={2 + variant}"],
                "method": "cpn",
                "seed": seed,
                "status": "done",
                "attempts": 1,
                "profile": "embedded",
                "data_digest": "none",
                "train_seconds": 60.0 + seed,
                "started": now,
                "finished": now,
                **{f"config.{name}": value for name, value in settings.items()},
                **{f"metric.{name}": float(rng.random()) for name in ("miou", "miou_raw")},
                **{f"seconds.{stage}": 1.0 + seed for stage in ("train", "evaluate")},
                **{f"stage.{stage}": f"{index:064x}" for stage in ("train", "localize")},
            }
        )
    return rows


def write_ours(folder: Path, rows: list[dict[str, Any]]) -> None:
    """One Arrow file a trial."""
    store, types = Store(str(folder)), config_types(CpnConfig)
    for row in rows:
        write_trial(store, row["id"], {"trials": trial_table(row, types)})


def write_json(folder: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON file a trial."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        with (folder / f"{row['id']}.json").open("w") as stream:
            json.dump(row, stream, default=str)


def read_json(folder: Path) -> Any:
    """All rows as a pandas frame.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        pd = importlib.import_module("pandas")
    except ImportError:
        raise InputError("bench: store: its peer needs pandas: pip install pandas") from None
    rows = []
    for path in sorted(folder.iterdir()):
        with path.open() as stream:
            rows.append(json.load(stream))
    return pd.DataFrame(rows)


def report_ours(table: pa.Table) -> Report:
    """Mean and deviation of the mIoU by variant."""
    labels = table["labels"].combine_chunks().flatten()
    columns = {"label": labels, "miou": table["metric.miou"]}
    found = pa.table(columns).group_by("label").aggregate([("miou", "mean"), ("miou", "stddev")])
    rows = zip(*(found[name].to_pylist() for name in found.column_names), strict=True)
    by_name = [dict(zip(found.column_names, row, strict=True)) for row in rows]
    return {row["label"]: (row["miou_mean"], row["miou_stddev"]) for row in by_name}


def report_pandas(frame: Any) -> Report:
    """The same of the frame."""
    labels = frame["labels"].map(lambda names: names[0])
    found = frame.groupby(labels)["metric.miou"].agg(["mean", lambda values: values.std(ddof=0)])
    return {label: (mean, spread) for label, mean, spread in found.itertuples()}


def _compare(ours: Report, theirs: Report) -> None:
    if ours.keys() != theirs.keys():
        raise InputError("bench: store: the two reports are of different variants")
    gap = max(np.abs(np.subtract(ours[label], theirs[label])).max() for label in ours)
    if gap > 1e-9:
        raise InputError(f"bench: store: the two reports differ by {gap:.1e}")
