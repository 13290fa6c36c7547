"""Label maps as 16 bit grey PNG: written so that they are small and quick to read.

Rows are stored without PNG's row filters. The same value comes many times in a row, which zlib
packs better than differences, and reading is then one inflation and one change of byte order,
about a quarter of what Pillow needs. Any PNG program reads the files; other 16 bit PNGs, such as
those of data built before, are read through Pillow.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camsweep.shards.errors import DamagedSample

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">II5B")  # width, height, bits, kind, compression, filters, interlacing
_GREY16 = (16, 0, 0, 0, 0)
_START = len(_SIGNATURE) + 8 + _HEADER.size + 4  # where the pixels' chunk begins
_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_MOST = 2**28  # bytes of pixels; what claims more goes to Pillow, which refuses it


def encode_labels(labels: NDArray[np.uint16]) -> bytes:
    """A label map, uint16 [H, W], as a 16 bit grey PNG. The same labels give the same bytes."""
    height, width = labels.shape
    rows = np.zeros((height, 1 + 2 * width), dtype=np.uint8)  # a row's first byte: no filter
    rows[:, 1:] = labels.astype(">u2").view(np.uint8)
    header = _HEADER.pack(width, height, *_GREY16)
    pixels = zlib.compress(rows.tobytes(), 6)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _END


def decode_labels(content: bytes, where: str) -> NDArray[np.uint16]:
    """The label map of a PNG, uint16 [H, W], read-only; DamagedSample naming ``where``."""
    labels = _plain(content)
    if labels is None:
        labels = _any(content, where)
    labels.setflags(write=False)
    return labels


def _plain(content: bytes) -> NDArray[np.uint16] | None:
    """The labels of what ``encode_labels`` wrote; None for any other file."""
    if len(content) < _START + 12 + len(_END) or not content.endswith(_END):
        return None
    width, height, *rest = _HEADER.unpack_from(content, len(_SIGNATURE) + 8)
    size = height * (1 + 2 * width)
    pixels = memoryview(content)[_START + 8 : -len(_END) - 4]
    if tuple(rest) != _GREY16 or not 0 < size <= _MOST:
        return None
    # Both chunks are as they would be written, lengths and checksums included.
    start = _SIGNATURE + _chunk(b"IHDR", content[len(_SIGNATURE) + 8 : _START - 4])
    frame = struct.pack(">I", len(pixels)) + b"IDAT"
    checksum = struct.pack(">I", zlib.crc32(pixels, zlib.crc32(b"IDAT")))
    if not content.startswith(start + frame) or content[-len(_END) - 4 : -len(_END)] != checksum:
        return None
    try:
        inflated = zlib.decompressobj().decompress(pixels, size + 1)
    except zlib.error:
        return None
    if len(inflated) != size:
        return None
    rows = np.frombuffer(inflated, dtype=np.uint8).reshape(height, 1 + 2 * width)
    if rows[:, 0].any():
        return None
    return np.ascontiguousarray(rows[:, 1:]).view(">u2").astype(np.uint16)


def _any(content: bytes, where: str) -> NDArray[np.uint16]:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            labels = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DamagedSample(f"{where}: the superpixels do not decode ({error})") from None
    if labels.dtype != np.uint16 or labels.ndim != 2:
        raise DamagedSample(f"{where}: the superpixels are not a 16 bit grey PNG")
    return labels


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
