"""What a tar file holds: a survey that names every damage; and how tar files are written."""

from __future__ import annotations

import errno
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

BLOCK = 512
PIECE = 2**20
# No such file, or a damaged header that points behind all that a file can hold.
GONE_OR_DAMAGED = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.EOVERFLOW)


@dataclass(frozen=True)
class Member:
    """Where one member's content lies (bytes from the file's start) and its CRC-32."""

    offset: int
    length: int
    crc32: int


@dataclass
class Found:
    """One sample as it lies in a tar file.

    Attributes:
        members: by extension, in stored order.
        problem: what is wrong with it, without shard and key; empty where all is well.
    """

    members: dict[str, Member] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Survey:
    """What a tar file holds.

    Attributes:
        samples: by key, in stored order.
        problem: what is wrong with the file as a whole; empty where all is well.
    """

    samples: dict[str, Found]
    problem: str


def survey(path: Path, required: tuple[str, ...] = ("jpg", "json")) -> Survey:
    """Read a shard from front to back and say what it holds and what is wrong with it.

    Beyond what ``tarfile`` reports: a header that is broken in the middle (which looks like the
    end of the file), content cut short, no end of archive, keys whose members do not lie side by
    side, a member twice, a required member missing. A name is cut at its first dot, as webdataset
    does: ``a.mask.png`` is key ``a``, extension ``mask.png``.

    Args:
        path: a tar file on this machine.
        required: extensions that every sample needs.

    Raises:
        OSError: it is there and cannot be read now (no permission, too many open files, ...),
            which says nothing about what it holds.
    """
    samples: dict[str, Found] = {}
    problem = ""
    current = ""
    try:
        with path.open("rb") as content, tarfile.open(path, "r:") as tar:
            for item in tar:
                key, _, extension = item.name.partition(".")
                found = samples.setdefault(key, Found())
                if current != key and found.members and not found.problem:
                    found.problem = _apart(extension, found, current)
                current = key
                if not item.isreg():
                    found.problem = found.problem or f"{item.name} is not a plain file"
                    continue
                if extension in found.members:
                    found.problem = found.problem or f"has .{extension} twice"
                    continue
                length, crc = _crc32(content, item.offset_data, item.size)
                if length != item.size:
                    found.problem = f"the file ends inside its .{extension}"
                    problem = "(the file ends early)"
                    break
                found.members[extension] = Member(item.offset_data, item.size, crc)
            else:
                problem = _ending(content, tar.offset)
    except (tarfile.TarError, OverflowError, ValueError) as error:
        problem = f"({error})"
    except OSError as error:
        if error.errno not in GONE_OR_DAMAGED:
            raise
        problem = f"({error})"
    if problem:
        problem = f"damaged after sample {current or 'none'} {problem}"
    for found in samples.values():
        missing = [member for member in required if member not in found.members]
        if missing and not found.problem:
            found.problem = f"no .{missing[0]}"
    return Survey(samples, problem)


def _apart(extension: str, found: Found, other: str) -> str:
    if extension in found.members:
        return "key comes twice"
    return f"its members are interleaved with those of sample {other}"


def _crc32(content: BinaryIO, offset: int, length: int) -> tuple[int, int]:
    """How many of the bytes are there, and their CRC-32."""
    content.seek(offset)
    crc, left = 0, length
    while left:
        piece = content.read(min(left, PIECE))
        if not piece:
            break
        crc = zlib.crc32(piece, crc)
        left -= len(piece)
    return length - left, crc


def _ending(content: BinaryIO, offset: int) -> str:
    """What is wrong behind the last member; two blocks of zeros end a tar file."""
    content.seek(offset)
    rest = content.read(2 * BLOCK)
    if rest.strip(b"\0"):
        return "(a header is broken)"
    return "" if len(rest) == 2 * BLOCK else "(no end of archive)"


def tar_writer(stream: BinaryIO) -> Any:
    """A webdataset writer of byte strings; the same samples always give the same bytes."""
    import webdataset

    return webdataset.TarWriter(stream, encoder=False, mtime=0)
