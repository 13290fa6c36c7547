"""Several nodes, things that die, two drivers: every trial ends once, with the same numbers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from chaos import PATIENCE, World, leftovers, one_round, results
from ray_cluster import RayCluster

from camsweep.sweeps.results import load_trials


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("chaos"), seeds=2)


@pytest.fixture(scope="module")
def quiet(world: World) -> dict[str, Any]:
    return results(world.quiet())


def test_a_sweep_survives_workers_a_node_and_its_driver(
    world: World, quiet: dict[str, Any]
) -> None:
    done = one_round(world, quiet, seed=3, kills=3)
    assert sum(done.values()) >= 2, done


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_ten_rounds_of_thirty_trials(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(tmp_path_factory.getbasetemp()) / "chaos-thirty"
    folder.mkdir(exist_ok=True)
    world = World(folder, seeds=10)
    done = one_round(world, results(world.quiet()), seed, kills=6)
    assert sum(done.values()) >= 3, done


def test_two_drivers_on_one_store_share_the_work(world: World, quiet: dict[str, Any]) -> None:
    store = world.store("shared")
    with RayCluster(head_cpus=0, nodes=[1, 1]) as cluster:
        command = world.command("shared", "--address", cluster.address, "--max-concurrent", "1")
        drivers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(2)
        ]
        said = [driver.communicate(timeout=PATIENCE)[0] for driver in drivers]
        assert [driver.returncode for driver in drivers] == [0, 0], said
        left = cluster.wait_empty()
    assert left == []
    found = results(store)
    assert [name for name, table in quiet.items() if not found[name].equals(table)] == []
    # Both took part, and what one ran the other did not.
    drivers_of = {row["owner"].partition("/")[0] for row in load_trials(store).to_pylist()}
    assert len(drivers_of) == 2
    assert leftovers(store) == []
