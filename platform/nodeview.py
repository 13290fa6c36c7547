"""The part of the live view that shows the nodes and what runs on each."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import JustifyMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from camsweep.platform.context import Progress
from camsweep.platform.monitor import Monitor, TrialState, duration


@dataclass
class NodeLine:
    """One node as the view shows it.

    Attributes:
        name: of the node; empty where there is but one and nobody named it.
        slots: trials that it can run at a time; 0 where that is not known.
        running: ids of the trials that run there.
        ended: how many of this run's trials ended there.
    """

    name: str
    slots: int = 0
    running: list[str] = field(default_factory=list)
    ended: int = 0

    def text(self) -> Text:
        """`node-2  3 of 4 busy, 12 ended`."""
        busy = f"{len(self.running)} of {self.slots} busy" if self.slots else ""
        facts = [busy or f"{len(self.running)} running", f"{self.ended} ended"]
        idle = not self.running
        name = Text(self.name or "this machine", "dim" if idle else "bold")
        return one_line(Text.assemble(name, "  ", (", ".join(facts), "dim")))


@dataclass(frozen=True)
class Snapshot:
    """The run at one moment, so that a picture agrees with itself.

    Attributes:
        trials: state by trial id.
        counts: trials by state.
        nodes: by name, sorted.
        expected: seconds a trial should take, by id, where that is known.
    """

    trials: dict[str, TrialState]
    counts: Counter[str]
    nodes: tuple[NodeLine, ...]
    expected: dict[str, float]


def one_line(text: Text) -> Text:
    """The text on one line, cut where the terminal ends."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def snapshot(monitor: Monitor) -> Snapshot:
    """What the monitor knows now."""
    with monitor.lock:
        trials = dict(monitor.trials)
        nodes = {name: NodeLine(name, state.slots) for name, state in monitor.nodes.items()}
    took: dict[str, list[float]] = {}
    for trial_id, trial in trials.items():
        if trial.state == "done" and trial.seconds:
            took.setdefault(trial.kind, []).append(trial.seconds)
        if trial.state == "waiting" or trial.progress is None:
            continue
        name = trial.progress.node or ""
        node = nodes.setdefault(name, NodeLine(name))
        if trial.state == "running":
            node.running.append(trial_id)
        else:
            node.ended += 1
    means = {kind: sum(seconds) / len(seconds) for kind, seconds in took.items()}
    expected = {
        trial_id: seconds
        for trial_id, trial in trials.items()
        if (seconds := means.get(trial.kind, (monitor.expected or {}).get(trial_id))) is not None
    }
    shown = [n for n in nodes.values() if n.slots or n.running or n.ended]
    return Snapshot(
        trials,
        Counter(trial.state for trial in trials.values()),
        tuple(sorted(shown, key=by_number)),
        expected,
    )


def running(state: Snapshot, width: int, room: int) -> list[RenderableType]:
    """The nodes with their running trials, in at most `room` lines.

    Every node has a line as long as there are lines; what remains is shared by their trials. Nodes
    and trials without a line are counted in words.
    """
    if not any(node.running for node in state.nodes) and len(state.nodes) < 2:
        return []
    if len(state.nodes) < 2:
        ids = state.nodes[0].running
        fits = len(ids) if len(ids) < room else room - 2
        parts: list[RenderableType] = [_trials(state, ids[:fits], width)]
        return [*parts, *_more(len(ids) - fits, "running")]
    room -= 1
    shown, hidden = _split(state.nodes, room)
    left = room - len(shown) - bool(hidden)
    shares = _shares([len(node.running) for node in shown], left)
    parts = [_trials(state, (), width)]  # the columns' names
    for node, share in zip(shown, shares, strict=True):
        heading = node.text()
        unseen = len(node.running) - share
        if unseen and share:
            heading.append(f", {unseen} not shown", "dim")
        parts.append(heading)
        if share:
            parts.append(_trials(state, node.running[:share], width, indent=2))
    if hidden:
        slots = sum(max(n.slots, len(n.running)) for n in hidden)
        busy, ended = sum(len(n.running) for n in hidden), sum(n.ended for n in hidden)
        words = f"and {len(hidden)} more nodes: {busy} of {slots} busy, {ended} ended"
        parts.append(one_line(Text(words, "dim")))
    return parts


