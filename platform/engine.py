"""Ray Tune runs the jobs; the store keeps everything that must survive it.

Tune schedules, restarts processes that died and reports. It keeps no checkpoint and no result of
ours: an experiment is never restored, a new one is made of what the store still lacks
(docs/decisions/0004-engine.md). Actors stay warm between jobs.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

from camsweep.platform.attempts import Job, record_failure, run_job
from camsweep.platform.context import Progress, RunContext
from camsweep.platform.monitor import Monitor
from camsweep.platform.trial import failed_row
from camsweep.shards.errors import InputError
from camsweep.shards.node.cores import usable_cores

#: Set before Ray is imported and handed down to its workers, where the user has not set them: no
#: loggers that write beside our tables, no calls home, no chatter. One malloc arena: Tune starts a
#: thread a trial, and each thread's own arena would keep what its trial has freed.
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
OBJECT_STORE_BYTES = 150 * 2**20
#: What a worker sends of a finished trial's row; the rest is in the store.
SENT = ("id", "status", "cause", "metric.miou", "skipped")


def concurrency(
    cpus: int, gpus: float, limit: int | None, total_cpus: float, total_gpus: float
) -> int:
    """How many trials fit at a time.

    Args:
        cpus: cores a trial.
        gpus: GPUs a trial; 0 for none.
        limit: the user's own limit, or None.
        total_cpus: of the machine or cluster.
        total_gpus: of the machine or cluster.

    Raises:
        InputError: not even one fits.
    """
    fits = int(total_cpus // cpus)
    if gpus > 0:
        # A fraction packs onto each GPU by itself; it never spans two.
        by_gpu = int(total_gpus // gpus) if gpus >= 1 else int(total_gpus) * int(1 / gpus + 1e-9)
        fits = min(fits, by_gpu)
    if fits < 1:
        raise InputError(
            f"--gpus-per-trial {gpus:g}, {cpus} CPU: a trial needs more than there is "
            f"({total_cpus:g} CPU, {total_gpus:g} GPU)"
        )
    return min(fits, limit) if limit else fits


def run_on_ray(
    jobs: Sequence[Job],
    context: RunContext,
    monitor: Monitor,
    *,
    cpus: int,
    gpus: float | None = None,
    profile_gpus: float = 0.0,
    max_concurrent: int | None = None,
    address: str | None = None,
    time_budget: float | None = None,
) -> None:
    """Run the jobs on this machine or on a Ray cluster.

    Args:
        jobs: what to run.
        context: handed to every trial.
        monitor: is told of everything.
        cpus: cores a trial.
        gpus: GPUs a trial, as the user asked; None for the profile's.
        profile_gpus: GPUs a trial where the machine or cluster has any.
        max_concurrent: at most so many trials at a time.
        address: `auto` or `HOST:PORT` of a running cluster; None starts Ray here.
        time_budget: seconds after which no more is started and what runs is stopped.

    Raises:
        InputError: no cluster at the address, or a trial needs more than there is.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    import ray
    from ray import tune

    with ExitStack() as stack:
        if not ray.is_initialized():
            _connect(address, cpus, max_concurrent)
            stack.callback(ray.shutdown)
        total = ray.cluster_resources()
        if gpus is None:
            gpus = profile_gpus if total.get("GPU", 0.0) else 0.0
        context = replace(context, device="cuda" if gpus > 0 else "cpu")
        slots = concurrency(
            cpus, gpus, max_concurrent, total.get("CPU", 0.0), total.get("GPU", 0.0)
        )
        monitor.slots = slots
        storage = _storage(stack, context, address)
        for name in ("ray.tune", "ray.train", "ray"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        trainable = tune.with_parameters(_trainable, jobs=list(jobs), context=context)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": cpus, "gpu": gpus}),
            param_space={"job": tune.grid_search(list(range(len(jobs))))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=slots,
                reuse_actors=True,
                time_budget_s=time_budget,
                trial_dirname_creator=lambda trial: f"job-{trial.config['job']}",
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=storage,
                verbose=0,
                # Only a process that dies comes here: every exception is recorded in the worker.
                failure_config=tune.FailureConfig(
                    max_failures=max(t.retries for job in jobs for t in job.trials)
                ),
                callbacks=[_callback(jobs, context, monitor)],
            ),
        )
        _keep_credentials_out()
        tuner.fit()


