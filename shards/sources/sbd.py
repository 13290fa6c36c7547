"""SBD, the Semantic Boundaries Dataset: the masks and lists that VOC's ``train_aug`` is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camsweep.shards.errors import InputError


def find_sbd(path: Path) -> Path:
    """The folder ``dataset`` of SBD's ``benchmark_RELEASE``; either of the two may be given.

    Raises:
        InputError: there is no ``cls`` folder.
    """
    for folder in (path / "dataset", path):
        if (folder / "cls").is_dir():
            return folder
    raise InputError(f"{path}: no cls folder; name SBD's benchmark_RELEASE/dataset")


def read_sbd_mask(path: Path) -> NDArray[np.uint8]:
    """The classes of ``cls/ID.mat``: ``GTcls.Segmentation``, uint8 [H, W], without ignore.

    scipy reads numbers only: what MATLAB functions or objects the file holds is never run.

    Raises:
        InputError: the file can't be read or holds something else.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=["GTcls"])
        mask = content["GTcls"]["Segmentation"][0, 0]
        if mask.ndim != 2 or mask.dtype.kind not in "ui":
            raise ValueError(f"it is {mask.dtype} with {mask.ndim} dimensions")
        if mask.size and (mask.min() < 0 or mask.max() > 255):
            raise ValueError(f"it holds {mask.min()}..{mask.max()}")
    except Exception as error:  # a broken file can raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise InputError(
            f"{path}: refused; GTcls.Segmentation with class indices is expected ({reason})"
        ) from None
    return np.ascontiguousarray(mask, dtype=np.uint8)
