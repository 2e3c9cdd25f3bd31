"""The two ways a command ends badly. Both carry one line that names the file or option and the way out."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UsageError(Exception):
    """What was asked for cannot be done as asked: a wrong name, a missing file. Exit code 2."""


class RunError(Exception):
    """The work was well asked for and failed on the way: a NaN loss, an interrupted run. Exit code 1."""


class NoTextSpace(UsageError):
    """An encoder without a projection into a text space was asked what it thinks of a text."""


@contextmanager
def one_line(what: str, files: frozenset[str] = frozenset()) -> Iterator[None]:
    """Whatever a user's own code raises within the block, as a UsageError of one line: `what`, then `cause_of`."""
    try:
        yield
    except RunError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what}: {cause_of(error, files)}") from None


def cause_of(error: BaseException, files: frozenset[str] = frozenset()) -> str:
    """ "ValueError: too wide (encoder.py, line 12)": what an error says, and where in these files it came up."""
    if isinstance(error, UsageError):
        return str(error)
    said = " ".join(str(error).split())[:200]
    told = f"{type(error).__name__}: {said}" if said else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in frames if frame.filename in files]
    return told + (lines[-1] if lines else "")


NO_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", re.IGNORECASE)


def out_of_memory(error: BaseException) -> str | None:
    """The one line for main memory or that of a GPU that ran out; None for another error.

    torch, which is not imported for that, says so by an error of its own, or by a RuntimeError in words of the library
    that asked for the memory (CUDA, cuBLAS, Metal, the CPU's allocator).
    """
    by_kind = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not by_kind and not (isinstance(error, RuntimeError) and NO_MEMORY.search(str(error))):
        return None
    cause = str(error).strip().partition("\n")[0].partition(". ")[0] or type(error).__name__
    return f"Out of memory ({cause}). A smaller --size, --window or --batch-size, or a larger --stride, needs less."
