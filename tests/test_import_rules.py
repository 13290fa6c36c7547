"""The layout's promises: imports run one way, and the science runs without Ray."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ORDER = ("platform", "reports", "sweeps", "methods", "shards")


def camsweep_imports(path: Path) -> set[str]:
    """The camsweep sub-packages that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            names = [node.module or ""]
            if node.module == "camsweep":
                names = [f"camsweep.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("camsweep.")}
    return found


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_one_way(root: Path, package: str) -> None:
    allowed = set(ORDER[ORDER.index(package) :])
    files = sorted((root / package).rglob("*.py"))
    assert files
    for path in files:
        wrong = camsweep_imports(path) - allowed
        assert not wrong, f"{path} imports {wrong}; {package} may import {allowed}"


def test_platform_is_no_regular_package(root: Path) -> None:
    assert not (root / "platform" / "__init__.py").exists()


def test_every_package_is_listed(root: Path) -> None:
    listed = set(
        tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    holders = {
        path.parent.relative_to(root)
        for name in ORDER
        for pattern in ("*.py", "*.yaml")
        for path in (root / name).rglob(pattern)
    }
    assert {".".join(("camsweep", *folder.parts)) for folder in holders} == listed


NO_RAY = """
import importlib, pkgutil, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ray":
            raise ImportError(f"{name} is not wanted here")
sys.meta_path.insert(0, Refuse())
import camsweep.methods
for module in pkgutil.walk_packages(camsweep.methods.__path__, "camsweep.methods."):
    importlib.import_module(module.name)
import camsweep.platform.trial, camsweep.platform.attempts, camsweep.platform.prepare
assert not any(name.split(".")[0] == "ray" for name in sys.modules)
"""


def test_methods_and_a_whole_trial_import_without_ray() -> None:
    subprocess.run([sys.executable, "-c", NO_RAY], check=True, timeout=120)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom camsweep.platform.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'pyarrow', 'plotly', 'skimage', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)
