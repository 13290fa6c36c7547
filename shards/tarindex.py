"""Random access to the members of a tar file."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import webdataset

from camsweep.shards.errors import InputError

Span = tuple[int, int]
"""Offset and length, in bytes, of one member's content in its tar file."""


def tar_index(path: Path) -> dict[str, dict[str, Span]]:
    """Where every member lies: key -> extension -> span, in stored order, from the headers alone.

    A name is cut at its first dot, as webdataset does: ``a.mask.png`` is key ``a``, extension
    ``mask.png``.

    Raises:
        InputError: the file cannot be read or is damaged; the line names the last good sample.
            A header broken in the middle looks like the end of the file, so compare the number
            of keys with what is expected.
    """
    index: dict[str, dict[str, Span]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, extension = member.name.partition(".")
                index.setdefault(key, {})[extension] = (member.offset_data, member.size)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: damaged after sample {last_key(index)} ({error})") from None
    return index


def last_key(index: dict[str, dict[str, Span]]) -> str:
    """The last sample an index holds, for error lines; ``none`` where it is empty."""
    return next(reversed(index), "none")


class TarBytes:
    """One tar file whose members are read by span; opened on first use, picklable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_file": None}

    def read(self, span: Span, where: str) -> bytes:
        """The bytes of a span; InputError that begins with ``where`` if they are not there."""
        offset, length = span
        try:
            if self._file is None:
                self._file = self.path.open("rb")
            # pread has no file position, so forked workers may share the descriptor.
            content = os.pread(self._file.fileno(), length, offset)
        except OSError as error:
            raise InputError(f"{where}: cannot be read ({error.strerror})") from None
        if len(content) != length:
            raise InputError(f"{where}: the file ends early; build the data again")
        return content


def tar_writer(stream: BinaryIO) -> Any:
    """A webdataset writer of byte strings; the same samples always give the same bytes."""
    return webdataset.TarWriter(stream, encoder=False, mtime=0)
