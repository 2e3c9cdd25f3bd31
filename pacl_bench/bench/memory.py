"""How much memory a call takes."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path


def peak_mb(function: Callable[[], object]) -> int | None:
    """The most memory a call holds beyond what was held before it, in MB; None where the system does not tell."""
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed goes back, to be counted when it is taken again
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the highest so far becomes the present
        before = _status_kb("VmRSS")
        function()
        return max(0, _status_kb("VmHWM") - before) // 1024
    except OSError:
        return None


def _status_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
