"""Trackers: what they write is read back; what fails in them never reaches the run.

MLflow and W&B are optional: their tests run where the packages are importable, and their calls are
checked against made-up packages everywhere.
"""

from __future__ import annotations

import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from synthetic_store import make

from camsweep.platform.context import Progress
from camsweep.platform.trackers import (
    check_tracks,
    listener,
    make_trackers,
    parse_tracks,
    tracks_of,
)
from camsweep.platform.trackers.facts import Ended, TrialFacts, ended_of, facts_of
from camsweep.platform.trackers.listener import TrackerListener
from camsweep.platform.trackers.mlflow import tracking_uri
from camsweep.platform.trackers.tensorboard import run_folder
from camsweep.shards.errors import InputError
from camsweep.sweeps.plan import Plan, make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.results import load_trials
from camsweep.sweeps.spec import Sweep, SweepSpec, load_sweep
from camsweep.sweeps.store import Store


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan([load_sweep("cpn/table4")], load_profile("embedded"), "digest", seeds=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make(tmp_path_factory.mktemp("store"), sweeps=("cpn/table4",), seeds=(0,), images=4)


def done_row(store: Store) -> dict[str, Any]:
    row: dict[str, Any] = load_trials(store).to_pylist()[0]
    return {"id": row["id"], "status": "done", "cause": None, "metric.miou": row["metric.miou"]}


class Seen:
    """A backend that remembers."""

    name = "seen"

    def __init__(self, fail: frozenset[str] = frozenset(), wait: float = 0.0) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fail, self.wait = fail, wait

    def _note(self, *call: Any) -> None:
        time.sleep(self.wait)
        if call[0] in self.fail:
            raise ConnectionError(f"no {call[0]}\nand more")
        self.calls.append(call)

    def begin(self, trial: TrialFacts) -> None:
        self._note("begin", trial.name)

    def epoch(self, trial: TrialFacts, epoch: int, values: Mapping[str, float]) -> None:
        self._note("epoch", epoch, dict(values))

    def end(self, trial: TrialFacts, ended: Ended) -> None:
        self._note("end", ended.status)

    def close(self) -> None:
        self._note("close")


def listen(
    backend: Any, plan: Plan | None = None, store: Store | None = None
) -> tuple[TrackerListener, list[str]]:
    trials = {t.id: t for t in plan.trials} if plan else {}
    said: list[str] = []
    return TrackerListener(backend, trials.get, store, said.append), said


def test_events_reach_the_tracker_in_order_and_epochs_once(plan: Plan) -> None:
    seen = Seen()
    tracker, said = listen(seen, plan)
    trial = plan.trials[0]
    tracker.started(trial.id)
    tracker.started(trial.id)
    parts = {"loss": 0.5, "cls": 0.3}
    for epoch in (1, 1, 2):
        tracker.progress(Progress(trial.id, "train", epoch, 6, 0.5, 100.0, losses=parts, lr=0.1))
    tracker.progress(Progress(trial.id, "evaluate", 1, 6))
    tracker.finished({"id": trial.id, "status": "failed", "cause": "out of memory"})
    tracker.closed()
    values = {"loss": 0.5, "loss/cls": 0.3, "lr": 0.1, "images_per_second": 100.0}
    assert seen.calls == [
        ("begin", "p_h=0.1 seed 0"),
        ("epoch", 1, values),
        ("epoch", 2, values),
        ("end", "failed"),
        ("close",),
    ]
    assert said == []


def test_the_store_gives_every_epoch_and_metric(store: Store) -> None:
    seen = Seen()
    tracker, _ = listen(seen, store=store)
    row = done_row(store)
    tracker.progress(Progress(row["id"], "train", 2, 6, 0.4, lr=0.01))
    tracker.finished(row)
    tracker.closed()
    epochs = {call[1]: call[2] for call in seen.calls[2:] if call[0] == "epoch"}
    assert list(epochs) == [1, 2, 3, 4, 5, 6]
    assert set(epochs[1]) == {"lr", "epoch_seconds", "loss", "loss/cls"}
    assert set(epochs[2]) == {"epoch_seconds", "loss/cls"}, "the rest was told while it ran"
    ended = ended_of(row, store)
    assert ended.metrics["miou"] == row["metric.miou"]
    assert {"background_iou", "train_seconds", "parameters"} <= set(ended.metrics)


def test_facts_leave_out_what_cannot_act(plan: Plan) -> None:
    facts = facts_of(plan.trials[0].id, plan.trials[0])
    assert (facts.sweep, facts.label, facts.seed, facts.method) == (
        "cpn/table4",
        "p_h=0.1",
        0,
        "cpn",
    )
    assert facts.settings()["p_h"] == "0.1"
    assert not set(plan.trials[0].config.inactive()) & set(facts.config)
    assert facts_of("ab" * 32, None).name == "abababababab"


def test_a_tracker_that_fails_is_told_once_and_switched_off(plan: Plan) -> None:
    seen = Seen(fail=frozenset({"begin"}))
    tracker, said = listen(seen, plan)
    for trial in [*plan.trials, *plan.trials]:
        tracker.started(trial.id)
    tracker.closed()
    assert said == ["seen: ConnectionError: no begin; the run goes on"]
    assert seen.calls == [("close",)]


def test_one_bad_trial_does_not_silence_the_others(plan: Plan) -> None:
    seen = Seen(fail=frozenset({"epoch"}))
    tracker, said = listen(seen, plan)
    for trial in plan.trials:
        tracker.progress(Progress(trial.id, "train", 1, 6, 0.5))
        tracker.finished({"id": trial.id, "status": "failed"})
    tracker.closed()
    assert seen.calls.count(("end", "failed")) == len(plan.trials)
    assert len(said) == 1


def test_a_slow_tracker_never_slows_the_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "WAITING", 10)
    monkeypatch.setattr(listener, "STALLED_SECONDS", 0.2)
    tracker, said = listen(Seen(wait=0.5), plan)
    began = time.monotonic()
    for _ in range(1000):
        tracker.started(plan.trials[0].id)
        tracker.progress(Progress(plan.trials[0].id, "train", 1, 6, 0.5))
    assert time.monotonic() - began < 1.0
    tracker.closed()
    assert time.monotonic() - began < 3.0
    assert len(said) == 2
    assert "too slow" in said[0]
    assert "still writing at the end" in said[1]