def _keep_credentials_out() -> None:
    """Stop Tune from writing AWS_... variables into Ray's runtime environments, which are logged.

    Workers of a local Ray inherit the driver's environment anyway; on a cluster each node has
    credentials of its own.
    """
    from ray.tune.execution import class_cache

    # Not public: where it is gone, test_engine says so.
    names = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")}
    class_cache.ENV_VARS_TO_PROPAGATE = names


def _connect(address: str | None, cpus: int, max_concurrent: int | None) -> None:
    import ray

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is not None and address.startswith("ray://"):
        raise InputError(
            f"--address {address}: the driver must run inside the cluster, as Tune's callbacks do; "
            "start camsweep on one of its nodes with --address auto"
        )
    if address is not None:
        try:
            ray.init(address=address, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            first = (str(error).splitlines() or [""])[0]
            raise InputError(f"--address {address}: no Ray cluster there ({first})") from error
        return
    cores = usable_cores()
    wanted = max(cores, cpus * (max_concurrent or 1))
    ray.init(
        address="local",  # whatever RAY_ADDRESS says, and beside any cluster that runs here
        num_cpus=wanted,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        **options,
    )


def _storage(stack: ExitStack, context: RunContext, address: str | None) -> str:
    """Where Tune may write, thrown away at the end. A cluster needs one that all nodes see."""
    if address is None:
        return stack.enter_context(tempfile.TemporaryDirectory(prefix="camsweep-tune-"))
    name = f".tune-{socket.gethostname()}-{os.getpid()}"
    stack.callback(context.store.delete_folder, name)
    local = context.store.local
    if local is not None:
        return str(local / name)
    address, mark, query = context.store.url.partition("?")
    return f"{address.rstrip('/')}/{name}{mark}{query}"


def _trainable(config: dict[str, Any], jobs: list[Job], context: RunContext) -> None:
    """Runs in a Ray worker."""
    from ray import tune

    def report(progress: Progress) -> None:
        tune.report({"progress": asdict(progress)})

    def done(row: dict[str, Any]) -> None:
        tune.report({"row": {name: row.get(name) for name in SENT}})

    run_job(jobs[config["job"]], context, report, done)


def _callback(jobs: Sequence[Job], context: RunContext, monitor: Monitor) -> Any:
    from ray import tune

    class TellMonitor(tune.Callback):
        """Passes on what workers report; records the jobs whose process died for good."""

        def __init__(self, jobs: Sequence[Job], context: RunContext, monitor: Monitor) -> None:
            self.jobs, self.context, self.monitor = jobs, context, monitor

        def __getstate__(self) -> dict[str, Any]:
            """Tune pickles its callbacks, class and all, into a snapshot that we never restore."""
            return {}

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            if "row" in result:
                self.monitor.finished(result["row"])
            elif "progress" in result:
                self.monitor.progress(Progress(**result["progress"]))

        def on_trial_error(
            self, iteration: int, trials: list[Any], trial: Any, **info: Any
        ) -> None:
            _record_death(self.jobs[trial.config["job"]], self.context, self.monitor, trial)

    return TellMonitor(jobs, context, monitor)


def _record_death(job: Job, context: RunContext, monitor: Monitor, trial: Any) -> None:
    """Write down the trials of a job whose process died more often than it is restarted."""
    trace = _error_text(trial)
    for planned in job.trials:
        if monitor.trials[planned.id].state not in ("done", "failed"):
            attempts = planned.retries + 1
            row = failed_row(planned, context, _death(trace), trace, attempts)
            monitor.finished(record_failure(context, row))


def _error_text(trial: Any) -> str:
    try:
        return str(trial.get_error() or "")
    except (OSError, AttributeError):
        return ""


def _death(trace: str) -> str:
    if "OutOfMemory" in trace:
        return "out of memory: the machine ran out and Ray ended the trial's process"
    return "the trial's process died (killed, or out of memory)"
