"""Rows of counts, one an image and class, as dense arrays: quickly where all have one order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from camsweep.reports.rows import plain_numbers
from camsweep.shards.errors import InputError
from camsweep.sweeps.compacting.packfile import Block
from camsweep.sweeps.compacting.reading import OnUnread, Unread

#: Layouts kept to compare with: trials of few data sets follow each other.
KEPT = 4


@dataclass(frozen=True)
class Layout:
    """Where a trial's rows belong in its counts; trials of one data set have the same."""

    codes: NDArray[np.int64]
    classes: NDArray[np.int64]
    pool: pa.Array
    keys: tuple[str, ...]
    place: NDArray[np.int64]
    width: int
    regular: bool

    def fits(self, codes: NDArray[Any], classes: NDArray[Any], pool: pa.Array) -> bool:
        """Whether other rows have the same images and classes in the same order."""
        return (
            np.array_equal(self.codes, codes)
            and np.array_equal(self.classes, classes)
            and (self.pool is pool or self.pool.equals(pool))
        )


def layout_of(codes: NDArray[Any], classes: NDArray[Any], pool: pa.Array) -> Layout:
    """The layout of a trial's rows.

    Raises:
        InputError: a class below 0, or twice in an image: the counts would be wrong.
    """
    codes, classes = codes.astype(np.int64), classes.astype(np.int64)
    names = pool.to_pylist()
    present = sorted({int(code) for code in np.unique(codes)}, key=lambda code: names[code])
    place = np.zeros(len(names), dtype=np.int64)
    place[present] = np.arange(len(present))
    width = int(classes.max()) + 1
    if classes.min() < 0:
        raise InputError("a class below 0")
    flat = place[codes] * width + classes
    if len(np.unique(flat)) < len(flat):
        raise InputError("an image has a class twice")
    keys = tuple(names[code] for code in present)
    regular = np.array_equal(flat, np.arange(len(keys) * width))
    return Layout(codes, classes, pool, keys, flat, width, regular)


def dense(layout: Layout, numbers: Sequence[NDArray[Any]], classes: int) -> NDArray[np.int64]:
    """Counts from the tp, fp and fn ``[N]`` of the layout's rows."""
    size = len(layout.keys), layout.width, 3
    found = np.empty(size, np.int64) if layout.regular else np.zeros(size, np.int64)
    place = slice(None) if layout.regular else layout.place
    for kind, column in enumerate(numbers):
        found.reshape(-1, 3)[place, kind] = column
    if classes > layout.width:
        found = np.pad(found, ((0, 0), (0, classes - layout.width), (0, 0)))
    return found


def all_fit(layout: Layout, codes: NDArray[Any], classes: NDArray[Any], pool: pa.Array) -> bool:
    """Whether a block is nothing but trials of one layout, one after the other."""
    size = len(layout.codes)
    return (
        len(codes) % size == 0
        and bool((codes.reshape(-1, size) == layout.codes).all())
        and bool((classes.reshape(-1, size) == layout.classes).all())
        and (layout.pool is pool or layout.pool.equals(pool))
    )


def _arrays(table: pa.Table) -> tuple[list[NDArray[Any]], pa.Array]:
    """Image codes, classes, tp, fp, fn of a block ``[rows]``, and the names behind the codes."""
    columns = [table[name].combine_chunks() for name in ("image", "class", "tp", "fp", "fn")]
    image, *numbers = (c.chunk(0) if isinstance(c, pa.ChunkedArray) else c for c in columns)
    if image.null_count or any(column.null_count for column in numbers):
        raise InputError("a count is null")
    encoded = image if pa.types.is_dictionary(image.type) else pc.dictionary_encode(image)
    return [plain_numbers(column) for column in (encoded.indices, *numbers)], encoded.dictionary


class Densifier:
    """Makes arrays of blocks of rows."""

    def __init__(self, classes: Mapping[str, int], on_unread: OnUnread) -> None:
        """Prepare.

        Args:
            classes: how many classes each trial's data set has; more where rows have more.
            on_unread: is given the trials whose rows can't be used.
        """
        self._classes = classes
        self._on_unread = on_unread
        self._layouts: list[Layout] = []

    def counts(self, block: Block) -> Iterator[tuple[str, tuple[str, ...], NDArray[np.int64]]]:
        """Trial, image keys and int64 ``[images, classes, 3]`` (tp, fp, fn), of those with rows."""
        if not block.table.num_rows:
            return
        try:
            columns, pool = _arrays(block.table)
        except (LookupError, TypeError, ValueError, pa.ArrowException) as error:
            for trial_id, _ in block.spots:
                self._tell(trial_id, error)
            return
        most = 2 * sum(spot.rows for _, spot in block.spots) > len(columns[0])
        same = (
            most and bool(self._layouts) and all_fit(self._layouts[0], columns[0], columns[1], pool)
        )
        for trial_id, spot in block.spots:
            if not spot.rows:
                continue
            rows = slice(spot.start, spot.start + spot.rows)
            codes, classes, *numbers = (column[rows] for column in columns)
            try:
                whole = same and spot.rows == len(self._layouts[0].codes)
                layout = self._layouts[0] if whole else self._find(codes, classes, pool)
            except InputError as error:
                self._tell(trial_id, error)
                continue
            yield trial_id, layout.keys, dense(layout, numbers, self._classes[trial_id])

    def _find(self, codes: NDArray[Any], classes: NDArray[Any], pool: pa.Array) -> Layout:
        for known in self._layouts:
            if known.fits(codes, classes, pool):
                return known
        new = layout_of(codes, classes, pool)
        self._layouts = [new, *self._layouts[: KEPT - 1]]
        return new

    def _tell(self, trial_id: str, error: Exception) -> None:
        name = f"images/{trial_id}.arrow"
        self._on_unread(Unread(name, f"{name}: no counts that can be used ({error})"))
