"""Opening the index of a split: from beside its shards, or made once for data without one."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import numpy as np

from camsweep.shards.digests import differs, remembered_sha256
from camsweep.shards.errors import InputError
from camsweep.shards.index import SplitIndex, decode, encode, scan_shard
from camsweep.shards.manifest import IndexEntry, Manifest, find_split
from camsweep.shards.places import ChangedFile, Place
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.places.files import locked, write_whole
from camsweep.shards.shardfiles import ShardFiles, sample_problem

SHA256_BYTES = 32


def load_index(place: Place, manifest: Manifest, split: str) -> SplitIndex:
    """The index of a split, checked against the manifest.

    Data of format 1 have none: it is made by reading all shards, once, and kept in the node's
    cache under the data's digest.

    Args:
        place: where the data lie.
        manifest: of the data.
        split: a split's name.

    Raises:
        InputError: no such split, the index is missing, damaged or does not fit the manifest; for
            data of format 1, a shard is damaged.
    """
    wanted = find_split(place, manifest, split)
    entry = manifest.indexes.get(split)
    if entry is None:
        where = f"{place}: split '{split}'"
        content = _made_once(place, manifest, split)
    else:
        where = place.name(entry.file)
        content = _stored(place, entry)
    index = decode(content, where)
    if len(index) != wanted.count:
        raise InputError(
            f"{place}: split '{split}' holds {len(index)} samples, "
            f"its manifest says {wanted.count}; build the data again"
        )
    counts = [shard.samples for shard in wanted.shards]
    held = np.bincount(index.shards, minlength=len(counts)).tolist()
    if held != counts or np.any(np.diff(index.shards) < 0):
        raise InputError(f"{where}: its shards are not those of the manifest; build the data again")
    values = index.label_values
    if values.size and not 1 <= values.min() <= values.max() < len(manifest.classes):
        raise InputError(
            f"{where}: labels outside 1..{len(manifest.classes) - 1}; build the data again"
        )
    return index


def damaged_samples(place: Place, manifest: Manifest, split: str, number: int) -> str:
    """Which samples of a shard that differs are damaged, to end the line that names the shard.

    Such as `` (damaged: sample a: no .jpg)``, or `` (its samples: a to d)`` where the shard cannot
    be read at all. Empty for data of format 1, where no index says what was written. A remote
    shard is fetched for it.

    Raises:
        InputError: as ``load_index``.
    """
    if split not in manifest.indexes:
        return ""
    index = load_index(place, manifest, split)
    rows = (index.shards == number).nonzero()[0].tolist()
    try:
        found = ShardFiles(place, manifest.splits[split].shards).survey(number)
    except (OSError, InputError):
        return f" (its samples: {index.keys[rows[0]]} to {index.keys[rows[-1]]})" if rows else ""
    damaged = [(row, problem) for row in rows if (problem := sample_problem(found, index, row))]
    if not damaged:
        return " (all of its samples can still be read)"
    first, problem = damaged[0]
    count = f"{len(damaged)} samples damaged, the first is" if len(damaged) > 1 else "damaged:"
    return f" ({count} sample {index.keys[first]}: {problem})"


def _stored(place: Place, entry: IndexEntry) -> bytes:
    where = place.name(entry.file)
    try:
        content = place.read(entry.file, checked=True)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror or error})") from None
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise InputError(
            f"{where}: SHA-256 differs from the manifest; build or copy the data again"
        )
    return content


def _made_once(place: Place, manifest: Manifest, split: str) -> bytes:
    path = cache_folder() / "indexes" / f"{manifest.digest}-{split}.index"
    with locked(path.with_suffix(".lock")):
        kept = _kept(path)
        if kept is not None:
            return kept
        content = _make(place, manifest, split)
        with suppress(OSError):
            # Its own SHA-256 goes first: this file is in no manifest.
            write_whole(path, hashlib.sha256(content).digest() + content)
    return content


def _kept(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:SHA256_BYTES], content[SHA256_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None


def _make(place: Place, manifest: Manifest, split: str) -> bytes:
    """Scan all shards. Their SHA-256 must fit, as nothing else says what was written."""
    shards = manifest.splits[split].shards
    digests = [shard.sha256 for shard in shards]  # of remote ones: fetching compares them
    if place.local is not None:
        digests = remembered_sha256([place.local / shard.file for shard in shards])
    tables = []
    for number, shard in enumerate(shards):
        name = place.name(shard.file)
        try:
            path = place.fetch(shard.file, shard.bytes, shard.sha256)
        except ChangedFile as error:
            if error.path is not None:
                scan_shard(error.path, number, len(manifest.classes), name)  # names the sample
            raise
        table = scan_shard(path, number, len(manifest.classes), name)
        if len(table) != shard.samples:
            raise InputError(
                f"{name}: {len(table)} samples found, its manifest says {shard.samples}; "
                "build the data again"
            )
        if digests[number] != shard.sha256:
            raise InputError(differs(name))
        tables.append(table)
    try:
        return encode(tables)
    except InputError as error:
        raise InputError(f"{place}: split '{split}': {error}; build the data again") from None
