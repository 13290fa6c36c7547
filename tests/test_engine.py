"""The promises of a run: nothing lost, nothing repeated, the same numbers whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from tiny import build_data, write_profile, write_sweep

from camsweep.sweeps.results import load_curves, load_images, load_trials
from camsweep.sweeps.store import Store

SWEEP = """
title: what the tests run
base: {method: cpn, patches: grid, grid_sizes: [56, 112]}
axes: {p_h: [0.3, 0.5]}
seeds: 3
retries: 1
"""
#: So many that a trial outlasts what its workers live on after their driver.
EPOCHS = 10


class World:
    """A folder with data, a profile and a sweep, and the command that runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = build_data(folder, train=16, val=4)
        self.profile = write_profile(folder, EPOCHS)
        self.sweep = write_sweep(folder, SWEEP)

    def command(self, store: str, *more: str) -> list[str]:
        words = ["run", str(self.sweep), "--profile", str(self.profile)]
        words += ["--data", str(self.data), "--store", str(self.folder / store), *more]
        return [sys.executable, "-m", "camsweep.platform.cli.main", *words]

    def run_from(self, folder: Path, argv: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=600)

    def run(self, store: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(store, *more), capture_output=True, text=True, timeout=600
        )

    def start(self, store: str, *more: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{store}.log").open("wb")
        return subprocess.Popen(self.command(store, *more), stdout=log, stderr=subprocess.STDOUT)

    def store(self, name: str) -> Store:
        return Store(str(self.folder / name))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def undisturbed(world: World) -> Store:
    """The sweep run in one process, without Ray."""
    done = world.run("undisturbed", "--in-process")
    assert done.returncode == 0, done.stderr
    return world.store("undisturbed")


def rows(store: Store) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in load_trials(store).to_pylist()}


def metrics(store: Store) -> dict[str, dict[str, Any]]:
    return {
        trial_id: {k: v for k, v in row.items() if k.startswith("metric.")} | {"s": row["status"]}
        for trial_id, row in rows(store).items()
    }


def until(what: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def same_results(store: Store, undisturbed: Store) -> None:
    """Of the store's trials, which need not be all of the others."""
    found, wanted = metrics(store), metrics(undisturbed)
    assert found == {trial_id: wanted[trial_id] for trial_id in found}
    for load in (load_images, load_curves):
        tables = [load(one, list(found)) for one in (store, undisturbed)]
        order = [(name, "ascending") for name in tables[0].column_names]
        one, two = (table.sort_by(order) for table in tables)
        assert one.num_rows
        assert one.equals(two)


def checkpoints(store: Store) -> list[Path]:
    return list(Path(store.path("artefacts")).glob("*/checkpoint.safetensors"))


def workers(driver: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in driver.children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if line.startswith("ray::ImplicitFunc"):
            found.append(process)
    return found


def test_a_run_on_ray_equals_one_in_process(world: World, undisturbed: Store) -> None:
    # A relative store, as people type it: Ray's workers have working directories of their own.
    argv = world.command("ray", "--seeds", "2")
    argv[argv.index("--store") + 1] = "ray"
    done = world.run_from(world.folder, argv)
    assert done.returncode == 0, done.stdout + done.stderr
    same_results(world.store("ray"), undisturbed)
    assert not list(Path(world.store("ray").path(".")).glob(".tune*"))
    before = rows(world.store("ray"))
    assert len(before) == 4
    again = world.run("ray", "--seeds", "2")
    assert again.returncode == 0
    assert "4 found in" in again.stdout
    assert rows(world.store("ray")) == before


def test_a_trials_process_is_killed(world: World, undisturbed: Store) -> None:
    store = world.store("worker")
    driver = world.start("worker", "--seeds", "1")
    until(lambda: len(checkpoints(store)) >= 1)
    victims = workers(psutil.Process(driver.pid))
    assert victims
    victims[0].send_signal(signal.SIGKILL)
    assert driver.wait(timeout=600) == 0, (world.folder / "worker.log").read_text()
    assert len(rows(store)) == 2
    same_results(store, undisturbed)


def test_stopped_by_ctrl_c_and_then_killed_it_goes_on(world: World, undisturbed: Store) -> None:
    store = world.store("driver")
    driver = world.start("driver")
    until(lambda: len(checkpoints(store)) >= 1)
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=120) == 130
    said = (world.folder / "driver.log").read_text()
    assert "the same command goes on where it was" in said
    assert "Traceback" not in said
    assert not list(Path(store.path(".")).rglob("*.tmp"))

    driver = world.start("driver")
    until(lambda: len(store.names("trials")) >= 1 and len(checkpoints(store)) >= 1)
    slots = workers(psutil.Process(driver.pid))
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(slots, timeout=60)  # they learn of the death within seconds
    assert not alive
    finished = rows(store)
    assert 1 <= len(finished) < 6
    status = subprocess.run(
        [sys.executable, "-m", "camsweep.platform.cli.main", "status", "--store", store.url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{len(finished)} done" in status.stdout

    assert world.run("driver").returncode == 0
    after = rows(store)
    assert len(after) == 6
    assert {i: after[i] for i in finished} == finished, "a finished trial was repeated"
    same_results(store, undisturbed)


def test_a_failing_trial_is_recorded_and_the_others_end(world: World) -> None:
    # A learning rate that no training survives, for one of two cells.
    sweep = write_sweep(
        world.folder,
        "title: x\nbase: {method: cam}\naxes: {lr: [0.01, 1.0e+30]}\nseeds: 1\nretries: 1\n",
    )
    command = world.command("failing")
    command[command.index(str(world.sweep))] = str(sweep)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "not finite" in done.stderr
    by_status = {row["status"]: row for row in rows(world.store("failing")).values()}
    assert set(by_status) == {"done", "failed"}
    failed = by_status["failed"]
    assert failed["attempts"] == 2
    assert "not finite" in failed["cause"]
    assert "TrainingDiverged" in failed["traceback"]
    shown = subprocess.run(
        [
            *(sys.executable, "-m", "camsweep.platform.cli.main", "status"),
            *("--store", world.store("failing").url, "--json"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "not finite" in json.dumps(json.loads(shown.stdout)["trials"])


def test_credentials_never_reach_a_runtime_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray writes runtime environments to its logs, which everybody may read."""
    from ray.tune.execution import class_cache

    from camsweep.platform.engine.environment import _keep_credentials_out

    monkeypatch.setattr(
        class_cache, "ENV_VARS_TO_PROPAGATE", set(class_cache.ENV_VARS_TO_PROPAGATE)
    )
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")

    class Trainable:
        pass

    def environment() -> str:
        return str(class_cache._ActorClassCache().get(Trainable)._default_options)

    assert "hunter2" in environment()  # else there is nothing to prevent
    _keep_credentials_out()
    assert "hunter2" not in environment()
