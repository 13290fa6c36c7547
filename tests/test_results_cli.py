from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compact_world import fill, made, row
from typer.testing import CliRunner

from camsweep.platform.cli.main import app, main
from camsweep.sweeps.results import load_images, load_trials, write_trial
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import trial_table


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return made(tmp_path / "store")


def ask(store: Store, query: str, *more: str) -> int:
    return main(["results", "sql", "--store", store.url, *more, query])


def answer(store: Store, query: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert ask(store, query, "--format", "json") == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("compacted", [False, True])
def test_sql_sums_counts(store: Store, capsys: pytest.CaptureFixture[str], compacted: bool) -> None:
    pytest.importorskip("duckdb", reason="duckdb is not installed")
    if compacted:
        main(["results", "compact", "--store", store.url])
        capsys.readouterr()
    query = (
        'SELECT id, "metric.miou" AS miou, sum(tp) AS tp FROM trials JOIN images '
        "ON id = trial_id GROUP BY ALL ORDER BY id"
    )
    found = answer(store, query, capsys)
    rows = {r["id"]: r for r in load_trials(store).to_pylist()}
    assert [r["id"] for r in found] == ["a", "b", "c", "d"]
    for one in found:
        assert one["tp"] == sum(load_images(store, [str(one["id"])])["tp"].to_pylist())
        assert one["miou"] == rows[one["id"]]["metric.miou"]


def test_sql_in_every_format(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("duckdb", reason="duckdb is not installed")
    query = (
        'SELECT id, labels, versions, "metric.odd" AS odd, 1 AS id FROM trials ORDER BY 1 LIMIT 1'
    )
    (one,) = answer(store, query, capsys)
    assert one == {
        "id": "a", "labels": ["of a"], "versions": {"torch": "2"}, "odd": None, "id_2": 1,
    }  # fmt: skip
    assert ask(store, query, "--format", "csv") == 0
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert lines == [["id", "labels", "versions", "odd", "id_2"],
                     ["a", '["of a"]', '{"torch": "2"}', "nan", "1"]]  # fmt: skip
    assert ask(store, "SELECT '[bold]x[/bold]' AS \"[red]y\"") == 0
    told = capsys.readouterr().out
    assert "[bold]x[/bold]" in told
    assert "[red]y" in told


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM read_text('{secret}')", "file system operations are disabled"),
        ("SELECT * FROM '{secret}'", "file system operations are disabled"),
        ("SELECT * FROM glob('/*')", "disabled"),
        ("COPY trials TO '{secret}'", "must be one SELECT"),
        ("DELETE FROM trials", "must be one SELECT"),
        ("SET enable_external_access = true", "must be one SELECT"),
        ("ATTACH '{secret}' AS x", "must be one SELECT"),
        ("SELECT 1; SELECT 2", "must be one SELECT"),
        ("", "must be one SELECT"),
        ("SELECT * FROM store", "does not exist"),
        ("SELECT nothing FROM trials", "nothing"),
        ("SELEC 1", "syntax error"),
    ],
)
def test_sql_reads_tables_and_nothing_else(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], query: str, words: str
) -> None:
    pytest.importorskip("duckdb", reason="duckdb is not installed")
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert ask(store, query.format(secret=secret)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert secret.read_text() == "a,b\n1,2\n"


def test_sql_without_duckdb_says_how_to_get_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert ask(store, "SELECT 1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'camsweep[sql]'" in line


def export(store: Store, out: Path, form: str) -> dict[str, bytes]:
    words = ["results", "export", "--store", store.url, "--out", str(out), "--format", form]
    assert main(words) == 0
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export_is_the_same_loose_and_compacted(store: Store, tmp_path: Path, form: str) -> None:
    first = export(store, tmp_path / "first", form)
    assert set(first) == {f"{t}.{form}" for t in ("trials", "epochs", "images", "curves")}
    assert export(store, tmp_path / "again", form) == first
    assert main(["results", "compact", "--store", store.url]) == 0
    assert export(store, tmp_path / "compacted", form) == first


def test_what_is_exported(store: Store, tmp_path: Path) -> None:
    fill(store, "", "")
    write_trial(store, "e", {"trials": trial_table(row("e", **{"config.grid_sizes": [56, 112]}))})
    export(store, tmp_path / "p", "parquet")
    trials = pq.read_table(tmp_path / "p" / "trials.parquet")
    assert trials["id"].to_pylist() == ["a", "b", "c", "d", "e", "f"]
    more = [n for n in trials.column_names if "." in n]
    assert more == sorted(more)
    assert trials.column_names[-len(more) :] == more
    assert trials["config.grid_sizes"].to_pylist() == [None] * 4 + [[56, 112], None]
    images = pq.read_table(tmp_path / "p" / "images.parquet")
    stored = load_images(store).sort_by([(n, "ascending") for n in ("trial_id", "image", "class")])
    assert images.to_pylist() == stored.to_pylist()
    assert not pa.types.is_dictionary(images.schema.field("image").type)
    export(store, tmp_path / "c", "csv")
    lines = list(csv.DictReader((tmp_path / "c" / "trials.csv").open()))
    assert lines[4]["config.grid_sizes"] == "[56, 112]"
    assert lines[0]["versions"] == '{"torch": "2"}'
    assert lines[5]["metric.miou"] == ""


def test_an_export_that_fails_leaves_nothing(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write("images/c.arrow", b"damaged")
    out = tmp_path / "out"
    words = ["results", "export", "--store", store.url, "--out", str(out), "--table", "images"]
    assert main(words) == 2
    assert "c.arrow: not a whole Arrow file" in capsys.readouterr().err
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["export", "--format", "parket"], "--format parket: not a format; did you mean 'parquet'"),
        (["export", "--table", "image"], "--table image: not a table; did you mean 'images'"),
        (["export", "--table", ","], "--table: empty"),
        (["sql", "--format", "xml", "SELECT 1"], "--format xml: not a format"),
    ],
)
def test_wrong_words_are_one_line(
    store: Store, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", *words, "--store", store.url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize("command", ["compact", "export", "sql"])
def test_no_store_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["SELECT 1"] if command == "sql" else []
    assert main(["results", command, "--store", str(tmp_path / "no"), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no results there" in line
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("command", ["compact", "export", "sql"])
def test_help_has_examples(command: str) -> None:
    told = CliRunner().invoke(app, ["results", command, "--help"]).output
    assert f"camsweep results {command}" in told