def test_the_end_waits_for_a_tracker_that_gets_on(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "STALLED_SECONDS", 0.3)
    seen = Seen(wait=0.1)
    tracker, said = listen(seen, plan)
    for trial in plan.trials:
        tracker.started(trial.id)
    tracker.closed()
    assert (len(seen.calls), said) == (len(plan.trials) + 1, [])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["tensorbord=x"], "--track tensorbord: no such tracker; did you mean 'tensorboard'?"),
        (["mlflow"], "--track mlflow: write NAME=VALUE"),
        (["wandb="], "--track wandb: empty; give a project's name"),
    ],
)
def test_wrong_options_are_one_line(words: list[str], line: str) -> None:
    with pytest.raises(InputError, match=line.replace("?", r"\?")):
        parse_tracks(words)


def sweep_with(track: dict[str, str], name: str = "mine") -> Sweep:
    content = {"title": "x", "base": {"method": "cam"}, "track": track}
    return Sweep(name, f"{name}.yaml", SweepSpec.model_validate(content))


def test_trackers_of_sweep_files_are_checked_and_the_command_line_stands_over_them() -> None:
    first, second = sweep_with({"tensorboard": "a", "wandb": "p"}), sweep_with({"tensorboard": "b"})
    assert tracks_of([first]) == {"tensorboard": "a", "wandb": "p"}
    with pytest.raises(InputError, match=r"^mine.yaml: track.tensorboard: b, but another sweep"):
        tracks_of([first, second])
    over = {"tensorboard": "c"}
    assert tracks_of([first, second], over) == {"tensorboard": "c", "wandb": "p"}
    says = r"^mine.yaml: track tensorbord: no such tracker; did you mean 'tensorboard'"
    with pytest.raises(InputError, match=says):
        tracks_of([sweep_with({"tensorbord": "a"})], over)
    with pytest.raises(InputError, match=r"^mine.yaml: track wandb: empty"):
        tracks_of([sweep_with({"wandb": ""})])


def test_options_are_read() -> None:
    assert parse_tracks(["mlflow=http://h:1/?a=b"]) == {"mlflow": "http://h:1/?a=b"}
    check_tracks({"tensorboard": "runs"})


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("tensorboardX", "mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("tensorboard", "mlflow", "wandb"):
        with pytest.raises(InputError, match=rf"pip install 'camsweep\[{name}\]'"):
            make_trackers({name: str(tmp_path / "x") if name != "wandb" else "p"}, {}.get)


def test_what_can_t_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"track tensorboard: .*/file"):
        make_trackers({"tensorboard": str(tmp_path / "file")}, {}.get)


def test_whatever_a_package_raises_at_the_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(value: str) -> None:
        raise RuntimeError("no room\nand a page of traceback")

    monkeypatch.setattr("camsweep.platform.trackers.tensorboard.Backend", broken)
    with pytest.raises(InputError, match=r"^track tensorboard: x: no room$"):
        make_trackers({"tensorboard": "x"}, {}.get)


