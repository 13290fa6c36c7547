"""Read MXNet's ``.params`` files (lists of named arrays) without MXNet.

All versions of the format: arrays without a magic number (32-bit sizes), V1, V2 (with a storage
type) and V3 (NumPy shapes). Everything is little-endian; sparse arrays are refused.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from camsweep.shards.errors import InputError

LIST_MAGIC = 0x112
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
MOST_DIMENSIONS = 32

# MXNet's type flags.
TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "|u1", 4: "<i4", 5: "|i1", 6: "<i8", 7: "|b1"}


class Cursor:
    """A position in the bytes of a file; reading past the end is an ``InputError``."""

    def __init__(self, content: bytes, source: str) -> None:
        self.content, self.source, self.at = content, source, 0

    def fail(self, what: str) -> InputError:
        """The error for a file that is not what it should be."""
        return InputError(f"{self.source}: {what} (byte {self.at}); give a whole .params file")

    def take(self, size: int, what: str) -> memoryview:
        """The next ``size`` bytes."""
        if size > len(self.content) - self.at:
            raise self.fail(f"truncated in {what}: {len(self.content):,} bytes are there")
        self.at += size
        return memoryview(self.content)[self.at - size : self.at]

    def number(self, form: str, what: str) -> int:
        """The next number, ``form`` as in ``struct``."""
        (value,) = struct.unpack(f"<{form}", self.take(struct.calcsize(form), what))
        return int(value)


def is_params(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (8 bytes) is MXNet's list of arrays."""
    return head[:8] == struct.pack("<Q", LIST_MAGIC)


def read_params(path: Path, source: str) -> dict[str, Tensor]:
    """Tensors by their MXNet names (``arg:conv1a_weight``).

    Args:
        path: the file.
        source: how error lines call it.

    Raises:
        InputError: truncated, without names, sparse, or not an MXNet file.
    """
    cursor = Cursor(path.read_bytes(), source)
    if cursor.number("Q", "its header") != LIST_MAGIC or cursor.number("Q", "its header") != 0:
        raise cursor.fail("not an MXNet list of arrays")
    count = cursor.number("Q", "its header")
    arrays = []
    for index in range(count):
        arrays.append(_array(cursor, f"array {index + 1} of {count}"))
    names = cursor.number("Q", "its names")
    if names != count:
        raise cursor.fail(f"{count} arrays but {names} names")
    found = {}
    for array in arrays:
        raw = cursor.take(cursor.number("Q", "its names"), "its names")
        try:
            found[bytes(raw).decode()] = array
        except UnicodeDecodeError:
            raise cursor.fail("a name that is no text") from None
    if len(found) != count:
        raise cursor.fail("a name that is there twice")
    if cursor.at != len(cursor.content):
        raise cursor.fail("bytes after its end")
    return found


def _array(cursor: Cursor, what: str) -> Tensor:
    magic = cursor.number("I", what)
    if magic in (V2, V3) and cursor.number("i", what) != 0:
        raise cursor.fail(f"{what} is sparse, dense ones are needed")
    if magic in (V1, V2, V3):
        dimensions, form = cursor.number("i", what), "q"
    else:  # the oldest form has no magic number and begins with the number of dimensions
        dimensions, form = magic, "I"
    # An array without dimensions ends here; only V3 knows scalars.
    if not 0 <= dimensions <= MOST_DIMENSIONS or (dimensions == 0 and magic != V3):
        raise cursor.fail(f"{what} has {dimensions} dimensions")
    shape = [cursor.number(form, what) for _ in range(dimensions)]
    cursor.take(8, what)  # the device it was on
    flag = cursor.number("i", what)
    if flag not in TYPES or min(shape, default=0) < 0:
        raise cursor.fail(f"{what} has the type {flag} and the shape {shape}")
    dtype = np.dtype(TYPES[flag])
    data = cursor.take(math.prod(shape) * dtype.itemsize, what)
    return torch.from_numpy(np.frombuffer(data, dtype).reshape(shape).copy())
