"""Peak memory of one trial in a process that runs many."""

from __future__ import annotations

import resource
from pathlib import Path


def reset_peak(device: str) -> None:
    """Start counting the peak anew, where the system can."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # the peak then counts from the start of the process: an upper bound


def peak_bytes(device: str) -> int:
    """Peak memory in bytes since `reset_peak`: of the GPU, or resident of this process."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    try:
        status = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(s.split()[1]) * 1024 for s in status if s.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
