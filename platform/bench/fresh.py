"""Measuring in a new process, which has imported and allocated nothing yet."""

from __future__ import annotations

import subprocess
import sys

from camsweep.shards.errors import InputError


def said(*words: str, what: str) -> str:
    """What a new interpreter with these arguments prints.

    Args:
        words: `-m`, a module and its arguments; or `-c` and a program.
        what: how the error line calls it.

    Raises:
        InputError: it failed; with the last line of its errors.
    """
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise InputError(f"bench: {what} failed ({last})")
    return done.stdout


def numbers(module: str, *words: str, what: str) -> tuple[float, ...]:
    """The numbers in the last line that a module of this package prints; see `said`."""
    printed = said("-m", f"camsweep.platform.bench.{module}", *words, what=what)
    return tuple(float(word) for word in printed.splitlines()[-1].split())
