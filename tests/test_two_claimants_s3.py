"""Leases in a bucket, where nothing can be created exclusively."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from s3_server import Bucket, s3, server

from camsweep.sweeps import store as store_module
from camsweep.sweeps.leasing import leases, rivals
from camsweep.sweeps.leasing.leases import LeaseLost, claim, holder, holders
from camsweep.sweeps.leasing.processes import Process
from camsweep.sweeps.store import Store
from camsweep.sweeps.temporary import temporary_name

__all__ = ["s3", "server"]

RACE = """
import random, sys, time
from pathlib import Path
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.store import Store
store, done, own, count = Store(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
names = [f"trial-{n}" for n in range(count)]
while names:
    for name in list(names):
        if (done / name).exists():
            names.remove(name)
        elif (lease := claim(store, name, owner=own)) is not None:
            with lease:
                if not (done / name).exists():
                    (done / f"{name}.{own}").touch()  # work
                    lease.require()
                    (done / name).touch()
        else:
            time.sleep(random.random() * 0.05)
"""


def test_one_holder_at_a_time_and_nothing_left(s3: Bucket) -> None:
    store = Store(s3.url("results"))
    first = claim(store, "a", owner="one")
    assert first is not None
    assert claim(store, "a", owner="two") is None
    first.beat()
    first.require()
    found = holder(store, "a")
    assert found is not None
    assert (found.owner, found.pid, found.generation) == ("one", os.getpid(), 1)
    assert not found.silent
    first.release()
    assert s3.objects() == []
    with claim(store, "a", owner="two") or pytest.fail("no lease") as lease:
        lease.require()


def test_the_silent_are_followed_and_find_out(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store, now = Store(s3.url("results")), [0.0]
    monkeypatch.setattr(rivals, "clock", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(leases, "this_process", lambda: Process("far", "its boot", 17, "123"))
        far = claim(store, "a", owner="far", seconds=30)
    assert far is not None
    leases._heart.remove(far)
    assert claim(store, "a", owner="me") is None
    now[0] += 29
    far.beat()
    now[0] += 29
    assert claim(store, "a", owner="me") is None
    now[0] += 31
    mine = claim(store, "a", owner="me")
    assert mine is not None
    assert [(h.owner, h.generation) for h in holders(store)] == [("me", 2)]
    with pytest.raises(LeaseLost):
        far.require()
    far.beat()
    far.release()
    mine.require()
    mine.release()
    assert s3.objects() == []


def test_processes_race_for_names_in_a_bucket(s3: Bucket, tmp_path: Path) -> None:
    done, names = tmp_path / "done", 10
    done.mkdir()
    argv = [sys.executable, "-c", RACE, s3.url("results"), str(done)]
    racers = [subprocess.Popen([*argv, f"p{n}", str(names)]) for n in range(3)]
    assert [racer.wait(90) for racer in racers] == [0] * 3
    works = [path.stem for path in done.glob("*.p?")]
    assert sorted(works) == sorted(f"trial-{n}" for n in range(names))
    assert s3.objects() == []


def test_a_stage_is_locked_by_a_lease(s3: Bucket) -> None:
    """Two nodes don't compute the same stage; who waits says so."""
    store, order, waits = Store(s3.url("results")), [], threading.Event()

    def second() -> None:
        with store.lock("stage", on_wait=waits.set) as require:
            require()
            order.append("second")

    thread = threading.Thread(target=second)
    with store.lock("stage") as require:
        thread.start()
        assert waits.wait(20)
        order.append("first")
        require()
        with Store(s3.url("elsewhere")).lock("stage"):
            pass
    thread.join(20)
    assert order == ["first", "second"]
    assert s3.objects() == []


def test_what_the_dead_left_in_a_bucket_is_cleared(s3: Bucket) -> None:
    store = Store(s3.url("results"))
    die = RACE.split("names =")[0] + "\nclaim(store, 'x', owner='dead')\n"
    die += "from camsweep.sweeps.temporary import temporary_name\n"
    die += "store.write(temporary_name() + '/state', b'x')\n"
    argv = [sys.executable, "-c", die, store.url, "-", "-", "0"]
    subprocess.run(argv, check=True)
    mine = f"{temporary_name()}/state"
    store.write(mine, b"x")
    assert len(s3.objects()) == 3
    assert store.remove_leftovers() == 2
    assert s3.objects() == [f"results/{mine}"]


def test_an_object_deleted_while_it_is_read_is_not_there(
    s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(s3.url("results"))
    store.write("leases/x", b"1")

    def read(*_: object) -> bytes:
        raise OSError("AWS Error NO_SUCH_KEY during GetObject operation: gone (Request ID: 1)")

    monkeypatch.setattr(store_module, "read_whole", read)
    with pytest.raises(OSError, match="gone") as caught:
        store.read("leases/x")
    assert not isinstance(caught.value, FileNotFoundError)
    s3.delete("results/leases/x")
    with pytest.raises(FileNotFoundError):
        store.read("leases/x")
