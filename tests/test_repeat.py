"""The audit: repeats run from nothing beside the store, are compared bit by bit, and are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console
from s3_server import Bucket, s3, server
from synthetic_store import make
from tiny import build_data, write_profile, write_sweep

from camsweep.platform.execute import Outcome, Where, execute
from camsweep.platform.prepare import Prepared, Request, prepare
from camsweep.platform.repeat import Audit, audit, lines, scratch_folder
from camsweep.reports.board.grids import leaderboard_grid
from camsweep.reports.board.ofstore import rank
from camsweep.reports.board.records import board_records
from camsweep.reports.board.text import leaderboard_caption
from camsweep.reports.build import Request as ReportRequest
from camsweep.reports.build import build
from camsweep.reports.formats.tables import json_text
from camsweep.reports.repeated import MARK, points, repeated
from camsweep.shards.errors import InputError
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.recorded import planned_again
from camsweep.sweeps.repeats import Repeat, compare, load_repeats, repeat_name, write_repeat
from camsweep.sweeps.results import load_images, load_trials, read_row
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store
from camsweep.sweeps.tables import image_table

__all__ = ["s3", "server"]

SWEEP = "title: x\nbase: {method: cam}\naxes: {scales: [[1.0], [1.5]]}\nseeds: 1\n"


class World:
    """A store with two trials of one training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = build_data(folder, 8, 6)
        self.profile = write_profile(folder, epochs=1)
        self.store = Store(str(folder / "store"))
        self.known: dict[str, Prepared] = {}
        assert not self.run(self.prepare()).interrupted
        self.known.clear()

    def prepare(self, sweep: str = SWEEP) -> Prepared:
        if sweep not in self.known:  # once the store is full, a plan stays what it is
            name = str(write_sweep(self.folder, sweep))
            request = Request([name], str(self.profile), str(self.data), self.store)
            self.known[sweep] = prepare(request)
        return self.known[sweep]

    def run(self, prepared: Prepared) -> Outcome:
        return execute(prepared, Console(quiet=True), Where(in_process=True))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def no_repeats(world: World) -> World:
    world.store.delete_folder("repeats")
    return world


def files(store: Store) -> dict[str, bytes]:
    """Everything visible in a store but its run files and locks."""
    assert store.local is not None
    paths = (path for path in store.local.rglob("*") if path.is_file())
    names = {path: path.relative_to(store.local) for path in paths}
    return {
        str(name): path.read_bytes()
        for path, name in names.items()
        if name.parts[0] in ("trials", "epochs", "images", "curves", "artefacts")
    }


def hidden(store: Store) -> list[str]:
    assert store.local is not None
    return [path.name for path in store.local.iterdir() if path.name.startswith(".repeat")]


def test_a_repeat_is_identical_and_leaves_the_originals_alone(no_repeats: World) -> None:
    world, before = no_repeats, files(no_repeats.store)
    trained: list[str] = []

    def run(prepared: Prepared) -> Outcome:
        assert prepared.plan.to_run
        outcome = world.run(prepared)
        scratch = prepared.context.store
        trained.extend(scratch.names("artefacts"))
        return outcome

    found = audit(world.prepare(), 1, run)
    assert trained, "trained again, in a store of its own"
    assert files(world.store) == before
    assert hidden(world.store) == []
    assert len(found.repeats) == 2
    assert found.differing == []
    assert not found.failed
    for some in found.repeats.values():
        (one,) = some
        assert (one.identical, one.same_setup, one.weights_identical) == (True, True, True)
        assert one.miou == one.original_miou
        assert one.images == 6
        assert one.images_differing == 0
    said = lines(found)
    assert said[-1] == "cam: 2 trials repeated, all identical"
    assert said[0].startswith("identical  mine ")


