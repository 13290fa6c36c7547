"""The queue of a run: nothing lost, nothing handed out twice, whatever dies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from camsweep.platform.attempts import Job
from camsweep.platform.engine.coordinator import DEAD_STARTS, NODE_LOSSES, Coordinator
from camsweep.platform.engine.shapes import Shape
from camsweep.platform.engine.slots import death

ONE, TEAM = Shape(1, 0.0, 1), Shape(2, 1.0, 1)


@dataclass(frozen=True)
class Trial:
    id: str
    retries: int = 1
    stages: dict[str, str] = field(default_factory=dict)


def job(name: str, retries: int = 1) -> Job:
    trials: Any = (Trial(name, retries),)
    return Job(trials)


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def three(now: list[float]) -> Coordinator:
    jobs = [(job("a"), ONE), (job("b"), ONE), (job("c"), TEAM)]
    return Coordinator(jobs, clock=lambda: now[0])


def number(coordinator: Coordinator, name: str, shape: Shape = ONE) -> int | None:
    return coordinator.take(name, shape).number


def test_each_job_goes_to_one_slot_of_its_shape(three: Coordinator) -> None:
    assert [number(three, "x"), number(three, "y"), number(three, "z")] == [0, 1, None]
    assert number(three, "t", TEAM) == 2
    for name, done in (("x", 0), ("y", 1), ("t", 2)):
        assert not three.demand().finished
        three.ended(name, done, elsewhere=False)
    assert three.demand().finished


def test_a_dead_slots_job_goes_to_another_first(three: Coordinator) -> None:
    assert number(three, "x") == 0
    assert three.died("x", "killed", node_lost=False) is None
    order = three.take("y", ONE)
    assert (order.number, order.attempt) == (0, 2)


def test_a_job_that_kills_its_process_again_and_again_is_given_up(three: Coordinator) -> None:
    assert number(three, "x") == 0
    assert three.died("x", "killed", node_lost=False) is None
    assert number(three, "y") == 0
    assert three.died("y", "killed", node_lost=False) == 0
    assert number(three, "z") == 1


def test_that_a_node_is_lost_is_no_fault_of_the_trial(three: Coordinator) -> None:
    for turn in range(NODE_LOSSES):
        assert number(three, f"x{turn}") == 0
        assert three.died(f"x{turn}", "node", node_lost=True) is None
    assert three.take("y", ONE).attempt == 1
    assert three.died("y", "node", node_lost=True) == 0  # by now it may well be the trial


def test_all_nodes_may_be_lost_at_once_and_come_back(now: list[float]) -> None:
    jobs = [(job(str(number)), ONE) for number in range(20)]
    many = Coordinator(jobs, clock=lambda: now[0])
    for turn in range(20):
        many.began(f"x{turn}", ONE, "spot")
        assert number(many, f"x{turn}") is not None
    for turn in range(20):
        assert many.died(f"x{turn}", "node", node_lost=True) is None
    assert many.demand().broken is None
    assert many.demand().open[ONE] == 20


def test_a_call_that_ray_makes_twice_changes_nothing(three: Coordinator) -> None:
    three.began("x", ONE, "host-a")
    three.began("x", ONE, "host-a")
    assert three.poll() == [("slot", "host-a", 1)]
    assert [number(three, "x"), number(three, "x")] == [0, 0]
    three.ended("x", 0, elsewhere=False)
    three.ended("x", 0, elsewhere=False)
    assert number(three, "x") == 1
    three.died("x", "killed", node_lost=False)
    three.died("x", "killed", node_lost=False)
    assert three.take("y", ONE).attempt == 2


def test_a_node_that_sees_another_store_ends_the_placing(three: Coordinator) -> None:
    three.began("x", ONE, "host-a")
    three.refuse("--store results: node host-a has another folder there")
    three.left("x")
    assert "another folder" in str(three.demand().broken)


def test_workers_that_die_at_once_are_not_started_for_ever(three: Coordinator) -> None:
    for turn in range(DEAD_STARTS):
        assert three.demand().broken is None
        three.began(f"x{turn}", ONE)
        three.died(f"x{turn}", "no module named camsweep", node_lost=False)
    assert "no module named camsweep" in str(three.demand().broken)


def test_what_another_driver_runs_is_asked_for_again_later(
    three: Coordinator, now: list[float]
) -> None:
    assert number(three, "x") == 0
    three.ended("x", 0, elsewhere=True)
    assert three.demand().open[ONE] == 2
    assert number(three, "x") == 1
    three.ended("x", 1, elsewhere=False)
    waits = three.take("x", ONE)
    assert waits.number is None
    assert waits.wait
    now[0] += waits.wait
    assert number(three, "x") == 0


def test_a_coordinator_that_starts_anew_hands_everything_out_again(three: Coordinator) -> None:
    """It knows no slot and no job as ended; the store tells the rest."""
    three.ended("unknown", 0, elsewhere=False)
    assert number(three, "unknown") == 1
    three.ended("unknown", 1, elsewhere=False)
    assert number(three, "unknown") is None


def test_slots_are_told_by_node(three: Coordinator) -> None:
    three.began("x", ONE)
    three.began("x", ONE, "host-a")
    three.tell("row", {"id": "a"})
    assert three.poll() == [("slot", "host-a", 1), ("row", {"id": "a"})]
    three.left("x")
    assert three.poll() == [("slot", "host-a", -1)]
    assert three.poll() == []


@pytest.mark.parametrize(
    ("trace", "said", "node_lost"),
    [
        (
            "ray.exceptions.ActorDiedError: ... because its worker process has died.",
            "killed",
            False,
        ),
        ("ray.exceptions.OutOfMemoryError: Task was killed", "out of memory", False),
        ("ActorUnavailableError: The actor 1f is unavailable: RpcError", "node was lost", True),
        ("ActorDiedError: The actor is dead because its node has died.", "node was lost", True),
        ("Traceback:\n  ...\nModuleNotFoundError: No module named 'x'\n", "named 'x'", False),
        ("Traceback:\n  File shards/node/cores.py\nValueError: bad\n", "ValueError: bad", False),
        ("", "process died", False),
    ],
)
def test_why_a_slot_died(trace: str, said: str, node_lost: bool) -> None:
    cause, lost = death(trace)
    assert said in cause
    assert "\n" not in cause
    assert lost is node_lost
