"""The command that the user wants run when a run is over, however it ends.

It is given on the command line or in the environment, never by a sweep file: those run no code.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from camsweep.shards.errors import InputError

VARIABLE = "CAMSWEEP_NOTIFY"
#: A command that takes longer is ended.
SECONDS = 60.0


@dataclass
class Ending:
    """How a run ended. Every value goes to the command as `CAMSWEEP_<NAME>` and in the JSON.

    Attributes:
        status: `done`, `failed` (some trials did), `interrupted` or `error` (wrong input).
        done: trials that this run finished.
        failed: trials that failed.
        stopped: trials that a search gave up early.
        left: trials not done yet.
        cached: trials that the store had before.
        store: where the results are, without its query.
        seconds: how long the run took.
        best: the best mIoU of this run, a fraction; None where nothing was finished.
        message: one line for people.
        command: the command line as typed, without credentials.
    """

    status: str = "error"
    done: int = 0
    failed: int = 0
    stopped: int = 0
    left: int = 0
    cached: int = 0
    store: str = ""
    seconds: float = 0.0
    best: float | None = None
    message: str = ""
    command: str = ""

    def environment(self) -> dict[str, str]:
        """The values as environment variables; what is not known is left out."""
        return {
            f"CAMSWEEP_{name.upper()}": f"{value:.3f}" if isinstance(value, float) else str(value)
            for name, value in asdict(self).items()
            if value is not None
        }


def notify_command(option: str | None) -> list[str]:
    """The words of the command: of `--notify`, else of `CAMSWEEP_NOTIFY`; empty for none.

    Raises:
        InputError: quotes that do not close, or no such program.
    """
    text, where = option, "--notify"
    if text is None:
        text, where = os.environ.get(VARIABLE, ""), VARIABLE
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"{where} {text}: {error}; write it as in a shell") from error
    if option is not None and not words:
        raise InputError(f"{where}: empty; give a command, e.g. --notify 'mail -s done me'")
    if words and shutil.which(words[0]) is None:
        raise InputError(f"{where} {words[0]}: no such program")
    return words


def warn(line: str) -> None:
    """Print a warning."""
    print(f"camsweep: {line}", file=sys.stderr)


@contextmanager
def notified(words: list[str], say: Callable[[str], None] = warn) -> Iterator[Ending]:
    """Run the command when the block is left, in whatever way.

    Args:
        words: of `notify_command`; empty for no command.
        say: is given the one line that a command which fails is worth.

    Yields:
        The facts, to be filled in; those of a block that raises are completed from the exception.
    """
    ending, began = Ending(), time.monotonic()
    try:
        yield ending
    except KeyboardInterrupt:
        ending.status, ending.message = "interrupted", ending.message or "stopped by Ctrl-C"
        raise
    except BaseException as error:
        ending.status = "error"
        lines = str(error).splitlines() or [type(error).__name__]
        ending.message = lines[0]
        raise
    finally:
        ending.seconds = time.monotonic() - began
        if words:
            run_command(words, ending, say)


def run_command(words: list[str], ending: Ending, say: Callable[[str], None] = warn) -> None:
    """Run the command with the facts; never raises but for Ctrl-C, which ends the command too.

    What it prints is shown. It has no shell, a session of its own, and `SECONDS` to end in.
    """
    name = Path(words[0]).name
    try:
        with tempfile.TemporaryFile() as facts:
            # From a file: a command that reads no standard input must not break a pipe.
            facts.write(json.dumps(asdict(ending)).encode() + b"\n")
            facts.seek(0)
            process = subprocess.Popen(
                words,
                stdin=facts,
                env={**os.environ, **ending.environment()},
                start_new_session=True,
            )
        try:
            status = process.wait(SECONDS)
        except BaseException:
            _end(process)
            raise
    except subprocess.TimeoutExpired:
        say(f"--notify {name}: ended after {SECONDS:.0f} s")
    except (OSError, ValueError) as error:
        say(f"--notify {name}: {error}")
    else:
        if status:
            say(f"--notify {name}: exit status {status}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
