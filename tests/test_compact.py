from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset
import pytest
from compact_world import fill, loose, made, packs, row, seen, tables

from camsweep.platform.cli.main import main
from camsweep.shards.errors import InputError
from camsweep.sweeps.arrowfiles import table_from_bytes
from camsweep.sweeps.compacting import compact as compacting
from camsweep.sweeps.compacting import listing
from camsweep.sweeps.compacting.compact import compact
from camsweep.sweeps.compacting.packfile import Pack, encode
from camsweep.sweeps.compacting.reading import open_pack
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.results import (
    add_uses,
    has_rows,
    image_blocks,
    load_images,
    load_trials,
    read_row,
    write_trial,
)
from camsweep.sweeps.store import TABLES, Store
from camsweep.sweeps.tables import SCHEMA_VERSION, trial_table


class Killed(BaseException):
    """What the operating system does to a process."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return made(tmp_path / "store")


@pytest.fixture
def each_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[int], None]], None]]:
    """Calls a function, with a number, before and after every file that is written or deleted."""
    plain = {"write": Store.write, "delete": Store.delete}

    def watch(on_step: Callable[[int], None]) -> None:
        number = [0]

        def tell() -> None:
            number[0] += 1
            on_step(number[0])

        def wrapped(name: str) -> Callable[..., None]:
            def call(self: Store, *arguments: object) -> None:
                tell()
                plain[name](self, *arguments)
                tell()

            return call

        for name in plain:
            monkeypatch.setattr(Store, name, wrapped(name))

    yield watch
    monkeypatch.undo()


def test_all_rows_are_as_before_in_one_file_a_table(store: Store) -> None:
    before = seen(store)
    done = compact(store)
    assert seen(store) == before
    assert done.packed == {"trials": 5, "epochs": 4, "images": 4, "curves": 4}
    for table in TABLES:
        assert loose(store, table) == []
        assert len(packs(store, table)) == 1
    assert load_trials(store)["id"].to_pylist() == ["a", "b", "c", "d", "f"]


def test_again_does_nothing_and_new_trials_join(store: Store) -> None:
    compact(store)
    names = packs(store, "images")
    assert not any(compact(store).packed.values())
    assert packs(store, "images") == names
    fill(store, "xy", "")
    before = seen(store)
    assert compact(store).packed["images"] == 2
    assert len(packs(store, "images")) == 1
    assert seen(store) == before


def test_a_trial_is_read_as_from_its_own_file(store: Store) -> None:
    files = {name: store.read_table(f"images/{name}.arrow") for name in "abcd"}
    first = read_row(store, "b")
    compact(store)
    assert load_images(store, ["c"]).equals(files["c"])
    assert load_images(store, ["nothing"]).num_rows == 0
    again = read_row(store, "b")
    assert again is not None
    assert first is not None
    assert {k: str(v) for k, v in again.items() if v is not None} == {
        k: str(v) for k, v in first.items() if v is not None
    }
    assert read_row(store, "nothing") is None
    assert has_rows(store, "images", ["a", "f"]) == {"a"}


def test_bare_pyarrow_and_duckdb_read_a_compacted_store(store: Store) -> None:
    before = seen(store)
    compact(store)
    fill(store, "z", "")
    bare = pyarrow.dataset.dataset(store.path("images"), format="ipc").to_table()
    assert bare.num_rows == len(before["images"]) + 6
    assert sum(bare["tp"].to_pylist()) == sum(load_images(store)["tp"].to_pylist())
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect() as connection:
        connection.register("t", pyarrow.dataset.dataset(store.path("trials"), format="ipc"))
        found = connection.execute("SELECT id FROM t ORDER BY id").fetchall()
    assert [name for (name,) in found] == ["a", "b", "c", "d", "f", "z"]


def test_versions_without_packs_refuse_them_by_name(store: Store) -> None:
    """They read every file of the folder as a trial's own."""
    compact(store)
    (name,) = packs(store, "trials")
    told = rf"{name}: written by a newer camsweep \(table format 2, this one knows {SCHEMA_VERSION}"
    with pytest.raises(InputError, match=told):
        table_from_bytes(store.read(f"trials/{name}"), name)


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote, synced or not."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def killed_at_every_step(
    template: Store, folder: Path, each_step: Callable[..., None], then: Callable[[Store], None]
) -> int:
    """Compact copies of a store, each killed one step later, until one is not; the steps.

    No row is lost or seen twice after a kill, nor after the next compacting, which ends well.

    Args:
        template: copied.
        folder: for the copies.
        each_step: the fixture.
        then: checks a store that was compacted again.
    """
    before = seen(template)
    after, finished = 0, False
    while not finished:
        after += 1
        store = Store(str(shutil.copytree(template.url, folder / str(after))))

        def kill(number: int, last: int = after) -> None:
            if number == last:
                raise Killed

        each_step(kill)
        try:
            compact(store)
            finished = True
        except Killed:
            pass
        each_step(lambda number: None)
        assert seen(store) == before, after
        compact(store)
        assert seen(store) == before, after
        assert not any(loose(store, table) for table in TABLES)
        then(store)
    return after


