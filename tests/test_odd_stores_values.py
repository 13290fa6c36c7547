"""Columns as Python values, quickly: the same as Arrow gives them, one by one."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import synthetic_store as synthetic

from camsweep.reports.load import read_counts, read_trials, variant_key
from camsweep.reports.rows import values
from camsweep.sweeps.results import load_images, load_trials

LARGE = 2**60 + 1


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None, LARGE] * 5 + [LARGE + i for i in range(20)]),
        pa.array([0.1, 0.0, -0.0] * 9 + [0.2, None, math.nan]),
        pa.array([1.5, None, math.nan, 2.5]),
        pa.array(["a", None, "b", ""]),
        pa.array(["a", None, "b"]).dictionary_encode(),
        pa.array([True, None, False]),
        pa.array([[1], None, [], [2, 3]]),
        pa.array([["x"], [], ["y", None]])[1:],
        pa.array([[1.0, 2.0], [3.0]]).slice(1),
        pa.array([datetime(2026, 1, 2, 3, 4, 5, 6000, UTC), None], pa.timestamp("ms", "UTC")),
        pa.nulls(3),
        pa.array([None, None], pa.float64()),
        pa.array([], pa.int32()),
        pa.chunked_array([pa.array([1, 2]), pa.array([3, None])]),
    ],
)
def test_values_are_those_of_arrow(column: pa.Array) -> None:
    expected = column.to_pylist()
    found = values(column)
    assert list(map(_text, found)) == list(map(_text, expected))


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def test_maps_are_dicts() -> None:
    column = pa.array([[("a", "b"), ("c", "d")], None, []], pa.map_(pa.string(), pa.string()))
    assert values(column) == [{"a": "b", "c": "d"}, None, {}]


def test_variants_are_canonical_json(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path, sweeps=("cpn/table4", "cpn/fig7"), images=5)
    rows = {row["id"]: row for row in load_trials(store).to_pylist()}
    trials = read_trials(store)
    assert len(trials) == len(rows)
    for trial in trials:
        row = rows[trial.id]
        config = {
            key.removeprefix("config."): value
            for key, value in row.items()
            if key.startswith("config.") and value is not None
        }
        assert trial.config == config
        assert trial.variant == variant_key(trial.method, config, row["recipe"])
        del config["seed"]
        assert json.loads(trial.variant)["config"] == config


def test_counts_are_those_of_the_rows(tmp_path: Path) -> None:
    store = synthetic.make(tmp_path, sweeps=("cpn/table4",), images=5, seeds=(0,))
    first = read_trials(store)[0]
    shuffled = store.read_table(f"images/{first.id}.arrow")
    order = pa.array([(7 * i) % shuffled.num_rows for i in range(shuffled.num_rows)])
    shuffled = shuffled.take(order).slice(3)  # another order, and three rows are not there
    store.write_table(f"images/{first.id}.arrow", shuffled)
    for trial_id, counts in read_counts(store, read_trials(store)):
        expected = dict.fromkeys(counts.keys, 0)
        for row in load_images(store, [trial_id]).to_pylist():
            image = counts.keys.index(row["image"])
            found = counts.values[image, row["class"]].tolist()
            assert found == [row["tp"], row["fp"], row["fn"]]
            expected[row["image"]] += row["tp"] + row["fp"] + row["fn"]
        assert counts.values.sum(axis=(1, 2)).tolist() == list(expected.values())


def test_reading_trials_imports_neither_torch_nor_pandas(tmp_path: Path) -> None:
    synthetic.make(tmp_path, sweeps=("cpn/table4",), images=5, seeds=(0,))
    code = (
        "import sys\nfrom camsweep.reports.load import open_results, read_counts, read_trials\n"
        f"store = open_results({str(tmp_path)!r})\n"
        "assert list(read_counts(store, read_trials(store)))\n"
        "heavy = {'torch', 'pandas', 'ray', 'plotly'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
