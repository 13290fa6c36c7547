"""A search whose trials cost nothing: a planted optimum, and curves that come to it by epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import optuna

from camsweep.platform.searching.rules import Rule, make_scheduler
from camsweep.platform.searching.search import Search
from camsweep.sweeps.search import Point, SearchSpec

EPOCHS = 9
#: The best point is worth 1: lr 0.01, p 0.3, kind a, s 200.
SPACE: dict[str, Any] = {
    "lr": {"log": [1e-4, 1.0]},
    "p": {"uniform": [0.0, 1.0]},
    "kind": {"choice": ["a", "b", "c"]},
    "s": {"int": [5, 4000], "log": True, "when": {"kind": "a"}},
}
NUMBERS: dict[str, Any] = {
    "lr": {"log": [1e-4, 1.0]},
    "p": {"uniform": [0.0, 1.0]},
    "s": {"int": [5, 4000], "log": True},
}


def worth(point: Point) -> float:
    """What a point is worth after a whole training; at most 1."""
    value = 1 - math.log10(point["lr"] / 0.01) ** 2 - 4 * (point["p"] - 0.3) ** 2
    value -= {"a": 0.0, "b": 0.3, "c": 0.6}[point.get("kind", "a")]
    if "s" in point:
        value -= 0.1 * math.log(point["s"] / 200) ** 2
    return value


def curve(value: float, epoch: int) -> float:
    """What it is worth after some epochs: all curves rise alike, and none crosses another."""
    return value * (1 - math.exp(-3 * epoch / EPOCHS))


@dataclass(frozen=True)
class Trial:
    """What a search asks of a planned trial."""

    id: str
    labels: tuple[str, ...]
    point: Point
    retries: int = 0


class Ground:
    """What a search asks of its ground, without methods, profiles and data."""

    def __init__(self, spec: SearchSpec) -> None:
        self.spec = spec
        self.sweep = SimpleNamespace(name="planted", path="x", spec=SimpleNamespace(title="x"))
        self.profile = SimpleNamespace(name="none")
        self.data_digest, self.id = "d", "0" * 64

    def trial(self, point: Point, *, seed: int | None = None) -> Trial:
        text = str(sorted(point.items()))
        return Trial(text, (text,), point)


def make_search(
    storage: Any = None, driver: str = "me", turn: Any = nullcontext, **settings: Any
) -> Search:
    """A search of the planted optimum, in memory by default."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec = SearchSpec(**{"space": SPACE, "samples": 100, **settings})
    ground: Any = Ground(spec)
    storage = storage or optuna.storages.InMemoryStorage()
    return Search(ground, storage, driver, lambda i: None, turn)


@contextmanager
def meanwhile(study: Any, what: Callable[[], Any], seconds: float = 0.5) -> Iterator[Future[Any]]:
    """Do something else in another thread as soon as `study` is asked for a trial.

    The one who asks waits for it, but not for ever: the other may have to wait for the one.
    """
    pool, ask, other = ThreadPoolExecutor(1), study.ask, Future[Any]()

    def do() -> None:
        try:
            other.set_result(what())
        except BaseException as error:
            other.set_exception(error)

    def asked(*given: Any, **named: Any) -> Any:
        study.ask = ask
        pool.submit(do)
        with suppress(TimeoutError):
            other.result(seconds)
        return ask(*given, **named)

    study.ask = asked
    try:
        yield other
    finally:
        study.ask = ask
        pool.shutdown()


def done(point: Point) -> dict[str, Any]:
    """The row of a finished trial."""
    return {"status": "done", "metric.miou": worth(point), "train_seconds": 1.0}


def until_found(good: float, **settings: Any) -> tuple[int, int]:
    """Trials and epochs until a whole training is worth `good`; one more than all where none is."""
    search = make_search(**settings)
    rule = None
    if search.spec.scheduler.name != "none":
        rule = Rule(make_scheduler(search.spec, EPOCHS))
    trials = epochs = 0
    while (found := search.ask()) is not None:
        trials += 1
        if rule is not None and (ran := _stopped_at(search, rule, found)):
            epochs += ran
            continue
        epochs += EPOCHS
        row = done(found.point)
        search.tell(found.number, row)
        if row["metric.miou"] >= good:
            return trials, epochs
    return trials + 1, epochs + 1


def _stopped_at(search: Search, rule: Rule, found: Any) -> int:
    for epoch in range(1, EPOCHS):
        value = curve(worth(found.point), epoch)
        search.report(found.number, epoch, value)
        if not rule.goes_on(str(found.number), epoch, value):
            search.tell(found.number, {"status": "stopped", "cause": "by the rule"})
            return epoch
    return 0
