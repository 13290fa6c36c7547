"""Superpixels of a whole split: from the shards, or computed once and kept beside them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from camsweep.shards.errors import InputError
from camsweep.shards.manifest import canonical_json
from camsweep.shards.reader import SplitReader, open_split
from camsweep.shards.slic import (
    COMPACTNESS,
    SCALING,
    check_settings,
    decode_labels,
    encode_labels,
    segment,
)
from camsweep.shards.tarindex import Span, TarBytes, tar_index, tar_writer

__all__ = ["COMPACTNESS", "SCALING", "SuperpixelReader", "open_superpixels", "segment"]

CACHE_BYTES = 256 * 2**20
CACHE_VARIABLE = "CAMSWEEP_CACHE"

Progress = Callable[[str, int, int], None]


class SuperpixelReader:
    """The label maps of one split, in the order of its ``SplitReader``. Picklable.

    Attributes:
        segments: int64 [N], superpixels obtained per image (fewer than asked for).
        seconds: what computing them took; None where they came with the shards.
    """

    def __init__(
        self,
        segments: NDArray[np.int64],
        fetch: Callable[[int], tuple[bytes, str]],
        seconds: float | None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.segments = segments
        self.seconds = seconds
        self._fetch = fetch
        self._cache_bytes = cache_bytes
        self._reset()

    def _reset(self) -> None:
        self._cache: dict[int, NDArray[np.uint16]] = {}
        self._cache_left = self._cache_bytes

    def __getstate__(self) -> dict[str, Any]:
        skip = {"_cache", "_cache_left"}
        return {name: value for name, value in self.__dict__.items() if name not in skip}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> NDArray[np.uint16]:
        """Labels 1..``segments[index]`` of image ``index``: uint16 [H, W], read-only.

        Raises:
            IndexError: outside 0..len-1 (negative numbers count from the end).
            InputError: the file is damaged at this sample.
        """
        index = range(len(self))[index]
        held = self._cache.get(index)
        if held is not None:
            return held
        labels = decode_labels(*self._fetch(index))
        if labels.nbytes <= self._cache_left:
            self._cache_left -= labels.nbytes
            self._cache[index] = labels
        return labels


@dataclass(frozen=True)
class _FromShards:
    reader: SplitReader
    s_n: int

    def __call__(self, index: int) -> tuple[bytes, str]:
        return self.reader.read(index, f"sp{self.s_n}.png"), self.reader.where(index)


@dataclass(frozen=True)
class _FromSideSet:
    tar: TarBytes
    keys: list[str]
    spans: list[Span]

    def __call__(self, index: int) -> tuple[bytes, str]:
        where = f"{self.tar.path}, sample {self.keys[index]} (delete the file to compute it again)"
        return self.tar.read(self.spans[index], where), where


class _SideSet(BaseModel):
    """The JSON beside a side set's tar: what it was computed from, and what came out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    split: str
    s_n: int
    compactness: float
    scaling: str
    seconds: float
    bytes: int
    segments: tuple[int, ...]


def open_superpixels(
    root: Path,
    split: str,
    s_n: int,
    *,
    compactness: float = COMPACTNESS,
    scaling: str = SCALING,
    workers: int = 1,
    reader: SplitReader | None = None,
    on_progress: Progress | None = None,
) -> SuperpixelReader:
    """The superpixels of a split, computed on first use.

    Looked for in the shards (``build(..., superpixels=[s_n])``), then in ``ROOT/superpixels/``,
    then under ``$CAMSWEEP_CACHE`` (default ``~/.cache/camsweep``). Otherwise computed, under a
    lock so that concurrent trials compute them once, and written whole to the first of these two
    folders that can be written. Each image is segmented at its original size, once: the released
    code segments every crop anew, zero-padded borders included, at 20 times the cost of the rest
    of its loader, so here S_N counts superpixels an image, not a crop.

    Args:
        root: the data folder.
        split: a split's name.
        s_n: number of superpixels asked for; see ``slic.segment`` for this and the next two.
        compactness: weight of space against colour.
        scaling: ``modern`` or ``released``.
        workers: threads that compute (SLIC releases the interpreter's lock).
        reader: of the same split, where one is open already.
        on_progress: called with (what, images done, images in all) while computing.

    Raises:
        InputError: wrong settings, no such data, or no folder to write to.
    """
    check_settings(s_n, compactness, scaling)
    if reader is None:
        reader = open_split(root, split)
    if _in_shards(reader, s_n, compactness, scaling):
        return SuperpixelReader(_stored_segments(reader, s_n), _FromShards(reader, s_n), None)
    settings: dict[str, Any] = {
        "digest": reader.manifest.digest,
        "split": split,
        "s_n": s_n,
        "compactness": float(compactness),
        "scaling": scaling,
    }
    folders = [reader.root / "superpixels", cache_folder() / "superpixels"]
    stem = f"{split}-sp{s_n}-{hashlib.sha256(canonical_json(settings)).hexdigest()[:12]}"
    for folder in folders:
        found = _load(folder / stem, settings, reader)
        if found is not None:
            return found
    with _lock(folders, stem) as lock:
        base = Path(lock.lock_file).with_suffix("")
        found = _load(base, settings, reader)  # another process may have made it meanwhile
        if found is None:
            _compute(base, settings, reader, workers, on_progress)
            found = _load(base, settings, reader)
    if found is None:
        raise InputError(f"{base}.tar: unreadable right after it was written; check the disk")
    return found


