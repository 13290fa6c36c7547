"""Checking one shard: its bytes, and every sample against its index, its JSON and the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camsweep.shards.decoding import decode_facts, decode_image, decode_mask
from camsweep.shards.digests import differs, file_sha256
from camsweep.shards.errors import InputError
from camsweep.shards.index import SplitIndex
from camsweep.shards.manifest import Manifest
from camsweep.shards.opening import load_index
from camsweep.shards.places import Place
from camsweep.shards.shardfiles import ShardFiles, sample_problem
from camsweep.shards.superpixels.labelmaps import decode_labels
from camsweep.shards.tarindex import Found, Survey


def content_problems(members: Mapping[str, bytes], manifest: Manifest, where: str) -> list[str]:
    """What is wrong with a sample's content, one line a problem.

    Args:
        members: content by extension; ``jpg`` and ``json`` are there.
        manifest: of the data.
        where: its shard and key, the beginning of every line.
    """
    problems: list[str] = []
    try:
        content = members["json"]
        labels, size = decode_facts(content, len(manifest.classes), where)
        image = decode_image(members["jpg"], where)
        if image.shape[:2] != size:
            problems.append(f"{where}: image is {image.shape[:2]}, its JSON says {size}")
        if "mask.png" in members:
            problems += _mask_problems(members["mask.png"], labels, size, manifest, where)
        for s_n in manifest.superpixels:
            obtained = json.loads(content).get("segments", {}).get(str(s_n))
            problems += _superpixel_problems(members, s_n, obtained, size, where)
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
    members: Mapping[str, bytes], s_n: int, obtained: object, size: tuple[int, int], where: str
) -> list[str]:
    member = f"sp{s_n}.png"
    if member not in members:
        return [f"{where}: no .{member}"]
    labels = decode_labels(members[member], where)
    if labels.shape != size:
        return [f"{where}: superpixels {s_n} are {labels.shape}, the image {size}"]
    if labels.min() < 1 or int(labels.max()) != obtained:
        return [f"{where}: superpixels {s_n} are not labelled 1..{obtained}"]
    return []


@dataclass(frozen=True)
class Checked:
    """What was found in one shard: the samples' keys, and one line a problem."""

    keys: list[str]
    problems: list[str]


class Checker:
    """Checks shards one by one; holds the index of each split."""

    def __init__(self, place: Place, manifest: Manifest) -> None:
        self.place, self.manifest = place, manifest
        self._indexes: dict[str, SplitIndex | None] = {}

    @property
    def indexes(self) -> dict[str, SplitIndex]:
        """The splits' indexes that could be read."""
        return {name: index for name, index in self._indexes.items() if index is not None}

    def index_problems(self, split: str) -> list[str]:
        """What is wrong with the index of a split as a file; data of format 1 have none."""
        self._indexes[split] = None
        if split in self.manifest.indexes:
            try:
                self._indexes[split] = load_index(self.place, self.manifest, split)
            except InputError as error:
                return [str(error)]
        return []

    def shard(self, split: str, number: int) -> Checked:
        """Check one shard."""
        if split not in self._indexes:
            self.index_problems(split)
        entry = self.manifest.splits[split].shards[number]
        name = self.place.name(entry.file)
        files = ShardFiles(self.place, self.manifest.splits[split].shards)
        problems = []
        try:
            path = files.path(number)
            digest = file_sha256(path)
            if digest != entry.sha256 and files.renewed(number):  # this node's copy was damaged
                path = files.path(number)
                digest = file_sha256(path)
            size = path.stat().st_size
            found = files.survey(number)
            if size != entry.bytes:
                problems.append(
                    f"{name}: {size} bytes, its manifest says {entry.bytes}; build the data again"
                )
            elif digest != entry.sha256:
                problems.append(differs(name))
            as_written = not problems
        except OSError as error:
            return Checked([], [f"{name}: cannot be read ({error.strerror})"])
        except InputError as error:
            return Checked([], [str(error)])
        if found.problem:
            problems.append(f"{name}: {found.problem}")
        if len(found.samples) != entry.samples:
            problems.append(
                f"{name}: {len(found.samples)} samples found, its manifest says {entry.samples}"
            )
        differing = self._against_index(files, split, number, as_written)
        for key, sample in found.samples.items():
            where = f"{name}, sample {key}"
            lines = self._sample(path, sample, where)
            if not lines and key in differing:
                lines = [f"{where}: {differing[key]}"]
            problems += lines
        lost = [key for key in differing if key not in found.samples]
        problems += [f"{name}, sample {key}: {differing[key]}" for key in lost]
        return Checked(list(found.samples), problems)

    def _sample(self, path: Path, sample: Found, where: str) -> list[str]:
        if sample.problem:
            return [f"{where}: {sample.problem}"]
        with path.open("rb") as content:
            members = {}
            for name, member in sample.members.items():
                content.seek(member.offset)
                members[name] = content.read(member.length)
        return content_problems(members, self.manifest, where)

    def _against_index(
        self, files: ShardFiles, split: str, number: int, as_written: bool
    ) -> dict[str, str]:
        """What the index of a split says otherwise than a shard: key -> problem.

        In a shard that is not as it was written, samples that have only moved are none.
        """
        index = self._indexes[split]
        if index is None:
            return {}
        found, path = files.survey(number), files.path(number)
        rows = (index.shards == number).nonzero()[0].tolist()
        keys = {index.keys[row] for row in rows}
        problems = dict.fromkeys(found.samples.keys() - keys, "not in the index")
        with path.open("rb") as content:
            for row in rows:
                problem = sample_problem(found, index, row)
                if not problem and as_written:
                    member = found.samples[index.keys[row]].members["json"]
                    content.seek(member.offset)
                    problem = self._misplaced(found, index, row, content.read(member.length))
                if problem:
                    problems[index.keys[row]] = problem
        return problems

    def _misplaced(self, found: Survey, index: SplitIndex, row: int, facts: bytes) -> str:
        sample = found.samples[index.keys[row]]
        for extension, member in sample.members.items():
            if index.find(row, extension) != member:
                return f"its .{extension} is not where its index says"
        held = index.labels(row), tuple(index.sizes[row].tolist())
        try:
            same = decode_facts(facts, len(self.manifest.classes), "") == held
        except InputError:
            return "its JSON is damaged"
        return "" if same else "its index says other labels or another size than its JSON"
