"""The wheel that carries the code to a cluster: what is in it, its name, and that nodes use it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from ray_cluster import RayCluster

from camsweep.platform import wheel as wheels
from camsweep.platform.wheel import runtime_env, wheel
from camsweep.shards.errors import InputError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAMSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with the same layout."""
    root = tmp_path / "checkout"
    for folder in ("shards", "platform/cli"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").write_text('"""One."""\n')
    (root / "shards" / "a.yaml").write_text("a: 1\n")
    (root / "shards" / "secret.txt").write_text("not a part of the package\n")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "camsweep"\nversion = "1.2"\ndependencies = ["torch"]\n'
        '[tool.setuptools]\npackages = ["camsweep.shards", "camsweep.platform.cli"]\n'
        '[tool.setuptools.package-data]\n"*" = ["*.yaml"]\n'
    )
    return root


def pretend(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr(wheels, "__file__", str(root / "platform" / "wheel.py"))


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_same_code_is_the_same_file_and_other_code_has_another_name(
    cache: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, checkout)
    first = wheel()
    assert first.is_relative_to(cache)
    assert [n for n in names(first) if "dist-info" not in n] == [
        "camsweep/platform/cli/__init__.py",
        "camsweep/shards/__init__.py",
        "camsweep/shards/a.yaml",
    ]
    content, written = first.read_bytes(), first.stat().st_mtime_ns
    assert wheel() == first
    assert first.stat().st_mtime_ns == written, "packed a second time"
    first.unlink()
    assert wheel().read_bytes() == content
    # Ray knows a wheel by its file name alone and would go on with the old code.
    (checkout / "shards" / "a.yaml").write_text("a: 2\n")
    second = wheel()
    assert second.name != first.name
    assert second.read_bytes() != content


def test_the_wheel_is_whole_and_asks_for_no_dependencies(
    cache: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, checkout)
    path = wheel()
    version = path.name.split("-")[1]
    assert version.startswith("1.2+")
    with zipfile.ZipFile(path) as archive:
        info = f"camsweep-{version}.dist-info"
        assert "Requires-Dist" not in archive.read(f"{info}/METADATA").decode()
        record = list(csv.reader(archive.read(f"{info}/RECORD").decode().splitlines()))
        assert [row[0] for row in record[:-1]] == sorted(set(archive.namelist()) - {record[-1][0]})
        for name, digest, size in record[:-1]:
            assert len(archive.read(name)) == int(size)
            assert digest == wheels._checksum(archive.read(name))
    # pip is what Ray installs it with.
    target = tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", str(path)]
    subprocess.run([*pip, f"--target={target}"], check=True, timeout=120)
    assert (target / "camsweep" / "shards" / "a.yaml").read_text() == "a: 1\n"


def test_it_holds_what_this_checkout_lists(cache: Path, root: Path) -> None:
    found = set(names(wheel()))
    assert {"camsweep/platform/wheel.py", "camsweep/sweeps/cpn/table4.yaml"} <= found
    assert {"camsweep/reports/site/page.css", "camsweep/reports/site/board.js"} <= found
    assert {"camsweep/reports/known.yaml", "camsweep/methods/__init__.py"} <= found
    assert not [
        n for n in found if n.startswith(("camsweep/tests", "camsweep/docs")) or ".pyc" in n
    ]


def test_old_wheels_go(cache: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, checkout)
    for number in range(wheels.KEEP + 3):
        (checkout / "shards" / "a.yaml").write_text(f"a: {number}\n")
        newest = wheel()
        os.utime(newest.parent, (number, number))
    left = list((cache / "wheels").iterdir())
    assert len(left) == wheels.KEEP
    assert newest.is_file()


def test_what_cannot_be_packed_is_one_line(
    cache: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, checkout)
    (checkout / "platform" / "cli" / "__init__.py").unlink()
    (checkout / "platform" / "cli").rmdir()
    with pytest.raises(InputError, match=r"packages: camsweep.platform.cli has no folder"):
        wheel()
    pretend(monkeypatch, tmp_path)  # neither a checkout nor where camsweep is installed
    with pytest.raises(InputError, match="install camsweep with pip"):
        wheel()
    assert runtime_env(None) == {}, "a Ray of this machine needs no wheel"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with every dependency, lent, and without camsweep."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    pip = folder / "bin" / "pip"  # Ray calls it by this name
    pip.write_text(f'#!/bin/sh\nexec {folder}/bin/python -m pip "$@"\n')
    pip.chmod(0o755)
    # Path files are not followed twice: the editable camsweep stays behind.
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


LOOK = """
import sys, json, pathlib, ray
from importlib import metadata

def look():
    try:
        from camsweep.shards import errors
    except ImportError as error:
        return [repr(error), "", ""]
    return [errors.__file__, metadata.version("camsweep"), sys.executable]

for env, tasks in (({}, 1), ({"py_modules": [sys.argv[2]]}, 4)):
    ray.init(address=sys.argv[1], runtime_env=env, log_to_driver=False)
    task = ray.remote(look).options(num_cpus=1, scheduling_strategy="SPREAD")
    print(json.dumps(ray.get([task.remote() for _ in range(tasks)])))
    ray.shutdown()
"""


def test_nodes_without_camsweep_compute_with_the_drivers_code(
    bare: Path, cache: Path, tmp_path: Path
) -> None:
    path = wheel()
    env = {"PATH": f"{bare}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": None}
    with RayCluster(head_cpus=1, nodes=[1], python=bare / "python", env=env) as cluster:
        argv = [sys.executable, "-c", LOOK, cluster.address, str(path)]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        without, with_wheel = (json.loads(line) for line in done.stdout.splitlines()[-2:])
        for seen in without:
            assert seen[0].startswith("ModuleNotFoundError"), "else there is nothing to prove"
        for file, version, python in with_wheel:
            assert Path(file).is_relative_to(cluster.folder), "not from the wheel"
            assert version == path.name.split("-")[1]
            assert Path(python).parent == bare
