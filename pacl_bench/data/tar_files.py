"""Tar files that others made, read to their end: what is damaged in them is noted and passed over.

Python's tarfile ends without a word at the first damaged header, and at the first end mark, behind which another tar
may stand (`cat a.tar b.tar > c.tar`). To whoever reads with it, such a file looks whole.
"""

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# stubs leave the errors out
if sys.version_info >= (3, 11, 4):
    import tarfile
    from tarfile import EmptyHeaderError, EOFHeaderError, InvalidHeaderError, TruncatedHeaderError  # type: ignore
else:  # Debian 12's own cannot keep what it unpacks in one folder
    from backports import tarfile  # type: ignore
    from backports.tarfile import (  # type: ignore
        EmptyHeaderError,
        EOFHeaderError,
        InvalidHeaderError,
        TruncatedHeaderError,
    )

COMPRESSED: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
# Members that say something of the member behind them, its long name for one. tarfile reads them to memory as a whole.
EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
MAX_EXTENSION = 1 << 20  # bytes; real ones have some hundred


class _Header(tarfile.TarInfo):
    """What stands before a member. The tar is told where none can be read."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in EXTENSIONS and header.size > MAX_EXTENSION):
            raise InvalidHeaderError("a size that no member has")
        return header

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> Any:
        return tarfile.noting(super().fromtarfile)


class TarReader(tarfile.TarFile):
    """A tar that is read to the end of its file, past end marks and damages.

    Attributes:
        damages: what was found damaged so far, one line for each place.
        complete: whether an end mark was reached before any damage.
    """

    tarinfo = _Header

    def __init__(self, stream: Any):
        self.damages: list[str] = []
        self.in_damage = False  # since the last header that could be read
        self.zeros = 0  # blocks of zeros since the last header: two are an end mark
        self.complete = False
        super().__init__(fileobj=stream, ignore_zeros=True)

    def walk(self) -> Iterator[tuple[tarfile.TarInfo, int]]:
        """The members in their order, each with the number of damages before it.

        The first member behind a damage is left out. A long name stands in a header of its own, before the member's:
        where that one is damaged, the member is still there, under another name.
        """
        known = 0
        for member in iter(self.next, None):
            self.members.clear()  # type: ignore[attr-defined]  # else all members of a large tar stay in memory
            behind_damage, known = known < len(self.damages), len(self.damages)
            if not behind_damage:
                yield member, known

    def read(self, member: tarfile.TarInfo) -> bytes | None:
        """What a file in the tar holds; None where it is no file, or is damaged."""
        try:
            packed = self.extractfile(member) if member.isreg() else None
            return packed.read() if packed else None
        except Exception as error:  # a damaged file can make decompressors raise anything
            self.note(error)
            return None

    def next(self) -> tarfile.TarInfo | None:
        """The next member; None at the end, or where nothing more can be read."""
        try:
            return super().next()
        except Exception as error:
            self.note(error)
            return None

    def noting(self, read: Callable[[tarfile.TarFile], Any]) -> Any:
        """The next header as `read` gives it; what is met in its place is noted and raised as what `next` passes by."""
        start = self.position
        try:
            header = read(self)
            if self.offset < self.position:  # where the next header is said to be: behind us, and so for ever
                raise InvalidHeaderError("a size that no member has")
        except EOFHeaderError:
            self.zeros += 1
            self.complete |= self.zeros == 2 and not self.damages
            raise
        except (EmptyHeaderError, TruncatedHeaderError):
            if not self.zeros:
                self.note("its end is missing")
            raise
        except Exception as error:  # damaged numbers make tarfile raise anything
            if self.position == start:  # nothing can be read: to look further on would not end
                raise
            self.note(f"{error} at byte {start:,}")
            self.zeros = 0
            raise InvalidHeaderError(str(error)) from None
        if self.zeros == 1:
            self.note(f"a header of zeros before byte {start:,}")
        self.zeros, self.in_damage = 0, False
        return header

    @property
    def position(self) -> int:
        """In bytes of the tar as it is when decompressed."""
        return self.fileobj.tell() if self.fileobj else 0

    def note(self, damage: Exception | str) -> None:
        """Adds to the damages, unless nothing was readable since the last one: then it is the same."""
        if not self.in_damage:
            self.damages.append(str(damage) or type(damage).__name__)
        self.in_damage = True


@contextmanager
def open_tar(file: Path) -> Iterator[TarReader]:
    """A tar file, compressed by gzip, bzip2 or xz, or not. OSError where there is no such file."""
    opener = _decompressor(file)
    with opener(file) if opener else file.open("rb") as stream, TarReader(stream) as tar:
        yield tar


def is_compressed(file: Path) -> bool:
    """Whether a tar is compressed, whatever it is called."""
    return _decompressor(file) is not None


def _decompressor(file: Path) -> Callable[[Path], Any] | None:
    with file.open("rb") as stream:
        start = stream.read(6)
    return next((opener for mark, opener in COMPRESSED.items() if start.startswith(mark)), None)
