"""A search whose driver is outside of the cluster (`ray://`): it runs inside and tells us of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from camsweep.platform.client import run_inside
from camsweep.platform.context import Progress
from camsweep.platform.searching.session import Audience
from camsweep.sweeps.plan import PlannedTrial

Tell = Callable[[tuple[str, Any]], None]


class _Lines(list[str]):
    """Messages that are sent instead of kept."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def append(self, line: str) -> None:
        """Send a line."""
        self._tell(("message", line))


class _Teller:
    """An audience inside the cluster that sends everything outside."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.messages: list[str] = _Lines(tell)

    @property
    def slots(self) -> int:
        """How many trials run at a time."""
        return 1

    @slots.setter
    def slots(self, count: int) -> None:
        self._tell(("slots", count))

    def plan_for(self, trials: list[PlannedTrial]) -> None:
        """Send trials that are to run."""
        self._tell(("plan", list(trials)))

    def progress(self, progress: Progress) -> None:
        """Send where a trial stands."""
        self._tell(("progress", progress))

    def finished(self, row: dict[str, Any]) -> None:
        """Send how a trial ended."""
        self._tell(("row", row))


def outside() -> bool:
    """Whether this process is a client of a cluster, where Tune's callbacks would not be ours."""
    from ray.util.client import ray as client

    return bool(client.is_connected())


def search_from_outside(audience: Audience, *what: Any, **options: Any) -> int:
    """Run a search inside the cluster.

    Args:
        audience: is told here.
        what: `run_search`'s ground, context, history and default.
        options: its others.

    Returns:
        How many points were run.

    Raises:
        InputError: as `run_search`, or the connection was lost.
    """

    def told(event: tuple[str, Any]) -> None:
        kind, content = event
        if kind == "plan":
            audience.plan_for(content)
        elif kind == "progress":
            audience.progress(content)
        elif kind == "row":
            audience.finished(content)
        elif kind == "slots":
            audience.slots = content
        else:
            audience.messages.append(content)

    count: int = run_inside(_inside, what, options, told=told)
    return count


def _inside(tell: Tell, what: tuple[Any, ...], options: dict[str, Any]) -> int:
    from camsweep.platform.searching.run import run_search

    ground, context, history, default = what
    return run_search(ground, context, history, _Teller(tell), default, **options)
