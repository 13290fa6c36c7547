"""The tests' own cluster of several Ray nodes: nodes come, die and freeze, and nothing stays."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ray_cluster import RayCluster

DRIVER = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
from ray.util.placement_group import placement_group
@ray.remote(num_cpus=1)
class Waiting:
    def where(self):
        return ray.get_runtime_context().get_node_id()
actors = [Waiting.remote() for _ in range(2)]
print(*ray.get([actor.where.remote() for actor in actors]), flush=True)
sys.stdin.read()
"""


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def of_folder(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(folder) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with RayCluster(head_cpus=0, nodes=[1, 1]) as running:
        yield running
    assert not of_folder(running.folder), "processes of the cluster were left behind"
    assert not running.folder.exists()


def test_a_node_is_killed_and_another_takes_its_place(cluster: RayCluster) -> None:
    first, second = cluster.workers()
    processes = cluster.processes(first)
    assert len(processes) > 1
    cluster.kill(first)
    psutil.wait_procs(processes, timeout=5)
    assert not [p for p in processes if p.is_running()]
    until(lambda: cluster.alive() == 2)
    third = cluster.add(cpus=1)
    assert cluster.workers() == [second, third]
    assert cluster.alive() == 3


def test_actors_run_on_the_nodes_and_end_with_their_driver(cluster: RayCluster) -> None:
    assert cluster.left() == []
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, cluster.address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert driver.stdout is not None
        # The head has no CPU: one actor on each of the other two nodes.
        assert sorted(driver.stdout.readline().split()) == sorted(cluster.workers())
        assert cluster.left() == ["actor Waiting ALIVE"] * 2
    finally:
        driver.kill()
        driver.wait()
    assert cluster.wait_empty() == []


@pytest.mark.slow
def test_a_frozen_node_is_taken_for_dead(cluster: RayCluster) -> None:
    node = cluster.add(cpus=1)
    count = cluster.alive()
    cluster.stop(node)
    try:
        until(lambda: cluster.alive() == count - 1)
        assert cluster.processes(node)
    finally:
        cluster.resume(node)
        cluster.kill(node)
