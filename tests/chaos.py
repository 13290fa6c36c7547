"""A sweep on several nodes while somebody kills workers, nodes and the driver.

Used by test_chaos.py; by hand, ten rounds with other seeds and more trials:

    python tests/chaos.py --rounds 10 --trials 30
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ray_cluster import RayCluster
from tiny import build_data, write_profile, write_sweep

from camsweep.sweeps.results import load_curves, load_epochs, load_images, load_trials
from camsweep.sweeps.store import Store

SWEEP = """
title: what chaos is tried on
base: {{method: cam}}
axes: {{lr: [0.01, 0.02, 0.03]}}
seeds: {seeds}
retries: 5
"""
#: Seconds that a whole round may take.
PATIENCE = 600.0
#: The head and three nodes; looked at every so many seconds, longer than a node takes to be missed.
NODES = 4
COUNT_SECONDS = 6.0


@dataclass
class World:
    """Data, profile and sweep in a folder, and the command that runs it."""

    folder: Path
    seeds: int

    def __post_init__(self) -> None:
        self.data = build_data(self.folder)
        self.profile = write_profile(self.folder, 1)
        self.sweep = write_sweep(self.folder, SWEEP.format(seeds=self.seeds))

    def command(self, store: str, *more: str) -> list[str]:
        words = ["run", str(self.sweep), "--profile", str(self.profile)]
        words += ["--data", str(self.data), "--store", str(self.folder / store), *more]
        return [sys.executable, "-m", "camsweep.platform.cli.main", *words]

    def store(self, name: str) -> Store:
        return Store(str(self.folder / name))

    def quiet(self, name: str = "quiet") -> Store:
        """The sweep run in one process, undisturbed."""
        done = subprocess.run(
            self.command(name, "--in-process"), capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return self.store(name)


def results(store: Store) -> dict[str, Any]:
    """Everything that must not depend on what was killed, by table."""
    keep = ("id", "status", "metric.miou", "metric.threshold", "stage.train", "skipped", "labels")
    trials = load_trials(store)
    found: dict[str, Any] = {
        "trials": trials.select([k for k in keep if k in trials.column_names]).sort_by("id")
    }
    for name, load in (("images", load_images), ("curves", load_curves)):
        table = load(store)
        found[name] = table.sort_by([(column, "ascending") for column in table.column_names])
    epochs = load_epochs(store).drop_columns(["seconds"])
    found["epochs"] = epochs.sort_by([("trial_id", "ascending"), ("epoch", "ascending")])
    return found


@dataclass
class Monkey:
    """Kills things at random times, by a seed.

    Attributes:
        done: how often it did what.
        rows: the first bytes seen of every finished trial's row.
    """

    world: World
    cluster: RayCluster
    store: str
    seed: int
    kills: int
    every: tuple[float, float] = (2.0, 8.0)
    done: Counter[str] = field(default_factory=Counter)
    rows: dict[str, bytes] = field(default_factory=dict)
    counted: float = 0.0

    @property
    def killed(self) -> int:
        """How often something was killed."""
        return sum(count for what, count in self.done.items() if what != "lost")

    def run(self) -> str:
        """Drive the sweep to its end; returns what the last driver printed.

        Raises:
            AssertionError: a finished trial was run again, or the driver failed.
        """
        rng = random.Random(self.seed)
        end = time.monotonic() + PATIENCE
        driver = self._start()
        when = time.monotonic() + rng.uniform(*self.every)
        while driver.poll() is None:
            assert time.monotonic() < end, f"no end after {PATIENCE:.0f} s: {self._said()}"
            self._look()
            self._replace_lost()
            if self.killed < self.kills and time.monotonic() >= when:
                what = rng.choice(("worker", "worker", "node", "driver"))
                if what == "driver":
                    driver.kill()
                    driver.wait()
                    driver = self._start()
                    self.done[what] += 1
                elif what == "node":
                    self.cluster.kill(rng.choice(self.cluster.workers()))
                    self.cluster.add(cpus=1)
                    self.done[what] += 1
                elif victims := self._workers():
                    rng.choice(victims).kill()
                    self.done[what] += 1
                when = time.monotonic() + rng.uniform(*self.every)
            time.sleep(0.1)
        assert driver.returncode == 0, self._said()
        self._look()
        return self._said()

    def _replace_lost(self) -> None:
        """A busy machine may starve a node until its cluster takes it for dead; add another."""
        if time.monotonic() - self.counted < COUNT_SECONDS:
            return
        self.counted = time.monotonic()
        for _ in range(NODES - self.cluster.alive()):
            self.cluster.add(cpus=1)
            self.done["lost"] += 1

    def _start(self) -> subprocess.Popen[bytes]:
        log = (self.world.folder / f"{self.store}.log").open("ab")
        where = ("--address", self.cluster.address, "--wait-for-nodes", "2m")
        command = self.world.command(self.store, *where)
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def _said(self) -> str:
        return (self.world.folder / f"{self.store}.log").read_text()

    def _workers(self) -> list[psutil.Process]:
        """The processes that run slots or the coordinator, on any node."""
        found = []
        for node in [self.cluster.head, *self.cluster.workers()]:
            for process in self.cluster.processes(node)[1:]:
                try:
                    name = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                # Ray's own agents take their node with them; nodes are killed apart.
                if name.startswith(("ray::ImplicitFunc", "ray::CoordinatorActor")):
                    found.append(process)
        return found

    def _look(self) -> None:
        """A row that has been there once never changes again."""
        store = self.world.store(self.store)
        folder = self.world.folder / self.store / "trials"
        for path in folder.glob("*.arrow"):
            content = path.read_bytes()
            if self.rows.setdefault(path.name, content) != content:
                raise AssertionError(f"{path.name} was written twice")
            (row,) = store.read_table(f"trials/{path.name}").to_pylist()
            assert row["status"] == "done", row["cause"]


def leftovers(store: Store) -> list[str]:
    """What no run may leave in a store: half-written files, leases, Tune's folders."""
    root = store.local
    assert root is not None
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.name.endswith(".tmp")
        or path.name.startswith((".tmp", ".tune"))
        or path.name == "checkpoint.safetensors"
        or (path.is_file() and path.parent.name == "leases")
    )


def one_round(world: World, quiet: dict[str, Any], seed: int, kills: int) -> Counter[str]:
    """One round of chaos from start to end, with every promise checked."""
    name = f"chaos-{seed}"
    with RayCluster(head_cpus=0, nodes=[1, 1, 1]) as cluster:
        monkey = Monkey(world, cluster, name, seed, kills)
        monkey.run()
        left = cluster.wait_empty()
    assert left == [], left
    for table, expected in quiet.items():
        found = results(world.store(name))[table]
        assert found.equals(expected), f"seed {seed}: table {table} differs"
    assert leftovers(world.store(name)) == []
    return monkey.done


def main() -> None:
    """Many rounds, each with another seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--first-seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        world = World(Path(folder), -(-asked.trials // 3))
        quiet = results(world.quiet())
        for seed in range(asked.first_seed, asked.first_seed + asked.rounds):
            began = time.monotonic()
            done = one_round(world, quiet, seed, asked.kills)
            took = time.monotonic() - began
            print(f"seed {seed}: {dict(done)} killed, {took:.0f} s, tables equal", flush=True)


if __name__ == "__main__":
    main()