def test_credentials_in_a_uri_are_refused() -> None:
    with pytest.raises(InputError, match="MLFLOW_TRACKING_PASSWORD") as error:
        tracking_uri("https://me:hunter2@server/")
    assert "hunter2" not in str(error.value)


def test_a_folder_becomes_a_database(tmp_path: Path) -> None:
    assert tracking_uri(str(tmp_path / "ml")) == f"sqlite:///{tmp_path}/ml/mlflow.db"
    assert tracking_uri((tmp_path / "m2").as_uri()) == f"sqlite:///{tmp_path}/m2/mlflow.db"
    assert tracking_uri("http://server:5000") == "http://server:5000"


def test_folders_of_tensorboard_stay_inside(plan: Plan) -> None:
    trial = facts_of(plan.trials[0].id, plan.trials[0])
    assert run_folder(trial) == f"cpn/table4/p_h=0.1 seed 0 {trial.id[:8]}"
    odd = TrialFacts("f" * 64, "../../x", "a/b\n*", 3)
    assert run_folder(odd) == "x/a_b__ seed 3 ffffffff"


def run_three(tracker: TrackerListener, plan: Plan) -> None:
    """One trial done, one failed, one interrupted."""
    for number, trial in enumerate(plan.trials[:3]):
        tracker.started(trial.id)
        for epoch in (1, 2):
            tracker.progress(Progress(trial.id, "train", epoch, 2, 1.0 / epoch + number, 50.0))
    first, second = plan.trials[0].id, plan.trials[1].id
    tracker.finished({"id": first, "status": "done", "metric.miou": 0.4321})
    tracker.finished({"id": second, "status": "failed", "cause": "out of memory"})
    tracker.closed()


def track(name: str, value: str, plan: Plan) -> list[str]:
    said: list[str] = []
    trials = {t.id: t for t in plan.trials}
    (tracker,) = make_trackers({name: value}, trials.get, warn=said.append)
    run_three(tracker, plan)
    return said


def events(folder: Path) -> Iterator[Any]:
    """The events of a folder's files, by TensorBoard's record framing."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            yield Event.FromString(data[at + 12 : at + 12 + length])
            at += 12 + length + 4


def test_tensorboard_is_read_back(plan: Plan, tmp_path: Path) -> None:
    assert track("tensorboard", str(tmp_path / "tb"), plan) == []
    first = facts_of(plan.trials[0].id, plan.trials[0])
    folder = tmp_path / "tb" / run_folder(first)
    scalars: dict[str, list[tuple[int, float]]] = {}
    settings = ""
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
            settings += str(value.metadata) if "hparams" in value.tag else ""
    assert scalars["loss"] == [(1, 1.0), (2, 0.5)]
    assert scalars["miou"] == [(0, pytest.approx(0.4321))]
    assert "p_h" in settings
    folders = [path.parent for path in (tmp_path / "tb").rglob("events.*")]
    assert len(set(folders)) == 3


def test_mlflow_is_read_back(plan: Plan, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    where = str(tmp_path / "ml")
    assert track("mlflow", where, plan) == []
    client = MlflowClient(tracking_uri=tracking_uri(where))
    experiment = client.get_experiment_by_name("cpn/table4")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    ends = {name: run.info.status for name, run in runs.items()}
    assert ends == {
        "p_h=0.1 seed 0": "FINISHED", "p_h=0.2 seed 0": "FAILED", "p_h=0.3 seed 0": "KILLED",
    }  # fmt: skip
    done = runs["p_h=0.1 seed 0"]
    assert done.data.params["p_h"] == "0.1"
    assert done.data.metrics["miou"] == 0.4321
    history = client.get_metric_history(done.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5)]
    assert runs["p_h=0.2 seed 0"].data.tags["camsweep.cause"] == "out of memory"
    # The next run goes on with the interrupted trial's own run.
    assert track("mlflow", where, plan) == []
    assert len(client.search_runs([experiment.experiment_id])) == 3


def wandb_records(path: Path) -> Iterator[bytes]:
    """The records of a W&B file: LevelDB's log of 32 KiB blocks behind a header of 7 bytes."""
    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def wandb_runs(folder: Path, record_type: Any) -> list[dict[str, Any]]:
    """What is in the offline files so far."""
    found = []
    for path in (folder / "wandb").glob("offline-run-*/*.wandb"):
        seen: dict[str, Any] = {"history": [], "summary": {}}
        for data in wandb_records(path):
            record = record_type.FromString(data)
            if record.HasField("run"):
                seen["name"], seen["group"] = record.run.display_name, record.run.run_group
            for item in record.history.item:
                seen["history"].append(("/".join(item.nested_key) or item.key, item.value_json))
            for item in record.summary.update:
                seen["summary"][item.key or "/".join(item.nested_key)] = item.value_json
            if record.HasField("exit"):
                seen["exit"] = record.exit.exit_code
        found.append(seen)
    return found


