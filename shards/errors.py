"""The one error that means "the input was wrong": one clear line and exit status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Wrong input. The message is one line: the file, the key and what would be right."""


class DamagedSample(InputError):  # noqa: N818  (says what there is, as the option does)
    """One sample that cannot be read, while others can; the line names its shard and its key.

    ``--skip-damaged`` leaves out exactly what raises this.
    """


def nearest(name: str, names: Iterable[str]) -> str:
    """The hint that ends an error line: the nearest right name, or the list of them.

    Args:
        name: what the user wrote.
        names: what would have been right.

    Returns:
        ``"; did you mean 's_n'?"`` where something is near, else ``"; one of: a, b"``.
    """
    known = sorted(set(names))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; one of: {', '.join(known)}" if known else ""
