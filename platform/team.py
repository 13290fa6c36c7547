"""A job on several processes: Ray Train places them, all or none, and ends them together."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from camsweep.methods.team import PATIENCE
from camsweep.platform.attempts import Done, Job, run_job
from camsweep.platform.context import Report, RunContext

#: For Ray Train's own processes: nothing is measured or watched that nobody reads, and workers stay
#: in the folder where they are.
ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


#: Ray Train wants a folder, in which nothing of ours is ever written.
FOLDER = "camsweep-team-"


class TeamDied(Exception):  # noqa: N818
    """A process of a team died, or the team could not be placed; no failure of a trial's own."""


def run_job_on_team(
    job: Job,
    context: RunContext,
    workers: int,
    cpus: int,
    gpus: float,
    report: Report,
    done: Done,
    *,
    attempt: int = 1,
) -> list[str]:
    """Run every trial of a job on a team of processes; Ray is there already.

    The caller should hold next to nothing of the cluster: Ray Train reserves what the processes
    need. A failure of a trial, on whichever rank, is recorded as that of one process would be.

    Args:
        job: what to run; its ``run`` takes ``team``, as ``run_trial`` does.
        context: where to read and write.
        workers: how many processes.
        cpus: cores of each.
        gpus: GPUs of each: whole ones, a fraction below 1, or 0.
        report: called with where a trial stands; it is sent to rank 0, and called there.
        done: called with each trial's final row, on rank 0.
        attempt: see ``run_job``.

    Returns:
        Ids of the trials that another driver is running; they are not done.

    Raises:
        TeamDied: a process died. What was not finished goes on from its checkpoint when the job is
            run again.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    import ray

    # Typed as Train's first version, which these are not.
    train: Any = importlib.import_module("ray.train")
    torch_train: Any = importlib.import_module("ray.train.torch")

    class Trainer(torch_train.TorchTrainer):
        """Without Ray's own cleaner, which asks a dashboard and outlives the run where none is."""

        def _create_default_callbacks(self) -> list[Any]:
            found = super()._create_default_callbacks()
            return [c for c in found if type(c).__name__ != "PlacementGroupCleanerCallback"]

    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    free_orphans()
    _remove_folders()
    resources = {"CPU": float(cpus), **({"GPU": float(gpus)} if gpus else {})}
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER}{os.getpid()}-") as folder:
        trainer = Trainer(
            _rank,
            train_loop_config={
                "job": job,
                "context": replace(context, device="cuda" if gpus else "cpu"),
                "report": report,
                "done": done,
                "attempt": attempt,
            },
            # NCCL refuses two ranks on one GPU, where a fraction may put them.
            torch_config=torch_train.TorchConfig(
                backend="nccl" if gpus >= 1 else "gloo", timeout_s=int(PATIENCE.total_seconds())
            ),
            scaling_config=train.ScalingConfig(
                num_workers=workers, use_gpu=gpus > 0, resources_per_worker=resources
            ),
            run_config=train.RunConfig(
                name=uuid.uuid4().hex,
                storage_path=folder,
                failure_config=train.FailureConfig(max_failures=0, max_preemption_failures=0),
                logging_config=train.LoggingConfig(log_level="CRITICAL"),
            ),
        )
        try:
            result = trainer.fit()
        except (train.TrainingFailedError, ray.exceptions.RayError) as error:
            raise TeamDied(_why(error)) from error
    left: list[str] = result.return_value or []
    return left


def _remove_folders() -> None:
    """Remove the folders of slots that were killed on this machine."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*-*"):
        owner = folder.name.removeprefix(FOLDER).partition("-")[0]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, ValueError):
            continue  # somebody else's


@contextmanager
def tidied() -> Iterator[None]:
    """Around a whole run on Ray: what Ray Train leaves on a cluster is removed at the end.

    It keeps one helper a cluster, for its autoscaler, that outlives everything. One that was there
    before is somebody else's. Entered where the cluster's state can be read: in a driver, or in a
    task or actor of its job, but not in a process that reaches the cluster through Ray Client.

    Raises:
        Exception: what the block raises, and nothing else: a cluster that is lost can't be tidied,
            which must not hide how the run ended.
    """
    there = True
    with suppress(Exception):
        there = _helper() is not None
    try:
        yield
    finally:
        for tidy in (free_orphans, _remove_folders, *(() if there else (_end_helper,))):
            with suppress(Exception):
                tidy()


def _end_helper() -> None:
    import ray

    helper = _helper()
    if helper is not None:
        ray.kill(helper)


def _helper() -> Any | None:
    import ray

    try:
        return ray.get_actor("AutoscalingCoordinator", namespace="AutoscalingCoordinator")
    except ValueError:
        return None


def free_orphans() -> int:
    """Give back what the processes of a team held whose slot was killed.

    Ray ends a team's processes with the one that started them, but keeps what was reserved for them
    until the driver ends.

    Returns:
        How many reservations were removed.
    """
    import ray
    from ray._private.state import state
    from ray.core.generated import gcs_pb2
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    protocol: Any = gcs_pb2
    removed = protocol.PlacementGroupTableData.REMOVED
    ours = bytes.fromhex(ray.get_runtime_context().get_job_id())
    freed = 0
    # Not public: the public table does not tell who reserved what.
    for raw in state._connect_and_get_accessor().get_placement_group_table():
        group = protocol.PlacementGroupTableData.FromString(raw)
        creator = group.creator_actor_id
        if group.creator_job_id != ours or group.state == removed or group.is_detached:
            continue
        if ray.ActorID(creator).is_nil():  # of the driver itself: Tune's, of a slot
            continue
        if state.actor_table(creator.hex()).get("State", "DEAD") == "DEAD":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
            freed += 1
    return freed


def _rank(config: dict[str, Any]) -> list[str]:
    """What each process does: rank 0 runs the job, the others follow it."""
    from camsweep.methods.team import TorchTeam
    from camsweep.platform.orders import dismiss, follow

    team = TorchTeam()
    if team.rank > 0:
        follow(team)
        return []
    job: Job = config["job"]
    run: Any = job.run
    try:
        return run_job(
            replace(job, run=partial(run, team=team)),
            config["context"],
            config["report"],
            config["done"],
            attempt=config["attempt"],
        )
    finally:
        dismiss(team)


def _why(error: Exception) -> str:
    """What ended a team, in one line: a death before what other ranks made of it."""
    failures: dict[int, BaseException] = getattr(error, "worker_failures", None) or {}
    for rank, failure in sorted(failures.items()):
        text = str(failure)
        if "died" in text:
            why = "its node has died" if "its node has died" in text else "killed, or out of memory"
            return f"rank {rank} of the team died ({why})"
    for rank, failure in sorted(failures.items()):
        first = (str(failure).strip().splitlines() or [type(failure).__name__])[-1].strip()
        return f"rank {rank} of the team: {first}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
