"""The manifest of a data folder: what the shards hold and the digest that names the data."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from camsweep.shards.errors import InputError, nearest

FORMAT = 1
MANIFEST = "manifest.json"

Count = Annotated[int, Field(ge=0)]
Channel = Annotated[int, Field(ge=0, le=255)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# No slash in a shard's name: a manifest from elsewhere cannot point outside its own folder.
ShardName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.tar$")]
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


class Manifest(_Frozen):
    """What one data folder holds.

    Attributes:
        format: version of this layout; readers refuse another one.
        name: the data set's name, as reports show it.
        source: where the data come from, in words.
        classes: class names; index 0 is ``background``.
        colours: one (red, green, blue) a class, each 0 to 255.
        ignore: mask value of pixels that no metric counts.
        splits: the splits by name.
        superpixels: the numbers S_N whose SLIC labels lie in the shards.
        settings: how the data were built (JSON).
        digest: SHA-256 of the canonical JSON of everything above.
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
    digest: str = ""


def canonical_json(value: JsonValue) -> bytes:
    """One byte string for equal JSON values: keys sorted, no spaces, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def manifest_digest(manifest: Manifest) -> str:
    """SHA-256 (hex) of the canonical JSON of everything but ``digest``.

    The shards' own digests are inside, so equal digests mean equal bytes of all samples.
    """
    content = manifest.model_dump(mode="json", exclude={"digest"})
    return hashlib.sha256(canonical_json(content)).hexdigest()


def sealed(manifest: Manifest) -> Manifest:
    """The same manifest with its digest filled in."""
    return manifest.model_copy(update={"digest": manifest_digest(manifest)})


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` whole (temporary name, then rename), with its digest."""
    text = json.dumps(sealed(manifest).model_dump(mode="json"), indent=1, ensure_ascii=False)
    partial = Path(root) / f".{MANIFEST}.{os.getpid()}"
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(Path(root) / MANIFEST)


def load_manifest(root: Path) -> Manifest:
    """Read and check a data folder's manifest.

    Args:
        root: the folder that ``camsweep shards build`` wrote.

    Raises:
        InputError: no manifest there, not readable, of another format version, its fields are
            wrong, or its digest does not match its content.
    """
    path = Path(root) / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{root}: no {MANIFEST} here, so no data; "
            "name a folder written by `camsweep shards build`"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); build the shards again") from None
    version = content.get("format") if isinstance(content, dict) else None
    if version != FORMAT:
        raise InputError(
            f"{path}: format is {version!r}, this camsweep reads {FORMAT}; build the shards again"
        )
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


def find_split(root: Path, manifest: Manifest, split: str) -> Split:
    """The manifest's entry of a split, or an InputError with the nearest right name."""
    if split not in manifest.splits:
        raise InputError(f"{root}: no split '{split}'{nearest(split, manifest.splits)}")
    return manifest.splits[split]


def shard_path(root: Path, shard: ShardEntry) -> Path:
    """A shard's path, after a check of its size (its digest is ``verify``'s work).

    Raises:
        InputError: it is missing or has another size than the manifest says.
    """
    path = root / shard.file
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if size != shard.bytes:
        raise InputError(
            f"{path}: {size} bytes, its manifest says {shard.bytes}; build the data again"
        )
    return path
