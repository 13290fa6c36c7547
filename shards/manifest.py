"""The manifest of a data folder: what the shards hold and the digest that names the data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from camsweep.shards.errors import InputError, nearest
from camsweep.shards.places import Place, as_place

FORMAT = 2
# The digest names the samples. The index that format 2 adds only says where they lie, so data of
# both formats have the digest of format 1, and trials that were run on them keep their ids.
DIGEST_FORMAT = 1
MANIFEST = "manifest.json"

Count = Annotated[int, Field(ge=0)]
Channel = Annotated[int, Field(ge=0, le=255)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# No slash in a shard's name: a manifest from elsewhere cannot point outside its own folder.
ShardName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.tar$")]
IndexName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.arrow$")]
SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ShardEntry(_Frozen):
    """One tar file: its name in the folder, samples, size in bytes and SHA-256."""

    file: ShardName
    samples: Count
    bytes: Count
    sha256: Sha256


class Split(_Frozen):
    """One split (``train``, ``val``, ...): samples over all its shards, and the shards in order."""

    count: Count
    shards: tuple[ShardEntry, ...]


class IndexEntry(_Frozen):
    """The index of one split (``index.encode``): its file, size in bytes and SHA-256."""

    file: IndexName
    bytes: Count
    sha256: Sha256


class Manifest(_Frozen):
    """What one data folder holds.

    Attributes:
        format: version of this layout; readers refuse a newer one.
        name: the data set's name, as reports show it.
        source: where the data come from, in words.
        classes: class names; index 0 is ``background``.
        colours: one (red, green, blue) a class, each 0 to 255.
        ignore: mask value of pixels that no metric counts.
        splits: the splits by name.
        superpixels: the numbers S_N whose SLIC labels lie in the shards.
        settings: how the data were built (JSON).
        indexes: the index of each split, from format 2 on; not part of the digest.
        digest: SHA-256 of the canonical JSON of everything above but ``indexes``.
    """

    format: int = FORMAT
    name: str
    source: str
    classes: tuple[str, ...]
    colours: tuple[tuple[Channel, Channel, Channel], ...]
    ignore: int = 255
    splits: dict[SplitName, Split]
    superpixels: tuple[int, ...] = ()
    settings: dict[str, JsonValue] = {}
    indexes: dict[SplitName, IndexEntry] = {}
    digest: str = ""


def canonical_json(value: JsonValue) -> bytes:
    """One byte string for equal JSON values: keys sorted, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def manifest_digest(manifest: Manifest) -> str:
    """SHA-256 (hex) of the canonical JSON of what names the samples.

    That is everything but ``digest`` and ``indexes``, with ``format`` 1 whatever it is. The
    shards' own digests are inside, so equal digests mean equal bytes of all samples.
    """
    content = manifest.model_dump(mode="json", exclude={"digest", "indexes"})
    return hashlib.sha256(canonical_json(content | {"format": DIGEST_FORMAT})).hexdigest()


def sealed(manifest: Manifest) -> Manifest:
    """The same manifest with its digest filled in."""
    return manifest.model_copy(update={"digest": manifest_digest(manifest)})


def write_manifest(root: Place | Path | str, manifest: Manifest) -> None:
    """Write ``manifest.json`` with its digest, whole or not at all."""
    text = json.dumps(sealed(manifest).model_dump(mode="json"), indent=1, ensure_ascii=False)
    as_place(root).write(MANIFEST, (text + "\n").encode())


def load_manifest(root: Place | Path | str) -> Manifest:
    """Read and check the manifest of a data set.

    Args:
        root: the folder or URL that ``camsweep shards build`` wrote.

    Raises:
        InputError: no manifest there, not readable, of a newer format, its fields are wrong, or
            its digest does not match its content.
    """
    place = as_place(root)
    path = place.name(MANIFEST)
    try:
        content = json.loads(place.read(MANIFEST).decode())
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{place}: no {MANIFEST} here, so no data; "
            "name a folder written by `camsweep shards build`"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); build the shards again") from None
    _check_format(path, content)
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {key}: {first['msg']}") from None
    if manifest.digest != manifest_digest(manifest):
        raise InputError(
            f"{path}: digest does not match the content (edited or damaged); build the shards again"
        )
    return manifest


def _check_format(path: str, content: JsonValue) -> None:
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(
            f"{path}: format is {version!r}, this camsweep reads 1 to {FORMAT}; "
            "build the shards again"
        )
    if version > FORMAT:
        raise InputError(
            f"{path}: format is {version}, this camsweep reads up to {FORMAT}; update camsweep"
        )


def find_split(root: Place | Path | str, manifest: Manifest, split: str) -> Split:
    """The manifest's entry of a split, or an InputError with the nearest right name."""
    if split not in manifest.splits:
        raise InputError(f"{as_place(root)}: no split '{split}'{nearest(split, manifest.splits)}")
    return manifest.splits[split]


def size_problems(place: Place, shards: Sequence[ShardEntry]) -> dict[int, str]:
    """Which shards are missing or have another size than the manifest says: number -> line.

    Local files are looked at one by one and a bucket is listed once. Over HTTP, where neither is
    possible, nothing is compared: fetching a shard compares its digest.

    Raises:
        InputError: the place cannot be reached.
    """
    try:
        sizes = place.sizes()
    except OSError as error:
        raise InputError(f"{place}: cannot be read ({error.strerror or error})") from None
    if sizes is None:
        return {}
    problems = {}
    for number, shard in enumerate(shards):
        name, size = place.name(shard.file), sizes.get(shard.file)
        if size is None:
            problems[number] = f"{name}: cannot be read (No such file or directory)"
        elif size != shard.bytes:
            problems[number] = (
                f"{name}: {size} bytes, its manifest says {shard.bytes}; build the data again"
            )
    return problems