def test_the_same_command_runs_nothing_twice(no_repeats: World) -> None:
    world = no_repeats
    rounds: list[int] = []

    def run(prepared: Prepared) -> Outcome:
        rounds.append(len(prepared.plan.to_run))
        return world.run(prepared)

    audit(world.prepare(), 1, run)
    audit(world.prepare(), 1, run)
    audit(world.prepare(), 2, run)
    assert rounds == [2, 2]
    assert [len(some) for some in load_repeats(world.store).values()] == [2] * 2


def test_an_interrupted_audit_goes_on(no_repeats: World) -> None:
    world = no_repeats

    def interrupted(prepared: Prepared) -> Outcome:
        first = prepared.plan.to_run[:1]
        part = replace(prepared, plan=replace(prepared.plan, trials=tuple(first)))
        return Outcome(world.run(part).monitor, True)

    found = audit(world.prepare(), 2, interrupted)
    assert found.interrupted
    assert sum(map(len, found.repeats.values())) == 1
    assert hidden(world.store) == [scratch_folder(world.prepare(), 1)]
    rounds: list[int] = []

    def run(prepared: Prepared) -> Outcome:
        rounds.append(len(prepared.plan.to_run))
        return world.run(prepared)

    audit(world.prepare(), 1, run)
    assert rounds == [1]
    assert hidden(world.store) == []


