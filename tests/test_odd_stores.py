"""Reports and leaderboards of stores that are not as they should be, in every text format."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import synthetic_store as synthetic

from camsweep.platform.cli.main import main
from camsweep.reports.load import choose, read_counts, read_trials
from camsweep.shards.errors import InputError
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store

FORMATS = "html,tex,md,csv"
SWEEPS = ("cpn/table4",)


def make(folder: Path, **more: Any) -> Store:
    return synthetic.make(folder, sweeps=SWEEPS, images=12, **more)


def shown(store: Store, out: Path) -> str:
    """The page of a report made in all text formats, and of the leaderboard in its own."""
    words = ["report", "--store", store.url, "--out", str(out), "--format", FORMATS]
    assert main(words) == 0
    return (out / "index.html").read_text("utf-8")


def board(store: Store, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The leaderboard in every format; its rows."""
    for form in ("table", "md", "tex", "csv"):
        assert main(["leaderboard", "--store", store.url, "--format", form]) == 0
    capsys.readouterr()
    assert main(["leaderboard", "--store", store.url, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows: list[dict[str, Any]] = found if isinstance(found, list) else found["entries"]
    return rows


def change(store: Store, table: str, edit: Callable[[pa.Table], pa.Table], number: int = 1) -> str:
    """Edit the table of the first trials of a store; the id of the last of them."""
    name = ""
    for name in store.names(table, ".arrow")[:number]:
        store.write_table(f"{table}/{name}", edit(store.read_table(f"{table}/{name}")))
    return name.removesuffix(".arrow")


def with_column(table: pa.Table, column: str, values: Any) -> pa.Table:
    place = table.schema.get_field_index(column)
    kind = table.schema.field(column).type
    return table.set_column(place, column, pa.array(values, kind))


def total(store: Store, trial_id: str) -> np.ndarray:
    (trial,) = [t for t in read_trials(store) if t.id == trial_id]
    ((_, counts),) = read_counts(store, [trial])
    whole: np.ndarray = counts.values.sum(axis=0)
    return whole


def miou(whole: np.ndarray) -> float:
    """Mean over the classes that are in a mask or a prediction."""
    union = whole.sum(axis=1)
    return float(np.mean([c[0] / u for c, u in zip(whole, union, strict=True) if u]))


def test_no_trials_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path / "store"))
    (tmp_path / "store" / "trials").mkdir(parents=True)
    page = shown(store, tmp_path / "out")
    assert "No trials yet" in page
    assert "camsweep run cpn/table4" in page
    assert main(["leaderboard", "--store", store.url]) == 0
    told = capsys.readouterr()
    assert "the store holds no trials yet; start with" in told.err
    assert told.out.splitlines()[-1] == "No trial is done yet."
    assert board(store, capsys) == []
    assert main(["report", "--store", str(tmp_path / "no"), "--out", str(tmp_path / "x")]) == 2
    assert "no results there" in capsys.readouterr().err


def test_failed_trials_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make(tmp_path / "store", seeds=(0,), failing=frozenset(labels()), cause="<b>lost</b>")
    page = shown(store, tmp_path / "out")
    assert "&lt;b&gt;lost&lt;/b&gt;" in page
    assert "<b>lost</b>" not in page
    assert board(store, capsys) == []


def labels() -> list[str]:
    return [label for label, _ in load_sweep(SWEEPS[0]).cells()]


def test_one_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make(tmp_path / "store", seeds=(0,))
    shown(store, tmp_path / "out")
    rows = board(store, capsys)
    assert rows
    for one in rows:
        assert one["seeds"] == 1
        (same,) = [
            t
            for t in read_trials(store)
            if math.isclose(_points(one), 100 * miou(total(store, t.id)))
        ][:1]
        assert same.seed == 0


def _points(one: Mapping[str, Any]) -> float:
    value = float(one["miou"] if "miou" in one else one["mean"])
    return value if value > 1 else 100 * value


def test_newer_trials_are_left_out_by_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make(tmp_path / "store")
    whole = len(read_trials(store))
    newer = {b"camsweep.schema": b"trials/7"}
    change(store, "trials", lambda t: t.replace_schema_metadata(newer), 2)
    told = "2 files of a newer camsweep (table format 7) left out"
    assert told in shown(store, tmp_path / "out")
    assert told in capsys.readouterr().err
    assert len(read_trials(store)) == whole - 2
    board(store, capsys)


def test_nothing_but_newer_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make(tmp_path / "store", seeds=(0,))
    newer = {b"camsweep.schema": b"trials/7"}
    change(store, "trials", lambda t: t.replace_schema_metadata(newer), 1000)
    page = shown(store, tmp_path / "out")
    assert "No trials yet" in page
    assert "of a newer camsweep (table format 7) left out" in page
    assert board(store, capsys) == []
    assert main(["status", "--store", store.url]) == 2  # a run must not take them for missing


def test_older_trials_without_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make(tmp_path / "store")
    first = board(store, capsys)
    kept = ("id", "sweeps", "labels", "method", "seed", "status", "profile", "data_name")

    def old(table: pa.Table) -> pa.Table:
        names = [n for n in table.column_names if n in kept or n.startswith(("config.", "metric."))]
        return table.select(names).replace_schema_metadata({b"camsweep.schema": b"trials/0"})

    change(store, "trials", old, 1000)
    shown(store, tmp_path / "out")
    again = board(store, capsys)
    assert [_points(one) for one in again] == [_points(one) for one in first]
    (trial, *_) = read_trials(store)
    assert math.isnan(trial.train_seconds)
    assert trial.classes == ()


