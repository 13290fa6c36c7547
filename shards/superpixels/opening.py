"""Superpixels of whole splits: from the shards, or computed once and kept beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.manifest import load_manifest
from camsweep.shards.places import Place, as_place
from camsweep.shards.places.cache import (
    CACHE_DAYS,
    CACHE_VARIABLE,
    DAYS_VARIABLE,
    cache_folder,
    limit,
)
from camsweep.shards.reader import SplitReader, open_split
from camsweep.shards.superpixels.computed import Computed, describe
from camsweep.shards.superpixels.facts import Wanted
from camsweep.shards.superpixels.reader import SuperpixelReader
from camsweep.shards.superpixels.segmenting import Progress, Work, compute
from camsweep.shards.superpixels.sidesets import FOLDER, SideSet, copy_to, forget_old, load
from camsweep.shards.superpixels.slic import COMPACTNESS, SCALING, check_settings

__all__ = ["Computed", "SuperpixelReader", "open_superpixels", "precompute"]


def open_superpixels(
    root: Place | Path | str,
    split: str,
    s_n: int,
    *,
    compactness: float = COMPACTNESS,
    scaling: str = SCALING,
    workers: int = 1,
    reader: SplitReader | None = None,
    skip_damaged: bool = False,
    on_progress: Progress | None = None,
) -> SuperpixelReader:
    """The superpixels of a split, computed on first use.

    Looked for in the shards (``build(..., superpixels=[s_n])``), then as a side set in
    ``ROOT/superpixels/``, then in ``superpixels/`` of the cache folder. Otherwise computed, under
    a lock so that concurrent trials compute them once, and written to the first of these two
    folders that can be written (the cache folder where the data are remote). Each image is
    segmented at its original size, once: the released code segments every crop anew, zero-padded
    borders included, at 20 times the cost of the rest of its loader, so here S_N counts
    superpixels an image, not a crop.

    Args:
        root: the data folder or URL.
        split: a split's name.
        s_n: number of superpixels asked for; see ``slic.segment`` for this and the next two.
        compactness: weight of space against colour.
        scaling: ``modern`` or ``released``.
        workers: threads that compute.
        reader: of the same split, where one is open already.
        skip_damaged: compute the others where an image is damaged; asked for its labels, the
            reader raises ``DamagedSample``.
        on_progress: called with (what, images done, images in all) while computing.

    Raises:
        DamagedSample: an image cannot be read.
        InputError: wrong settings, no such data, or no folder to write to.
    """
    check_settings(s_n, compactness, scaling)
    if reader is None:
        reader = open_split(root, split)
    wanted = _wanted(reader, s_n, compactness, scaling)
    if _in_shards(reader, wanted):
        return SuperpixelReader(reader, s_n, None)
    found = _obtain(reader, [wanted], workers, skip_damaged, on_progress)
    return SuperpixelReader(reader, s_n, found[wanted][0])


def precompute(
    data: Place | Path | str,
    splits: Sequence[str] | None,
    numbers: Sequence[int],
    *,
    compactness: float = COMPACTNESS,
    scaling: str = SCALING,
    workers: int = 1,
    publish: bool = False,
    on_progress: Progress | None = None,
) -> list[Computed]:
    """Compute the superpixels of splits for several S_N, decoding each image once.

    What is there is left alone; an interrupted computation goes on where it was.

    Args:
        data: the data folder or URL.
        splits: names of splits; None = all.
        numbers: the S_N.
        compactness: see ``slic.segment``.
        scaling: see ``slic.segment``.
        workers: threads.
        publish: put them beside remote data, where other nodes find them; without, they stay in
            this node's cache folder.
        on_progress: called with (what, images done, images in all).

    Raises:
        DamagedSample: an image cannot be read.
        InputError: wrong settings, no such data or split, or no folder to write to.
    """
    place = as_place(data)
    if publish:
        place.require_writable()
    numbers = sorted(set(numbers))
    if not numbers:
        raise InputError("superpixels: no S_N; numbers such as 100,200 are right")
    for s_n in numbers:
        check_settings(s_n, compactness, scaling)
    done: list[Computed] = []
    for split in splits or list(load_manifest(place).splits):
        reader = open_split(place, split)
        sets = [_wanted(reader, s_n, compactness, scaling) for s_n in numbers]
        stored = {wanted for wanted in sets if _in_shards(reader, wanted)}
        lacking = [wanted for wanted in sets if wanted not in stored]
        made = _obtain(reader, lacking, workers, False, on_progress)
        for wanted in sets:
            side, new = made.get(wanted, (None, False))
            if publish and side is not None and side.place != place:
                side = copy_to(side, place)
            done.append(describe(SuperpixelReader(reader, wanted.s_n, side), wanted, side, new))
    return done


def _wanted(reader: SplitReader, s_n: int, compactness: float, scaling: str) -> Wanted:
    return Wanted(
        data=reader.manifest.digest,
        split=reader.split,
        s_n=s_n,
        compactness=float(compactness),
        scaling=scaling,
    )


def _in_shards(reader: SplitReader, wanted: Wanted) -> bool:
    built = reader.manifest.settings.get("superpixels")
    return wanted.s_n in reader.manifest.superpixels and built == {
        "compactness": wanted.compactness,
        "scaling": wanted.scaling,
    }


def _obtain(
    reader: SplitReader,
    sets: Sequence[Wanted],
    workers: int,
    skip_damaged: bool,
    on_progress: Progress | None,
) -> dict[Wanted, tuple[SideSet, bool]]:
    """Every side set, and whether it was computed now."""
    places = [reader.place, as_place(cache_folder())]
    found: dict[Wanted, tuple[SideSet, bool]] = {}

    def look(where: Sequence[Place], new: bool) -> list[Wanted]:
        """Note the sets that are there; those that are not."""
        for wanted in sets:
            for place in where:
                if wanted in found:
                    continue
                side = load(place, wanted, reader.keys)
                # What was computed now is as good as can be, whatever is repaired meanwhile.
                if side is not None and (new or not _outdated(side, reader)):
                    found[wanted] = side, new
        return [wanted for wanted in sets if wanted not in found]

    missing = look(places, False)
    if missing:
        with _locked([place for place in places if place.local is not None], missing) as home:
            missing = look([home], False)  # another process may have made some meanwhile
            if home == places[-1]:
                forget_old(cache_folder(), limit(DAYS_VARIABLE, CACHE_DAYS))
            if missing and home.local is not None:
                work = Work(reader, tuple(missing), home.local / FOLDER, skip_damaged)
                compute(work, workers, on_progress)
                missing = look([home], True)
    if missing:
        raise InputError(f"{home.name(FOLDER)}: unreadable right after writing; check the disk")
    return found


def _outdated(side: SideSet, reader: SplitReader) -> bool:
    """Whether the set lacks an image that was damaged when it was made and can be read now."""
    for index in np.flatnonzero(side.rows.length < 0):
        try:
            reader.image(int(index))
        except DamagedSample:
            continue
        return True
    return False


@contextmanager
def _locked(places: Sequence[Place], sets: Sequence[Wanted]) -> Iterator[Place]:
    """Hold the sets' locks in the first place that can be written, and give that place."""
    with ExitStack() as stack:
        for place in places:
            try:
                _lock(place, sets, stack)
            except OSError:
                continue
            yield place
            return
    names = " nor ".join(place.name(FOLDER) for place in places)
    raise InputError(
        f"{names} can be written; set {CACHE_VARIABLE} to a folder that can, "
        "or build with --superpixels"
    )


def _lock(place: Place, sets: Sequence[Wanted], stack: ExitStack) -> None:
    folder = Path(place.url) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        # In one order, so that two that want the same two sets cannot wait for each other.
        for wanted in sorted(sets, key=lambda wanted: wanted.stem):
            held.enter_context(FileLock(folder / f"{wanted.stem}.lock"))
        stack.push(held.pop_all())
