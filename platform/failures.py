"""Why a trial failed, in one line a person can act on."""

from __future__ import annotations

import errno

from camsweep.methods.training import TrainingDiverged
from camsweep.shards.errors import InputError

#: What torch says of a GPU's memory in errors that are not `torch.OutOfMemoryError`.
GPU_MEMORY_WORDS = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def cause_of(error: BaseException) -> str:
    """The cause in one line.

    Args:
        error: what ended the trial.
    """
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, InputError | TrainingDiverged):
        return first
    if _out_of_memory(error):
        return f"out of memory: {first}" if first else "out of memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full: {error.filename or error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def gpu_out_of_memory(error: BaseException) -> bool:
    """Whether a GPU's memory did not suffice: the same in smaller parts may fit.

    The libraries that torch calls allocate for themselves, and fail with a bare RuntimeError.
    """
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(word in text for word in GPU_MEMORY_WORDS)


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or gpu_out_of_memory(error):
        return True
    # torch's CPU allocator raises a bare RuntimeError.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
