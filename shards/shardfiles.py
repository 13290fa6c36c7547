"""The shards of a split as files: members read by the index, every one against its CRC-32."""

from __future__ import annotations

import errno
import os
import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.index import SplitIndex
from camsweep.shards.manifest import MANIFEST, ShardEntry
from camsweep.shards.places import ChangedFile, LostFile, MissingFile, Place
from camsweep.shards.tarindex import Member, Survey, survey

RETRY_AFTER = 30.0  # seconds; a lost shard would be asked for at each of its samples
OPEN_TRIES = 3
OPEN_FILES = 128  # descriptors of local shards kept; one beyond them is opened for each read


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
        suspect: numbers of the shards that are known to differ from the manifest; a remote one
            joins them when it is fetched. All of a sample in these is looked at before any of it is
            given, so that a sample is damaged or not whichever of its members is asked for.
    """

    def __init__(
        self, place: Place, shards: tuple[ShardEntry, ...], suspect: Iterable[int] = ()
    ) -> None:
        self.place, self.shards, self.suspect = place, shards, set(suspect)
        self._open: dict[int, int] = {}
        self._surveys: dict[int, Survey] = {}
        self._lost: dict[int, tuple[float, LostFile]] = {}
        self._changed: dict[int, Path] = {}
        self._renewed: set[int] = set()

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

        A remote shard that is not what it was is given as it is now, and is suspect from then on.

        Raises:
            LostFile: it is not there, or was not half a minute ago; or the cache's disk is full.
            InputError: it cannot be fetched now. Both lines name it.
        """
        shard = self.shards[number]
        if self.place.local is not None:
            # Not `fetch`, which refuses a shard cut short: what is left of it can be read.
            return self.place.local / shard.file
        changed = self._changed.get(number)
        if changed is not None and changed.exists():
            return changed
        return self._fetch(number, check=False)

    def renewed(self, number: int) -> bool:
        """Look at this node's copy of a remote shard, and fetch it again where it is damaged.

        For whoever found bytes in it that should not be there; once for each object of this class.

        Returns:
            Whether there may be something else at ``path`` now.

        Raises:
            InputError: as ``path``.
        """
        if self.place.local is not None or number in self.suspect or number in self._renewed:
            return False
        self._fetch(number, check=True)
        self._renewed.add(number)
        self._surveys.pop(number, None)
        return True

    def read(self, index: SplitIndex, row: int, extension: str) -> bytes:
        """The bytes of a member, compared with the CRC-32 of the index.

        Where they differ the whole shard is surveyed, to say what is wrong with which sample; a
        member that has only moved (another one before it is missing) is still read.

        Raises:
            InputError: the index has no such member, or the shard cannot be reached or read now.
            DamagedSample: its shard is gone, finds no room, or is not what was written.
        """
        member = index.find(row, extension)
        if member is None:
            name = f"{index.keys[row]}.{extension}"
            raise InputError(f"{self.where(index, row)}: no {name}; build the data again")
        number = int(index.shards[row])
        try:
            while number not in self.suspect:
                content = self._bytes(number, member)
                if number in self.suspect:
                    break  # that showed when it was fetched, just now
                if zlib.crc32(content) == member.crc32 and len(content) == member.length:
                    return content
                if not self.renewed(number):
                    break
            return self._search(index, row, extension)
        except DamagedSample:
            raise
        except (OSError, InputError) as error:
            raise self.failure(index, row, error) from None

    def failure(self, index: SplitIndex, row: int, error: OSError | InputError) -> InputError:
        """The error of a sample whose shard cannot be read: it names both.

        A DamagedSample where the shard is lost. Else the samples may be whole, and leaving them
        out would be wrong: too many open files, no permission, a disk or a server that fails.
        """
        number = int(index.shards[row])
        if isinstance(error, InputError):
            # The place names the shard, which `where` does already.
            reason = str(error).removeprefix(f"{self.name(number)}: ")
            lost, missing = isinstance(error, LostFile), isinstance(error, MissingFile)
        else:
            reason = f"cannot be read ({error.strerror or error})"
            # A copy that has gone is no loss: it was thrown out, again and again.
            missing = isinstance(error, FileNotFoundError) and self.place.local is not None
            lost = missing
        if missing and not self._folder_is_there():
            lost = False
        return (DamagedSample if lost else InputError)(f"{self.where(index, row)}: {reason}")

    def survey(self, number: int) -> Survey:
        """What the shard holds, read once a process.

        Raises:
            InputError: it cannot be fetched.
            OSError: it cannot be read now.
        """
        found = self._surveys.get(number)
        for _ in range(OPEN_TRIES if found is None else 0):
            path = self.path(number)
            found = survey(path)
            # Else another process has thrown the copy out, which is no damage.
            if self.place.local is not None or found.samples or path.exists():
                self._surveys[number] = found
                break
        if found is None or number not in self._surveys:
            raise FileNotFoundError(errno.ENOENT, "its copy is thrown out again and again")
        return found

    def _folder_is_there(self) -> bool:
        """Whether only a shard is gone, not all data (a disk that is not mounted, a bucket)."""
        with suppress(OSError):
            return self.place.exists(MANIFEST)
        return False

    def _fetch(self, number: int, *, check: bool) -> Path:
        shard = self.shards[number]
        when, lost = self._lost.get(number, (0.0, None))
        if lost is not None and time.monotonic() - when < RETRY_AFTER:
            raise type(lost)(str(lost))
        try:
            return self.place.fetch(shard.file, shard.bytes, shard.sha256, check=check)
        except LostFile as error:
            if isinstance(error, ChangedFile) and error.path is not None:
                self._surveys.pop(number, None)
                self._changed[number] = error.path
                self.suspect.add(number)
                return error.path
            self._lost[number] = time.monotonic(), error
            raise

    def _search(self, index: SplitIndex, row: int, extension: str) -> bytes:
        number = int(index.shards[row])
        for _ in range(2):
            found = self.survey(number)
            problem = sample_problem(found, index, row)
            if problem:
                break
            moved = found.samples[index.keys[row]].members[extension]
            content = self._bytes(number, moved)
            if zlib.crc32(content) == moved.crc32 and len(content) == moved.length:
                return content
            self._surveys.pop(number, None)  # of a file that is another one by now
            problem = "its shard changes while it is read"
        raise DamagedSample(f"{self.where(index, row)}: {problem}; build or copy the data again")

    def _bytes(self, number: int, member: Member) -> bytes:
        """Bytes of a shard, fewer where it ends early.

        pread has no file position, so threads and forked workers may share the descriptor.
        """
        descriptor = self._open.get(number)
        if descriptor is not None:
            return os.pread(descriptor, member.length, member.offset)
        descriptor = self._descriptor(number)
        # Not of a remote shard: while one is open its room on the disk is not free, whoever throws
        # the copy out; and opening it is what says that the copy is in use.
        keep = self.place.local is not None and len(self._open) < OPEN_FILES
        if keep and self._open.setdefault(number, descriptor) == descriptor:
            return os.pread(descriptor, member.length, member.offset)
        try:
            return os.pread(descriptor, member.length, member.offset)
        finally:
            os.close(descriptor)

    def _descriptor(self, number: int) -> int:
        for _ in range(OPEN_TRIES):
            with suppress(FileNotFoundError):
                # Another process may have thrown the copy out between fetching and opening.
                return os.open(self.path(number), os.O_RDONLY | os.O_CLOEXEC)
        return os.open(self.path(number), os.O_RDONLY | os.O_CLOEXEC)
