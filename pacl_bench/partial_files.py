"""Files that are being written, each under a name of its own beside the file it will be; and what dead processes left.

Whoever writes such a file holds its lock. The lock goes with the process, so on this machine a file that nobody has
locked is of a process that was killed. Of a file on a shared disk that another machine began the lock may say nothing
(some network disks have locks for each machine alone), so that only age tells.
"""

import os
import platform
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: only age tells
    fcntl = None

PARTIAL = ".partial-"  # what the name of a file or folder begins with that is being written
STALE = 24 * 3600  # seconds after which it can be of no living process, whatever machine that is on
# The machine, which earlier versions did not name, and a number that no other file has.
NAME = re.compile(rf"{re.escape(PARTIAL)}(?:([0-9a-f]{{8}})-)?[0-9a-f]{{12}}(?:\..*)?")


@contextmanager
def partial_file(file: Path) -> Iterator[Path]:
    """Within the block there is a file to write to, beside `file` and with its suffix; it goes unless it was renamed.

    The first time that a process writes into a folder, it removes what dead ones have left there.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    _remove_once(file.parent.absolute())
    temporary, lock = _begun(file)
    try:
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def remove_abandoned(folder: Path) -> None:
    """Removes the files in a folder that processes were writing when they died; never one that is being written."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            named = NAME.fullmatch(entry.name)
            if named and entry.is_file(follow_symlinks=False):
                _remove_if_abandoned(Path(entry.path), named[1] == _machine())


_remove_once = cache(remove_abandoned)  # a folder with thousands of files is not listed for each of them


def _remove_if_abandoned(file: Path, is_of_this_machine: bool) -> None:
    with suppress(OSError):  # another user's, or gone by now
        is_old = time.time() - file.stat().st_mtime > STALE
        if is_old or (is_of_this_machine and fcntl is not None):
            with _lock_at_once(file, is_old):  # while it is held, nobody else can begin to write to the file
                file.unlink()


@contextmanager
def _lock_at_once(file: Path, is_old: bool) -> Iterator[None]:
    """Within the block the lock is held; an OSError where somebody else has it. An old file needs none."""
    if fcntl is None:
        yield
        return
    with file.open("r+b") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError) or not is_old:
                raise  # else the file system has no locks
        yield


def _begun(file: Path) -> tuple[Path, int | None]:
    """A new empty file, of the umask's mode, and the descriptor that holds its lock, where there are locks."""
    while True:
        temporary = file.with_name(f"{PARTIAL}{_machine()}-{secrets.token_hex(6)}{file.suffix}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        if fcntl is None:
            os.close(descriptor)
            return temporary, None
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # another process took it for abandoned before it was locked


@cache
def _machine() -> str:
    """Eight digits that stand for this machine since it was started; containers on it share its locks, and these."""
    started = Path("/proc/sys/kernel/random/boot_id")
    told = started.read_text(encoding="ascii") if started.is_file() else platform.node()
    return sha256(told.encode()).hexdigest()[:8]