def test_damaged_files_are_named_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make(tmp_path / "store")
    whole = read_trials(store)
    row, counts = whole[0].id, whole[1].id
    store.write(f"trials/{row}.arrow", store.read(f"trials/{row}.arrow")[:-40])
    store.write(f"images/{counts}.arrow", b"ARROW1 and then nothing")
    store.delete(f"images/{whole[2].id}.arrow")
    page = shown(store, tmp_path / "out")
    assert f"{row}.arrow: not a whole Arrow file" in page
    assert f"{counts}.arrow: not a whole Arrow file" in page
    assert "2 done trials without counts of images" in page
    assert "without counts" in capsys.readouterr().err
    assert {t.id for t in read_trials(store)} == {t.id for t in whole} - {row}
    board(store, capsys)


def test_a_damaged_pack_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = make(tmp_path / "store")
    assert main(["results", "compact", "--store", store.url]) == 0
    (name,) = store.names("images")
    store.write(f"images/{name}", store.read(f"images/{name}")[:-100])
    page = shown(store, tmp_path / "out")
    assert f"{name}: not a whole pack" in page
    assert "done trials without counts" in page
    board(store, capsys)


def test_classes_never_predicted_and_in_no_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make(tmp_path / "store", seeds=(0,))

    def edit(table: pa.Table) -> pa.Table:
        klass = np.asarray(table["class"])
        tp, fp, fn = (np.asarray(table[n]).copy() for n in ("tp", "fp", "fn"))
        fn[klass == 2] += tp[klass == 2] + 1  # in the masks, never predicted
        tp[klass == 2] = fp[klass == 2] = 0
        tp[klass == 3] = fp[klass == 3] = fn[klass == 3] = 0  # in nothing
        first = np.asarray(table["image"].to_pylist()) == "val_00000"
        tp[first & (klass > 0)] = fp[first & (klass > 0)] = fn[first & (klass > 0)] = 0
        for name, values in (("tp", tp), ("fp", fp), ("fn", fn)):
            table = with_column(table, name, values)
        return table

    change(store, "images", edit, 1000)
    shown(store, tmp_path / "out")
    expected = sorted((100 * miou(total(store, t.id)) for t in read_trials(store)), reverse=True)
    assert [_points(one) for one in board(store, capsys)] == pytest.approx(expected)
    some = total(store, read_trials(store)[0].id)
    assert some[2, 0] == 0
    assert some[3].sum() == 0


@pytest.mark.parametrize("value", [math.nan, None])
def test_metrics_that_are_no_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float | None
) -> None:
    store = make(tmp_path / "store")
    names = ("metric.miou_raw", "metric.miou_refined", "metric.miou_scale_1")

    def edit(table: pa.Table) -> pa.Table:
        for name in names:
            if name in table.column_names:
                table = with_column(table, name, [value])
        return table

    first = board(store, capsys)
    change(store, "trials", edit, 1000)
    page = shown(store, tmp_path / "out")
    assert "nan" not in _visible(page)
    assert board(store, capsys) == first  # of counts
    for path in (tmp_path / "out").glob("*.csv"):
        for line in csv.reader(io.StringIO(path.read_text())):
            assert "nan" not in line


def _visible(page: str) -> list[str]:
    """The words of the page outside scripts."""
    text = "".join(part.partition("</script>")[2] for part in page.split("<script"))
    return text.replace("<", " ").replace(">", " ").lower().split()


def test_counts_that_cannot_be_right_are_not_used(tmp_path: Path) -> None:
    store = make(tmp_path / "store", seeds=(0,))
    twice = change(store, "images", lambda t: pa.concat_tables([t, t.slice(0, 1)]))
    told: list[str] = []
    trials = read_trials(store)
    found = dict(read_counts(store, trials, lambda one: told.append(one.reason)))
    assert set(found) == {t.id for t in trials} - {twice}
    assert told == [
        f"images/{twice}.arrow: no counts that can be used (an image has a class twice)"
    ]


def test_columns_of_another_type_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make(tmp_path / "store")

    def edit(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index("seed")
        return table.set_column(place, "seed", pa.array([["1"]], pa.list_(pa.string())))

    whole = len(read_trials(store))
    name = change(store, "trials", edit, 2)
    page = shown(store, tmp_path / "out")
    assert f"{name}.arrow: a column of another type" in page
    assert len(read_trials(store)) == whole - 2
    board(store, capsys)
    with pytest.raises(InputError, match="another type"):
        load_trials(store)


def test_only_the_asked_group_of_a_store_with_odd_files(tmp_path: Path) -> None:
    store = make(tmp_path / "store", seeds=(0,))
    make(tmp_path / "store", seeds=(0,), profile="voc12", digest="ff")
    selection = choose(read_trials(store), "voc12", None)
    assert {t.profile for t in selection.trials} == {"voc12"}


def test_counts_that_break_off_within_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make(tmp_path / "store", seeds=(0,))
    (name, *_) = store.names("images", ".arrow")
    path = tmp_path / "store" / "images" / name
    content = bytearray(path.read_bytes())
    middle = len(content) // 3  # within the columns: the file's two ends are whole
    content[middle : middle + 40] = bytes(byte ^ 0xFF for byte in content[middle : middle + 40])
    path.write_bytes(bytes(content))
    page = shown(store, tmp_path / "out")
    assert "left out" in page
    assert name in page
    assert name in capsys.readouterr().err
