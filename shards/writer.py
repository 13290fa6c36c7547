"""Writing a data set as webdataset shards: all of it, or nothing."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from camsweep.shards.colours import Colour, colour_map
from camsweep.shards.decoding import decode_image
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import (
    MANIFEST,
    Manifest,
    ShardEntry,
    Split,
    canonical_json,
    load_manifest,
    sealed,
    write_manifest,
)
from camsweep.shards.tarindex import tar_writer

IGNORE = 255
Progress = Callable[[str, int, int], None]

# webdataset cuts a member's name at its first dot: a key with a dot or a slash would lose its end.
_KEY = re.compile(r"^[A-Za-z0-9_-]+$")


@dataclass(frozen=True)
class SourceSample:
    """One image before it is written.

    Attributes:
        key: unique within the split; letters, digits, ``_`` and ``-``.
        image_bytes: the JPEG file, kept as it is.
        mask: uint8 [H, W] class indices, 255 = ignore; None where there is none.
        labels: image-level labels, class indices from 1.
        size: (H, W) in pixels.
        source_id: its name in the source, stored with it; no path of this machine.
        where: what error lines call it (a path); ``source_id`` where empty. Not stored.
    """

    key: str
    image_bytes: bytes
    mask: NDArray[np.uint8] | None
    labels: tuple[int, ...]
    size: tuple[int, int]
    source_id: str
    where: str = ""


@dataclass(frozen=True)
class Source:
    """A data set that can be written: its description and, by split, one callable a sample.

    A callable returns its sample when called and holds no pixels before, so a source of any size
    is cheap to make.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    settings: Mapping[str, JsonValue]
    splits: Mapping[str, Sequence[Callable[[], SourceSample]]] = field(repr=False)