def test_killed_at_any_step_nothing_is_lost_or_seen_twice(
    tmp_path: Path, each_step: Callable[..., None], quick_disk: None
) -> None:
    template = fill(Store(str(tmp_path / "template")), "ab", "f")

    def one_pack_a_table(store: Store) -> None:
        assert {table: len(packs(store, table)) for table in TABLES} == dict.fromkeys(TABLES, 1)

    assert killed_at_every_step(template, tmp_path, each_step, one_pack_a_table) > 30


def test_killed_while_packs_are_put_together(
    tmp_path: Path, each_step: Callable[..., None]
) -> None:
    template = fill(Store(str(tmp_path / "template")), "ab", "f")
    compact(template)
    fill(template, "bx", "")  # one of them stands in the pack, too
    add_uses(template, "a", [("other", "label")])
    killed_at_every_step(template, tmp_path, each_step, lambda store: None)


def test_readers_see_every_row_once_at_every_step(
    store: Store, each_step: Callable[..., None]
) -> None:
    compact(store)
    fill(store, "bx", "g")
    before = seen(store)
    steps = []

    def look(number: int) -> None:
        if not steps or steps[-1] is not None:  # what the reader does is no step
            steps.append(None)
            assert seen(store) == before, number
            steps[-1] = number

    each_step(look)
    compact(store)
    assert len(steps) > 20


