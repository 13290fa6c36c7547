"""Where a number comes from: commit, versions, machine and command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from camsweep.shards.places import redact

PACKAGES = (
    "camsweep",
    "torch",
    "torchvision",
    "ray",
    "numpy",
    "scikit-image",
    "pillow",
    "webdataset",
    "pyarrow",
)


@dataclass(frozen=True)
class Provenance:
    """What every trial row says of how it came about.

    Attributes:
        git_commit: of the checkout that runs, empty for an installed wheel.
        git_dirty: whether tracked files differ from the commit; None where there is none.
        versions: of Python and the packages a result can depend on.
        command: the command line as typed, without credentials.
    """

    git_commit: str = ""
    git_dirty: bool | None = None
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result can depend on; absent ones left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@lru_cache(maxsize=1)
def collect() -> Provenance:
    """The provenance of this process, read once."""
    root = Path(__file__).resolve().parent.parent
    # An installed wheel may lie inside somebody else's checkout: only our own tree counts.
    ours = (root / "pyproject.toml").is_file()
    commit = _git(root, "rev-parse", "HEAD") if ours else None
    status = _git(root, "status", "--porcelain", "--untracked-files=no") if commit else None
    words = [redact(word) for word in (Path(sys.argv[0]).name, *sys.argv[1:])]
    return Provenance(
        git_commit=commit or "",
        git_dirty=None if status is None else bool(status),
        versions=package_versions(),
        command=shlex.join(words),
    )


def hardware(device: str) -> str:
    """The machine in words: the GPU's name, or the processor and its cores.

    Args:
        device: `cpu` or `cuda`.
    """
    if device.startswith("cuda"):
        import torch

        # A driver without a GPU writes the record of a trial that died on one.
        return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else device
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
