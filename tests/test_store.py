from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pytest

from camsweep.methods.base import load_method
from camsweep.shards.errors import InputError
from camsweep.sweeps.results import (
    add_uses,
    done_ids,
    load_epochs,
    load_images,
    load_trials,
    read_row,
    write_trial,
)
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import config_types, curve_table, epoch_table, image_table, trial_table


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def row(trial_id: str, **columns: object) -> dict[str, object]:
    return {
        "id": trial_id,
        "sweeps": ["cpn/table4"],
        "labels": ["p_h=0.1"],
        "status": "done",
        "seed": 1,
        "versions": {"torch": "2"},
        "started": datetime(2026, 1, 2, tzinfo=UTC),
        **columns,
    }


def test_round_trip_with_bare_pyarrow(store: Store) -> None:
    columns = {"config.grid_sizes": [56, 112], "config.s_n": None, "metric.miou": 0.5}
    write_trial(store, "a", {"trials": trial_table(row("a", **columns))})
    path = Path(store.path("trials/a.arrow"))
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    assert table.schema.metadata[b"camsweep.schema"] == b"trials/1"
    (back,) = table.to_pylist()
    assert back["config.grid_sizes"] == [56, 112]
    assert back["config.s_n"] is None
    assert back["metric.miou"] == 0.5
    assert dict(back["versions"]) == {"torch": "2"}
    assert back["started"] == datetime(2026, 1, 2, tzinfo=UTC)


def test_rows_of_different_methods_load_as_one_table(store: Store) -> None:
    write_trial(store, "a", {"trials": trial_table(row("a", **{"config.s_n": 200}))})
    write_trial(store, "b", {"trials": trial_table(row("b", **{"config.s_n": None}))})
    write_trial(store, "c", {"trials": trial_table(row("c", status="failed"))})
    table = load_trials(store)
    assert table["config.s_n"].to_pylist() == [200, None, None]
    assert done_ids(table) == {"a", "b"}


def test_a_row_read_back_is_written_again_unchanged(store: Store) -> None:
    write_trial(store, "a", {"trials": trial_table(row("a", **{"metric.miou": 0.25}))})
    first = read_row(store, "a")
    assert first is not None
    write_trial(store, "a", {"trials": trial_table(first)})
    assert read_row(store, "a") == first


def test_pyarrow_dataset_reads_trials_of_any_order(store: Store) -> None:
    """A column that is null in the first file must have its type there."""
    types = config_types(load_method("cpn").config)
    for trial_id, values in (("a", {"s_n": None, "grid_sizes": [56]}), ("b", {"s_n": 200})):
        columns = {f"config.{key}": None for key in load_method("cpn").config.model_fields}
        columns |= {f"config.{key}": value for key, value in values.items()}
        write_trial(store, trial_id, {"trials": trial_table(row(trial_id, **columns), types)})
    table = pyarrow.dataset.dataset(store.path("trials"), format="ipc").to_table()
    assert table["config.s_n"].to_pylist() == [None, 200]
    assert table["config.grid_sizes"].to_pylist() == [[56], None]


def test_every_config_column_has_the_type_of_its_values() -> None:
    config = load_method("cpn").config(method="cpn")
    types = config_types(type(config))
    for name, value in config.model_dump(mode="json").items():
        if value is not None:
            assert pa.array([value], types[f"config.{name}"]).to_pylist() == [value], name


def test_a_use_is_added_and_nothing_else_changes(store: Store) -> None:
    write_trial(store, "a", {"trials": trial_table(row("a", **{"config.s_n": 200}))})
    before = store.read_table("trials/a.arrow")
    add_uses(store, "a", [("cpn/fig6", "s_n=200"), ("cpn/table4", "p_h=0.1")])
    after = store.read_table("trials/a.arrow")
    assert after.schema.equals(before.schema, check_metadata=True)
    assert after["sweeps"].to_pylist() == [["cpn/table4", "cpn/fig6"]]
    assert after["labels"].to_pylist() == [["p_h=0.1", "s_n=200"]]
    rest = [name for name in before.column_names if name not in ("sweeps", "labels")]
    assert after.select(rest).equals(before.select(rest))


def test_a_relative_store_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(Store("results"))
    (tmp_path / "worker").mkdir()
    monkeypatch.chdir(tmp_path / "worker")
    assert pickle.loads(pickled).local == tmp_path / "results"


def test_an_unknown_scheme_is_one_line() -> None:
    with pytest.raises(InputError, match="--store foo://x/y: "):
        Store("foo://x/y").exists("trials")


def test_counts_keep_their_integers(store: Store) -> None:
    big = 2**40
    counts = {"class": [0, 1], "tp": [big, 1], "fp": [0, 2], "fn": [3, 0]}
    images = image_table({"trial_id": ["a", "a"], "image": ["x", "x"], **counts})
    curves = curve_table(
        {
            "trial_id": ["a"] * 2,
            "map": ["raw"] * 2,
            "scale": ["all"] * 2,
            "threshold": [0.1, 0.1],
            **counts,
        }
    )
    epochs = epoch_table("a", [{"epoch": 0, "lr": 0.1, "seconds": 1.0, "loss.cls": 0.5}])
    tables = {"images": images, "curves": curves, "epochs": epochs, "trials": trial_table(row("a"))}
    write_trial(store, "a", tables)
    assert load_images(store, ["a"])["tp"].to_pylist() == [big, 1]
    assert load_epochs(store)["loss.cls"].to_pylist() == [0.5]
    assert load_images(store, ["nobody"]).num_rows == 0


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        trial_table(row("a", nonsense=1))


def test_a_crash_leaves_no_half_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write("trials/a.arrow", b"half")
    assert list(Path(store.path("trials")).iterdir()) == []


def test_a_damaged_file_is_named(store: Store) -> None:
    store.write("trials/a.arrow", b"not arrow")
    with pytest.raises(InputError, match=r"a\.arrow: not a whole Arrow file"):
        load_trials(store)


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="not writable"):
        Store(str(tmp_path / "file" / "store")).require_writable()


def test_a_missing_store(store: Store) -> None:
    with pytest.raises(InputError, match="no results there"):
        store.require()


def test_a_store_is_pickled_by_its_url(store: Store) -> None:
    store.write("runs/x.json", b"{}")
    assert pickle.loads(pickle.dumps(store)).read("runs/x.json") == b"{}"
