"""How Ray is started or found, and what is set before it is imported."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from camsweep.shards.node.cores import usable_cores

#: Handed down to Ray's workers, where the user has not set them: no loggers that write beside our
#: tables, no calls home, no chatter. One malloc arena: Ray starts many threads, and each thread's
#: own arena would keep what a trial has freed. Ctrl-C is ours: Tune's handler would let slots go on
#: to their next jobs until it has come around.
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
OBJECT_STORE_BYTES = 150 * 2**20


@contextmanager
def ray_session(address: str | None, cores: int = 1) -> Iterator[None]:
    """Ray, started here or found at an address, and left at the end.

    Args:
        address: of a running cluster, or None: a new Ray on this machine, whatever `RAY_ADDRESS`
            says and beside any cluster that runs here.
        cores: what a new Ray offers at least, also where the machine has fewer.

    Raises:
        InputError: no cluster at the address.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})
    import ray

    if ray.is_initialized():
        yield
        return
    if address is None:
        ray.init(
            address="local",
            num_cpus=max(usable_cores(), cores),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    else:
        from camsweep.platform.client import connect
        from camsweep.platform.wheel import runtime_env

        connect(address, runtime_env(address))
    _keep_credentials_out()
    for name in ("ray.tune", "ray.train", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        ray.shutdown()


def _keep_credentials_out() -> None:
    """Stop Tune from writing AWS_... variables into Ray's runtime environments, which are logged.

    Workers of a local Ray inherit the driver's environment anyway; on a cluster each node has
    credentials of its own.
    """
    from ray.tune.execution import class_cache

    # Not public: where it is gone, test_engine says so.
    names = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if not name.startswith("AWS_")}
    class_cache.ENV_VARS_TO_PROPAGATE = names


def described_nodes() -> list[dict[str, Any]]:
    """What `ray.nodes()` tells."""
    import ray

    return list(ray.nodes())