def test_wandb_is_read_back(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert track("wandb", "camsweep-test", plan) == []
    end = time.monotonic() + 30
    found = wandb_runs(tmp_path, wandb_internal_pb2.Record)
    while sum("exit" in seen for seen in found) < 3:  # its service writes on when a run is closed
        assert time.monotonic() < end
        time.sleep(0.2)
        found = wandb_runs(tmp_path, wandb_internal_pb2.Record)
    runs = {seen["name"]: seen for seen in found}
    exits = {name: seen["exit"] for name, seen in runs.items()}
    assert exits == {"p_h=0.1 seed 0": 0, "p_h=0.2 seed 0": 1, "p_h=0.3 seed 0": 255}
    done = runs["p_h=0.1 seed 0"]
    assert done["group"] == "cpn/table4"
    assert [float(v) for k, v in done["history"] if k == "loss"] == [1.0, 0.5]
    assert done["summary"]["miou"] == "0.4321"


class FakeMlflow:
    """A tracking store in memory: runs by id, and the order of the calls."""

    def __init__(self, tracking_uri: str) -> None:
        self.uri, self.runs = tracking_uri, {}  # type: ignore[var-annotated]
        FakeMlflow.last = self

    last: FakeMlflow

    def get_experiment_by_name(self, name: str) -> None: ...

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        return name

    def search_runs(self, experiments: list[str], **options: Any) -> list[Any]:
        return []

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        run = {"experiment": experiment, "tags": dict(tags), "metrics": [], "params": {}}
        self.runs[run_name] = run
        return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

    def log_batch(self, run: str, metrics: Any = (), params: Any = (), tags: Any = ()) -> None:
        assert max(len(metrics), len(params)) <= 100
        self.runs[run]["metrics"] += [(m[0], m[3], m[1]) for m in metrics]
        self.runs[run]["params"] |= dict(params)
        self.runs[run]["tags"] |= dict(tags)

    def set_terminated(self, run: str, status: str) -> None:
        self.runs[run]["status"] = status


def test_mlflow_without_the_package(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (
        ("mlflow", {}),
        ("mlflow.tracking", {"MlflowClient": FakeMlflow}),
        ("mlflow.entities", dict.fromkeys(("Metric", "Param", "RunTag"), lambda *words: words)),
    ):
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    assert track("mlflow", str(tmp_path / "ml"), plan) == []
    client = FakeMlflow.last
    assert client.uri == f"sqlite:///{tmp_path}/ml/mlflow.db"
    ends = {name: run["status"] for name, run in client.runs.items()}
    assert ends == {
        "p_h=0.1 seed 0": "FINISHED", "p_h=0.2 seed 0": "FAILED", "p_h=0.3 seed 0": "KILLED",
    }  # fmt: skip
    done = client.runs["p_h=0.1 seed 0"]
    assert (done["experiment"], done["params"]["p_h"]) == ("cpn/table4", "0.1")
    assert ("loss", 2, 0.5) in done["metrics"]
    assert ("miou", 0, 0.4321) in done["metrics"]
    assert client.runs["p_h=0.2 seed 0"]["tags"]["camsweep.cause"] == "out of memory"


class FakeRun:
    def __init__(self, options: dict[str, Any]) -> None:
        self.options, self.logged, self.summary = options, [], {}
        self.exit: int | None = None

    def define_metric(self, *words: str, **options: str) -> None: ...

    def log(self, values: dict[str, float]) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        self.exit = exit_code


def test_wandb_is_offline_unless_asked(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[FakeRun] = []

    def init(**options: Any) -> FakeRun:
        runs.append(FakeRun(options))
        return runs[-1]

    fake = ModuleType("wandb")
    fake.init, fake.Settings = init, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.delenv("WANDB_MODE")
    assert track("wandb", "me/project", plan) == []
    import os

    assert os.environ["WANDB_MODE"] == "offline"
    assert (runs[0].options["entity"], runs[0].options["project"]) == ("me", "project")
    assert runs[0].options["config"]["p_h"] == 0.1
    settings = vars(runs[0].options["settings"])
    assert (settings["init_timeout"], settings["console"]) == (30.0, "off")
    assert runs[0].logged[0] == {"epoch": 1, "loss": 1.0, "images_per_second": 50.0}
    assert [run.exit for run in runs] == [0, 1, 255]
    monkeypatch.setenv("WANDB_MODE", "online")
    assert track("wandb", "project", plan) == []
    assert os.environ["WANDB_MODE"] == "online"


def test_no_thread_is_left(plan: Plan, tmp_path: Path) -> None:
    before = threading.active_count()
    track("tensorboard", str(tmp_path / "tb"), plan)
    end = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < end
        time.sleep(0.05)
