from __future__ import annotations

import os
import signal
from pathlib import Path

# Before torch is there: networks of tests are slower on two threads, the more so beside others.
os.environ["OMP_NUM_THREADS"] = "1"
# Ray's workers make way for all other programs; beside another test they would wait for minutes.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112

import pytest
from browser import chromium, site

# Fixtures of the tests that open a page: one browser for all of them.
__all__ = ["chromium", "site"]

# What a shell starts with & ignores Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


#: Files that take minutes. First, so that no process is busy with one long after the others.
LONG = (
    "test_engine.py",
    "test_embedded_baseline.py",
    "test_voc_mini.py",
    "test_chaos.py",
    "test_search_population.py",
    "test_chain.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the user's cache folder."""
    os.environ["CAMSWEEP_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared with golden data and voc-mini; tests on it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("../shared (golden data, voc-mini) is not beside this checkout")
    return folder
