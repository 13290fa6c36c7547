"""Joining a running cluster: wrong addresses end in one line, and a run inside leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_cluster import RayCluster, free_port

from camsweep.platform import reach
from camsweep.platform.client import connect, is_client
from camsweep.shards.errors import InputError

TOKEN = "0123456789abcdef" * 4

DRIVER = """
import atexit, json, os, sys, tempfile
import ray
from camsweep.platform.client import connect, run_inside
from camsweep.platform.wheel import runtime_env
from camsweep.shards.errors import InputError

def tuned(tell, trials, seconds):
    from ray import tune

    def work(config):
        import time
        time.sleep(seconds)
        tune.report({"x": config["i"]})

    class Tell(tune.Callback):
        def on_trial_complete(self, iteration, trials, trial, **info):
            tell(trial.config["i"])

        def __getstate__(self):
            return {}

    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            tune.with_resources(work, {"cpu": 1}),
            param_space={"i": tune.grid_search(list(range(trials)))},
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Tell()]),
        ).fit()
        return [sorted(result.metrics["x"] for result in results), os.getpid()]

def refuses(tell):
    raise InputError("file: key: what would be right")

def dies(tell):
    os._exit(3)

def line(function):
    try:
        run_inside(function)
    except InputError as error:
        return str(error)

connect(sys.argv[1], runtime_env(sys.argv[1]))
atexit.register(ray.shutdown)
if sys.argv[2] == "long":
    try:
        run_inside(tuned, 20, 5, told=lambda event: print("told", event, flush=True))
    except KeyboardInterrupt:
        print("interrupted")
else:
    events = []
    values, pid = run_inside(tuned, 3, 0.1, told=events.append)
    inside = pid != os.getpid()
    print(json.dumps([values, sorted(events), inside, line(refuses), line(dies)]))
"""


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:{port}", "nothing answers at"),
        ("ray://127.0.0.1:{port}", "nothing answers at 127.0.0.1:{port}"),
        ("ray://nosuch.invalid", "nothing answers at nosuch.invalid:10001"),
        ("nosuch.invalid:6379", "nothing answers at nosuch.invalid:6379"),
        ("127.0.0.1", "127.0.0.1"),
        ("localhost:http", "must be auto, HOST:PORT or ray://HOST:PORT"),
        ("local", "not a cluster's address"),
    ],
)
def test_a_wrong_address_is_one_line_at_once(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    port = free_port()
    address, began = address.format(port=port), time.monotonic()
    with pytest.raises(InputError) as raised:
        connect(address, {})
    assert time.monotonic() - began < 15
    message = str(raised.value)
    assert message.startswith(f"--address {address}")
    assert said.format(port=port) in message
    assert "\n" not in message


def test_auto_without_a_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import services

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # This machine may well run one, another test's.
    monkeypatch.setattr(services, "find_gcs_addresses", set)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda folder: None)
    with pytest.raises(InputError, match=r"--address auto: no Ray cluster runs on this machine"):
        connect("auto", {})


def test_auto_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{free_port()}")
    assert is_client("auto")
    assert not is_client("127.0.0.1:6379")
    assert not is_client(None)
    with pytest.raises(InputError, match=r"auto \(ray://127.0.0.1:\d+\): nothing answers"):
        connect("auto", {})


def test_a_port_of_something_else_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "ANSWER_SECONDS", 3.0)
    with socket.create_server(("0.0.0.0", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(InputError, match="is open, but no Ray cluster answers there"):
            connect(address, {})


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with RayCluster(nodes=[1, 1], client=True, env={**env, "PATH": path}) as running:
        yield running


@pytest.fixture(params=["HOST:PORT", "ray://"])
def address(request: pytest.FixtureRequest, cluster: RayCluster) -> str:
    return cluster.address if request.param == "HOST:PORT" else cluster.client_address


def start(address: str, what: str, folder: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, address, what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, **env},
    )


def test_without_the_token_nobody_comes_in(cluster: RayCluster, tmp_path: Path) -> None:
    driver = start(cluster.address, "short", tmp_path, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN="")
    _, said = driver.communicate(timeout=60)
    assert driver.returncode
    assert "the cluster asks for a token; set RAY_AUTH_MODE=token" in said.splitlines()[-1]
    assert TOKEN not in said


@pytest.mark.slow
def test_tune_runs_inside_and_its_errors_come_out(
    cluster: RayCluster, address: str, tmp_path: Path
) -> None:
    driver = start(address, "short", tmp_path)
    told, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said
    values, events, inside, refusal, death = json.loads(told.splitlines()[-1])
    assert values == events == [0, 1, 2]
    assert inside, "Tune ran in the driver's own process"
    assert refusal == "file: key: what would be right"
    assert death.startswith("the run inside the cluster was lost")
    assert cluster.wait_empty(40) == []


@pytest.mark.slow
def test_ctrl_c_ends_the_run_inside_and_nothing_is_left(
    cluster: RayCluster, address: str, tmp_path: Path
) -> None:
    driver = start(address, "long", tmp_path)
    assert driver.stdout is not None
    assert driver.stdout.readline().startswith("told ")
    assert cluster.left(), "else there is nothing to end"
    driver.send_signal(signal.SIGINT)
    told, said = driver.communicate(timeout=120)
    assert driver.returncode == 0, said
    assert told.splitlines()[-1] == "interrupted"
    assert cluster.wait_empty(40) == []
