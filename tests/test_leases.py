"""Leases on a disk: one holder at a time, takeover from the dead, and the paused who come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing import leases, rivals
from camsweep.sweeps.leasing.leases import Lease, LeaseLost, claim, holder, holders, waiting
from camsweep.sweeps.leasing.processes import Process
from camsweep.sweeps.store import Store

HOLD = """
import sys, time
from camsweep.sweeps.leasing.leases import LeaseLost, claim
from camsweep.sweeps.store import Store
lease = claim(Store(sys.argv[1]), "work", owner="child", seconds=float(sys.argv[2]))
print("held" if lease else "not held", flush=True)
sys.stdin.readline()
print("lost" if lease.lost else "kept", flush=True)
try:
    lease.require()
    print("may publish", flush=True)
except LeaseLost:
    print("may not publish", flush=True)
lease.release()
"""
RACE = """
import random, sys
from pathlib import Path
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.store import Store
store, done, own = Store(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
names = [f"trial-{n}" for n in range(int(sys.argv[4]))]
random.Random(own).shuffle(names)
while names:
    for name in list(names):
        if (done / name).exists():
            names.remove(name)
            continue
        lease = claim(store, name, owner=own)
        if lease is None:
            continue
        with lease:
            if not (done / name).exists():
                (done / f"{name}.{own}").touch()  # work
                lease.require()
                (done / name).touch()
"""


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rivals, "clock", clock)
    return clock


def elsewhere(host: str = "far") -> Callable[[], Process]:
    return lambda: Process(host, f"boot of {host}", 17, "123")


def claim_elsewhere(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> Lease:
    """A lease whose holder seems to be another machine's, and does not beat by itself."""
    with monkeypatch.context() as patch:
        patch.setattr(leases, "this_process", elsewhere())
        lease = claim(store, name, owner="far", seconds=30)
    assert lease is not None
    leases._heart.remove(lease)
    return lease


@contextmanager
def child(store: Store, seconds: float) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", HOLD, store.url, str(seconds)]
    process = subprocess.Popen(
        argv, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def until(found: Callable[[], Lease | None], seconds: float = 15) -> Lease:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lease = found()
        if lease is not None:
            return lease
        time.sleep(0.02)
    raise AssertionError("no lease")


def test_one_holder_at_a_time(store: Store) -> None:
    first = claim(store, "a", owner="one")
    assert first is not None
    assert claim(store, "a", owner="two") is None
    other = claim(store, "b", owner="two")
    assert other is not None
    first.require()
    first.release()
    with pytest.raises(LeaseLost):
        first.require()
    again = claim(store, "a", owner="two")
    assert again is not None
    again.release()
    other.release()
    assert list(Path(store.path("leases")).iterdir()) == []


def test_names_that_begin_alike_are_different(store: Store) -> None:
    held = [claim(store, name, owner="me") for name in ("a", "a.1", "a.1.1", "a-skipping")]
    assert None not in held
    assert {h.name for h in holders(store)} == {"a", "a.1", "a.1.1", "a-skipping"}
    for name in ("", "../a", "a/b", ".a"):
        with pytest.raises(ValueError, match="can't name a lease"):
            claim(store, name, owner="me")
    for lease in held:
        assert lease is not None
        lease.release()


def test_the_holder_is_told(store: Store) -> None:
    assert holder(store, "a") is None
    with claim(store, "a", owner="run 7") or pytest.fail("no lease"):
        found = holder(store, "a")
        assert found is not None
        assert (found.owner, found.pid, found.generation) == ("run 7", os.getpid(), 1)
        assert not found.gone
        assert not found.silent
        assert 0 <= found.age < 60
    assert holder(store, "a") is None


def test_silence_is_measured_by_the_clock_of_who_waits(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = claim_elsewhere(store, "a", monkeypatch)
    assert claim(store, "a", owner="me") is None  # from here on its silence counts
    clock.now += 29
    assert claim(store, "a", owner="me") is None
    far.beat()
    clock.now += 29
    assert claim(store, "a", owner="me") is None  # it has beaten since
    clock.now += 29
    assert claim(store, "a", owner="me") is None
    clock.now += 1.5
    mine = claim(store, "a", owner="me")
    assert mine is not None
    assert (found := holder(store, "a")) is not None
    assert (found.generation, found.owner) == (2, "me")
    with pytest.raises(LeaseLost, match="a: another process took over"):
        far.require()
    assert far.lost
    mine.require()
    mine.release()


def test_what_the_paused_do_when_they_come_back_changes_nothing(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = claim_elsewhere(store, "a", monkeypatch)
    assert claim(store, "a", owner="me") is None
    clock.now += 31
    mine = claim(store, "a", owner="me")
    assert mine is not None
    far.beat()
    far.release()
    mine.require()
    mine.release()
    # Also when a third has claimed the name anew, under the very file name of the first claim.
    far = claim_elsewhere(store, "a", monkeypatch)
    assert claim(store, "a", owner="me") is None
    clock.now += 31
    mine = claim(store, "a", owner="me")
    assert mine is not None
    mine.release()
    third = claim(store, "a", owner="third")
    assert third is not None
    before = Path(store.path("leases/a.1")).read_bytes()
    far.beat()
    with pytest.raises(LeaseLost):
        far.require()
    far.release()
    assert Path(store.path("leases/a.1")).read_bytes() == before
    third.require()
    third.release()


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_time_of_day_that_jumps_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    lease = claim(store, "a", owner="me")
    assert lease is not None
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    assert claim(store, "a", owner="two") is None
    lease.beat()
    lease.require()
    assert not lease.lost
    found = holder(store, "a")
    assert found is not None
    assert found.silent  # a hint that whoever asks checks by the beat
    assert found.age >= 0
    lease.release()


def test_the_thread_beats_for_all_leases_of_a_process(store: Store) -> None:
    held = [claim(store, f"a{n}", owner="me", seconds=0.4) for n in range(3)]
    first = {h.name: h.beat for h in holders(store)}
    end = time.monotonic() + 15
    while any(first[h.name] == h.beat for h in holders(store)):
        assert time.monotonic() < end
        time.sleep(0.05)
    for lease in held:
        assert lease is not None
        lease.require()
        lease.release()


def test_a_killed_holder_is_followed_at_once(store: Store) -> None:
    with child(store, 600) as process:
        assert said(process) == "held"
        assert claim(store, "work", owner="me") is None
        process.kill()
        # Even before anybody has waited for it: it can't write any more.
        with until(lambda: claim(store, "work", owner="me"), 5) as lease:
            assert (found := holder(store, "work")) is not None
            assert found.generation == 2
            lease.require()


def test_a_stopped_holder_is_followed_after_its_time_and_finds_out(store: Store) -> None:
    with child(store, 1.0) as process:
        assert said(process) == "held"
        time.sleep(1.5)
        assert claim(store, "work", owner="me") is None  # it beats
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with until(lambda: claim(store, "work", owner="me")) as lease:
            assert time.monotonic() - began > 0.7
            process.send_signal(signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.write("\n")
            assert said(process) == "lost"
            assert said(process) == "may not publish"
            process.wait(10)
            lease.require()


def test_who_goes_on_in_time_keeps_the_lease(store: Store) -> None:
    with child(store, 20.0) as process:
        assert said(process) == "held"
        process.send_signal(signal.SIGSTOP)
        assert claim(store, "work", owner="me") is None
        process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.write("\n")
        assert said(process) == "kept"
        assert said(process) == "may publish"
        process.wait(10)
    assert holders(store) == []


def test_many_processes_claim_each_name_once(store: Store, tmp_path: Path) -> None:
    done, names = tmp_path / "done", 80
    done.mkdir()
    racers = [
        subprocess.Popen([sys.executable, "-c", RACE, store.url, str(done), f"p{n}", str(names)])
        for n in range(4)
    ]
    assert [racer.wait(60) for racer in racers] == [0] * 4
    works = [path.stem for path in done.glob("*.p?")]
    assert sorted(works) == sorted(f"trial-{n}" for n in range(names))
    assert list(Path(store.path("leases")).iterdir()) == []


def test_waiting_takes_its_turn(store: Store) -> None:
    with child(store, 600) as process:
        assert said(process) == "held"
        waits = []

        def on_wait() -> None:
            waits.append(1)
            if len(waits) == 2:
                process.kill()

        with waiting(store, "work", owner="me", on_wait=on_wait) as lease:
            lease.require()
        assert len(waits) >= 2
    assert holders(store) == []


def test_a_forked_child_holds_nothing(store: Store) -> None:
    lease = claim(store, "a", owner="me")
    assert lease is not None
    pid = os.fork()
    if pid == 0:
        lease.release()
        os._exit(1 if not lease.lost else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    lease.require()
    lease.release()


def test_a_disk_without_hard_links(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    with claim(store, "a", owner="me") or pytest.fail("no lease") as lease:
        assert claim(store, "a", owner="two") is None
        lease.beat()
        lease.require()
    assert list(Path(store.path("leases")).iterdir()) == []


def test_a_claim_without_content_dies_like_others(store: Store, clock: Clock) -> None:
    store.write("leases/a.1", b"")  # what a power cut leaves
    assert claim(store, "a", owner="me") is None
    clock.now += 29
    assert claim(store, "a", owner="me") is None
    clock.now += 2
    with claim(store, "a", owner="me") or pytest.fail("no lease"):
        assert [h.generation for h in holders(store)] == [2]


def test_a_lease_of_a_newer_version_is_one_line(store: Store) -> None:
    store.write("leases/a.1", b'00\n{"version": 99}')
    with pytest.raises(InputError, match=r"leases/a\.1: written by a newer camsweep") as caught:
        claim(store, "a", owner="me")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="newer"):
        holders(store)


def test_what_the_dead_left_is_cleared(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("trials/a.arrow", b"done right before it died")
    mine = claim(store, "mine", owner="me")
    assert mine is not None
    with child(store, 600) as process:
        assert said(process) == "held"
        assert store.remove_leftovers() == 0
        process.kill()
        process.wait(10)
    claim_elsewhere(store, "far", monkeypatch)
    assert store.remove_leftovers() == 1
    assert {h.name for h in holders(store)} == {"mine", "far"}
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 100)  # as if it had not beaten for long
    assert store.remove_leftovers() == 0
    clock.now += 31
    mine.beat()
    assert store.remove_leftovers() == 1
    assert [h.name for h in holders(store)] == ["mine"]
    mine.require()
    mine.release()