def _split(nodes: Sequence[NodeLine], room: int) -> tuple[Sequence[NodeLine], Sequence[NodeLine]]:
    """The nodes that get a line, and the others.

    Where not all fit, the busiest get one, and half of the lines stay for their trials.
    """
    if len(nodes) <= room:
        return nodes, ()
    order = sorted(nodes, key=lambda n: -len(n.running))
    fits = max(1, (room - 1) // 2)
    return sorted(order[:fits], key=by_number), order[fits:]


def by_number(node: NodeLine) -> list[tuple[str, int]]:
    """Sorts `node-2` before `node-11`."""
    return [(word, int(digits or 0)) for word, digits in re.findall(r"(\D*)(\d*)", node.name)]


def _shares(wanted: Sequence[int], lines: int) -> list[int]:
    """How many lines each node's trials get: one each in turn until nothing is left."""
    shares = [0] * len(wanted)
    while lines > 0 and any(share < want for share, want in zip(shares, wanted, strict=True)):
        for place, want in enumerate(wanted):
            if shares[place] < want and lines > 0:
                shares[place] += 1
                lines -= 1
    return shares


def _more(count: int, word: str) -> list[RenderableType]:
    return [Text(f"and {count} more {word}", "dim")] if count > 0 else []


def _trials(state: Snapshot, ids: Sequence[str], width: int, *, indent: int = 0) -> Table:
    """One line a trial. The columns have fixed widths, so that the tables of nodes line up."""
    spare = max(0, width - 80) // 6  # what a wide terminal gives to the bar and the phase
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.show_header = not indent or not ids
    phase, bar, loss, speed, left = 15 + min(5, spare), 6 + spare, 6, 5, 7
    title = max(14, width - (phase + bar + loss + speed + left) - 6)
    for name, size, right in (
        ("running", title, False), ("phase", phase, False), ("", bar, False),
        ("loss", loss, True), ("im/s", speed, True), ("left", left, True),
    ):  # fmt: skip
        side: JustifyMethod = "right" if right else "left"
        table.add_column(name, width=size, no_wrap=True, overflow="ellipsis", justify=side)
    for trial_id in ids:
        trial = state.trials[trial_id]
        now = trial.progress
        if now is None:
            continue
        rest = _left(trial, state.expected.get(trial_id))
        table.add_row(
            Text(" " * indent + shortened(trial.title, title - indent)),
            _phase(now),
            ProgressBar(total=max(1, now.total), completed=now.done, width=bar),
            "" if now.loss is None else f"{now.loss:.4g}"[:loss],
            "" if now.images_per_second is None else f"{now.images_per_second:.0f}",
            "" if rest is None else duration(rest),
        )
    return table


def shortened(title: str, size: int) -> str:
    """A title in so many columns, cut in its middle: its end is the seed."""
    if len(title) <= size:
        return title
    tail = min(len(title), max(8, size // 2))
    return f"{title[: max(0, size - tail - 1)]}…{title[-tail:]}"


def _phase(now: Progress) -> str:
    """`train 2/6`; a percentage where the numbers are long."""
    if now.total >= 100:
        return f"{now.phase} {100 * now.done // now.total}%"
    return f"{now.phase} {now.done}/{now.total}" if now.total else now.phase


def _left(trial: TrialState, expected: float | None) -> float | None:
    """Seconds to go of a running trial: by others like it, else by the course of its training."""
    if trial.began is None:
        return None
    spent = time.monotonic() - trial.began
    if expected is not None:
        return max(0.0, expected - spent)
    now = trial.progress
    if now is None or now.phase != "train" or not 0 < now.done < now.total:
        return None
    return spent * (now.total - now.done) / now.done
