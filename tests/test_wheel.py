"""The built wheel in an empty environment, started from the root and from elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def environment(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and nothing else installed.

    The dependencies (several GB) are lent by a path entry from this environment, whose own
    editable camsweep is not visible through it: path files are not followed twice.
    """
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: setuptools builds in the source tree, where an old build would lend its files.
    skip = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    source = shutil.copytree(root, folder / "source", ignore=skip)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), source]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = folder.glob("camsweep-*.whl")
    venv.create(folder / "env", with_pip=True, symlinks=True)
    python = folder / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, timeout=300)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "env" / "bin"


def started(root: Path, tmp_path: Path) -> list[Path]:
    return [root, tmp_path]


def test_help_works_from_the_root_and_from_elsewhere(
    environment: Path, root: Path, tmp_path: Path
) -> None:
    for folder in started(root, tmp_path):
        done = subprocess.run(
            [environment / "camsweep", "--help"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        assert "leaderboard" in done.stdout


def test_platform_is_the_standard_librarys(environment: Path, root: Path, tmp_path: Path) -> None:
    code = (
        "import platform, camsweep.platform.prepare, camsweep.shards.errors as e;"
        "print(platform.__file__); print(e.__file__)"
    )
    for folder in started(root, tmp_path):
        done = subprocess.run(
            [environment / "python", "-c", code],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
        )
        ours, package = done.stdout.split()
        assert Path(ours).parent == Path(sysconfig.get_paths()["stdlib"])
        assert "site-packages" in package
        assert str(environment.parent) in package


def test_the_wheel_carries_its_yaml_files(environment: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [environment / "camsweep", "sweeps"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "cpn/table4" in done.stdout
    assert "embedded" in done.stdout


def test_the_code_for_clusters_is_what_setuptools_packs(environment: Path) -> None:
    from camsweep.platform.wheel import wheel

    def packed(path: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if ".dist-info/" not in n]
            return {name: archive.read(name) for name in names}

    (built,) = environment.parent.parent.glob("camsweep-*.whl")
    theirs, ours = packed(built), packed(wheel())
    assert sorted(ours) == sorted(theirs)
    assert ours == theirs
