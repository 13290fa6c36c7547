"""Which process did something, told so that others of its machine can see that it has gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Process:
    """A process, for ever: another that gets its number later has another `start`.

    Attributes:
        host: name of its machine, for people.
        boot: the kernel's id of the time since it was started, and the process namespace; "" where
            the system does not tell (only Linux does).
        pid: its number.
        start: when it began, in the kernel's ticks since boot; "" where the system does not tell.
    """

    host: str
    boot: str
    pid: int
    start: str

    def to_json(self) -> dict[str, Any]:
        """As plain values; `process_from` reads them back."""
        return asdict(self)

    def is_gone(self) -> bool:
        """Whether the process has certainly ended.

        False wherever that can't be seen from here: on another machine, in another container,
        on a system without `/proc`. A process that was killed but not yet waited for has ended:
        it can't write any more.
        """
        here = this_process()
        if not (self.boot and self.start) or (self.host, self.boot) != (here.host, here.boot):
            return False
        start = _start_of(self.pid)
        return start != self.start if start is not None else not _exists(self.pid)


def process_from(values: Mapping[str, Any]) -> Process:
    """The process that `to_json` told; what is missing becomes empty, and so never "gone"."""
    return Process(
        str(values.get("host", "")),
        str(values.get("boot", "")),
        int(values.get("pid", 0)),
        str(values.get("start", "")),
    )


def this_process() -> Process:
    """The calling process."""
    return _process(os.getpid())


@lru_cache(maxsize=2)
def _process(pid: int) -> Process:
    # By pid, so that a forked child does not take itself for its parent.
    return Process(socket.gethostname(), _boot(), pid, _start_of(pid) or "")


def _boot() -> str:
    # Process numbers count within a namespace, which every container has of its own. A sandbox may
    # show the `/proc` of another one, which tells nothing of our processes.
    try:
        if str(Path("/proc/self").readlink()) != str(os.getpid()):
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """When a process of this namespace began; "" for one that ended, None where nothing tells."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in brackets, which may hold spaces and brackets.
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    # Systems may hide the files of other users' processes, but not that a number is taken.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
