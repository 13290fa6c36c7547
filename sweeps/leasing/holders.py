"""Who holds which lease, for people who want to know; takes and changes nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from camsweep.sweeps.leasing.bucketclaims import BucketClaims
from camsweep.sweeps.leasing.claims import FOLDER, Claim, Claims, Sight
from camsweep.sweeps.leasing.diskclaims import DiskClaims

if TYPE_CHECKING:
    from camsweep.sweeps.store import Store


def open_claims(store: Store) -> Claims:
    """The claims of a store, by what it lies on."""
    return BucketClaims(store) if store.local is None else DiskClaims(store.local / FOLDER)


def holder(store: Store, name: str) -> Holder | None:
    """Who holds a lease, None where nobody does; see `holders`."""
    return next(iter(_holders(store, name)), None)


def holders(store: Store) -> list[Holder]:
    """Who holds what, by name: of each lease its newest claim, also of those who may have died.

    Raises:
        InputError: a newer camsweep wrote one of them.
        OSError: the store can't be read.
    """
    return _holders(store, None)


def _holders(store: Store, name: str | None) -> list[Holder]:
    claims, now = open_claims(store), time.time()
    newest: dict[str, tuple[Claim, Sight]] = {}
    for found in sorted(claims.all(name), key=lambda c: (c.name, c.generation)):
        sight = claims.look(found)
        if sight is not None:
            newest[found.name] = found, sight
    return [
        Holder(
            name=found.name,
            host=sight.process.host,
            pid=sight.process.pid,
            owner=sight.owner,
            age=max(0.0, now - sight.since),
            generation=found.generation,
            gone=sight.process.is_gone(),
            silent=abs(now - sight.heard) > sight.seconds,
            seconds=sight.seconds,
            beat=f"{sight.token} {sight.beat}",
        )
        for found, sight in newest.values()
    ]


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        name: of the lease.
        host: the holder's machine.
        pid: its process there.
        owner: who it is, in words.
        age: seconds since it was claimed, by two clocks that may differ; for people only.
        generation: 1, or one more for each time that it was taken over from the dead.
        gone: whether its process has certainly ended.
        silent: whether it did not beat for too long by the clock of the disk or the server. That
            clock may differ from ours: who must know waits, looks again and compares `beat`.
        seconds: how long without a beat it may be before others take over.
        beat: changes whenever the holder beats.
    """

    name: str
    host: str
    pid: int
    owner: str
    age: float
    generation: int
    gone: bool
    silent: bool
    seconds: float
    beat: str