def test_a_difference_is_found_and_told(no_repeats: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = no_repeats

    def other_weights(prepared: Prepared) -> Outcome:
        from camsweep.platform import learning

        train: Callable[..., dict[str, Any]] = learning.train  # type: ignore[attr-defined]

        def off(*args: Any, **options: Any) -> dict[str, Any]:
            tensors = train(*args, **options)
            return {k: t + 0.05 if t.is_floating_point() else t for k, t in tensors.items()}

        with monkeypatch.context() as patch:
            patch.setattr(learning, "train", off)
            return world.run(prepared)

    found = audit(world.prepare(), 1, other_weights)
    assert len(found.differing) == 2
    for (one,) in found.repeats.values():
        assert not one.identical
        assert one.weights_identical is False
        assert one.images_differing > 0
        assert one.same_setup
    assert "2 not reproducible, spread up to" in lines(found)[-1]
    assert lines(found)[0].startswith("differs    mine ")
    row = world.store.read_table(repeat_name(found.differing[0], 1)).to_pylist()[0]
    assert row["counts_digest"] != row["original_counts_digest"]
    assert row["host"] == row["original_host"]


def test_a_failed_repeat_is_told_and_tried_again(
    no_repeats: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = no_repeats

    def broken(prepared: Prepared) -> Outcome:
        def fail(*args: Any, **options: Any) -> None:
            raise RuntimeError("no luck")

        with monkeypatch.context() as patch:
            patch.setattr("camsweep.platform.learning.train", fail)
            return world.run(prepared)

    found = audit(world.prepare(), 1, broken)
    assert len(found.failed) == 2
    assert all("no luck" in cause for cause in found.failed.values())
    assert found.repeats == {}
    assert audit(world.prepare(), 1, world.run).differing == []


def test_only_what_is_finished_is_repeated(no_repeats: World) -> None:
    more = SWEEP.replace("seeds: 1", "seeds: 2")
    found = audit(no_repeats.prepare(more), 1, no_repeats.run)
    assert (len(found.repeats), found.unfinished) == (2, 2)
    other = SWEEP.replace("method: cam", "method: cam, lr: 0.3")
    with pytest.raises(InputError, match="no finished trial of these sweeps yet"):
        audit(no_repeats.prepare(other), 1, no_repeats.run)


def test_seeds_that_a_rule_added_are_repeated_and_none_is_added(no_repeats: World) -> None:
    world = no_repeats
    rule = SWEEP.replace("seeds: 1", "seeds: {min: 2, max: 3, until: 0.001}")
    try:
        world.run(world.prepare(rule))
        world.known.clear()
        count = world.store.names("trials")
        found = audit(world.prepare(rule), 1, world.run)
        assert len(found.repeats) == len(count) == 6
        assert world.store.names("trials") == count
    finally:
        for name in world.store.names("trials"):
            row = read_row(world.store, name.removesuffix(".arrow"))
            if row is not None and row["seed"] > 0:
                world.store.delete(f"trials/{name}")


def test_a_row_gives_its_trial_again(no_repeats: World) -> None:
    trials = {trial.id: trial for trial in no_repeats.prepare().plan.trials}
    for trial_id, trial in trials.items():
        row = read_row(no_repeats.store, trial_id)
        assert row is not None
        again = planned_again(row)
        assert again is not None
        assert (again.stages, again.title) == (trial.stages, trial.title)
        assert planned_again({**row, "config.lr": 0.5}) is None, "no longer the same trial"
        assert planned_again({**row, "method": "gone"}) is None


def test_trials_of_a_search_are_repeated(no_repeats: World) -> None:
    world = no_repeats
    search = (
        "title: x\nbase: {method: cam}\nsearch: {space: {lr: {log: [0.001, 0.1]}}, samples: 4}\n"
    )
    prepared = world.prepare()
    sweep = load_sweep(str(write_sweep(world.folder, search)))
    plan = make_plan([sweep], prepared.profile, prepared.plan.data_digest)
    assert plan.trials == ()
    prepared = replace(prepared, plan=plan)
    # The store's trials know the sweep by the same name, as if the search had made them.
    found = audit(replace(prepared, history=load_trials(world.store)), 1, world.run)
    assert len(found.repeats) == 2
    assert found.differing == []


@pytest.mark.slow
def test_repeats_in_a_bucket(
    s3: Bucket, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    store = Store(s3.url("results"))
    name = str(write_sweep(tmp_path, SWEEP))
    request = Request([name], str(world.profile), str(world.data), store)
    world.run(prepare(request))
    found = audit(prepare(request), 1, world.run)
    assert len(found.repeats) == 2
    assert found.differing == []
    keys = list(s3.objects())
    assert sum(key.startswith("results/repeats/") for key in keys) == 2
    assert not any("/.repeat-" in key for key in keys)


def test_the_scratch_of_a_bucket_keeps_the_query() -> None:
    store = Store("s3://b/p/?region=x")
    assert store.inside(".repeat-1-ab").url == "s3://b/p/.repeat-1-ab?region=x"


def test_counts_are_compared_whatever_their_order(no_repeats: World, tmp_path: Path) -> None:
    world = no_repeats
    trial_id = world.prepare().plan.trials[0].id
    row = read_row(world.store, trial_id)
    assert row is not None
    other = Store(str(tmp_path / "other"))
    for table in ("trials", "images", "curves"):
        name = f"{table}/{trial_id}.arrow"
        other.write_table(name, world.store.read_table(name))
    images = load_images(world.store, [trial_id])
    turned = images.take(pa.array(range(images.num_rows - 1, -1, -1)))
    other.write_table(f"images/{trial_id}.arrow", turned)
    assert compare(world.store, row, other, row, 1)["identical"]
    columns = images.to_pydict()
    columns["tp"][0] += 1
    other.write_table(f"images/{trial_id}.arrow", image_table(columns))
    found = compare(world.store, row, other, row, 1)
    assert (found["identical"], found["images_differing"]) == (False, 1)


def write_some(store: Store, trial_id: str, number: int, off: float, **setup: Any) -> None:
    row = read_row(store, trial_id)
    assert row is not None
    second = {**row, "metric.miou": row["metric.miou"] + off, **setup}
    write_repeat(store, compare(store, row, store, second, number))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Of two variants one was repeated and differs, the other is identical."""
    store = make(tmp_path_factory.mktemp("shown"), sweeps=("cpn/table4",), images=10)
    board = rank(store.url, say=lambda line: None)
    first, second = board.entries[:2]
    for trial in first.trials[:2]:
        write_some(store, trial.id, 1, 0.0)
    write_some(store, first.trials[0].id, 2, 0.0042)
    write_some(store, second.trials[0].id, 1, 0.0)
    return store


def test_the_leaderboard_flags_what_was_not_reproducible(shown: Store) -> None:
    board = rank(shown.url, say=lambda line: None)
    first, second, third = board.entries[:3]
    assert first.name.endswith(MARK)
    assert first.repeated is not None
    assert first.repeated.text() == "1 of 2 trials differs by up to 0.42"
    assert MARK not in second.name + third.name
    assert second.repeated is not None
    assert second.repeated.text() == "1 trial, identical"
    assert third.repeated is None
    caption = leaderboard_caption(board)
    assert "‡ not reproducible" in caption
    assert "1 of 2 repeated trials gave other numbers, by up to 0.42 mIoU points" in caption
    grid = leaderboard_grid(board)
    assert grid.headers[-1] == "repeated"
    assert [row[-1] for row in grid.rows[:3]] == [
        "1 of 2 trials differs by up to 0.42", "1 trial, identical", "–",
    ]  # fmt: skip
    records = board_records(board)
    assert [r["repeated_trials"] for r in records[:3]] == [2, 1, 0]
    assert records[0]["repeats_differing"] == 1
    assert records[0]["repeat_spread"] == pytest.approx(0.42)
    assert json.loads(json_text(records))[2]["repeat_spread"] is None


def test_without_repeats_nothing_is_said(tmp_path: Path) -> None:
    store = make(tmp_path, sweeps=("cpn/table4",), images=4, seeds=(0,))
    board = rank(store.url, say=lambda line: None)
    assert "repeated" not in leaderboard_grid(board).headers
    assert "‡" not in leaderboard_caption(board)


def test_another_device_is_told(shown: Store) -> None:
    trial = rank(shown.url, say=lambda line: None).entries[3].trials[0]
    write_some(shown, trial.id, 1, 0.001, device="another")
    found = repeated([trial], load_repeats(shown, [trial.id]))
    assert found is not None
    assert found.text() == "1 of 1 trial differs by up to 0.10 (other device or versions)"


def test_small_differences_are_not_called_nothing() -> None:
    assert (points(0.0), points(0.0031), points(1e-7)) == ("0.00", "0.31", "1e-05")


def test_lines_name_every_trial() -> None:
    one = Repeat("a", 1, "cam", 0, False, False, 0.43, 0.42, 10, 7, None)
    found = Audit(
        {"a": [one, replace(one, number=2, miou=0.425)]}, {"a": "x y seed 0"}, 1, {}, False
    )
    assert lines(found) == [
        "differs    x y seed 0: repeated 2 times, mIoU 42.00, 43.00, 42.50 (spread 1.00 points), "
        "counts of 7 of 10 images differ, on another device, with other versions or workers",
        "cam: 1 trial repeated, 1 not reproducible, spread up to 1.00 mIoU points",
        "1 trials are not finished, so that none was repeated",
    ]


def test_the_report_says_it_at_the_artefact(shown: Store, tmp_path: Path) -> None:
    request = ReportRequest(shown.url, tmp_path, ("cpn/table4",), ("html", "md"), resamples=20)
    build(request, say=lambda line: None)
    label = rank(shown.url, say=lambda line: None).entries[0].trials[0].memberships[0][1]
    said = (tmp_path / "cpn-table4.md").read_text()
    assert "Not the same again with the same seed: " in said
    assert f"{label} seed 0 (0.42 mIoU points)" in said
    page = (tmp_path / "index.html").read_text()
    assert "repeated: 1 of 2 trials differs by up to 0.42" in page
    assert "‡ not reproducible" in page


def test_the_report_says_that_repeats_were_identical(tmp_path: Path) -> None:
    store = make(tmp_path / "store", sweeps=("cpn/table4",), images=4, seeds=(0,))
    for entry in rank(store.url, say=lambda line: None).entries[:2]:
        write_some(store, entry.trials[0].id, 1, 0.0)
    request = ReportRequest(store.url, tmp_path, ("cpn/table4",), ("md",), resamples=20)
    build(request, say=lambda line: None)
    said = (tmp_path / "cpn-table4.md").read_text()
    assert "Repeated with the same seed: 2 trials, identical to the last bit." in said
