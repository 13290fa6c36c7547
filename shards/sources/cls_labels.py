"""The authors' ``cls_labels.npy``, a pickled dict, read without running anything it names."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from camsweep.shards.errors import InputError

_FLOATS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"}


class _Dtype:
    """Stands in for ``numpy.dtype``: keeps the type's code and byte order."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code = code if isinstance(code, str) else ""
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1] if state[1] in ("<", ">", "|", "=") else "|"


class _Array:
    """Stands in for ``numpy.ndarray``: keeps the pickled state."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = tuple(state)


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(buffer: Any, dtype: Any, shape: Any, *_: Any) -> _Array:
    # Protocol 5 writes an array of numbers as a call of this name.
    array = _Array()
    array.state = (1, shape, dtype, False, bytes(buffer))
    return array


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    # Protocols below 3 write bytes as a call of _codecs.encode(text, "latin1").
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    """Admits only the names that arrays of numbers need, each replaced by a stand-in above."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def read_cls_labels(path: Path, classes: int) -> dict[str, tuple[int, ...]]:
    """Image-level labels as the WSSS repositories publish them: {image id: float[classes]}.

    The file is a pickle, which may name any function for the reader to call. Here only stand-ins
    are ever called, which keep numbers; a file that names anything else is refused.

    Args:
        path: the ``.npy`` file.
        classes: foreground classes, the length of each vector.

    Returns:
        By image id, the class indices (from 1) of the entries above 0. Integer ids, which some
        repositories use, are returned as ``2007_000063``.

    Raises:
        InputError: no such file, not such a dict, or it asks for more than arrays of numbers.
    """
    try:
        with path.open("rb") as stream:
            _skip_header(stream)
            content = _Reader(stream, encoding="latin1").load()
        (table,) = content.state[4]
        return {_id(key): _labels(value, classes) for key, value in table.items()}
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a broken pickle can raise anything
        raise InputError(
            f"{path}: refused; a dict of image id to {classes} numbers is expected "
            f"({str(error)[:100]})"
        ) from None


def _skip_header(stream: BinaryIO) -> None:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        _, _, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        _, _, dtype = np.lib.format.read_array_header_2_0(stream)
    if dtype != np.dtype(object):
        raise ValueError(f"it holds {dtype}")


def _id(key: Any) -> str:
    if isinstance(key, bytes):
        return key.decode()
    if isinstance(key, int):
        return f"{key // 1_000_000:04d}_{key % 1_000_000:06d}"
    return str(key)


def _labels(value: _Array, classes: int) -> tuple[int, ...]:
    _, shape, dtype, _, content = value.state
    if tuple(shape) != (classes,) or dtype.code not in _FLOATS:
        raise ValueError(f"a vector of shape {tuple(shape)}, type {dtype.code}")
    raw = content.encode("latin1") if isinstance(content, str) else content
    vector = np.frombuffer(raw, dtype=np.dtype(dtype.order + dtype.code))
    if vector.shape != (classes,):
        raise ValueError(f"a vector of {len(vector)} numbers")
    return tuple(int(place) + 1 for place in np.flatnonzero(vector > 0))
