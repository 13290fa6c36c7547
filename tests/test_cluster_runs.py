"""`camsweep run` on a cluster: small trials and teams together, through Ray Client and inside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from chaos import leftovers, results
from ray_cluster import RayCluster
from tiny import build_data, write_profile, write_sweep

from camsweep.sweeps.results import load_trials
from camsweep.sweeps.store import Store

MIXED = """
title: small trials beside one of two workers
base: {method: cam}
arms:
  small: {lr: 0.01}
  smaller: {lr: 0.02}
  team: {lr: 0.03, resources: {workers: 2}}
seeds: 1
"""


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        build_data(folder)
        write_profile(folder, 1)
        write_sweep(folder, MIXED)

    def run(self, store: str, *more: str) -> subprocess.CompletedProcess[str]:
        words = ["run", "mine.yaml", "--profile", "tiny.yaml", "--data", "data", "--store", store]
        return subprocess.run(
            [sys.executable, "-m", "camsweep.platform.cli.main", *words, *more],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def store(self, name: str) -> Store:
        return Store(str(self.folder / name))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("cluster-runs"))
    assert made.run("quiet", "--in-process").returncode == 0
    return made


@pytest.fixture(scope="module")
def cluster() -> RayCluster:
    with RayCluster(head_cpus=0, nodes=[2], client=True) as running:
        yield running


def test_a_mixed_sweep_through_ray_client(place: Place, cluster: RayCluster) -> None:
    done = place.run("mixed", "--address", cluster.client_address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    found, expected = results(place.store("mixed")), results(place.store("quiet"))
    for name in ("trials", "images", "curves"):
        assert found[name].equals(expected[name]), name
    losses = [table["epochs"]["loss.loss"].to_pylist() for table in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    rows = load_trials(place.store("mixed")).to_pylist()
    assert sorted(row["workers"] for row in rows) == [1, 1, 2]
    assert cluster.wait_empty() == []
    assert leftovers(place.store("mixed")) == []


def test_more_gpus_than_the_cluster_has(place: Place, cluster: RayCluster) -> None:
    done = place.run("refused", "--address", cluster.address, "--gpus-per-trial", "2")
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "4 GPUs asked for a trial, there are 2 CPU and 0 GPU on 2 nodes" in line  # for the team
    assert cluster.wait_empty() == []
    assert not list((place.folder / "refused").rglob("*.arrow"))


def test_gpus_of_which_a_part_is_whole(place: Place) -> None:
    done = place.run("refused", "--gpus-per-trial", "1.5")
    assert done.returncode == 2
    assert "--gpus-per-trial 1.5: a fraction below 1 or a whole number is right" in done.stderr
