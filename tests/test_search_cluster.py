"""Searches on a cluster of several nodes, from inside it and from outside (`ray://`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_cluster import RayCluster
from search_runs import BASE, World
from tiny import build_data, write_profile

from camsweep.platform.engine.environment import ray_session

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return World(folder, build_data(folder, train=16, val=8), write_profile(folder, epochs=2))


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        with RayCluster(nodes=[1, 1], client=True, env={"RAY_AUTH_MODE": "disabled"}) as running:
            yield running


@pytest.mark.parametrize("outside", [False, True])
def test_a_search_runs_on_all_nodes_and_leaves_nothing(
    world: World, cluster: RayCluster, outside: bool
) -> None:
    ground = world.ground({**BASE, "epochs": 1}, samples=4)
    store = f"cluster-{outside}"
    address = cluster.client_address if outside else cluster.address
    with ray_session(address):
        count, monitor = world.run(ground, store, in_process=False, shared=True)
    assert count == 4
    assert monitor.counts()["done"] == 4
    assert monitor.slots == 2
    assert [row["status"] for row in world.rows(store)] == ["done"] * 4
    assert not list(Path(world.folder / store).glob(".tmp-*"))
    assert not cluster.wait_empty()
