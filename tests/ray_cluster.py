"""Several Ray nodes on one machine, for tests: Ray's own cluster utility in a process of its own.

The test's process never imports Ray here, so that it can be a driver, start drivers or kill them as
it likes; whatever happens to it, the cluster ends with it. Its files are in a folder of their own
with a short name (Ray's sockets allow 107 characters). Name it by `address`: `auto` looks for any
Ray of this machine, other people's too.

    with RayCluster(head_cpus=0, nodes=[2, 2]) as cluster:
        run("--address", cluster.address)
        cluster.kill(cluster.workers()[0])
        cluster.add(cpus=2)
        assert cluster.left() == []
"""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

#: A node that was killed is missed after 2 s and one that is frozen after 10 s, instead of Ray's 15
#: to 60; no worker is started before something wants one.
SYSTEM = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 4,
    "prestart_worker_first_driver": False,
    "enable_worker_prestart": False,
}
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0", "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class RayCluster:
    """A head and further nodes, each with a raylet and workers of its own.

    Args:
        head_cpus: CPUs of the head; with 0 nothing but drivers and actors without CPU runs there.
        nodes: CPUs of each further node.
        gpus: GPUs of each further node; made up, nothing checks that they exist.
        client: also serve Ray Client (`ray://`).
        python: the interpreter of the nodes and of their workers.
        env: further environment variables of the nodes and of their workers; None removes one.
    """

    def __init__(
        self,
        head_cpus: int = 0,
        nodes: Sequence[int] = (1, 1),
        *,
        gpus: float = 0,
        client: bool = False,
        python: str | Path = sys.executable,
        env: Mapping[str, str | None] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="cr", dir="/tmp"))
        (self.folder / "ray").mkdir()  # where Ray puts its sessions below RAY_TMPDIR
        self._log = (self.folder / "cluster.log").open("w+")
        merged: dict[str, str | None] = {**os.environ, **QUIET, "RAY_TMPDIR": str(self.folder)}
        merged.pop("RAY_ADDRESS", None)
        merged.update(env or {})
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=self.folder,
            env={key: value for key, value in merged.items() if value is not None},
            start_new_session=True,  # Ctrl-C for a driver under test is none for the cluster
        )
        try:
            self.client_port = free_port() if client else None
            head = self._ask("head", cpus=head_cpus, client=self.client_port)
            self.address: str = head["address"]
            self.head: str = head["node"]
            for cpus in nodes:
                self.add(cpus, gpus)
        except BaseException:
            self.close()
            raise

    @property
    def client_address(self) -> str:
        """For Ray Client; only with `client=True`."""
        assert self.client_port is not None
        return f"ray://127.0.0.1:{self.client_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, cpus: int = 1, gpus: float = 0) -> str:
        """Start a node and wait until the cluster knows it; returns its id (hexadecimal)."""
        return str(self._ask("add", cpus=cpus, gpus=gpus)["node"])

    def workers(self) -> list[str]:
        """Ids of the nodes beside the head that were not killed, oldest first."""
        return list(self._ask("nodes")["nodes"])

    def alive(self) -> int:
        """How many nodes the cluster believes alive, the head included."""
        return int(self._ask("alive")["alive"])

    def kill(self, node: str) -> None:
        """End a node as a power cut does: its raylet, agents and workers by SIGKILL, at once."""
        for process in self.processes(node):
            _send(process, signal.SIGKILL)
        self._ask("forget", node=node)

    def stop(self, node: str) -> None:
        """Freeze a node (SIGSTOP): the cluster takes it for dead, while nothing of it has ended."""
        for process in self.processes(node):
            _send(process, signal.SIGSTOP)

    def resume(self, node: str) -> None:
        """Let a frozen node go on; if it was taken for dead, Ray ends it now."""
        for process in self.processes(node):
            _send(process, signal.SIGCONT)

    def processes(self, node: str) -> list[psutil.Process]:
        """A node's raylet, first, and all that it started."""
        try:
            raylet = psutil.Process(self._ask("raylet", node=node)["pid"])
            return [raylet, *raylet.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def left(self) -> list[str]:
        """Actors and placement groups that exist now; jobs that ended have left none."""
        return list(self._ask("left")["left"])

    def wait_empty(self, seconds: float = 15) -> list[str]:
        """`left()` once nothing is left, or what still is after so many seconds."""
        end = time.monotonic() + seconds
        while (left := self.left()) and time.monotonic() < end:
            time.sleep(0.2)
        return left

    def close(self) -> None:
        """End all nodes and delete their files."""
        tree: list[psutil.Process] = []
        if self._process.poll() is None:
            tree = psutil.Process(self._process.pid).children(recursive=True)
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in tree:
            _send(process, signal.SIGKILL)
        psutil.wait_procs(tree, timeout=10)
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ask(self, what: str, **values: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **values}) + "\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], 90)
            line = self._process.stdout.readline() if ready else ""
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the test cluster does not answer:\n{self._said()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"test cluster: {answer['error']}")
        return answer

    def _said(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text()[-3000:]


def _send(process: psutil.Process, sign: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(sign)


def _serve() -> None:
    """The process that holds the nodes: one JSON command a line in, one JSON answer a line out."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Ray prints goes to the log
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    nodes: dict[str, Any] = {}
    number = itertools.count()

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        what = command["do"]
        if what == "head":
            node = cluster.add_node(
                num_cpus=command["cpus"],
                include_dashboard=False,
                include_log_monitor=False,
                ray_client_server_port=command["client"],
                _system_config=SYSTEM,
            )
            return {"address": cluster.address, "node": node.node_id}
        if what == "add":
            node = cluster.add_node(
                num_cpus=command["cpus"],
                num_gpus=command["gpus"],
                # On machines of their own, two nodes never install into one folder.
                runtime_env_dir_name=f"runtime_resources_{next(number)}",
            )
            nodes[node.node_id] = node
            return {"node": node.node_id}
        if what == "nodes":
            return {"nodes": list(nodes)}
        if what == "alive":
            return {"alive": len(cluster.global_state._live_node_ids())}
        if what == "raylet":
            known = nodes.get(command["node"], cluster.head_node)
            return {"pid": known.all_processes["raylet"][0].process.pid}
        if what == "forget":
            cluster.remove_node(nodes.pop(command["node"]), allow_graceful=False)
            return {}
        return {"left": _left(cluster.global_state)}

    for line in sys.stdin:
        try:
            told = answer(json.loads(line))
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), file=answers, flush=True)
    for node in list(nodes.values()):
        cluster.remove_node(node, allow_graceful=False)
    if cluster.head_node is not None:
        cluster.remove_node(cluster.head_node, allow_graceful=False)


def _left(state: Any) -> list[str]:
    actors = state.actor_table(None).values()
    groups = state.placement_group_table().values()
    return sorted(
        [f"actor {a['ActorClassName']} {a['State']}" for a in actors if a["State"] != "DEAD"]
        + [f"placement group {g['state']}" for g in groups if g["state"] != "REMOVED"]
    )


if __name__ == "__main__":
    _serve()
