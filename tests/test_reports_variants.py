"""Trials of one configuration are found as such, whatever the types of its columns."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from camsweep.reports.board.facts import cpu_hours, gpu_hours
from camsweep.reports.load import read_trials, variant_key
from camsweep.reports.variants import CANONICAL, MANY, alike, configs
from camsweep.sweeps.results import write_trial
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import trial_table


def test_rows_are_alike_if_and_only_if_all_their_values_are() -> None:
    rows = [
        {"a": 1, "b": [1.0, 2.0], "c": "x", "d": None, "e": [[1], []]},
        {"a": 1, "b": [1.0], "c": "x", "d": None, "e": [[1], []]},
        {"a": 1, "b": [1.0, 2.0], "c": "x", "d": None, "e": [[1], []]},
        {"a": 1, "b": None, "c": "x", "d": None, "e": [[1], []]},
        {"a": 1, "b": [], "c": "x", "d": None, "e": [[1], []]},
        {"a": 1, "b": [1.0, None], "c": "x", "d": None, "e": [[1], []]},
        {"a": None, "b": [1.0], "c": "x", "d": None, "e": [[1], []]},
        {"a": 1, "b": [1.0], "c": None, "d": None, "e": [[1], []]},
        {"a": 1, "b": [1.0], "c": "", "d": None, "e": [[1], []]},
        {"a": 1, "b": [1.0], "c": "x", "d": None, "e": [[], [1]]},
        {"a": 1, "b": [1.0], "c": "x", "d": None, "e": None},
    ]
    for table in (
        pa.Table.from_pylist(rows),
        pa.concat_tables([pa.Table.from_pylist(rows[:4]), pa.Table.from_pylist(rows[4:])],
                         promote_options="permissive"),
    ):  # fmt: skip
        some, place = alike(table)
        kinds = some.to_pylist()
        assert [kinds[i] for i in place.tolist()] == rows
        assert len(kinds) == len(rows) - 1


def test_many_columns_of_many_values_do_not_run_over() -> None:
    table = pa.table({f"c{i}": [(7 * row + i) % 997 for row in range(2000)] for i in range(40)})
    some, place = alike(table)
    assert some.num_rows == 997
    assert some.take(pa.array(place)).equals(table)


def test_nothing_is_alike_to_nothing() -> None:
    empty = pa.table({"a": pa.array([], pa.list_(pa.int64()))})
    assert alike(empty)[0].num_rows == 0
    assert alike(pa.table({}))[1].shape == (0,)


def test_settings_made_by_pattern_are_those_of_the_rows() -> None:
    rows = [
        {
            "config.z": "same", "config.seed": row, "config.none": None,
            "config.few": row % 3 == 0, "config.method": "cpn",
            "config.many": None if row % 7 == 0 else row / 8, "config.lists": [row, 1],
            "config.some": None if row % 5 == 0 else "quoted \"ü\"",
            "config.text": f"t{row % (MANY + 3)}", "metric.miou": 0.5,
        }
        for row in range(90)
    ]  # fmt: skip
    for some in (rows, rows[:1], rows[:MANY], [{"config.seed": 1}], [{"id": "a"}]):
        found, texts = configs(pa.Table.from_pylist(some))
        wanted = [
            {
                name.removeprefix("config."): value
                for name, value in row.items()
                if name.startswith("config.") and name != "config.seed" and value is not None
            }
            for row in some
        ]
        assert found == wanted
        assert [list(one) for one in found] == [list(one) for one in wanted], "in the same order"
        assert [f"{{{text}}}" for text in texts] == list(map(CANONICAL.encode, wanted))
    assert configs(pa.table({"config.a": pa.array([], pa.int64())})) == ([], [])


def test_a_trial_has_all_that_its_row_tells(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "id": "a" * 64, "sweeps": ["cpn/table4"], "labels": ["p_h=0.5"], "method": "cpn",
        "seed": 3, "status": "done", "workers": 2, "threads": 4, "seconds.train": 60.0,
        "seconds.evaluate": 5.0, "config.s_n": 200, "config.seed": 3, "metric.miou": 0.5,
        "device": "cuda NVIDIA H100", "profile": "voc12",
    }  # fmt: skip
    store = Store(str(tmp_path))
    write_trial(store, row["id"], {"trials": trial_table(row)})
    (trial,) = read_trials(store)
    assert trial.seconds == {"train": 60.0, "evaluate": 5.0}
    assert (trial.workers, trial.threads, trial.seed) == (2, 4, 3)
    assert trial.config == {"s_n": 200, "seed": 3}
    assert trial.variant == variant_key("cpn", trial.config)
    assert gpu_hours([trial]) == 65 * 2 / 3600
    assert math.isnan(cpu_hours([trial]))
    assert trial == replace(trial), "made past its own way, and yet a trial like any other"
