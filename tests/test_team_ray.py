"""Teams through Ray Train: a job, a killed process, a killed slot, and what is left behind.

Left out of `make test`: starting a team takes many seconds, nearly all of it imports.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny import build_data, write_profile, write_sweep

from camsweep.platform.attempts import Job, make_jobs, run_job
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.team import free_orphans, run_job_on_team, tidied
from camsweep.shards.manifest import load_manifest
from camsweep.sweeps.plan import make_plan
from camsweep.sweeps.profile import load_profile
from camsweep.sweeps.results import load_curves, load_images, read_row
from camsweep.sweeps.spec import load_sweep
from camsweep.sweeps.store import Store

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Write:
    """Appends a line to a file: reports of another process."""

    path: str

    def __call__(self, what: Any) -> None:
        text = what.phase if isinstance(what, Progress) else f"row {what['status']}"
        with Path(self.path).open("a") as out:
            out.write(f"{text}\n")


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=150 * 2**20,
        logging_level=logging.ERROR,
        log_to_driver=False,
        # Workers import this file, which imports its neighbours.
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}},
    )
    yield
    ray.shutdown()


@pytest.mark.parametrize("lost_before", [True, False])
def test_tidying_never_hides_how_a_run_ended(
    lost_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*names: Any, **options: Any) -> Any:
        raise ConnectionError("the cluster is gone")

    def lose() -> None:
        monkeypatch.setattr("ray.get_actor", unreachable)
        monkeypatch.setattr("camsweep.platform.team.free_orphans", unreachable)

    def run(error: type[Exception] | None) -> None:
        with tidied():
            lose()
            if error is not None:
                raise error("the real one")

    if lost_before:
        lose()
    with pytest.raises(ValueError, match="the real one"):
        run(ValueError)
    run(None)


def inside(job: Job, context: RunContext, told: str) -> tuple[list[str], int, int]:
    """A run inside the cluster: trials left, and helpers of Ray Train during and after it."""
    import ray

    helpers = []
    with tidied():
        worker = slot()
        left = ray.get(worker.run.remote(job, context, told))
        helpers.append(len(alive("AutoscalingCoordinator")))
        ray.kill(worker)
    until(lambda: not alive("AutoscalingCoordinator"))
    return left, helpers[0], len(reserved())


def test_a_task_inside_the_cluster_tidies_up(tmp_path: Path) -> None:
    import ray

    job, context = job_of(tmp_path, 2)
    task = ray.remote(inside).options(num_cpus=0)
    assert ray.get(task.remote(job, context, str(tmp_path / "told"))) == ([], 1, 0)
    until(lambda: not alive("Slot"))


def job_of(folder: Path, epochs: int) -> tuple[Job, RunContext]:
    data = build_data(folder, train=16, val=20)
    text = "title: t\nbase: {method: cpn, patches: superpixel}\nseeds: 1\n"
    sweep = load_sweep(str(write_sweep(folder, text)))
    manifest = load_manifest(data)
    plan = make_plan([sweep], load_profile(str(write_profile(folder, epochs))), manifest.digest)
    (job,) = make_jobs(plan.trials)
    store = Store(str(folder / "store"))
    return job, RunContext(store, str(data), "tiny", manifest.name, manifest.digest)


def slot() -> Any:
    import ray

    class Slot:
        def pid(self) -> int:
            return os.getpid()

        def run(self, job: Job, context: RunContext, told: str) -> list[str]:
            write = Write(told)
            return run_job_on_team(job, context, 2, 1, 0, write, write)

    return ray.remote(Slot).options(num_cpus=0).remote()


def until(what: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return found


def alive(name: str) -> list[dict[str, Any]]:
    from ray._private.state import state

    return [
        a
        for a in state.actor_table(None).values()
        if name in a["ActorClassName"] and a["State"] == "ALIVE"
    ]


def reserved() -> list[Any]:
    from ray.util import placement_group_table

    return [g for g in placement_group_table().values() if g["state"] != "REMOVED"]


def test_a_job_on_a_team_equals_one_process_and_leaves_nothing(tmp_path: Path) -> None:
    import ray

    job, context = job_of(tmp_path, 2)
    with tidied():
        worker = slot()
        assert ray.get(worker.run.remote(job, context, str(tmp_path / "told"))) == []
        ray.kill(worker)
    told = (tmp_path / "told").read_text().splitlines()
    assert told[-1] == "row done"
    assert told.count("train") == 2
    alone = replace(context, store=Store(str(tmp_path / "alone")))
    run_job(job, alone, lambda progress: None, lambda row: None)
    for load in (load_images, load_curves):
        assert load(alone.store).equals(load(context.store))
    row = read_row(context.store, job.trials[0].id)
    assert row is not None
    assert row["workers"] == 2
    until(lambda: not alive(""))
    assert reserved() == []


def test_a_killed_process_ends_the_team_and_a_new_one_goes_on(tmp_path: Path) -> None:
    import ray

    job, context = job_of(tmp_path, 60)
    told = tmp_path / "told"
    with tidied():
        worker = slot()
        first = worker.run.remote(job, context, str(told))
        until(lambda: told.exists() and told.read_text().count("train") >= 2)
        pids = [a["Pid"] for a in alive("RayTrainWorker")]
        assert len(pids) == 2
        os.kill(pids[1], signal.SIGKILL)
        with pytest.raises(ray.exceptions.RayTaskError, match="TeamDied") as caught:
            ray.get(first, timeout=60)
        assert str(caught.value).splitlines()[-1].endswith("(killed, or out of memory)")
        until(lambda: not alive("RayTrainWorker"))
        assert reserved() == []
        assert "row" not in told.read_text()
        ray.kill(worker)
        again = slot()
        assert ray.get(again.run.remote(job, context, str(told))) == []
        ray.kill(again)
    lines = told.read_text().splitlines()
    assert lines[-1] == "row done"
    # An epoch that was done is not done again, but for the one whose checkpoint was not yet there.
    assert 60 <= lines.count("train") <= 62
    until(lambda: not alive(""))


def test_what_a_killed_slot_held_is_given_back(tmp_path: Path) -> None:
    import ray

    job, context = job_of(tmp_path, 400)
    told = tmp_path / "told"
    with tidied():
        worker = slot()
        pid = ray.get(worker.pid.remote())
        worker.run.remote(job, context, str(told))
        until(lambda: told.exists() and "train" in told.read_text())
        workers = [a["Pid"] for a in alive("RayTrainWorker")]
        assert free_orphans() == 0  # what is used stays
        os.kill(pid, signal.SIGKILL)
        until(lambda: not any(psutil.pid_exists(p) for p in workers))
        until(lambda: not alive("TrainController"))
        assert len(reserved()) == 1  # Ray keeps it: if it no longer does, free_orphans can go
        assert free_orphans() == 1
        until(lambda: ray.available_resources().get("CPU") == 4)
    until(lambda: not alive(""))
    assert not list(Path(tempfile.gettempdir()).glob(f"camsweep-team-{pid}-*"))