def build(
    source: Source,
    out: Path,
    *,
    shard_samples: int = 256,
    superpixels: Sequence[int] = (),
    on_progress: Progress | None = None,
) -> Manifest:
    """Write a source as shards and a manifest into ``out``.

    Everything goes into a temporary folder beside ``out`` that is renamed at the end, so ``out``
    is whole or absent. Equal sources give byte-identical shards.

    Args:
        source: what to write.
        out: the new folder; it may exist when empty, or when it holds the same data (then it is
            left as it is).
        shard_samples: samples a shard, at least 1.
        superpixels: numbers S_N whose SLIC labels (default settings of
            ``camsweep.shards.superpixels.segment``) are stored with each image.
        on_progress: called with (split, samples done, samples in the split).

    Returns:
        The manifest written.

    Raises:
        InputError: a sample is wrong, ``out`` holds something else or cannot be written.
    """
    out = Path(out)
    if shard_samples < 1:
        raise InputError(f"shard_samples is {shard_samples}; at least 1 is needed")
    wanted = tuple(sorted(set(superpixels)))
    if wanted and wanted[0] < 2:
        raise InputError(f"superpixels: S_N = {wanted[0]}; at least 2 is needed")
    _check_target(out)
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        splits = {
            name: _write_split(partial, name, samples, source, shard_samples, wanted, on_progress)
            for name, samples in source.splits.items()
        }
        manifest = sealed(
            Manifest(
                name=source.name,
                source=source.source,
                classes=source.classes,
                colours=source.colours,
                ignore=IGNORE,
                splits=splits,
                superpixels=wanted,
                settings=dict(source.settings) | _superpixel_settings(wanted),
            )
        )
        write_manifest(partial, manifest)
        if (out / MANIFEST).exists():
            _require_same(out, manifest)
        else:
            partial.replace(out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _check_target(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; --out needs a new or empty folder")
    if out.is_dir() and any(out.iterdir()):
        if not (out / MANIFEST).exists():
            raise InputError(f"{out}: is not empty and has no {MANIFEST}; --out needs a new folder")
        load_manifest(out)


def _require_same(out: Path, manifest: Manifest) -> None:
    held = load_manifest(out)
    if held.digest != manifest.digest:
        raise InputError(
            f"{out}: holds other data ({held.name}, digest {held.digest[:12]}, not "
            f"{manifest.digest[:12]}); --out needs a new folder"
        )


def _superpixel_settings(wanted: tuple[int, ...]) -> dict[str, JsonValue]:
    if not wanted:
        return {}
    from camsweep.shards.slic import COMPACTNESS, SCALING

    return {"superpixels": {"compactness": COMPACTNESS, "scaling": SCALING}}


def _write_split(
    folder: Path,
    name: str,
    samples: Sequence[Callable[[], SourceSample]],
    source: Source,
    shard_samples: int,
    superpixels: tuple[int, ...],
    on_progress: Progress | None,
) -> Split:
    if not _KEY.match(name):
        raise InputError(f"split '{name}': letters, digits, '_' and '-' only")
    if not samples:
        raise InputError(f"split '{name}' of {source.name} has no samples")
    palette = _palette(source.colours)
    seen: set[str] = set()
    shards = []
    for start in range(0, len(samples), shard_samples):
        part = samples[start : start + shard_samples]
        path = folder / f"{name}-{start // shard_samples:06d}.tar"
        with path.open("wb") as stream, tar_writer(stream) as tar:
            for index, load in enumerate(part):
                sample = load()
                if sample.key in seen:
                    raise InputError(f"{_where(sample)}: key {sample.key} twice in '{name}'")
                seen.add(sample.key)
                tar.write(_members(sample, source.classes, palette, superpixels))
                if on_progress is not None:
                    on_progress(name, start + index + 1, len(samples))
        shards.append(
            ShardEntry(
                file=path.name,
                samples=len(part),
                bytes=path.stat().st_size,
                sha256=file_sha256(path),
            )
        )
    return Split(count=len(samples), shards=tuple(shards))


def check_key(key: str, where: str) -> None:
    """Refuse a sample's key that webdataset would cut or that could leave the folder.

    Raises:
        InputError: it has other characters than letters, digits, ``_`` and ``-``.
    """
    if not _KEY.match(key):
        raise InputError(f"{where}: key '{key}' needs letters, digits, '_' and '-' only")


def _members(
    sample: SourceSample,
    classes: tuple[str, ...],
    palette: bytes,
    superpixels: tuple[int, ...],
) -> dict[str, str | bytes]:
    """The tar members of one checked sample (design section 8), by extension."""
    where = _where(sample)
    check_key(sample.key, where)
    image = _decode(sample)
    labels = sorted(set(sample.labels))
    wrong = [label for label in labels if not 1 <= label < len(classes)]
    if wrong:
        raise InputError(f"{where}: label {wrong[0]} is outside the list 1..{len(classes) - 1}")
    facts: dict[str, JsonValue] = {
        "labels": list(labels),
        "size": list(sample.size),
        "source_id": sample.source_id,
    }
    members: dict[str, str | bytes] = {"__key__": sample.key, "jpg": sample.image_bytes}
    if sample.mask is not None:
        _check_mask(sample, len(classes))
        members["mask.png"] = _mask_png(sample.mask, palette)
    if superpixels:
        from camsweep.shards.slic import encode_labels, segment

        obtained: dict[str, JsonValue] = {}
        for s_n in superpixels:
            segments = segment(image, s_n)
            obtained[str(s_n)] = int(segments.max())
            members[f"sp{s_n}.png"] = encode_labels(segments)
        facts["segments"] = obtained
    members["json"] = canonical_json(facts)
    return members


def _where(sample: SourceSample) -> str:
    return sample.where or sample.source_id


def _decode(sample: SourceSample) -> NDArray[np.uint8]:
    image = decode_image(sample.image_bytes, _where(sample))
    if image.shape[:2] != tuple(sample.size):
        raise InputError(
            f"{_where(sample)}: image is {image.shape[0]} x {image.shape[1]}, "
            f"the source says {sample.size[0]} x {sample.size[1]}"
        )
    return image


def _check_mask(sample: SourceSample, classes: int) -> None:
    mask = sample.mask
    assert mask is not None
    if mask.dtype != np.uint8 or mask.shape != tuple(sample.size):
        raise InputError(
            f"{_where(sample)}: mask is {mask.dtype} {'x'.join(map(str, mask.shape))}, "
            f"its image {sample.size[0]}x{sample.size[1]}"
        )
    values = np.unique(mask)
    wrong = values[(values >= classes) & (values != IGNORE)]
    if wrong.size:
        raise InputError(
            f"{_where(sample)}: mask holds class {wrong[0]}, "
            f"the list has 0..{classes - 1} (and {IGNORE} = ignore)"
        )


def _palette(colours: tuple[Colour, ...]) -> bytes:
    table = list(colours) + [(0, 0, 0)] * (256 - len(colours))
    table[IGNORE] = colour_map(256)[IGNORE]
    return bytes(channel for colour in table for channel in colour)


def _mask_png(mask: NDArray[np.uint8], palette: bytes) -> bytes:
    picture = Image.fromarray(mask)
    picture.putpalette(palette)
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