def _in_shards(reader: SplitReader, s_n: int, compactness: float, scaling: str) -> bool:
    built = reader.manifest.settings.get("superpixels")
    return s_n in reader.manifest.superpixels and built == {
        "compactness": compactness,
        "scaling": scaling,
    }


def _stored_segments(reader: SplitReader, s_n: int) -> NDArray[np.int64]:
    facts = (json.loads(reader.read(index, "json")) for index in range(len(reader)))
    return np.array([int(fact["segments"][str(s_n)]) for fact in facts], dtype=np.int64)


def cache_folder() -> Path:
    """`$CAMSWEEP_CACHE`, by default `~/.cache/camsweep`."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/camsweep").expanduser()


def _lock(folders: list[Path], stem: str) -> FileLock:
    """A lock in the first folder that can be written; ``stem`` names the side set it guards."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{stem}.lock")
            with lock:
                return lock
        except OSError:
            continue
    raise InputError(
        f"{folders[0]}: cannot be written, nor can {folders[1]}; "
        f"set {CACHE_VARIABLE} to a folder that can, or build with --superpixels"
    )


def _compute(
    base: Path,
    settings: dict[str, Any],
    reader: SplitReader,
    workers: int,
    on_progress: Progress | None,
) -> None:
    def one(index: int) -> tuple[int, bytes]:
        labels = segment(
            reader.image(index), settings["s_n"], settings["compactness"], settings["scaling"]
        )
        return int(labels.max()), encode_labels(labels)

    what = f"superpixels {settings['s_n']} {reader.split}"
    started = time.perf_counter()
    segments = []
    partial = base.with_suffix(f".partial-{os.getpid()}")
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        with partial.open("wb") as stream, tar_writer(stream) as tar:
            for index, (count, content) in enumerate(pool.map(one, range(len(reader)))):
                segments.append(count)
                tar.write({"__key__": reader.keys[index], "png": content})
                if on_progress is not None:
                    on_progress(what, index + 1, len(reader))
        side = _SideSet(
            **settings,
            seconds=time.perf_counter() - started,
            bytes=partial.stat().st_size,
            segments=tuple(segments),
        )
        partial.replace(base.with_suffix(".tar"))
        # The JSON is what makes the set valid, so it comes last.
        partial.write_text(side.model_dump_json(), encoding="utf-8")
        partial.replace(base.with_suffix(".json"))
    except OSError as error:
        raise InputError(f"{base}.tar: cannot be written ({error.strerror or error})") from None
    finally:
        pool.shutdown(cancel_futures=True)
        partial.unlink(missing_ok=True)


def _load(base: Path, settings: dict[str, Any], reader: SplitReader) -> SuperpixelReader | None:
    """A side set, or None where it is absent, of other data or damaged: then it is computed."""
    tar = base.with_suffix(".tar")
    try:
        side = _SideSet.model_validate_json(base.with_suffix(".json").read_bytes())
        index = tar_index(tar) if tar.stat().st_size == side.bytes else {}
    except (OSError, ValidationError, InputError):
        return None
    same = side.model_dump(include=set(settings)) == settings
    if not same or list(index) != reader.keys or len(side.segments) != len(reader):
        return None
    fetch = _FromSideSet(TarBytes(tar), reader.keys, [spans["png"] for spans in index.values()])
    return SuperpixelReader(np.array(side.segments, dtype=np.int64), fetch, side.seconds)
