"""Verifying a data folder: digests, and every sample against its manifest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camsweep.shards.decoding import decode_facts, decode_image, decode_mask
from camsweep.shards.errors import InputError
from camsweep.shards.manifest import Manifest, ShardEntry, find_split, load_manifest, shard_path
from camsweep.shards.slic import decode_labels
from camsweep.shards.tarindex import Span, TarBytes, last_key, tar_index
from camsweep.shards.writer import file_sha256

Progress = Callable[[str, int, int], None]

_hashed: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True)
class Report:
    """What ``verify`` found: samples looked at, and one line a problem."""

    samples: int
    problems: list[str]


def check_digests(root: Path, splits: Iterable[str]) -> None:
    """Compare the SHA-256 of every shard of some splits with the manifest; for a run's start.

    A file is hashed once a process for as long as its modification time and size stay the same.

    Raises:
        InputError: no data there, no such split, or a shard that differs; the line names it.
    """
    root = Path(root)
    manifest = load_manifest(root)
    for split in splits:
        for shard in find_split(root, manifest, split).shards:
            if _digest(shard_path(root, shard)) != shard.sha256:
                raise InputError(_differs(root, shard))


def _digest(path: Path) -> str:
    facts = path.stat()
    key = (str(path.absolute()), facts.st_mtime_ns, facts.st_size)
    if key not in _hashed:
        _hashed[key] = file_sha256(path)
    return _hashed[key]


def _differs(root: Path, shard: ShardEntry) -> str:
    return (
        f"{root / shard.file}: SHA-256 differs from the manifest, so its bytes have changed; "
        "build or copy the data again"
    )


def verify(root: Path, on_progress: Progress | None = None) -> Report:
    """Check all of a data folder.

    Every shard's size and SHA-256; every sample: image, mask and superpixels decode, their sizes
    agree with each other and with the JSON, mask values and labels lie in the class list, no key
    comes twice, and, where the data were built with labels from the masks, the labels are the
    classes of the mask.

    Args:
        root: the data folder.
        on_progress: called with (split, samples done, samples in the split).

    Returns:
        The number of samples looked at and the problems, each one line with shard and sample.

    Raises:
        InputError: there is no readable manifest.
    """
    root = Path(root)
    manifest = load_manifest(root)
    problems: list[str] = []
    samples = 0
    for name, split in manifest.splits.items():
        seen: set[str] = set()
        done = 0
        for shard in split.shards:
            index = _open_shard(root, shard, problems)
            tar = TarBytes(root / shard.file)
            for key, spans in index.items():
                where = f"{tar.path}, sample {key}"
                if key in seen:
                    problems.append(f"{where}: key comes twice in '{name}'")
                seen.add(key)
                problems += _sample_problems(tar, spans, manifest, where)
                done += 1
                if on_progress is not None:
                    on_progress(name, done, split.count)
        if done != split.count:
            problems.append(
                f"{root}: split '{name}' holds {done} samples, its manifest says {split.count}"
            )
        samples += done
    return Report(samples, problems)


def _open_shard(root: Path, shard: ShardEntry, problems: list[str]) -> dict[str, dict[str, Span]]:
    try:
        path = shard_path(root, shard)
        if file_sha256(path) != shard.sha256:
            problems.append(_differs(root, shard))
        index = tar_index(path)
    except InputError as error:
        problems.append(str(error))
        return {}
    if len(index) != shard.samples:
        problems.append(
            f"{path}: damaged after sample {last_key(index)}: {len(index)} samples found, "
            f"its manifest says {shard.samples}"
        )
    return index


def _sample_problems(
    tar: TarBytes, spans: dict[str, Span], manifest: Manifest, where: str
) -> list[str]:
    missing = [member for member in ("jpg", "json") if member not in spans]
    if missing:
        return [f"{where}: no .{missing[0]}"]
    problems: list[str] = []
    try:
        content = tar.read(spans["json"], where)
        labels, size = decode_facts(content, len(manifest.classes), where)
        image = decode_image(tar.read(spans["jpg"], where), where)
        if image.shape[:2] != size:
            problems.append(f"{where}: image is {image.shape[:2]}, its JSON says {size}")
        if "mask.png" in spans:
            problems += _mask_problems(
                tar.read(spans["mask.png"], where), labels, size, manifest, where
            )
        for s_n in manifest.superpixels:
            obtained = json.loads(content).get("segments", {}).get(str(s_n))
            problems += _superpixel_problems(tar, spans, s_n, obtained, size, where)
    except InputError as error:
        problems.append(str(error))
    return problems


def _mask_problems(
    content: bytes,
    labels: tuple[int, ...],
    size: tuple[int, int],
    manifest: Manifest,
    where: str,
) -> list[str]:
    mask = decode_mask(content, where)
    if mask.shape != size:
        return [f"{where}: mask is {mask.shape}, its image {size}"]
    values = [int(value) for value in np.unique(mask) if value != manifest.ignore]
    outside = [value for value in values if value >= len(manifest.classes)]
    if outside:
        last = len(manifest.classes) - 1
        return [f"{where}: mask holds class {outside[0]}, the list has 0..{last}"]
    present = tuple(value for value in values if value)
    if manifest.settings.get("labels") == "masks" and present != labels:
        return [f"{where}: labels {list(labels)}, but its mask holds {list(present)}"]
    return []


def _superpixel_problems(
    tar: TarBytes,
    spans: dict[str, Span],
    s_n: int,
    obtained: object,
    size: tuple[int, int],
    where: str,
) -> list[str]:
    member = f"sp{s_n}.png"
    if member not in spans:
        return [f"{where}: no .{member}"]
    labels = decode_labels(tar.read(spans[member], where), where)
    if labels.shape != size:
        return [f"{where}: superpixels {s_n} are {labels.shape}, the image {size}"]
    if labels.min() < 1 or int(labels.max()) != obtained:
        return [f"{where}: superpixels {s_n} are not labelled 1..{obtained}"]
    return []
