"""The shards of a split as files: members read by the index, every one against its CRC-32."""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.index import SplitIndex
from camsweep.shards.manifest import ShardEntry
from camsweep.shards.places import Place
from camsweep.shards.tarindex import Survey, survey

RETRY_AFTER = 30.0  # seconds; a server that is gone would be waited for at each of its samples
OPEN_FILES = 128  # descriptors kept; a shard beyond them is opened for each read


def sample_problem(found: Survey, index: SplitIndex, row: int) -> str:
    """How a sample in its shard differs from its index, in words; empty where it does not.

    A member that has only moved inside the file is no problem of its sample.

    Args:
        found: of the sample's shard.
        index: of its split.
        row: its number in the split.
    """
    sample = found.samples.get(index.keys[row])
    if sample is None:
        return f"not in its shard{', which is ' * bool(found.problem)}{found.problem}"
    if sample.problem:
        return sample.problem
    for extension in index.members:
        wanted, held = index.find(row, extension), sample.members.get(extension)
        if wanted is None and held is not None:
            return f"has .{extension}, its index has none"
        if wanted is not None and held is None:
            return f"no .{extension}"
        if wanted and held and (wanted.length, wanted.crc32) != (held.length, held.crc32):
            return f"its .{extension} has changed (CRC-32 differs from the index)"
    return ""


class ShardFiles:
    """The shards of one split, opened or fetched on first use. Picklable, safe under threads.

    Attributes:
        place: where the data lie.
        shards: the manifest's entries.
        suspect: numbers of the shards that are known to differ from the manifest. All of a sample
            in these is looked at before any of it is given, so that a sample is damaged or not
            whichever of its members is asked for.
    """

    def __init__(
        self, place: Place, shards: tuple[ShardEntry, ...], suspect: Iterable[int] = ()
    ) -> None:
        self.place, self.shards, self.suspect = place, shards, frozenset(suspect)
        self._open: dict[int, int] = {}
        self._surveys: dict[int, Survey] = {}
        self._failed: dict[int, tuple[float, str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self.place, "shards": self.shards, "suspect": self.suspect}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def where(self, index: SplitIndex, row: int) -> str:
        """How error lines call a sample: its shard and key."""
        return f"{self.name(int(index.shards[row]))}, sample {index.keys[row]}"

    def name(self, number: int) -> str:
        """How error lines call a shard."""
        return self.place.name(self.shards[number].file)

    def path(self, number: int) -> Path:
        """A shard on this machine; a remote one is fetched into the node's cache.

        Raises:
            InputError: it cannot be fetched, or could not half a minute ago; the line names it.
        """
        shard = self.shards[number]
        if self.place.local is not None:
            # Not `fetch`, which refuses a shard cut short: what is left of it can be read.
            return self.place.local / shard.file
        when, reason = self._failed.get(number, (-RETRY_AFTER, ""))
        if reason and time.monotonic() - when < RETRY_AFTER:
            raise InputError(reason)
        try:
            return self.place.fetch(shard.file, shard.bytes, shard.sha256)
        except InputError as error:
            self._failed[number] = time.monotonic(), str(error)
            raise

    def read(self, index: SplitIndex, row: int, extension: str) -> bytes:
        """The bytes of a member, compared with the CRC-32 of the index.

        Where they differ the whole shard is surveyed, to say what is wrong with which sample; a
        member that has only moved (another one before it is missing) is still read.

        Raises:
            InputError: the index has no such member.
            DamagedSample: it cannot be fetched or read, or is not what was written.
        """
        member = index.find(row, extension)
        where = self.where(index, row)
        if member is None:
            name = f"{index.keys[row]}.{extension}"
            raise InputError(f"{where}: no {name}; build the data again")
        number = int(index.shards[row])
        try:
            if number in self.suspect:
                return self._search(index, row, extension)
            content = self._bytes(number, member.offset, member.length)
            if zlib.crc32(content) != member.crc32 or len(content) != member.length:
                return self._search(index, row, extension)
        except OSError as error:
            raise DamagedSample(f"{where}: cannot be read ({error.strerror or error})") from None
        except DamagedSample:
            raise
        except InputError as error:
            # The place names the shard, which `where` does already.
            reason = str(error).removeprefix(f"{self.name(number)}: ")
            raise DamagedSample(f"{where}: {reason}") from None
        return content

    def survey(self, number: int) -> Survey:
        """What the shard holds, read once a process.

        Raises:
            InputError: it cannot be fetched.
        """
        if number not in self._surveys:
            self._surveys[number] = survey(self.path(number))
        return self._surveys[number]

    def _search(self, index: SplitIndex, row: int, extension: str) -> bytes:
        number = int(index.shards[row])
        found = self.survey(number)
        problem = sample_problem(found, index, row)
        if problem:
            raise DamagedSample(
                f"{self.where(index, row)}: {problem}; build or copy the data again"
            )
        moved = found.samples[index.keys[row]].members[extension]
        return self._bytes(number, moved.offset, moved.length)

    def _bytes(self, number: int, offset: int, length: int) -> bytes:
        """Bytes of a shard, fewer where it ends early.

        pread has no file position, so threads and forked workers may share the descriptor.
        """
        descriptor = self._open.get(number)
        if descriptor is not None:
            return os.pread(descriptor, length, offset)
        descriptor = self._descriptor(number)
        if len(self._open) < OPEN_FILES and self._open.setdefault(number, descriptor) == descriptor:
            return os.pread(descriptor, length, offset)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def _descriptor(self, number: int) -> int:
        try:
            return os.open(self.path(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Another process may have thrown the copy out between fetching and opening.
            return os.open(self.path(number), os.O_RDONLY | os.O_CLOEXEC)
