"""Locks of the operating system, for stores on a disk or NFS."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

#: Between two calls of `on_wait`.
WAIT_SECONDS = 1.0
#: What file systems without locks answer, as NFS without its lock service does.
_MISSING = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextmanager
def file_lock(path: Path, on_wait: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold a lock while the block runs; the system releases it when its holder dies.

    Args:
        path: of the lock, which stays there; its folder is made where it is missing.
        on_wait: called now and then while another process has it; what it raises ends the waiting.

    Raises:
        NoLocks: the file system has none.
        OSError: the lock can't be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=-1 if on_wait is None else WAIT_SECONDS)
        except Timeout:
            if on_wait is not None:
                on_wait()
        except NotImplementedError as error:
            raise NoLocks(errno.ENOSYS, str(error), str(path)) from None
        except OSError as error:
            if error.errno in _MISSING:
                raise NoLocks(error.errno, error.strerror, str(path)) from None
            raise
    try:
        yield
    finally:
        lock.release()


class NoLocks(OSError):  # noqa: N818  (says what there is)
    """The file system has no locks."""
