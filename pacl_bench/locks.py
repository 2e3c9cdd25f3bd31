"""Locks between processes: files that hold nothing, locked while a process works, and free when it is gone."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pacl_bench.errors import UsageError
from pacl_bench.files import WriteError

CLAIM = ".in-use"  # the file in a folder that one process alone may write to


@contextmanager
def locked(file: Path, timeout: float = -1.0) -> Iterator[None]:
    """Within the block no other process holds the lock of the file. It goes with its process.

    Raises:
        Timeout: another process still holds it after so many seconds; -1 waits for ever.
        WriteError: this user may not write there, or the file system has no locks.
    """
    held = FileLock(file, mode=0o666)  # it holds nothing, and every user of the folder must be able to lock it
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        raise WriteError(file, error) from None
    try:
        yield
    finally:
        held.release()


@contextmanager
def claimed(folder: Path, option: str) -> Iterator[None]:
    """Within the block no other process that claims the folder writes to it. What a dead process claimed is free.

    The folder is made where it is not there, and goes again where nothing was written to it. Where the file system has
    no locks, nothing is claimed; a folder that may not be written to says so when the first file is.

    Raises:
        UsageError: another process has claimed it.
    """
    claim = folder / CLAIM
    with ExitStack() as held:
        try:
            held.enter_context(locked(claim, timeout=0.0))
        except Timeout:
            raise UsageError(f"{option} {folder}: another run writes there. Wait for it, or choose another.") from None
        except WriteError:
            pass
        held.callback(_remove_where_alone, claim)
        yield


def _remove_where_alone(claim: Path) -> None:
    """Removes the file of a claim, while it is held, and its folder if nothing else is in it."""
    with suppress(OSError):
        claim.unlink()
        claim.parent.rmdir()
