"""Leaderboards, curves and pictures of a store whose trials measured different things."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic_store as synthetic
from reports_world import World

from camsweep.reports.board.filters import Filters
from camsweep.reports.board.ofstore import rank
from camsweep.reports.board.text import leaderboard_caption
from camsweep.reports.build import Request, build
from camsweep.reports.load import read_epochs
from camsweep.reports.own.filling import Sheet, fill_form
from camsweep.reports.report import Report, assemble
from camsweep.reports.site.gallery import gallery, pictured
from camsweep.reports.training import training
from camsweep.shards.errors import InputError
from camsweep.sweeps.forms import Form, FormCell
from camsweep.sweeps.store import Store

KINDS = ("segmentation on val", "maps on train", "pseudo masks on train")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return synthetic.make(tmp_path_factory.mktemp("kinds"), sweeps=synthetic.CHAINS, images=8)


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    return assemble(store.url, resamples=60)


def test_what_was_measured_on_different_things_is_never_ranked_as_one(report: Report) -> None:
    assert sorted(board.kind for board in report.own_boards) == sorted(KINDS)
    assert report.board.kind == KINDS[0], "that of most trials"
    for board in report.own_boards:
        assert board.key.endswith(f": {board.kind}")
        assert [e.rank for e in board.entries] == list(range(1, len(board.entries) + 1))
        what = {e.stage for e in board.entries}
        maps = board.kind.startswith("maps")
        assert what <= {"raw map", "IS-CAM"} if maps else what == {board.kind.split(" on ")[0]}
        assert f"Of {board.kind}: " in leaderboard_caption(board)
        labels = {label for e in board.entries for label in e.labels}
        assert ("sipe/table1 sipe + crf" in labels) == (board.kind == KINDS[2])
        assert ("cpn/table5 cpn" in labels) == (board.kind == KINDS[0])


def test_names_tell_the_stages_that_differ(report: Report) -> None:
    names = {label: e.name for e in report.board.entries for label in e.labels}
    assert names["cpn/table5 cpn + crf"] == f"{names['cpn/table5 cpn']}, segment_crf=seamv1"
    assert "refine=irn, segment=deeplab_v2" in names["sipe/table2 sipe R101"]
    assert "refine=crf, segment=deeplab_v1" in names["sipe/table3 sipe R38"]
    assert "†" not in "".join(names.values()), "no labels of maps"


def test_the_command_ranks_what_most_trials_measured_and_says_what_else_there_is(
    store: Store,
) -> None:
    said: list[str] = []
    board = rank(store.url, say=said.append)
    assert board.kind == KINDS[0]
    assert said == [
        "left out: maps on train, 9 trials (choose with --stage)",
        "left out: pseudo masks on train, 9 trials (choose with --stage)",
    ]
    for stage, kind in (("Pseudo masks", KINDS[2]), ("IS-CAM", KINDS[1])):
        board = rank(store.url, say=said.append, filters=Filters(stage=stage))
        assert board.kind == kind
        assert {e.stage.casefold() for e in board.entries} == {stage.casefold()}
    with pytest.raises(InputError, match="did you mean 'segmentation'"):
        rank(store.url, say=said.append, filters=Filters(stage="segmentatoin"))


@pytest.mark.parametrize(
    ("metric", "kind", "entries"),
    [
        ("miou_segment", KINDS[0], 8),
        ("miou_pseudo", KINDS[2], 11),
        ("miou_maps", KINDS[1], 11),
        ("miou_raw", KINDS[1], 14),
    ],
)
def test_a_metric_of_a_stage_ranks_all_that_have_it(
    store: Store, metric: str, kind: str, entries: int
) -> None:
    board = rank(store.url, metric, say=lambda line: None)
    assert board.kind in (kind, "")
    assert len(board.entries) == entries
    assert {e.stage for e in board.entries} <= {
        kind.split(" on ")[0],
        "raw map",
        "refined map",
        "IS-CAM",
    }


def test_every_board_of_the_selection_has_files_and_a_place_on_the_page(
    store: Store, tmp_path: Path
) -> None:
    build(
        Request(store.url, tmp_path, formats=("html", "csv"), resamples=40), say=lambda line: None
    )
    for stem in ("leaderboard", "leaderboard-maps-on-train", "leaderboard-pseudo-masks-on-train"):
        assert (tmp_path / f"{stem}.csv").exists()
    page = (tmp_path / "index.html").read_text()
    assert all(f"embedded on embedded (ab12cd34): {kind}" in page for kind in KINDS)


def test_one_kind_is_a_leaderboard_as_ever(tmp_path: Path) -> None:
    made = synthetic.make(tmp_path, sweeps=("cpn/table4",), images=4)
    found = assemble(made.url, resamples=20)
    assert [board.kind for board in found.boards] == [""]
    assert found.board.key == "embedded on embedded (ab12cd34)"


def test_every_loss_is_drawn_over_its_own_rows(store: Store, report: Report) -> None:
    shown = training(report.own_boards, store)
    assert shown is not None
    assert [figure.name for figure in shown.figures] == ["", "affinity", "segment"]
    epochs = {"": 6, "affinity": 3, "segment": 3}
    for drawn in shown.figures:
        for trace in drawn.figure.data:
            assert list(trace.x) == list(range(1, epochs[drawn.name] + 1))
            assert np.isfinite(list(trace.y)).all()
    curves = {figure.name: figure.figure.data for figure in shown.figures}
    # CPN with and without a CRF at the test, and SIPE's two networks on IRN's masks: one training.
    assert len(curves["affinity"]) == 3
    assert len(curves["segment"]) == 7
    named = next(e for e in report.board.entries if "cpn/table5 cpn" in e.labels)
    rows = read_epochs(store, named.trials)
    mean = np.mean([[r["loss.segment.loss"] for r in rows[t.id]][9:] for t in named.trials], axis=0)
    assert any(np.allclose(list(trace.y), mean) for trace in curves["segment"])
    assert [r["loss.cls"] is None for r in rows[named.trials[0].id]] == [False] * 6 + [True] * 6


def test_the_browser_has_the_masks_of_each_stage(store: Store, report: Report) -> None:
    found = gallery(pictured(report.own_boards), store)
    assert found is not None
    segmented = [v for v in found.variants if "segment" in v.maps]
    assert segmented
    assert all(v.name.endswith(" on val)") for v in segmented)
    keys = [shot.key for shot in found.shots]
    for variant in segmented:
        for kind in ("segment", "pseudo", "map"):
            there = {key[:3] for key, x in zip(keys, variant.maps[kind], strict=True) if x}
            assert there == ({"seg"} if kind == "segment" else {"val"})
        layer = next(x for x in variant.maps["segment"] if x)
        assert layer.score is None
        assert layer.winner is not None
    of_maps = [e for b in report.own_boards if b.kind == KINDS[1] for e in b.entries]
    assert gallery(of_maps, store) is None, "their trials stored no pictures"


def own(world: World, **labels: tuple[str, str]) -> Sheet:
    """A sweep of one's own whose rows are those trials, the first one the reference."""
    trials = [
        replace(t, memberships=(("mine", label),))
        for label, cell in labels.items()
        for t in world.selection.trials
        if cell in t.memberships
    ]
    selection = replace(world.selection, trials=tuple(trials))
    cells = tuple(FormCell(label=label, settings={}) for label in labels)
    form = Form(name="mine", path="mine.yaml", title="t", compare=next(iter(labels)), cells=cells)
    return fill_form(form, selection, world.measurements, "STORE")


def test_own_sweeps_compare_no_splits(store: Store) -> None:
    world = World(store)
    maps, pseudo, segment = (
        ("sipe/table1", "sipe"),
        ("sipe/table1", "sipe + crf"),
        ("sipe/table2", "sipe R38"),
    )
    same = own(world, maps=maps, pseudo=pseudo)
    assert same.rows[1].effect is not None, "of the same images"
    assert same.notes == ("Rows measure different things: maps and pseudo masks on train.",)
    other = own(world, maps=maps, segment=segment)
    assert other.rows[1].estimate is not None
    assert other.rows[1].effect is None
    (note,) = other.notes
    assert note.endswith(
        "maps on train; segmentation on val. Between different splits there is no effect."
    )
    assert own(world, one=maps).notes == ()
