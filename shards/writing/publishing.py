"""Making finished shards the target: checks before, the rename or the last uploads after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import JsonValue

from camsweep.shards.digests import remembered_sha256
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import (
    FORMAT,
    MANIFEST,
    IndexEntry,
    Manifest,
    ShardEntry,
    load_manifest,
    write_manifest,
)
from camsweep.shards.places import Place, as_place
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.places.files import write_whole
from camsweep.shards.writing.staging import Staging


def index_file(split: str) -> str:
    """The name of a split's index."""
    return f"{split}.index.arrow"


def check_target(place: Place, expected: Manifest) -> Manifest | None:
    """See what is at the target already.

    Args:
        place: the target.
        expected: what will be built, without sizes and digests.

    Returns:
        The manifest of data that look like those expected, None where there are no data.

    Raises:
        InputError: it is a file, holds other data or other files.
        OSError: it can't be looked at.
    """
    if place.local is not None and place.local.exists() and not place.local.is_dir():
        raise InputError(f"{place}: is a file; --out needs a new or empty folder")
    if place.exists(MANIFEST):
        held = load_manifest(place)
        difference = _difference(held, expected)
        if difference:
            _refuse(place, held, difference)
        return held
    if place.local is not None:
        foreign = place.local.is_dir() and any(place.local.iterdir())
    else:
        # An interrupted build leaves its own shards at a URL.
        own = {shard.file for split in expected.splits.values() for shard in split.shards}
        own |= {index_file(split) for split in expected.splits}
        foreign = bool((place.sizes() or {}).keys() - own)
    if foreign:
        raise InputError(f"{place}: is not empty and has no {MANIFEST}; --out needs a new folder")
    return None


def require_same(place: Place, held: Manifest, made: Manifest) -> None:
    """Refuse to touch data that turn out to be others than those built (InputError)."""
    if held.digest != made.digest:
        _refuse(place, held, f"not {made.digest[:12]}")


def is_whole(place: Place, held: Manifest) -> bool:
    """Whether all files of a data set have the right size and, where local, the right content.

    Raises:
        OSError: the place can't be read.
    """
    return held.format == FORMAT and not _wrong_files(place, held)


def publish(
    place: Place,
    staging: Staging,
    manifest: Manifest,
    indexes: Mapping[str, bytes],
    held: Manifest | None,
) -> None:
    """Make the shards of the staging folder, indexes and manifest the target.

    A new local target appears by one rename. Elsewhere the manifest is written last. Of data that
    are there already, only wrong or missing files are replaced.

    Args:
        place: the target.
        staging: holds the shards, but for those that are at the target already.
        manifest: of the data.
        indexes: content of the index files by name.
        held: the manifest at the target.

    Raises:
        OSError: it can't be written.
    """
    if held is None and place.local is not None:
        local = as_place(staging.data)
        for file, content in indexes.items():
            local.write(file, content)
        write_manifest(local, manifest)
        staging.data.replace(place.local.resolve())  # a link to an empty folder stays a link
        return
    wrong = _wrong_files(place, manifest) if held is not None else set(indexes)
    for path in sorted(staging.data.iterdir()):
        if held is None or path.name in wrong:
            place.upload(path, path.name)
    for file, content in indexes.items():
        if file in wrong:
            place.write(file, content)
    if held != manifest:
        write_manifest(place, manifest)


def recall(fingerprint: str) -> str | None:
    """The digest of the data that an equal build made on this node, None where not known."""
    if not fingerprint:
        return None
    try:
        return str(json.loads(_memory(fingerprint).read_bytes())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(fingerprint: str, digest: str) -> None:
    """Keep for ``recall`` what a build made; a cache that can't be written is no error."""
    if fingerprint:
        with suppress(OSError):
            write_whole(_memory(fingerprint), json.dumps({"digest": digest}).encode())


def _memory(fingerprint: str) -> Path:
    return cache_folder() / "builds" / f"{fingerprint}.json"


def _difference(held: Manifest, expected: Manifest) -> str:
    """How data differ from what will be built, as far as that can be said before building."""
    there, here = (
        manifest.model_dump(mode="json", exclude={"splits", "indexes", "format", "digest"})
        for manifest in (held, expected)
    )
    there |= {f"setting {key}": value for key, value in there.pop("settings").items()}
    here |= {f"setting {key}": value for key, value in here.pop("settings").items()}
    for key in sorted({*there, *here}):
        if there.get(key) != here.get(key):
            return f"{key} {_short(there.get(key))}, not {_short(here.get(key))}"
    for split in sorted({*held.splits, *expected.splits}):
        if split not in held.splits or split not in expected.splits:
            return f"split '{split}' is {'new' if split in expected.splits else 'not built now'}"
        old, new = held.splits[split], expected.splits[split]
        if old.count != new.count:
            return f"{old.count} samples in '{split}', not {new.count}"
        if [(shard.file, shard.samples) for shard in old.shards] != [
            (shard.file, shard.samples) for shard in new.shards
        ]:
            return f"'{split}' is divided into shards in another way"
    return ""


def _short(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse(place: Place, held: Manifest, difference: str) -> None:
    raise InputError(
        f"{place}: holds other data ({held.name}, digest {held.digest[:12]}: {difference}); "
        "--out needs a new folder"
    )


def _wrong_files(place: Place, manifest: Manifest) -> set[str]:
    """Files that are missing, of another size or, where that is cheap to see, other content."""
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    entries: dict[str, ShardEntry | IndexEntry] = {shard.file: shard for shard in shards}
    entries |= {index.file: index for index in manifest.indexes.values()}
    sizes = place.sizes() or {}
    wrong = {file for file, entry in entries.items() if sizes.get(file) != entry.bytes}
    if place.local is not None:
        files = [file for file in entries if file not in wrong]
        digests = remembered_sha256([place.local / file for file in files])
        wrong |= {
            file
            for file, digest in zip(files, digests, strict=True)
            if digest != entries[file].sha256
        }
    return wrong
