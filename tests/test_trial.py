"""One whole trial without Ray: its files, its numbers, and what it says when it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny import build_data, write_profile, write_sweep

from camsweep.methods.metrics import miou
from camsweep.methods.training import TrainingDiverged
from camsweep.platform.attempts import Job, make_jobs, record_failure, run_job
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.failures import cause_of
from camsweep.platform.prepare import Request, prepare
from camsweep.platform.stages import Computed, StoredCheckpoint, ensure_weights, read_tensors
from camsweep.platform.trial import failed_row, run_trial
from camsweep.shards.errors import InputError
from camsweep.shards.reader import open_split
from camsweep.sweeps.plan import Plan
from camsweep.sweeps.results import artefact_name, read_row
from camsweep.sweeps.store import Store

TABLES = ("trials", "epochs", "images", "curves")


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = build_data(folder, 24, 14)
        self.profile = write_profile(folder)

    def prepare(self, sweep: str, **options: Any) -> tuple[Plan, RunContext]:
        name = str(write_sweep(self.folder, sweep))
        store = Store(str(self.folder / "store"))
        request = Request([name], str(self.profile), str(self.data), store, **options)
        prepared = prepare(request)
        return prepared.plan, prepared.context


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


CPN = "title: x\nbase: {method: cpn, s_n: 20, scales: [1.0, 1.5]}\nseeds: 1\n"


@pytest.fixture(scope="module")
def ran(world: World) -> tuple[Store, dict[str, Any], list[Progress]]:
    plan, context = world.prepare(CPN)
    said: list[Progress] = []
    row = run_trial(plan.trials[0], context, said.append)
    return context.store, row, said


def bare(store: Store, table: str, trial_id: str) -> pa.Table:
    return pa.ipc.open_file(store.path(f"{table}/{trial_id}.arrow")).read_all()


def test_every_file_opens_with_bare_pyarrow(
    ran: tuple[Store, dict[str, Any], list[Progress]],
) -> None:
    store, row, _ = ran
    for table in TABLES:
        found = bare(store, table, row["id"])
        assert found.num_rows
        assert found.schema.metadata[b"camsweep.schema"] == f"{table}/1".encode()
    (stored,) = bare(store, "trials", row["id"]).to_pylist()
    assert stored["status"] == "done"
    assert stored["config.s_n"] == 20
    assert stored["config.grid_sizes"] is None
    assert dict(stored["versions"])["torch"] == torch.__version__.split("+")[0]
    assert stored["train_images"] == 24
    assert stored["eval_images"] == 14
    assert stored["peak_memory_bytes"] > 2**20
    assert stored["metric.segments_mean"] > 2


def test_the_stored_miou_is_that_of_the_counts(
    ran: tuple[Store, dict[str, Any], list[Progress]],
) -> None:
    store, row, _ = ran
    classes = len(row["classes"])
    images = bare(store, "images", row["id"])
    summed = np.zeros((classes, 3), np.int64)
    for i, name in enumerate(("tp", "fp", "fn")):
        np.add.at(summed[:, i], images["class"].to_numpy(), images[name].to_numpy())
    assert float(miou(summed)) == row["metric.miou"]

    curves = bare(store, "curves", row["id"]).to_pylist()
    for name, scale, metric in (
        ("refined", "all", "metric.miou"),
        ("raw", "all", "metric.miou_raw"),
        ("refined", "1.5", "metric.miou_scale_1.5"),
    ):
        by_threshold: dict[float, list[list[int]]] = {}
        for c in curves:
            if (c["map"], c["scale"]) == (name, scale):
                by_threshold.setdefault(c["threshold"], []).append([c["tp"], c["fp"], c["fn"]])
        assert len(by_threshold) == 100
        best = {t: float(miou(np.array(rows))) for t, rows in by_threshold.items()}
        assert max(best.values()) == row[metric]
        if metric == "metric.miou":
            assert best[round(row["metric.threshold"], 6)] == row[metric]


def test_the_counts_are_those_of_the_masks(
    world: World, ran: tuple[Store, dict[str, Any], list[Progress]]
) -> None:
    store, row, _ = ran
    reader = open_split(world.data, "val")
    counted = sum(int((reader.mask(i) != 255).sum()) for i in range(len(reader)))  # type: ignore[operator]
    images = bare(store, "images", row["id"])
    assert sum(images["tp"].to_pylist()) + sum(images["fn"].to_pylist()) == counted


def test_pictures_of_twelve_images(
    ran: tuple[Store, dict[str, Any], list[Progress]],
) -> None:
    store, row, _ = ran
    pictures = read_tensors(store, artefact_name(row["id"], "pictures.safetensors"))
    keys = {name.partition("/")[0] for name in pictures}
    assert len(keys) == 12
    first = sorted(keys)[0]
    assert pictures[f"{first}/image"].shape == (96, 96, 3)
    assert pictures[f"{first}/map"].shape == (1, 96, 96)
    assert {t.dtype for t in pictures.values()} == {torch.uint8}


def test_progress_is_told(ran: tuple[Store, dict[str, Any], list[Progress]]) -> None:
    said = ran[2]
    phases = list(dict.fromkeys(p.phase for p in said))
    assert phases == ["superpixels", "train", "evaluate"]
    assert [p.done for p in said if p.phase == "train"] == [1, 2]


def test_a_second_evaluation_trains_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_trial(*_first(world, CPN), lambda progress: None)
    monkeypatch.setattr("camsweep.platform.learning.train", _forbidden)
    other = CPN.replace("[1.0, 1.5]", "[1.0]")
    row = run_trial(*_first(world, other), lambda progress: None)
    assert row["status"] == "done"


def _first(world: World, sweep: str) -> tuple[Any, RunContext]:
    plan, context = world.prepare(sweep)
    return plan.trials[0], context


def _forbidden(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("trained again")


def test_trials_with_one_training_are_one_job(world: World) -> None:
    sweep = "title: x\nbase: {method: cam}\naxes: {scales: [[1.0], [1.5]], lr: [0.01, 0.02]}\n"
    plan, _ = world.prepare(sweep, seeds=1)
    assert sorted(len(job.trials) for job in make_jobs(plan.trials)) == [2, 2]


def test_a_trial_that_fails_is_recorded_with_its_attempts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("camsweep.platform.learning.train", fail)
    sweep = "title: x\nbase: {method: cam, lr: 0.5}\nseeds: 1\nretries: 2\n"
    plan, context = world.prepare(sweep)
    done: list[dict[str, Any]] = []
    run_job(make_jobs(plan.trials)[0], context, lambda progress: None, done.append)
    row = read_row(context.store, plan.trials[0].id)
    assert row is not None
    assert (row["status"], row["cause"], row["attempts"]) == ("failed", "out of memory", 3)
    assert "MemoryError" in row["traceback"]
    assert done[0]["status"] == "failed"
    # The next run tries again and replaces the record.
    monkeypatch.undo()
    again, context = world.prepare(sweep)
    assert len(again.to_run) == 1
    run_job(make_jobs(again.to_run)[0], context, lambda progress: None, done.append)
    after = read_row(context.store, plan.trials[0].id)
    assert after is not None
    assert after["status"] == "done"


def test_a_finished_trial_is_never_overwritten_as_failed(world: World) -> None:
    plan, context = world.prepare(CPN)
    trial = plan.trials[0]
    row = read_row(context.store, trial.id) or run_trial(trial, context, lambda progress: None)
    failure = failed_row(trial, context, "the trial's process died", "", 2)
    kept = record_failure(context, failure)
    assert kept["status"] == "done"
    after = read_row(context.store, trial.id)
    assert after is not None
    assert (after["status"], after["metric.miou"]) == ("done", row["metric.miou"])


def test_a_failed_row_names_its_data(world: World) -> None:
    plan, context = world.prepare(CPN)
    row = failed_row(plan.trials[0], context, "x", "", 1)
    assert row["data_name"] == "embedded"
    assert len(row["data_digest"]) == 64


def test_a_trial_is_told_of_every_shipped_sweep_it_serves(tmp_path: Path) -> None:
    data = build_data(tmp_path, 16, 4)
    store = Store(str(tmp_path / "store"))
    request = Request(["cpn/fig6"], "embedded", str(data), store, seeds=1)
    trials = {trial.labels[0]: trial for trial in prepare(request).plan.trials}
    assert trials["s_n=200"].sweeps == ["cpn/fig6"]
    assert {
        ("cpn/table4", "p_h=0.5"),
        ("cpn/table2", "+PRCM"),
        ("cpn/strategies", "superpixel"),
    } <= {*trials["s_n=200"].all_uses}
    assert trials["s_n=10"].all_uses == (("cpn/fig6", "s_n=10"),)


def test_a_trial_found_done_is_told_of_this_sweep(world: World) -> None:
    run_trial(*_first(world, CPN), lambda progress: None)
    other = world.folder / "other.yaml"
    other.write_text(CPN)
    plan, context = world.prepare(CPN)
    use = replace(plan.trials[0], uses=(("other", "other"),))
    run_job(Job((use,)), context, lambda progress: None, lambda row: None)
    row = read_row(context.store, use.id)
    assert row is not None
    assert row["sweeps"] == ["mine", "other"]


def test_a_debugger_gets_the_exception(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camsweep.platform.learning.train", _forbidden)
    plan, context = world.prepare("title: x\nbase: {method: cam, lr: 0.7}\nseeds: 1\n")
    with pytest.raises(AssertionError, match="trained again"):
        run_job(make_jobs(plan.trials)[0], context, print, print, reraise=True)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "out of memory: CUDA"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate"), "out of memory: ["),
        (OSError(28, "No space left on device", "/x/y"), "disk full: /x/y"),
        (PermissionError(13, "Permission denied", "/x"), "Permission denied: /x"),
        (InputError("shard a.tar: damaged"), "shard a.tar: damaged"),
        (TrainingDiverged(2, 5, "tcp"), "training diverged: tcp is not finite at epoch 2, step 5"),
        (ValueError("one\ntwo"), "ValueError: one"),
        (KeyError(), "KeyError"),
    ],
)
def test_causes_are_one_line(error: BaseException, says: str) -> None:
    cause = cause_of(error)
    assert cause.startswith(says)
    assert "\n" not in cause


def test_weights_are_computed_once(tmp_path: Path) -> None:
    store, calls = Store(str(tmp_path)), []

    def compute() -> Computed:
        calls.append(1)
        return Computed({"w": torch.arange(3.0)}, 1.5)

    first, second = (ensure_weights(store, "stage", compute) for _ in range(2))
    assert len(calls) == 1
    assert (first.found, second.found) == (False, True)
    assert second.seconds == 1.5
    assert torch.equal(second.tensors["w"], torch.arange(3.0))


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    checkpoint = StoredCheckpoint(Store(str(tmp_path)), "stage")
    assert checkpoint.load() is None
    checkpoint.save(3, {"w": torch.ones(2)})
    epoch, tensors = checkpoint.load() or (0, {})
    assert epoch == 3
    assert set(tensors) == {"w"}
    checkpoint.delete()
    assert checkpoint.load() is None


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write("artefacts/s/weights.safetensors", b"nonsense")
    with pytest.raises(InputError, match=r"weights\.safetensors: damaged"):
        ensure_weights(store, "s", lambda: Computed({}, 0.0))
