"""What a report says of files that it could not read, and of counts that are not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from camsweep.reports.load import Trial
from camsweep.reports.words import counted
from camsweep.sweeps.compacting.reading import Unread
from camsweep.sweeps.results import has_rows
from camsweep.sweeps.store import Store

#: Damaged files that are named.
NAMED = 10


def lines(unread: Iterable[Unread]) -> list[str]:
    """What is said of files that could not be read: newer ones by version, damaged ones by name."""
    found = sorted({one.name: one for one in unread}.values(), key=lambda one: one.name)
    newer = Counter(one.version for one in found if one.version)
    told = [
        f"{counted(number, 'file')} of a newer camsweep (table format {version}) left out; use "
        "that version to see what is in them"
        for version, number in sorted(newer.items())
    ]
    damaged = [one for one in found if not one.version]
    told += [f"left out: {one.reason}" for one in damaged[:NAMED]]
    if len(damaged) > NAMED:
        told.append(f"and {counted(len(damaged) - NAMED, 'more damaged file')} left out")
    return told


def without_counts(store: Store, trials: Sequence[Trial]) -> list[str]:
    """What is said of done trials whose counts of images are missing or damaged."""
    done = [t.id for t in trials if t.done]
    damaged: list[Unread] = []
    there = has_rows(store, "images", done, damaged.append)
    missing = [i for i in done if i not in there]
    told = lines(damaged)
    if missing:
        names = ", ".join(f"images/{i}.arrow" for i in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        told.append(
            f"{counted(len(missing), 'done trial')} without counts of images ({names}{more}): "
            "only the numbers of the rows are shown, without an interval over images"
        )
    return told
