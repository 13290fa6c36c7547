"""Leases: who works on what, so that drivers that share a store never do the same work twice.

    with claim(store, trial.id, owner="run 20260101-1200") as lease:   # None: somebody has it
        ...
        lease.require()    # just before publishing: LeaseLost where somebody took over
        publish()

A lease lives as long as its holder beats. It is dead when its beat did not change for its `seconds`
on the clock of whoever wants it (clocks of two machines are never compared), or at once when its
holder's process was on this machine and has gone. A dead lease can be taken over. Its holder, if it
was only paused, finds that out at its next `require`, as its claim has been removed.

The protocol and why it is right: docs/decisions/0011-ledger.md.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from camsweep.shards.errors import InputError
from camsweep.sweeps.leasing import rivals
from camsweep.sweeps.leasing.beating import Heart
from camsweep.sweeps.leasing.claims import LEASE_SECONDS, VERSION, Claims, Own
from camsweep.sweeps.leasing.holders import Holder, holder, holders, open_claims
from camsweep.sweeps.leasing.processes import this_process

if TYPE_CHECKING:
    from camsweep.sweeps.store import Store

__all__ = [
    "LEASE_SECONDS",
    "Holder",
    "Lease",
    "LeaseLost",
    "claim",
    "clear_dead",
    "holder",
    "holders",
    "waiting",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def claim(store: Store, name: str, *, owner: str, seconds: float = LEASE_SECONDS) -> Lease | None:
    """Try to get a lease; never waits for its holder.

    Args:
        store: where leases are kept; all who share the work share it.
        name: of the work: letters, digits, `.`, `_`, `-`.
        owner: who asks, in words, for `camsweep status`.
        seconds: how long without a beat others have to see it before they take over.

    Returns:
        The lease, None where somebody alive has it or was faster. Whether a holder on another
        machine is alive shows only in time: ask again, from this process.

    Raises:
        InputError: a newer camsweep wrote the lease that is there.
        OSError: the store can't be read or written.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name}' can't name a lease")
    claims = open_claims(store)
    before = claims.all(name)
    dead = rivals.dead_tokens(store.url, claims, name, before)
    if dead is None:
        return None
    token = uuid.uuid4().hex
    content = {
        "version": VERSION,
        "token": token,
        "seconds": seconds,
        "process": this_process().to_json(),
        "owner": owner,
        "since": time.time(),
    }
    own = claims.create(name, 1 + max((c.generation for c in before), default=0), content)
    if own is None:
        return None
    try:
        if not rivals.is_alone(claims, name, own.file, token, dead):
            own.delete()
            return None
        for old in before:
            claims.delete(old)
    except BaseException:
        with suppress(OSError):
            own.delete()
        raise
    lease = Lease(name, claims, own, seconds)
    _heart.add(lease)
    return lease


@contextmanager
def waiting(
    store: Store,
    name: str,
    *,
    owner: str,
    seconds: float = LEASE_SECONDS,
    on_wait: Callable[[], object] | None = None,
) -> Iterator[Lease]:
    """Hold a lease while the block runs; waits until it can be had.

    Args:
        store: as for `claim`.
        name: as for `claim`.
        owner: as for `claim`.
        seconds: as for `claim`.
        on_wait: called now and then while another has it; what it raises ends the waiting.

    Raises:
        InputError: as by `claim`.
        OSError: as by `claim`.
    """
    pause = 0.05
    while (lease := claim(store, name, owner=owner, seconds=seconds)) is None:
        if on_wait is not None:
            on_wait()
        # Those who wait must not ask all at once again.
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(1.5 * pause, max(0.05, min(2.0, seconds / 4)))
    with lease:
        yield lease


def clear_dead(store: Store) -> int:
    """Remove the leases of holders that died, where nobody wants them any more.

    Those of other machines only where this process has seen their silence before: called at a
    run's start and at its end, it removes them at the end.

    Returns:
        How many were removed.

    Raises:
        InputError: as by `claim`.
        OSError: as by `claim`.
    """
    removed = 0
    for found in holders(store):
        if found.gone or found.silent:
            lease = claim(store, found.name, owner="clearing up")
            if lease is not None:
                lease.release()
                removed += 1
    return removed


class LeaseLost(Exception):  # noqa: N818  (says what happened)
    """The lease is another's by now, or its claim was removed: what was done must not be kept."""


class Lease:
    """A lease that this process holds, from `claim`; released at the end of a `with` block.

    Attributes:
        name: of the work.
        seconds: how long without a beat others wait before they take over.
        period: seconds between two beats.
    """

    def __init__(self, name: str, claims: Claims, own: Own, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self.period = seconds / 4
        self._claims = claims
        self._own: Own | None = own
        self._pid = os.getpid()
        self._beats = 0
        self._confirmed = rivals.clock()
        self._lost = False
        self._lock = threading.RLock()  # the beating thread must not use a file that was closed

    def __enter__(self) -> Lease:
        """The lease itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release it."""
        self.release()

    @property
    def lost(self) -> bool:
        """Whether the lease is known to be another's; asks the store only after a long pause."""
        if not self._lost and rivals.clock() - self._confirmed > self.seconds:
            with suppress(OSError, InputError):  # it can't be told now; `require` will say
                self._check()
        return self._lost

    def require(self) -> None:
        """Make sure that the lease is still ours. Call it just before publishing.

        Raises:
            LeaseLost: it is not, or was released.
            OSError: the store can't be read.
        """
        self._check()
        if self._lost:
            raise LeaseLost(f"{self.name}: another process took over, as this one was silent")

    def release(self) -> None:
        """Give the lease back; what others may do then is theirs. Never raises."""
        _heart.remove(self)
        with self._lock:
            own, self._own = self._own, None
            self._lost = True
            if own is not None and self._pid == os.getpid():
                with suppress(OSError, InputError):  # then it dies, as nobody beats for it
                    own.delete()

    def beat(self) -> None:
        """Tell the others that the holder lives, unless it has lost the lease."""
        with self._lock, suppress(OSError, InputError):  # tried again after the next period
            self._check()
            if self._own is not None and not self._lost:
                self._beats += 1
                self._own.beat(self._beats)

    def _check(self) -> None:
        with self._lock:
            now = rivals.clock()
            if self._own is None or self._pid != os.getpid():
                self._lost = True
            # Whoever takes over removes the claims of the dead before it has the lease.
            if not self._lost and self._own is not None:
                self._lost = not self._own.is_there()
                self._confirmed = now


_heart = Heart()
