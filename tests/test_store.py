from __future__ import annotations

import errno
import fcntl
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pytest
import torch

from camsweep.methods.base import load_method
from camsweep.platform.cli.main import main
from camsweep.platform.stages import Computed, ensure_weights
from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing import filelocks
from camsweep.sweeps.leasing.leases import LeaseLost, holders
from camsweep.sweeps.results import (
    add_all_uses,
    add_uses,
    done_ids,
    load_epochs,
    load_images,
    load_trials,
    read_row,
    write_trial,
)
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import (
    SCHEMA_VERSION,
    config_types,
    curve_table,
    epoch_table,
    image_table,
    trial_table,
)
from camsweep.sweeps.temporary import temporary_name

NAME = """
from camsweep.sweeps.temporary import temporary_name
print(temporary_name())
"""
WRITE_AND_DIE = """
import os, signal, sys
from camsweep.sweeps.store import Store
def die(descriptor):
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = die
Store(sys.argv[1]).write("trials/a.arrow", b"half")
"""


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


def test_what_a_killed_writer_left_is_never_read_and_goes_at_once(store: Store) -> None:
    store.write("trials/b.arrow", b"whole")
    killed = subprocess.run([sys.executable, "-c", WRITE_AND_DIE, store.url], check=False)
    assert killed.returncode < 0
    folder = Path(store.path("trials"))
    (left,) = [path for path in folder.iterdir() if path.name != "b.arrow"]
    assert store.names("trials") == ["b.arrow"]
    assert store.remove_leftovers() == 1
    assert not left.exists()
    assert store.read("trials/b.arrow") == b"whole"


def test_temporary_folders_go_with_their_process(store: Store) -> None:
    told = subprocess.run([sys.executable, "-c", NAME], check=True, capture_output=True, text=True)
    dead, mine = told.stdout.strip(), temporary_name()
    for name in (dead, mine):
        store.write(f"{name}/deep/{temporary_name()}", b"x")
    assert store.remove_leftovers() == 1
    assert not store.exists(dead)
    assert len(store._infos(f"{mine}/deep")) == 1


def test_half_written_files_of_others_go_after_a_day(store: Store) -> None:
    folder = Path(store.path("artefacts/x"))
    folder.mkdir(parents=True)
    hexes = "0" * 32
    far, old = f".tmp-0123456789ab-17-99-{hexes}", f".weights.safetensors.{hexes}.tmp"
    others = [".tmp-mine", ".hidden", "x.tmp", ".tune-host-17"]
    for name in (far, old, *others):
        (folder / name).write_bytes(b"half")
    assert store.remove_leftovers() == 0
    yesterday = time.time() - 90000
    for path in folder.iterdir():
        os.utime(path, (yesterday, yesterday))
    assert store.remove_leftovers() == 2
    assert {path.name for path in folder.iterdir()} == set(others)


def test_a_living_writer_keeps_its_temporary_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, removed = os.fsync, []

    def meanwhile(descriptor: int) -> None:
        removed.append(store.remove_leftovers())
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    store.write("trials/a.arrow", b"whole")
    assert removed == [0]
    assert store.read("trials/a.arrow") == b"whole"


def test_a_table_of_a_newer_version_is_one_line(
    store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_trial(store, "a", {"trials": trial_table(row("a"))})
    table = store.read_table("trials/a.arrow")
    newer = {b"camsweep.schema": f"trials/{SCHEMA_VERSION + 1}".encode()}
    store.write_table("trials/a.arrow", table.replace_schema_metadata(newer))
    told = f"a.arrow: written by a newer camsweep (table format {SCHEMA_VERSION + 1}"
    for words in (["status"], ["results", "export", "--out", str(tmp_path / "out")]):
        assert main([*words, "--store", store.url]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
    # A report shows what it can read, and says what it can't: tests/test_odd_stores.py.


def test_uses_of_many_drivers_are_all_kept(store: Store) -> None:
    write_trial(store, "a", {"trials": trial_table(row("a"))})
    threads = [
        threading.Thread(target=add_uses, args=(Store(store.url), "a", [(f"sweep{n}", "x")]))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (sweeps,) = store.read_table("trials/a.arrow")["sweeps"].to_pylist()
    assert set(sweeps) == {"cpn/table4", *(f"sweep{n}" for n in range(8))}


def test_uses_of_many_trials(store: Store) -> None:
    for name in ("a", "b"):
        write_trial(store, name, {"trials": trial_table(row(name))})
    add_all_uses(store, {"a": [("mine", "x")], "b": [("mine", "y"), ("mine", "z")]})
    found = {r["id"]: list(zip(r["sweeps"], r["labels"], strict=True)) for r in rows_of(store)}
    assert found["a"] == [("cpn/table4", "p_h=0.1"), ("mine", "x")]
    assert found["b"] == [("cpn/table4", "p_h=0.1"), ("mine", "y"), ("mine", "z")]


def rows_of(store: Store) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = load_trials(store).to_pylist()
    return rows


def test_who_waits_for_a_stage_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filelocks, "WAIT_SECONDS", 0.02)
    begun, waited = threading.Event(), threading.Event()
    made: list[str] = []

    def compute(name: str, seconds: float) -> Callable[[], Computed]:
        def work() -> Computed:
            begun.set()
            waited.wait(seconds)
            made.append(name)
            return Computed({"w": torch.ones(1)}, 1.0)

        return work

    first = threading.Thread(target=ensure_weights, args=(store, "stage", compute("one", 10)))
    first.start()
    assert begun.wait(10)
    result = ensure_weights(store, "stage", compute("two", 0), on_wait=waited.set)
    first.join()
    assert made == ["one"]
    assert result.found


def test_a_disk_without_locks_has_leases(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with store.lock("stage") as require:
        assert [h.name for h in holders(store)] == ["stage"]
        require()
    assert holders(store) == []


def test_a_stage_that_another_took_over_is_taken_from_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On object storage: this process was paused while it computed, and comes back late."""
    calls: list[str] = []

    @contextmanager
    def lease(self: Store, name: str, on_wait: object = None) -> Iterator[Callable[[], None]]:
        def require() -> None:
            if len(calls) == 1:
                raise LeaseLost(name)

        yield require

    def compute() -> Computed:
        calls.append("computed")
        if len(calls) == 1:  # the other publishes its own meanwhile
            ensure_weights(Store(store.url), "stage", lambda: Computed({"w": torch.ones(1)}, 2.0))
        return Computed({"w": torch.zeros(1)}, 1.0)

    plain = Store.lock

    def lock(self: Store, name: str, on_wait: object = None) -> object:
        return lease(self, name) if self is store else plain(Store(store.url + "/other"), name)

    monkeypatch.setattr(Store, "lock", lock)
    result = ensure_weights(store, "stage", compute)
    assert calls == ["computed"]
    assert result.found
    assert result.tensors["w"].tolist() == [1.0]
    assert result.seconds == 2.0


def test_the_loss_of_a_trials_own_lease_leaves_the_stage(store: Store) -> None:
    def compute() -> Computed:
        raise LeaseLost("trial")

    with pytest.raises(LeaseLost):
        ensure_weights(store, "stage", compute)
