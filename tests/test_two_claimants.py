"""The protocol of leases under every order of steps: two claimants never both hold a name.

Claims lie in a model of a store whose steps are atomic and ordered, as a disk's and a bucket's are.
A scheduler lets one claimant make one step at a time, in the order that the test says.
"""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from camsweep.sweeps.leasing import leases, rivals
from camsweep.sweeps.leasing.claims import Claim, Sight
from camsweep.sweeps.leasing.leases import Lease, LeaseLost, claim
from camsweep.sweeps.leasing.processes import Process, this_process
from camsweep.sweeps.store import Store

GONE = Process(this_process().host, this_process().boot, 2**22 + 1, "1")


class Deaf:
    """Beats are no part of the protocol's safety."""

    def add(self, lease: object) -> None: ...

    def remove(self, lease: object) -> None: ...


@dataclass
class Own:
    """A claim that somebody made in the model."""

    model: Model
    key: tuple[int, str]

    @property
    def file(self) -> str:
        return self.key[1]

    def beat(self, count: int) -> None: ...

    def is_there(self) -> bool:
        self.model.step()
        return self.key in self.model.there

    def delete(self) -> None:
        self.model.step()
        if self.key in self.model.there:  # as on a disk: only what is still one's own
            del self.model.there[self.key]


@dataclass
class Model:
    """Claims of one name, by generation and token; on a disk the generation is taken by one."""

    exclusive: bool
    step: Callable[[], None]
    there: dict[tuple[int, str], Process] = field(default_factory=dict)

    def all(self, name: str | None = None) -> list[Claim]:
        self.step()
        return [Claim("a", generation, token) for generation, token in self.there]

    def look(self, claim: Claim) -> Sight | None:
        self.step()
        process = self.there.get((claim.generation, claim.file))
        return None if process is None else Sight(claim.file, "0", 30.0, process, "", 0.0, 0.0)

    def create(self, name: str, generation: int, content: dict[str, Any]) -> Own | None:
        self.step()
        if self.exclusive and any(taken == generation for taken, _ in self.there):
            return None
        self.there[generation, content["token"]] = this_process()
        return Own(self, (generation, content["token"]))

    def delete(self, claim: Claim) -> None:
        self.step()
        self.there.pop((claim.generation, claim.file), None)


class Scheduler:
    """Runs threads one at a time, each from one step to the next."""

    def __init__(self, order: Iterator[int]) -> None:
        self.order = order
        self.mine: dict[int, threading.Semaphore] = {}
        self.back = threading.Semaphore(0)
        self.running: list[int] = []
        self.errors: list[BaseException] = []

    def step(self) -> None:
        """Wait for one's next turn; called by the threads."""
        number = int(threading.current_thread().name)
        self.back.release()
        self.mine[number].acquire()

    def run(self, works: Sequence[Callable[[], None]]) -> None:
        def whole(number: int) -> None:
            self.mine[number].acquire()
            try:
                works[number]()
            except BaseException as error:
                self.errors.append(error)
            self.running.remove(number)
            self.back.release()

        self.running = list(range(len(works)))
        self.mine = {number: threading.Semaphore(0) for number in self.running}
        threads = [threading.Thread(target=whole, args=(n,), name=str(n)) for n in self.running]
        for thread in threads:
            thread.start()
        while self.running:
            turn = self.running[next(self.order) % len(self.running)]
            self.mine[turn].release()
            self.back.acquire()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


def play(
    monkeypatch: pytest.MonkeyPatch,
    order: Iterator[int],
    *,
    claimants: int,
    rounds: int,
    exclusive: bool,
    dead: bool,
) -> int:
    """Let claimants claim, hold for a step and release; how often one held the name.

    With `dead` a first holder was taken for dead by all, and comes back meanwhile.
    """
    scheduler = Scheduler(order)
    model = Model(exclusive, scheduler.step)
    if dead:
        model.there[1, "dead"] = GONE
    holding: list[str] = []
    held = 0

    def come_back() -> None:
        """The holder that was taken for dead tries to publish."""
        lease = Lease("a", model, Own(model, (1, "dead")), 30.0)
        for _ in range(4 * rounds):
            with suppress(LeaseLost):
                lease.require()
                assert held == 0, "somebody who has lost its lease may publish"
        lease.release()

    def work() -> None:
        nonlocal held
        for _ in range(rounds):
            lease = claim(Store("nowhere"), "a", owner="me")
            if lease is None:
                continue
            holding.append(threading.current_thread().name)
            held += 1
            lease.require()
            assert len(holding) == 1, "two hold the same name"
            holding.remove(threading.current_thread().name)
            lease.release()

    with monkeypatch.context() as patch:
        patch.setattr(leases, "open_claims", lambda store: model)
        patch.setattr(leases, "_heart", Deaf())
        patch.setattr(rivals, "_seen", {})
        patch.setattr(rivals.time, "sleep", lambda seconds: scheduler.step())
        scheduler.run([work] * claimants + [come_back] * dead)
    assert list(model.there) == [], "somebody left a claim behind"
    return held


@pytest.mark.parametrize("exclusive", [True, False], ids=["disk", "bucket"])
@pytest.mark.parametrize("dead", [False, True], ids=["free", "dead"])
def test_two_claimants_in_every_order(
    monkeypatch: pytest.MonkeyPatch, exclusive: bool, dead: bool
) -> None:
    """Which of both makes each of the first ten steps; then they take turns."""
    outcomes = set()
    for bits in itertools.product((0, 1), repeat=10):
        order = itertools.chain(bits, itertools.cycle((0, 1, 2)))
        outcomes.add(
            play(monkeypatch, order, claimants=2, rounds=1, exclusive=exclusive, dead=dead)
        )
    assert 1 in outcomes
    assert 2 in outcomes, "one after the other must both get it"
    assert outcomes <= {0, 1, 2}


@pytest.mark.parametrize("exclusive", [True, False], ids=["disk", "bucket"])
def test_many_claimants_in_random_orders(monkeypatch: pytest.MonkeyPatch, exclusive: bool) -> None:
    held = 0
    for seed in range(300):
        draw = random.Random(seed)
        order = iter(lambda draw=draw: draw.randrange(6), None)  # type: ignore[misc]
        held += play(
            monkeypatch, order, claimants=3, rounds=4, exclusive=exclusive, dead=seed % 2 == 0
        )
    assert held > 300 * 2


def test_the_model_finds_a_protocol_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the second look both hold the name in a bucket: the test can fail."""
    monkeypatch.setattr(rivals, "is_alone", lambda *_: True)
    with pytest.raises(AssertionError, match="two hold the same name"):
        play(
            monkeypatch,
            itertools.cycle((0, 1)),
            claimants=2,
            rounds=1,
            exclusive=False,
            dead=False,
        )
