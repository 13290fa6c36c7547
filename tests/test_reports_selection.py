"""Which trials stand in an artefact: failed ones, overrides, recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_store as synthetic
from table4_world import CELLS, TABLE4, filled_of, make, selection_of

from camsweep.reports import figures
from camsweep.reports.board import ranking
from camsweep.reports.board.text import leaderboard_caption
from camsweep.reports.build import Request, build
from camsweep.reports.cells import fits, gather, one_overrides
from camsweep.reports.load import choose, read_pictures, read_trials
from camsweep.reports.measure import Measurements
from camsweep.reports.naming import variant_names
from camsweep.reports.pictures import pictures
from camsweep.reports.spec import PicturesSpec, shipped
from camsweep.reports.text import grid, notes
from camsweep.reports.training import training
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.tables import trial_table


@pytest.mark.parametrize("bare", [False, True])
def test_failed_trials_are_told_with_the_done_ones_and_never_win(
    tmp_path: Path, bare: bool
) -> None:
    failing = frozenset(label for _, label in CELLS[:4])
    make(tmp_path, seeds=(0,), failing=failing, bare_failures=bare)
    store = make(tmp_path, seeds=(1, 2), missing=failing)
    other = {"digest": "ffff", "profile": "smoke"}
    everything = frozenset(label for _, label in CELLS)
    for seed in (0, 2):  # more rows than the other pair has, fewer of them done
        make(tmp_path, seeds=(seed,), failing=everything, bare_failures=bare, **other)
    make(tmp_path, seeds=(1,), missing=failing, **other)
    make(tmp_path, seeds=(0,), failing=everything, bare_failures=bare, profile="lost")
    selection = selection_of(store)
    assert (selection.profile, selection.data_digest) == ("embedded", "ab12cd34ef")
    assert selection.others == ("smoke on embedded (ffff), 1 trial",)
    assert {t.profile for t in selection.trials} == {"embedded"}
    only_failed = choose(read_trials(store), "lost", None)
    assert len(only_failed.trials) == 5
    filled = filled_of(store)
    assert {t.memberships[0][1] for t in filled.failed} == failing
    assert "Failed: cpn/table4 p_h=0.1, seed 0: out of memory" in notes(filled)


def test_trials_that_a_search_ended_early_are_no_failures(tmp_path: Path) -> None:
    """Four done and one stopped: nothing failed, in the tables and on the page."""
    store = make(tmp_path / "s", seeds=(0,), failing=frozenset({"p_h=0.3"}))
    failed = next(row for row in load_trials(store).to_pylist() if row["status"] == "failed")
    name = f"trials/{failed['id']}.arrow"
    row = store.read_table(name).to_pylist()[0] | {"status": "stopped", "cause": "asha, epoch 2"}
    store.write_table(name, trial_table({k: v for k, v in row.items() if v is not None}))
    assert len(read_trials(store)) == 4
    filled = filled_of(store)
    assert not filled.failed
    assert len([hole for hole in filled.holes if "p_h=0.3" in hole.what]) == 1
    build(Request(store.url, tmp_path / "out", TABLE4, ("html",)), say=lambda _: None)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<dt>trials done</dt><dd>4</dd>" in page
    assert "<dt>failed</dt><dd>0</dd>" in page
    assert "asha, epoch 2" not in page


@pytest.mark.parametrize("bare", [False, True])
def test_a_store_where_all_failed_tells_all_failures(tmp_path: Path, bare: bool) -> None:
    bad = frozenset(label for _, label in CELLS)
    given = {"failing": bad, "seeds": (0,), "bare_failures": bare, "overrides": {"epochs": 1}}
    filled = filled_of(make(tmp_path, **given))
    assert len(filled.failed) == 5
    assert filled.unlike


def test_a_table_has_rows_of_one_set_of_overrides(tmp_path: Path) -> None:
    store = make(tmp_path, missing=frozenset({"p_h=0.5"}))
    make(tmp_path, overrides={"epochs": 1}, missing=frozenset({"p_h=0.1"}), day=1)
    filled = filled_of(store)
    assert filled.settings == "", "four cells each: the plain run"
    assert [line.values[0].hole for line in filled.lines] == [False] * 4 + [True]
    assert any(n.startswith("8 trials of runs with other --set settings") for n in filled.notes)
    assert "with --set" not in grid(filled).caption
    make(tmp_path, overrides={"epochs": 1}, day=1)
    filled = filled_of(store)
    assert filled.settings == "--set epochs=1"
    assert "profile embedded with --set epochs=1, 8 images" in grid(filled).caption
    assert not any(line.values[0].hole for line in filled.lines)
    selection = selection_of(store)
    cell = gather(selection, *CELLS[0], {"epochs": "1"})
    assert {t.config["epochs"] for t in cell.trials} == {1}
    assert len(cell.apart) == 2


def test_repeats_of_one_cell_do_not_outvote_the_others(tmp_path: Path) -> None:
    store = make(tmp_path, missing=frozenset({"p_h=0.4", "p_h=0.5"}))
    gone = frozenset(label for _, label in CELLS[1:])
    for recipe in ("a", "b", "c", "d", "e"):
        make(tmp_path, overrides={"epochs": 1}, missing=gone, recipe=recipe)
    assert one_overrides(selection_of(store), CELLS) == {}


def test_a_row_that_an_override_can_not_change_stands_beside_those_it_changes(
    tmp_path: Path,
) -> None:
    store = make(tmp_path, sweeps=("cpn/table1",), overrides={"s_n": 50})
    filled = filled_of(store, "cpn/table1")
    assert filled.settings == "--set s_n=50"
    measured = [line.name for line in filled.lines if line.values[-1].estimate]
    assert len(measured) == 4, "the baseline and SEAM have no s_n"
    trials = {t.method: t for t in read_trials(store)}
    assert trials["cam"].overrides == {}
    assert fits(trials["cam"], {"s_n": "50"})
    assert not fits(trials["cam"], {"epochs": "1"})
    assert fits(trials["cam"], {"epochs": "6"}), "it has 6 anyway"
    assert not fits(trials["cpn"], {})
    assert not fits(trials["cam"], {"method": "other"})
    tiny = replace(trials["cam"], config={"lr": 1e-05, "scales": [0.5, 1.0]})
    assert fits(tiny, {"lr": "1e-05", "scales": "[.5, 1]"})
    assert not fits(tiny, {"lr": "1e-05", "scales": "[1"})
    told = replace(tiny, overrides={"scales": "(0.5, 1.0)"})
    assert fits(told, told.overrides), "as it was told, however it is written"


def test_the_newest_of_a_variant_and_seed_counts(tmp_path: Path) -> None:
    store = make(tmp_path, day=1)
    again = make(tmp_path / "again")
    for name in again.names("trials", ".arrow"):
        # the same config under another id, as an older run might have left it
        row = again.read_table(f"trials/{name}").to_pylist()[0]
        row = {k: v for k, v in row.items() if v is not None} | {"overrides": {}}
        store.write_table(
            f"trials/x{name[1:]}", synthetic._row_table({**row, "id": "x" + row["id"][1:]})
        )
    selection = selection_of(store)
    cell = gather(selection, *CELLS[0], {})
    assert len(cell.trials) == 2
    assert cell.left_out == 2
    assert {t.finished.day for t in cell.trials if t.finished} == {2}
    board = ranking.leaderboard(selection, Measurements(store, selection.trials, resamples=20))
    assert len(board.entries) == 5
    assert board.left_out == 10
    assert {t.finished.day for e in board.entries for t in e.trials if t.finished} == {2}
    assert "10 older trials left out" in leaderboard_caption(board)


def test_recipes_are_never_averaged_and_tell_names_apart(tmp_path: Path) -> None:
    only = {"missing": frozenset(label for _, label in CELLS[1:])}
    store = make(tmp_path, recipe="cpn 1", **only)
    make(tmp_path, recipe="cpn 2", seeds=(0, 1, 2), **only)
    selection = selection_of(store)
    cell = gather(selection, *CELLS[0], {})
    assert {t.recipe for t in cell.trials} == {"cpn 2"}
    assert cell.left_out == 2
    board = ranking.leaderboard(selection, Measurements(store, selection.trials, resamples=20))
    assert sorted(len(e.trials) for e in board.entries) == [2, 3]
    assert sorted(e.name.rsplit(" (")[-1] for e in board.entries) == ["cpn 1)", "cpn 2)"]


def test_overrides_are_in_a_name_only_where_they_tell_it_apart() -> None:
    variants = {"a": ("x", {"e": 1}), "b": ("x", {"e": 1}), "c": ("y", {"e": 1})}
    settings = {"a": "", "b": "--set f=1", "c": "--set f=1"}
    assert variant_names(variants, settings) == {"a": "x", "b": "x (--set f=1)", "c": "y"}


def test_shape_takes_peak_and_ends_from_all_published_places(tmp_path: Path) -> None:
    everything = filled_of(make(tmp_path / "all"))
    assert everything.shape is not None
    assert everything.shape.published_peak == "p_h = 0.5"
    assert everything.shape.peak_measured
    assert everything.shape.unmeasured == ()
    filled = filled_of(make(tmp_path / "some", missing=frozenset({"p_h=0.1", "p_h=0.5"})))
    assert filled.shape is not None
    assert filled.shape.published_peak == "p_h = 0.5"
    assert filled.shape.ends == ()
    said = "\n".join(notes(filled))
    assert "The published peak p_h = 0.5 is not measured" in said
    assert "End p_h = 0.1 is not measured" in said
    assert "published at p_h = 0.4" not in said
    no_end = filled_of(make(tmp_path / "end", missing=frozenset({"p_h=0.1"})))
    assert no_end.shape is not None
    assert no_end.shape.ends == ()
    assert no_end.shape.unmeasured == ("p_h = 0.1",)
    assert "End p_h = 0.2" not in "\n".join(notes(no_end))


@pytest.mark.parametrize("overrides", [{}, {"epochs": 1}])
def test_pictures_are_those_of_the_trial(tmp_path: Path, overrides: dict[str, Any]) -> None:
    store = make(tmp_path, sweeps=("cpn/fig5",), overrides=overrides)
    selection = selection_of(store)
    trial = next(t for t in selection.trials if t.seed == 0)
    assert store.exists(f"artefacts/{trial.id}/pictures.safetensors")
    found = read_pictures(store, trial)
    assert found["val_00000/map"].shape == (6, 96, 96)
    assert found["val_00000/map"].dtype == np.uint8
    spec = shipped()["cpn/fig5"]
    assert isinstance(spec, PicturesSpec)
    tiles = pictures(spec, selection, store)
    assert tiles is not None
    assert all(tile is not None for _, row in tiles.rows for tile in row)


def test_training_epochs_are_whole_and_start_at_one(tmp_path: Path) -> None:
    store = make(tmp_path)
    selection = selection_of(store)
    board = ranking.leaderboard(selection, Measurements(store, selection.trials, resamples=20))
    shown = training([board], store)
    assert shown is not None
    figure = shown.figures[0].figure
    assert figure is not None
    assert list(figure.data[0].x) == [1, 2, 3, 4, 5, 6]
    assert figure.layout.xaxis.dtick == 1
    assert tuple(figure.layout.xaxis.range) == (0.5, 6.5)
    for last in (20, 21, 90, 1000):
        long = figures.losses([("a", list(range(1, last + 1)), [0.5] * last)], "loss")
        step = long.layout.xaxis.dtick
        assert step == int(step)
        assert last / step <= 20
