"""Local files written whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, data: bytes) -> None:
    """Write a local file whole or not at all, its folder made where it is missing.

    Raises:
        OSError: no room or no permission; its `filename` is the file.
    """
    _whole(path, lambda stream: stream.write(data))


def copy_whole(source: Path, path: Path) -> None:
    """Copy a local file, whole or not at all, the target's folder made where it is missing.

    Raises:
        OSError: as by ``write_whole``, or ``source`` can't be read.
    """
    with source.open("rb") as content:
        _whole(path, lambda stream: shutil.copyfileobj(content, stream))


def _whole(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            fill(handle)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except OSError as error:
        # A full disk shows while writing or at fsync, where the error carries no name.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
