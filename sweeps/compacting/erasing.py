"""Deleting the files whose rows are in a pack, and none that was written anew meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from camsweep.sweeps.compacting.listing import SUFFIX
from camsweep.sweeps.leasing.leases import claim
from camsweep.sweeps.store import Store

#: Files deleted while the lock on rows is held; others wait for it.
AT_ONCE = 200
THREADS = 8


def erase(
    store: Store,
    table: str,
    digests: Mapping[str, bytes],
    final: frozenset[str],
    require: Callable[[], None],
) -> list[str]:
    """Delete trials' own files that are still what was packed.

    A row of a done trial is written anew only when it is told of further sweeps, under the lock
    `uses`; everything else only by who has the trial's lease. Both are held while a file is
    compared and deleted. A file that somebody else works on, or has changed, stays, and counts
    before the pack.

    Args:
        store: where.
        table: the table's folder.
        digests: SHA-256 of the files that were packed, by trial.
        final: the trials that nobody runs again.
        require: raises where this process may not go on.

    Returns:
        The trials whose files are gone.
    """
    gone: list[str] = []
    ids = list(digests)

    def remove(trial_id: str) -> bool:
        return _remove(store, f"{table}/{trial_id}{SUFFIX}", digests[trial_id], require)

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            with _held(store, table, some, final, require) as mine:
                removed = pool.map(remove, mine)
                gone += [i for i, done in zip(mine, removed, strict=True) if done]
    return gone


@contextmanager
def _held(
    store: Store,
    table: str,
    ids: Sequence[str],
    final: frozenset[str],
    require: Callable[[], None],
) -> Iterator[list[str]]:
    """Hold what the files of trials are written under; yields the trials that can be had."""
    with ExitStack() as stack:
        mine = []
        for trial_id in ids:
            if trial_id in final:
                mine.append(trial_id)
                continue
            lease = claim(store, trial_id, owner="compact")
            if lease is not None:
                stack.enter_context(lease)
                mine.append(trial_id)
        if table == "trials":
            stack.enter_context(store.lock("uses"))
        require()
        yield mine


def _remove(store: Store, name: str, digest: bytes, require: Callable[[], None]) -> bool:
    try:
        same = hashlib.sha256(store.read(name)).digest() == digest
    except FileNotFoundError:
        return False
    if same:
        require()
        store.delete(name)
    return same
