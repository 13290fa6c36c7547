"""Freed memory stays with the process: counted in page faults, which do not depend on time."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys

import pytest

CODE = """
import resource, sys
from camsweep.shards.node.allocation import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def image():
    return [bytes([1]) * 700_000 for _ in range(4)]

for _ in range(3):
    image()
before = faults()
for _ in range(20):
    image()
print((faults() - before) / 20)
"""


def measured(word: str, **environment: str) -> tuple[str, float]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", CODE, word],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=clean | environment,
    )
    said, faults = done.stdout.split()
    return said, float(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_kept_memory_is_not_fetched_again() -> None:
    _, plain = measured("leave")
    said, kept = measured("keep")
    assert said == "True"
    # Nearly all pages come anew each time, else this test could show nothing.
    assert plain > 0.4 * 4 * 700_000 / resource.getpagesize()
    assert kept < plain / 10


def test_the_users_own_setting_is_left_alone() -> None:
    said, _ = measured("keep", MALLOC_TRIM_THRESHOLD_="100000")
    assert said == "False"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_the_number_of_arenas_which_runs_set_is_another_matter() -> None:
    said, _ = measured("keep", MALLOC_ARENA_MAX="1")
    assert said == "True"
