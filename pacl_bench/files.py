"""Files that are whole or not there, in UTF-8 whatever the machine's locale."""

import errno
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pacl_bench.errors import RunError, UsageError
from pacl_bench.partial_files import partial_file

UNSAFE = re.compile(r"^\.|[^\w=,+.-]")  # what a file name that we make does not hold
PROBE = 4096  # bytes: what a file takes on a disk at least
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class WriteError(RunError):
    """A file or folder that cannot be written. The message names it and the way out; `full` tells a full disk."""

    def __init__(self, file: Path, error: Exception):
        number = getattr(error, "errno", None)
        self.cause, self.full = os.strerror(number) if number else str(error), number in FULL
        way_out = "Make room there or choose another folder" if self.full else "Choose a folder that may be written to"
        super().__init__(f"{file} cannot be written: {self.cause}. {way_out}, then give the same command again.")


def place_of(folder: Path, option: str) -> Path:
    """The folder itself where it is there, else the nearest one above it, in which it would be made.

    Raises:
        UsageError: a file, or a link to nothing or to itself, stands where a folder is wanted.
    """
    for place in (folder.absolute(), *folder.absolute().parents):
        if place.is_dir():
            return place
        if os.path.lexists(place):
            what = "is a file" if place.exists() else "leads nowhere"
            named = f"{option} {folder}" if place == folder.absolute() else f"{option} {folder}: {place}"
            raise UsageError(f"{named} {what}; a folder is wanted.")
    raise UsageError(f"{option} {folder}: there is no such disk.")


def require_writable(folder: Path, option: str) -> None:
    """Finds out whether files can be written below a folder, before there is something to write.

    Nothing is left there: where the folder is to be made, the nearest one above it is tried.

    Raises:
        UsageError: as `place_of`. WriteError: the disk is full or read-only, or the folder another user's.
    """
    place = place_of(folder, option)
    with writing(folder), partial_file(place / "probe") as probe:
        probe.write_bytes(bytes(PROBE))


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Within the block, an error of the operating system becomes a WriteError that names `file`."""
    try:
        yield
    except OSError as error:
        raise WriteError(file, error) from None


@contextmanager
def replacing(file: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary file to write to, which takes the name of `file` when the block ends: readers see all of it or none.

    It lies beside `file` and has the same suffix, by which some libraries choose the format. Its mode is the umask's.
    Whatever ends the block early, Ctrl-C too, leaves nothing behind, and what `file` was before. What a process that
    was killed leaves is removed when the next one writes into the folder.

    Args:
        durable: have the content on the disk before it takes the name, so that a machine which loses its power leaves
            the old file or the new one. Costs milliseconds a file; not worth it for thousands that are easily made
            again.

    Raises:
        WriteError: the disk is full, the folder may not be written to, and the like.
    """
    with writing(file), partial_file(file) as temporary:
        yield temporary
        if durable:
            with temporary.open("r+b") as handle:
                os.fsync(handle.fileno())
        temporary.replace(file)


def write_bytes(file: Path, content: bytes, durable: bool = True) -> None:
    """Writes a file whole or not at all, see `replacing`.

    Libraries that write to a path of their own (torch, safetensors, matplotlib) tell of a full disk each in another
    way, if at all. So they write to memory, and this writes to the disk.
    """
    with replacing(file, durable) as temporary:
        temporary.write_bytes(content)


def write_text(file: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole or not at all.

    A file name that is not in UTF-8 may be part of the text; its strange bytes are written as `\\udcff`.
    """
    write_bytes(file, text.encode("utf-8", "backslashreplace"))


def write_json(file: Path, content: Any) -> None:
    """As `write_text`; NaN and infinity, which JSON does not know, are refused with a ValueError."""
    write_bytes(file, json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """The content of a JSON file of ours."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def append_lines(file: Path, lines: Iterable[str]) -> None:
    """Adds lines to a log. After a full disk the last line may be torn; who reads a log leaves such a line out."""
    with writing(file), file.open("a", encoding="utf-8") as handle:
        handle.writelines(f"{line}\n" for line in lines)


def read_text(file: Path) -> str:
    """What a user's text file holds, without a byte order mark; a UsageError names one that is not UTF-8."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8 ({error}).") from None


def safe_name(text: str) -> str:
    """A name as part of a path: what a file name may not hold becomes "-", and so does a leading dot."""
    return UNSAFE.sub("-", text) or "-"
