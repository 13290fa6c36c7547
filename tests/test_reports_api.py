"""Reports in notebooks: tables equal the CSV, columns have types and units, errors are clear."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import synthetic_store as synthetic

from camsweep.reports.api import StoreReport, open_report
from camsweep.reports.board.ofstore import rank
from camsweep.reports.exhibit import Records
from camsweep.reports.formats.arrow import arrow_table
from camsweep.reports.formats.tables import csv_cell
from camsweep.shards.errors import InputError
from camsweep.sweeps.spec import load_sweep

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("store")
    synthetic.make(
        folder, images=8, missing=frozenset({"s_n=4000"}), failing=frozenset({"p_h=0.3"})
    )
    return str(folder)


@pytest.fixture(scope="module")
def report(store: str) -> StoreReport:
    return open_report(store, resamples=50)


def test_every_table_equals_its_csv(report: StoreReport, tmp_path: Path) -> None:
    written = report.save(str(tmp_path), "csv")
    names = {path.stem for path in written}
    assert names == {name.replace("/", "-") for name in report.tables}
    for name, table in report.tables.items():
        path = tmp_path / f"{name.replace('/', '-')}.csv"
        with path.open(newline="", encoding="utf-8") as lines:
            heading, *rows = csv.reader(lines)
        assert heading == table.column_names
        assert len(rows) == table.num_rows > 0
        for row, record in zip(rows, table.to_pylist(), strict=True):
            for text, value in zip(row, record.values(), strict=True):
                if isinstance(value, float):
                    assert float(text) == value
                else:
                    assert text == ("" if value is None else str(csv_cell(value)))


def test_columns_have_their_types_even_where_nothing_is_known(report: StoreReport) -> None:
    table = report.tables["cpn/fig6"]
    fields = [field for one in report.tables.values() for field in one.schema]
    assert not any(pa.types.is_null(field.type) for field in fields)
    types = {field.name: field.type for field in table.schema}
    assert types["difference"] == types["published"] == types["effect_low"] == pa.float64()
    assert table["difference"].null_count == table.num_rows, "other data: all of it missing"
    assert types["seeds"] == types["images"] == pa.int64()
    assert types["ours"] == types["comparable"] == pa.bool_()
    board = report.tables["leaderboard"].schema
    assert board.field("tied").type == pa.list_(pa.int64())
    assert board.field("labels").type == pa.list_(pa.string())
    missing = dict(zip(table["row"].to_pylist(), table["mean"].to_pylist(), strict=True))["4000"]
    assert missing is None


def test_types_of_odd_columns() -> None:
    rows = [
        {"mean": 1, "mixed": 1, "share": 0.5, "n": 2, "words": "a", "some": [1, "b"], "rank": None},
        {"mean": float("nan"), "mixed": "x", "share": 1, "n": 2.5, "words": None, "some": []},
    ]
    columns = ("mean", "mixed", "share", "n", "words", "some", "rank", "tied", "config.x", "ours")
    table = arrow_table(Records(columns, rows), {"a": "b"})
    assert [str(field.type) for field in table.schema] == [
        "double", "string", "double", "double", "string", "list<item: string>", "int64",
        "list<item: int64>", "string", "bool",
    ]  # fmt: skip
    assert table["mean"].to_pylist() == [1.0, None]
    assert table["mixed"].to_pylist() == ["1", "x"]
    assert table["some"].to_pylist() == [["1", "b"], []]
    assert arrow_table(Records(columns, []), {}).num_rows == 0


def test_units_and_provenance(report: StoreReport, store: str) -> None:
    schema = report.tables["leaderboard"].schema
    assert schema.field("mean").metadata == {b"unit": b"percent"}
    assert schema.field("train_seconds").metadata == {b"unit": b"seconds"}
    assert schema.field("variant").metadata is None
    facts = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    assert facts["camsweep.data_digest"] == "ab12cd34ef"
    assert facts["camsweep.profile"] == "embedded"
    assert facts["camsweep.commits"] == "0123456789ab"
    assert "torch 2.15.0" in facts["camsweep.versions"]
    assert facts["camsweep.seeds"] == "0, 1, 2"
    assert facts["camsweep.store"] == store
    effect = report.tables["cpn/table4"].schema.field("effect_mean")
    assert effect.metadata == {b"unit": b"percentage points"}


def test_a_table_holds_what_was_measured(report: StoreReport) -> None:
    """The mean of a row against the counts that the store was made of."""
    table = report.tables["cpn/table4"]
    settings = dict(load_sweep("cpn/table4").cells())["p_h=0.1"]
    found = []
    for seed in range(3):
        total = synthetic.counts({**synthetic.CPN, **settings}, seed, 8, 0.008).sum(axis=0)
        total = total[total.sum(axis=1) > 0]  # a class that is in no mask and no map counts nothing
        found.append(100 * float(np.mean(total[:, 0] / total.sum(axis=1))))
    row = table.filter(pc.equal(table["row"], "p_h = 0.1")).to_pylist()[0]
    assert row["mean"] == pytest.approx(np.mean(found))
    assert row["low"] < row["mean"] < row["high"]
    assert row["seeds"] == 3


def test_figures_notes_and_captions(report: StoreReport) -> None:
    figure = report.figures["cpn/fig6"]
    assert isinstance(figure, go.Figure)
    assert figure is report.figures["cpn/fig6"]
    assert set(report.figures) >= {"cpn/fig5", "cpn/fig6", "cpn/fig7", "training"}
    assert any("camsweep run cpn/fig6" in note for note in report.notes("cpn/fig6"))
    assert "ab12cd34" in report.caption("cpn/fig6")
    assert report.notes("training") == ()


def test_the_leaderboard_by_metric_and_filter(report: StoreReport, store: str) -> None:
    whole = report.leaderboard()
    assert whole.equals(report.tables["leaderboard"])
    other = report.leaderboard("foreground_iou", method="cpn", top=3)
    assert set(other["metric"].to_pylist()) == {"foreground_iou"}
    assert other.num_rows == 3
    board = rank(store, "foreground_iou", say=lambda _: None)
    best = next(e for e in board.entries if e.method == "cpn")
    assert other["variant"][0].as_py() == best.name
    assert other["mean"][0].as_py() == pytest.approx(100 * best.estimate.mean)
    with pytest.raises(InputError, match="did you mean 'method'"):
        report.leaderboard(methd="cpn")
    with pytest.raises(InputError):
        report.leaderboard("no_such_metric")


def test_it_shows_what_is_inside_and_escapes_it(tmp_path: Path) -> None:
    made = synthetic.make(
        tmp_path, images=4, seeds=(0, 1), sweeps=("cpn/table4",), profile=EVIL, data_name=EVIL
    )
    report = open_report(made.url, artefacts="cpn/table4", resamples=20)
    assert "cpn/table4" in repr(report)
    assert EVIL in repr(report)
    markup = report._repr_html_()
    assert "cpn/table4" in markup
    assert "<img" not in markup
    assert "cpn/fig6" not in repr(report.tables)


def test_errors_are_one_line(store: str, tmp_path: Path, report: StoreReport) -> None:
    with pytest.raises(InputError, match="no results there"):
        open_report(str(tmp_path / "none"))
    with pytest.raises(InputError, match="did you mean 'cpn/fig6'"):
        open_report(store, artefacts=["cpn/fig66"])
    with pytest.raises(InputError, match="no such trials"):
        open_report(store, profile="voc12").tables  # noqa: B018
    for asked in (report.tables, report.figures):
        with pytest.raises(InputError, match="did you mean"):
            asked["cpn/fig66"]
        assert "cpn/fig66" not in asked
        assert asked.get("cpn/fig66") is None
    with pytest.raises(InputError, match="not in this report"):
        report.notes("x")
    with pytest.raises(InputError, match="not a format"):
        report.save(str(tmp_path), "gif")


def test_nothing_is_computed_before_it_is_asked_for(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    monkeypatch.setattr("camsweep.reports.api.assemble", never)
    report = open_report(store)
    with pytest.raises(AssertionError, match="computed"):
        report.tables["leaderboard"]


def test_other_profiles_are_told_of(tmp_path: Path) -> None:
    common = {"images": 4, "seeds": (0, 1), "sweeps": ("cpn/table4",)}
    synthetic.make(tmp_path, **common)  # type: ignore[arg-type]
    synthetic.make(tmp_path, profile="voc12", missing=frozenset({"p_h=0.1"}), **common)  # type: ignore[arg-type]
    report = open_report(str(tmp_path), resamples=20)
    assert report.tables
    assert any("voc12" in line for line in report.messages)
