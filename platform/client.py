"""Joining a Ray cluster that runs already, from one of its nodes or from outside (`ray://`).

The address is tried first (`reach.py`), then the code is, by one task on the cluster. Whatever is
wrong is told in one line.
"""

from __future__ import annotations

import logging
import os
import queue
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from camsweep.platform.reach import CLIENT, line, reason, require_answer
from camsweep.shards.errors import InputError

#: Seconds for the code to be installed on a node.
CODE_SECONDS = 180.0
#: How often the first task of a run is tried when its node is lost under it.
FIRST_TASKS = 3
#: Seconds that a run inside the cluster is given to end after Ctrl-C.
END_SECONDS = 20.0
#: Between two looks at what a run inside the cluster has told.
POLL_SECONDS = 0.5
#: What a worker imports for a trial; the wheel brings the first and the node the others.
NEEDED = (
    *("camsweep.platform.attempts", "filelock", "fsspec", "numpy", "optuna", "PIL", "pyarrow"),
    *("pydantic", "safetensors", "scipy", "skimage", "torch", "torchvision", "webdataset", "yaml"),
)


def resolved(address: str) -> str:
    """The address that Ray would take: `auto` means `$RAY_ADDRESS` where that is set."""
    return os.environ.get("RAY_ADDRESS") or address if address == "auto" else address


def is_client(address: str | None) -> bool:
    """Whether an address is that of a Ray Client server: this process is outside the cluster."""
    return address is not None and resolved(address).startswith(CLIENT)


def connect(address: str, runtime_env: dict[str, Any]) -> None:
    """Join the cluster at an address and make sure that its workers can import this code.

    Args:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`.
        runtime_env: for the workers of this run (`wheel.runtime_env`).

    Raises:
        InputError: nothing answers there, something else than Ray does, the cluster refuses us
            (another version of Ray or Python, no token), or the code does not get to its nodes.
            Within about 30 s where the address is wrong.
    """
    import ray

    there = resolved(address)
    named = f"--address {address}" + (f" ({there})" if there != address else "")
    require_answer(there, named)
    try:
        with warnings.catch_warnings(action="ignore"):
            ray.init(
                address=there,
                runtime_env=runtime_env,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except Exception as error:  # whatever it is: the cluster is not to be had
        raise InputError(f"{named}: {reason(line(error))}") from error
    try:
        _require_code(named)
    except BaseException:
        ray.shutdown()
        raise


def run_inside(
    function: Callable[..., Any], *arguments: Any, told: Callable[[Any], None] | None = None
) -> Any:
    """Run a function inside the cluster, on its head where there is room, and wait for it.

    Args:
        function: of this package; called as `function(tell, *arguments)`, where `tell(event)`
            sends a picklable event here.
        arguments: picklable.
        told: called here with each event, in order, none lost as long as the function lives.

    Returns:
        What the function returns.

    Raises:
        InputError: raised by the function; or the connection or the function's process is lost.
        KeyboardInterrupt: Ctrl-C; the function has got one, too, and time to end.
        Exception: any other that the function raised, as it was.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError, TaskCancelledError

    place = {"num_cpus": 0, "scheduling_strategy": _on_head()}
    mailbox: Any = ray.remote(_Mailbox).options(**place).remote()
    task = ray.remote(_inside).options(**place, max_retries=0).remote(function, mailbox, arguments)

    def listen() -> None:
        for event in ray.get(mailbox.empty.remote()):
            if told is not None:
                told(event)

    try:
        while not ray.wait([task], timeout=POLL_SECONDS)[0]:
            listen()
        try:
            result = ray.get(task)
        finally:
            listen()
        return result
    except KeyboardInterrupt:
        with suppress(RayError, ConnectionError):
            ray.cancel(task)
            if not ray.wait([task], timeout=END_SECONDS)[0]:
                ray.cancel(task, force=True)
            listen()
        raise
    except TaskCancelledError as error:
        raise KeyboardInterrupt from error
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except (RayError, ConnectionError) as error:
        raise InputError(
            f"the run inside the cluster was lost ({line(error)}); the same command goes on"
        ) from error
    finally:
        with suppress(RayError, ConnectionError):
            ray.kill(mailbox)


def _require_code(named: str) -> None:
    """Let one worker import what a trial needs."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError, RuntimeEnvSetupError

    def first_task(tries: int) -> list[str]:
        task = ray.remote(_missing).options(num_cpus=0, max_retries=0).remote()
        try:
            found: list[str] = ray.get(task, timeout=CODE_SECONDS)
            return found
        except (RuntimeEnvSetupError, GetTimeoutError):
            raise
        except RayError:
            # Its node may have been lost under it; the next one lives, or the third is told.
            if tries == 1:
                raise
            return first_task(tries - 1)

    try:
        missing = first_task(FIRST_TASKS)
    except RuntimeEnvSetupError as error:
        # Without pip Ray 2.60 falls over a name of its own.
        why = "no pip there" if "'exit_code'" in str(error) else line(error, -1)
        raise InputError(
            f"{named}: the code could not be installed on a node ({why}); Ray installs it with "
            "pip, which must be on the PATH that `ray start` was run with"
        ) from error
    except GetTimeoutError as error:
        raise InputError(
            f"{named}: no node has run a first task within {CODE_SECONDS:g} s; see `ray status`"
        ) from error
    except (RayError, ConnectionError) as error:
        raise InputError(f"{named}: a node's first task failed ({line(error, -1)})") from error
    if missing:
        raise InputError(
            f"{named}: a node lacks {', '.join(missing)}; install camsweep's dependencies in the "
            "environment that Ray runs in there"
        )


def _missing() -> list[str]:
    """Runs on a node: what a trial imports and this environment has not."""
    from importlib.util import find_spec

    return [name for name in NEEDED if find_spec(name) is None]


def _on_head() -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    for node in ray.nodes():
        if node["Alive"] and "node:__internal_head__" in node["Resources"]:
            return NodeAffinitySchedulingStrategy(node["NodeID"], soft=True)
    return "DEFAULT"


def _inside(function: Callable[..., Any], mailbox: Any, arguments: tuple[Any, ...]) -> Any:
    import ray

    def tell(event: Any) -> None:
        ray.get(mailbox.put.remote(event))

    return function(tell, *arguments)


class _Mailbox:
    """An actor that keeps events until the client asks for them."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, event: Any) -> None:
        self._events.put(event)

    def empty(self) -> list[Any]:
        return [self._events.get() for _ in range(self._events.qsize())]
