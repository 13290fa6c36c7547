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
from camsweep.platform.nodeview import Snapshot, one_line, running, shortened, snapshot

#: Without a terminal a quiet run still says that it lives.
PLAIN_SECONDS = 30.0
#: Trials that ended last, where there is room.
SHOWN_RECENT = 6


@contextmanager
def view(monitor: Monitor, console: Console) -> Iterator[None]:
    """Show a run: the live table where `console` is a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        with plain_lines(monitor, console):
            yield
        return

    def draw() -> Group:
        return live_table(monitor, console.width, console.height)

    with Live(console=console, get_renderable=draw, refresh_per_second=2):
        yield


def live_table(monitor: Monitor, width: int = 80, height: int = 24) -> Group:
    """What the live view draws: counts, a bar, the nodes with what runs there, what ended last.

    Args:
        monitor: of the run.
        width: columns of the terminal.
        height: its lines; what has no room is summed up in words.
    """
    state = snapshot(monitor)
    counts = state.counts
    words = [
        (f"{counts.get('done', 0)} done", "green"),
        (f"{counts.get('running', 0)} running", "cyan"),
        (f"{counts.get('waiting', 0)} waiting", ""),
        (f"{counts.get('failed', 0)} failed", "red" if counts.get("failed") else "dim"),
    ]
    if counts.get("stopped"):
        words.append((f"{counts['stopped']} stopped early", ""))
    others = sum(t.elsewhere and t.state == "waiting" for t in state.trials.values())
    if others:
        words.append((f"{others} at another driver", "cyan"))
    words.append((f"{len(monitor.plan.cached)} found in the store", "dim"))
    head = one_line(Text("  ").join(Text(text, style) for text, style in words))
    ended = sum(counts.get(name, 0) for name in ("done", "failed", "stopped"))
    bar = Table.grid()
    bar.add_row(ProgressBar(total=max(1, len(state.trials)), completed=ended, width=min(40, width)))
    # Head, bar and facts; one line stays free, as a terminal scrolls when its last one is filled.
    room = max(6, height - 4)
    recent = _recent(list(state.trials.values()), max(1, min(SHOWN_RECENT, room // 4 - 1)), width)
    now = running(state, width, room - recent.row_count - 1 if recent.row_count else room)
    return Group(
        head, bar, _facts(monitor, state, width), *now, *([recent] if recent.row_count else [])
    )


def _facts(monitor: Monitor, state: Snapshot, width: int) -> Text:
    if state.counts.get("waiting", 0) == len(state.trials):
        return Text("starting the workers", style="dim")
    left, best = monitor.seconds_left(), monitor.best()
    spent = time.monotonic() - monitor.started
    parts = [f"{duration(spent)} spent"]
    parts.append(f"about {duration(left)} left" if left is not None else "time left unknown")
    speed = monitor.images_per_second()
    if speed:
        parts.append(f"{speed:.0f} images/s")
    if best is not None and best.miou is not None:
        known = sum(len(part) + 5 for part in parts)
        title = shortened(best.title, max(12, width - known - 20))
        parts.append(f"best mIoU {100 * best.miou:.2f} ({title})")
    return one_line(Text("  |  ".join(parts), style="dim"))


def _recent(states: list[TrialState], rows: int, width: int) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    title = max(14, width // 2 - 6)
    table.add_column("ended last", width=title, no_wrap=True)
    table.add_column("mIoU", width=max(8, width - title - 11), no_wrap=True, overflow="ellipsis")
    table.add_column("time", width=8, no_wrap=True, justify="right")
    ended = [s for s in states if s.state not in ("waiting", "running")]
    ended.sort(key=lambda s: (s.began or 0.0) + (s.seconds or 0.0))
    for state in ended[-rows:]:
        name, took = Text(shortened(state.title, title)), duration(state.seconds or 0.0)
        if state.miou is not None:
            table.add_row(name, f"{100 * state.miou:.2f}", took)
        else:
            style = "red" if state.state == "failed" else "dim"
            table.add_row(name, Text(f"{state.state}: {state.cause}", style), took)
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
