"""Claims on a file system: files that one process alone can create, also on NFS."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camsweep.sweeps.leasing.claims import Claim, Sight, make_sight, split_name
from camsweep.sweeps.temporary import temporary_name

#: Digits of a file's first line, the count of beats.
WIDTH = 20
#: What file systems without hard links answer: exFAT, some mounts of network and FUSE.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


def _link(path: Path, data: bytes) -> int | None:
    """Create `path` with its content by a hard link; an open descriptor, None where it is taken."""
    temporary = path.with_name(temporary_name())
    descriptor = _new(temporary)
    try:
        os.write(descriptor, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            # An NFS server whose answer was lost is asked again, and finds its own work.
            if os.fstat(descriptor).st_nlink != 2:
                os.close(descriptor)
                return None
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return descriptor


def _create(path: Path, data: bytes) -> int | None:
    """As `_link` on a disk without hard links; others may see the file while it is empty."""
    try:
        descriptor = _new(path)
    except FileExistsError:
        return None
    os.write(descriptor, data)
    return descriptor


def _new(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o666)


@dataclass
class OwnFile:
    """A claim on a disk. The open file is the claim's, whatever its name means by now."""

    path: Path
    descriptor: int

    @property
    def file(self) -> str:
        """The claim's name in its folder."""
        return self.path.name

    def beat(self, count: int) -> None:
        """Tell that the holder lives."""
        # Into the open file and not under its name, which may be another's claim by now.
        os.pwrite(self.descriptor, b"%0*d" % (WIDTH, count), 0)
        os.fsync(self.descriptor)  # else another machine would see it when the system likes

    def is_there(self) -> bool:
        """Whether nobody removed the claim."""
        try:
            # Opening asks an NFS server, where the client may remember an old listing.
            found = os.open(self.path, os.O_RDONLY)
            try:
                return os.path.sameopenfile(found, self.descriptor)
            finally:
                os.close(found)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESTALE):
                return False
            raise

    def delete(self) -> None:
        """Remove the claim and its beats, if it is still there."""
        try:
            if self.is_there():
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass(frozen=True)
class DiskClaims:
    """The claims of a store in a folder.

    Attributes:
        folder: the store's `leases/`; made at the first claim.
    """

    folder: Path

    def all(self, name: str | None = None) -> list[Claim]:
        """The claims that there are now, of one name or of all."""
        try:
            files = os.listdir(self.folder)  # noqa: PTH208  (much faster where there are many)
        except FileNotFoundError:
            return []
        start = "" if name is None else f"{name}."
        parts = [(split_name(file, 1), file) for file in files if file.startswith(start)]
        found = [Claim(*part, file) for part, file in parts if part is not None]
        return [one for one in found if name in (None, one.name)]

    def look(self, claim: Claim) -> Sight | None:
        """What a claim says, None where it has gone."""
        path = self.folder / claim.file
        try:
            content, heard = path.read_bytes(), path.stat().st_mtime
        except FileNotFoundError:
            return None
        beat, _, text = content.partition(b"\n")
        return make_sight(str(path), beat.decode("ascii", "replace"), text, heard)

    def create(self, name: str, generation: int, content: dict[str, Any]) -> OwnFile | None:
        """Make a claim; None where another has that name and generation."""
        path = self.folder / f"{name}.{generation}"
        data = b"%0*d\n" % (WIDTH, 0) + json.dumps(content).encode()
        try:
            descriptor = _link(path, data)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            descriptor = _create(path, data)
        return None if descriptor is None else OwnFile(path, descriptor)

    def delete(self, claim: Claim) -> None:
        """Remove a dead claim."""
        (self.folder / claim.file).unlink(missing_ok=True)
