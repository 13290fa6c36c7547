"""Bare decoding: processes that read JPEG files and decode them, and do nothing else.

Run as ``python -m camsweep.platform.bench.bare FOLDER [kept]``: for every line with a number of
seconds on standard input, it decodes the folder's files over and over for that long and prints how
many images a second that was. With ``kept`` it keeps freed memory, as camsweep's loader does.
"""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from camsweep.platform.bench.rounds import touch
from camsweep.shards.errors import InputError
from camsweep.shards.node.allocation import keep_freed_memory


class BareDecoding:
    """``workers`` processes, each decoding all files of a folder; a context manager."""

    def __init__(self, folder: Path, workers: int, kept: bool = False) -> None:
        command = [sys.executable, "-m", "camsweep.platform.bench.bare", str(folder)]
        command += ["kept"] * kept
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(workers)
        ]
        for process in self._processes:
            self._answer(process)  # it has started and decoded every file once

    def __enter__(self) -> BareDecoding:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.communicate()  # the end of its input ends it

    def rate(self, seconds: float) -> float:
        """Images a second of all processes together, at the same time."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        return sum(self._answer(process) for process in self._processes)

    def _answer(self, process: subprocess.Popen[str]) -> float:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise InputError("bench: a process of bare decoding ended; its error is above")
        return float(line)


def decode(path: Path) -> None:
    """Read a file, decode it to RGB, look at every byte, forget it."""
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        touch(np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB")))


def _decode_for(files: list[Path], seconds: float) -> float:
    started = time.perf_counter()
    for count, path in enumerate(itertools.cycle(files), start=1):
        decode(path)
        passed = time.perf_counter() - started
        if passed >= seconds:
            return count / passed
    raise AssertionError("there is at least one file")


def _serve(folder: Path) -> None:
    files = sorted(folder.iterdir())
    for path in files:
        decode(path)
    print(0.0, flush=True)
    for line in sys.stdin:
        print(_decode_for(files, float(line)), flush=True)


if __name__ == "__main__":
    if sys.argv[2:] == ["kept"]:
        keep_freed_memory()
    _serve(Path(sys.argv[1]))
