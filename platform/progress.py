"""The view of a run: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from camsweep.platform.background import every
from camsweep.platform.monitor import Monitor, TrialState, duration

#: Rows of the live table, so that it fits a small terminal.
SHOWN_RUNNING = 8
SHOWN_RECENT = 6
#: Without a terminal a quiet run still says that it lives.
PLAIN_SECONDS = 30.0


@contextmanager
def view(monitor: Monitor, console: Console) -> Iterator[None]:
    """Show a run: the live table where `console` is a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        with plain_lines(monitor, console):
            yield
        return
    with Live(console=console, get_renderable=lambda: live_table(monitor), refresh_per_second=2):
        yield


def live_table(monitor: Monitor) -> Group:
    """What the live view draws: counts, a bar, what runs and what ended last."""
    with monitor.lock:
        states = list(monitor.trials.values())
    counts = monitor.counts()
    head = Text.assemble(
        (f"{counts['done']} done", "green"),
        "  ",
        (f"{counts['running']} running", "cyan"),
        "  ",
        (f"{counts['waiting']} waiting", ""),
        "  ",
        (f"{counts['failed']} failed", "red" if counts["failed"] else "dim"),
        "  ",
        (f"{len(monitor.plan.cached)} found in the store", "dim"),
    )
    ended = counts["done"] + counts["failed"]
    bar = Table.grid()
    bar.add_row(ProgressBar(total=max(1, len(states)), completed=ended, width=40))
    tables = [_running(states), _recent(states)]
    return Group(head, bar, _facts(monitor), *(t for t in tables if t.row_count))


def _facts(monitor: Monitor) -> Text:
    if monitor.counts()["waiting"] == len(monitor.trials):
        return Text("starting the workers", style="dim")
    left, best = monitor.seconds_left(), monitor.best()
    spent = time.monotonic() - monitor.started
    parts = [f"{duration(spent)} spent"]
    parts.append(f"about {duration(left)} left" if left is not None else "time left unknown")
    speed = monitor.images_per_second()
    if speed:
        parts.append(f"{speed:.0f} images/s in training")
    if best is not None and best.miou is not None:
        parts.append(f"best mIoU {100 * best.miou:.2f} ({best.title})")
    return Text("  |  ".join(parts), style="dim")


def _running(states: list[TrialState]) -> Table:
    table = Table("running", "phase", "", "loss", box=None, header_style="bold", pad_edge=False)
    running = [s for s in states if s.state == "running"]
    for state in running[:SHOWN_RUNNING]:
        now = state.progress
        if now is None:
            continue
        loss = "" if now.loss is None else f"{now.loss:.4f}"
        bar = ProgressBar(total=max(1, now.total), completed=now.done, width=20)
        table.add_row(Text(state.title), f"{now.phase} {now.done}/{now.total}", bar, loss)
    if len(running) > SHOWN_RUNNING:
        table.add_row(f"and {len(running) - SHOWN_RUNNING} more", "", "", "")
    return table


def _recent(states: list[TrialState]) -> Table:
    table = Table("ended last", "mIoU", "time", box=None, header_style="bold", pad_edge=False)
    ended = [s for s in states if s.state in ("done", "failed")]
    ended.sort(key=lambda s: (s.began or 0.0) + (s.seconds or 0.0))
    for state in ended[-SHOWN_RECENT:]:
        took = duration(state.seconds or 0.0)
        if state.miou is not None:
            table.add_row(Text(state.title), f"{100 * state.miou:.2f}", took)
        else:
            table.add_row(Text(state.title), Text(f"failed: {state.cause}", style="red"), took)
    return table


@contextmanager
def plain_lines(monitor: Monitor, console: Console) -> Iterator[None]:
    """One line an event, and one every half minute in between, for logs and pipes."""
    said = 0
    spoke = time.monotonic()

    def say(line: str) -> None:
        nonlocal spoke
        console.print(line, markup=False, highlight=False, soft_wrap=True)
        spoke = time.monotonic()

    def flush() -> None:
        nonlocal said
        with monitor.lock:
            lines = monitor.messages[said:]
            said += len(lines)
        for line in lines:
            say(line)
        if time.monotonic() - spoke > PLAIN_SECONDS:
            say(f"         {monitor.summary()}")

    try:
        with every(0.5, flush):
            yield
    finally:
        flush()
