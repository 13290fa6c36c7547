"""Progress bars of the long commands on data, and lists of numbers on their command lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_A_LINE = 30.0


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that is counted, on standard error; a line now and then in a log.

    Yields:
        What to call with (what, done, total).
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as shown:

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total)
            shown.update(tasks[what], completed=done)

        yield on_progress


def _lines() -> Callable[[str, int, int], None]:
    """Prints where things stand twice a minute, for batch jobs; nothing where all is quick."""
    last = time.monotonic()

    def on_progress(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_A_LINE:
            last = time.monotonic()
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return on_progress


def parse_numbers(option: str, text: str) -> list[int]:
    """The whole numbers of ``"100,200"``.

    Raises:
        InputError: it is anything else; the line names the option.
    """
    from camsweep.shards.errors import InputError

    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"{option} {text}: whole numbers such as 100,200 are right") from None
