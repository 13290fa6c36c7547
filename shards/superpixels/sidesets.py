"""Side sets: the superpixels of one split and one setting, in files beside the shards.

``superpixels/SPLIT-spS_N-HASH`` names three files: ``.tar`` (``KEY.png`` for every image, in the
split's order), ``.arrow`` (where each one lies, its CRC-32 and its number of superpixels) and
``.json`` (what they were computed from and with, how long it took, and the digests of the other
two). The JSON is written last: without it there is no set.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from camsweep.shards.digests import remembered_sha256
from camsweep.shards.errors import DamagedSample, InputError
from camsweep.shards.places import Place, as_place
from camsweep.shards.places.cache import cache_folder
from camsweep.shards.places.errors import ChangedFile, LostFile
from camsweep.shards.superpixels.facts import Facts, Wanted
from camsweep.shards.superpixels.rows import Rows, decode_rows

FOLDER = "superpixels"
IN_USE = 3600.0  # seconds; what was used within them is not forgotten, whatever the bound


class SideSet:
    """The label maps of a side set as files' bytes. Picklable, safe under threads and forks."""

    def __init__(self, place: Place, facts: Facts, rows: Rows, keys: list[str]) -> None:
        self.place, self.facts, self.rows, self.keys = place, facts, rows, keys
        self._file: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("place", "facts", "rows", "keys")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """The tar's full name, for people."""
        return self.place.name(_file(self.facts.wanted, "tar"))

    def where(self, index: int) -> str:
        """How error lines call a label map: the file, the key, and what helps."""
        return f"{self.name}, sample {self.keys[index]} (delete the file to compute it again)"

    def read(self, index: int) -> bytes:
        """The PNG of an image, compared with its CRC-32.

        Raises:
            DamagedSample: it has none, the file is missing, or its bytes have changed.
            InputError: it cannot be reached now; another time it may be there.
        """
        length = int(self.rows.length[index])
        if length < 0:
            raise DamagedSample(f"{self.where(index)}: its image was damaged")
        try:
            content = os.pread(self._descriptor(), length, int(self.rows.offset[index]))
        except (OSError, InputError) as error:
            problem = str(error).removeprefix(f"{self.name}: ")
            if isinstance(error, OSError):
                problem = f"cannot be read ({error.strerror or error})"
            if isinstance(error, (FileNotFoundError, LostFile)):
                raise DamagedSample(f"{self.where(index)}: {problem}") from None
            # This machine's or the network's fault: deleting the set would not help.
            raise InputError(f"{self.name}, sample {self.keys[index]}: {problem}") from None
        if len(content) != length or zlib.crc32(content) != self.rows.crc32[index]:
            raise DamagedSample(f"{self.where(index)}: its superpixels have changed (CRC-32)")
        return content

    def path(self) -> Path:
        """The tar on this machine; a remote one is fetched into the node's cache.

        Of one with other bytes than it should have, what there is: every label map is compared
        with its CRC-32, so those that are whole can be used.

        Raises:
            LostFile: it is gone.
            InputError: it cannot be fetched now.
        """
        file, facts = _file(self.facts.wanted, "tar"), self.facts
        if self.place.local is not None:
            return self.place.local / file
        try:
            return self.place.fetch(file, facts.bytes, facts.sha256)
        except ChangedFile as error:
            if error.path is None:
                raise
            return error.path

    def _descriptor(self) -> int:
        if self._file is None:
            opened = os.open(self.path(), os.O_RDONLY | os.O_CLOEXEC)
            if self._file is None:
                self._file = opened
            else:  # another thread was faster
                os.close(opened)
        return self._file


def load(place: Place, wanted: Wanted, keys: list[str]) -> SideSet | None:
    """A side set of a place, its time of use set; None where there is none that is whole.

    Of a local set the tar's SHA-256 is compared, too (hashed once for as long as it stays as it
    is), so that one that a crash or a disk has damaged is computed again. Fetching compares a
    remote one's.

    Args:
        place: where ``superpixels/`` lies.
        wanted: what decides its labels.
        keys: of the split, in its order.

    Raises:
        InputError: a remote place cannot say whether it has the set.
    """
    side = find(place, wanted, keys)
    if side is None or place.local is None:
        return side
    try:
        if remembered_sha256([side.path()]) != [side.facts.sha256]:
            return None
    except OSError:
        return None
    if place == as_place(cache_folder()):
        with suppress(OSError):
            os.utime(place.local / _file(wanted, "json"))
    return side


def find(place: Place, wanted: Wanted, keys: list[str]) -> SideSet | None:
    """A side set as ``load`` gives it, but with nothing of its tar compared except the size.

    Args:
        place: where ``superpixels/`` lies.
        wanted: what decides its labels.
        keys: of the split, in its order.

    Raises:
        InputError: a remote place cannot say whether it has the set.
    """
    try:
        facts = Facts.model_validate_json(place.read(_file(wanted, "json")))
        index = place.read(_file(wanted, "arrow"))
        if facts.wanted != wanted or hashlib.sha256(index).hexdigest() != facts.index_sha256:
            return None
        if place.size(_file(wanted, "tar")) != facts.bytes:
            return None
        rows = decode_rows(index)
    except (FileNotFoundError, PermissionError, ValueError):
        # No permission is also what S3 says of a missing file to those who may not list, and
        # ValueError what no JSON of a set and no rows of one raise.
        return None
    except OSError as error:
        if place.local is not None:
            return None
        # Not to be told from a missing set, whose computing takes hours.
        name = place.name(_file(wanted, "json"))
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from None
    return SideSet(place, facts, rows, keys) if len(rows.segments) == len(keys) else None


def forget_old(folder: Path, days: float) -> None:
    """Delete the side sets of the cache folder that nobody has used for ``days``, an hour at least.

    Args:
        folder: the cache folder, whose sets ``load`` marks at every use; never a data folder.
        days: since the last use.
    """
    oldest = time.time() - max(86400 * days, IN_USE)
    for facts in (folder / FOLDER).glob("*.json"):
        with suppress(OSError):
            if facts.stat().st_mtime < oldest:
                # The JSON first: without it the others are no set.
                for kind in ("json", "arrow", "tar"):
                    facts.with_suffix(f".{kind}").unlink(missing_ok=True)


def copy_to(found: SideSet, place: Place) -> SideSet:
    """Copy a side set that lies on this machine to another place, its JSON last.

    Raises:
        InputError: the place cannot be written.
    """
    folder, wanted = found.place.local, found.facts.wanted
    assert folder is not None
    try:
        for kind in ("tar", "arrow", "json"):
            place.upload(folder / _file(wanted, kind), _file(wanted, kind))
    except OSError as error:
        name = place.name(FOLDER)
        raise InputError(f"{name}: cannot be written ({error.strerror or error})") from None
    return SideSet(place, found.facts, found.rows, found.keys)


def _file(wanted: Wanted, kind: str) -> str:
    return f"{FOLDER}/{wanted.stem}.{kind}"
