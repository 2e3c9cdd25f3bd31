"""How much memory a call takes, how much there is, and waiting for a device before a clock is read."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch


def peak_memory(function: Callable[[], object], device: str) -> int | None:
    """The most bytes a call holds on a device beyond what was held before it; None where the system does not tell."""
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        return torch.cuda.max_memory_allocated(device) - before
    megabytes = peak_mb(function)
    return None if megabytes is None else megabytes * 2**20


def wait_for(device: str) -> None:
    """Until a GPU has done what it was given: else a clock tells how long that took to give."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def free_memory(device: str) -> int:
    """Bytes that a device has free; of a system that does not tell, 8 GB."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    try:
        return _kb(Path("/proc/meminfo"), "MemAvailable") * 1024
    except OSError:
        return 8 * 10**9


def peak_mb(function: Callable[[], object]) -> int | None:
    """The most memory a call holds beyond what was held before it, in MB; None where the system does not tell."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed goes back, to be counted when it is taken again
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the highest so far becomes the present
        before = _kb(Path("/proc/self/status"), "VmRSS")
        function()
        return max(0, _kb(Path("/proc/self/status"), "VmHWM") - before) // 1024
    except OSError:
        return None


def _kb(file: Path, field: str) -> int:
    lines = file.read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