def test_a_listing_made_while_files_go_is_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The names were read before the packs came, the files are gone after."""
    before, plain, asked = seen(store), Store.names, []

    def names(self: Store, folder: str, suffix: str = "") -> list[str]:
        found = plain(self, folder, suffix)
        asked.append(folder)
        if len(asked) == 1:
            compact(Store(store.url))
            return []  # the old names were gone when it came to them, the new ones not yet there
        return found

    monkeypatch.setattr(Store, "names", names)
    assert sorted(load_trials(store)["id"].to_pylist()) == ["a", "b", "c", "d", "f"]
    monkeypatch.undo()
    assert seen(store) == before


def test_files_that_go_between_listing_and_reading(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = listing.listed, []

    def listed(*arguments: object) -> object:
        found = plain(*arguments)  # type: ignore[arg-type]
        asked.append(found)
        if len(asked) == 1:
            monkeypatch.setattr(listing, "listed", plain)
            compact(Store(store.url))
        return found

    monkeypatch.setattr(listing, "listed", listed)
    assert load_images(store).num_rows == 4 * 6
    fill(store, "x", "")
    blocks = image_blocks(store, ["x", "a"])
    found = {trial_id for block in blocks for trial_id, _ in block.spots}
    assert found == {"a", "x"}


def test_what_is_written_meanwhile_stays(store: Store, each_step: Callable[..., None]) -> None:
    """A row told of a sweep, a failed trial that ends well, a new trial."""
    written = []

    def drive(number: int) -> None:
        if packs(store, "trials") and not written:
            written.append(number)
            add_uses(store, "a", [("other", "label")])
            fill(store, "fn", "")

    each_step(drive)
    compact(store)
    each_step(lambda number: None)
    assert written

    def check() -> None:
        rows = {r["id"]: r for r in load_trials(store).to_pylist()}
        assert sorted(rows) == ["a", "b", "c", "d", "f", "n"]
        assert rows["a"]["sweeps"] == ["cpn/table4", "other"]
        assert rows["f"]["status"] == "done"
        assert load_images(store).num_rows == 6 * 6

    check()
    compact(store)
    check()
    assert not any(loose(store, table) for table in TABLES)


def test_a_trial_that_somebody_runs_again_is_left_alone(store: Store) -> None:
    with claim(store, "f", owner="a driver") as lease:  # type: ignore[union-attr]
        compact(store)
        assert loose(store, "trials") == ["f.arrow"]
        lease.require()
    assert load_trials(store).num_rows == 5
    compact(store)
    assert loose(store, "trials") == []


def test_two_at_once_wait_for_each_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen(store)
    with store.lock("compact"):
        waited = []

        def on_wait() -> None:
            waited.append(1)
            raise Killed

        with pytest.raises(Killed):
            compact(Store(store.url), on_wait=on_wait)
    assert waited
    assert seen(store) == before


def test_one_trial_of_many_costs_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    names = [f"{i:04d}" for i in range(3000)]
    content = {n: trial_table(row(n)) for n in names[:1]}
    one = content["0000"]
    rows = {n: one.set_column(1, "id", pa.array([n])) for n in names}
    store.write("trials/pack-000001-0123456789abcdef.arrow", encode("trials", rows))
    listing.write_stamp(store)
    read, plain = [], Pack.batch

    def batch(self: Pack, number: int) -> pa.Table:
        read.append(number)
        return plain(self, number)

    monkeypatch.setattr(Pack, "batch", batch)
    found = read_row(store, "2500")
    assert found is not None
    assert found["id"] == "2500"
    assert read == [2]


def test_damaged_newer_and_odd_files_are_left_and_told(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write("trials/x.arrow", b"damaged")
    store.write("images/a.arrow", store.read("images/a.arrow")[:-20])
    other = store.read_table("trials/b.arrow")
    store.write_table("trials/y.arrow", other)
    newer = {b"camsweep.schema": b"trials/9"}
    store.write_table("trials/z.arrow", other.replace_schema_metadata(newer))
    assert main(["results", "compact", "--store", store.url]) == 0
    told = capsys.readouterr().err
    for words in ("x.arrow: not a whole", "a.arrow: not a whole", "y.arrow: holds rows of another"):
        assert words in told
    assert "z.arrow: written by a newer camsweep" in told
    assert loose(store, "trials") == ["x.arrow", "y.arrow", "z.arrow"]
    assert loose(store, "images") == ["a.arrow"]
    assert load_images(store, ["b", "c", "d"]).num_rows == 18


def test_a_damaged_file_does_not_take_the_packed_row_with_it(store: Store) -> None:
    compact(store)
    store.write("trials/a.arrow", b"damaged")
    compact(store)
    store.delete("trials/a.arrow")
    row_of = read_row(store, "a")
    assert row_of is not None
    assert row_of["status"] == "done"
    assert load_trials(store).num_rows == 5


def test_columns_of_other_types_go_into_a_pack_of_their_own(store: Store) -> None:
    write_trial(store, "w", {"trials": trial_table(row("w", **{"config.s_n": "many"}))})
    assert compact(store).packed["trials"] == 6
    assert len(packs(store, "trials")) == 2
    found = read_row(store, "w")
    assert found is not None
    assert found["config.s_n"] == "many"
    assert read_row(store, "a")["config.s_n"] == 200  # type: ignore[index]


def test_a_damaged_pack_is_named(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    compact(store)
    (name,) = packs(store, "trials")
    store.write(f"trials/{name}", store.read(f"trials/{name}")[:-200])
    assert main(["status", "--store", store.url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{name}: not a whole pack" in line


def test_many_packs_of_a_limited_size(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "PACK_BYTES", 3 * store.sizes("images")["a.arrow"])
    monkeypatch.setattr(compacting, "SMALL_BYTES", 0)
    before = seen(store)
    compact(store)
    assert len(packs(store, "images")) == 2
    assert seen(store) == before
    for name in packs(store, "images"):
        assert open_pack(store, "images", name).spots


def test_a_pack_gives_back_what_went_in() -> None:
    parts = {name: tables(name, n)["images"] for n, name in enumerate("pqr")}
    pack = Pack("images", "x", pa.BufferReader(encode("images", parts)))
    for block in pack.blocks(["p", "r"]):
        for name, spot in block.spots:
            part = block.table.slice(spot.start, spot.rows)
            assert part["tp"].to_pylist() == parts[name]["tp"].to_pylist()
            assert part["image"].to_pylist() == parts[name]["image"].to_pylist()
    with pytest.raises(ValueError, match="one trial at least"):
        encode("images", {})
