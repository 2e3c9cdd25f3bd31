"""Unpacking other people's archives: nothing is written outside the folder they are unpacked to, and not more than is
to be expected of an archive of its size.

An archive of a few megabytes can be made to unpack to petabytes, or to millions of empty files.
"""

import gzip
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pacl_bench.data.tar_files import open_tar, tarfile
from pacl_bench.errors import RunError
from pacl_bench.progress import track

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LITTER = ("__MACOSX", ".DS_Store")  # what a Mac leaves in a zip
# Photos and label maps do not shrink in an archive, JSON and HDF5 to a tenth. Deflate reaches 1,032 times.
MAX_GROWTH = 100
SMALL = 1 << 30  # bytes that any archive may unpack to, however small it is
MAX_MEMBERS = 2_000_000  # files and folders in an archive; the largest set that is fetched has 119,000
PIECE_BYTES = 1 << 20


def is_archive(file: Path) -> bool:
    """Whether unpacking makes more of it than one file of the same size."""
    return file.name.endswith((*TARS, ".zip", ".gz"))


def unpack(file: Path, folder: Path) -> None:
    """Unpacks a tar, zip or gz to a new folder; any other file is copied there.

    Raises:
        RunError: the archive is damaged, would write outside the folder, or is a bomb: it unpacks to more than its own
            size lets expect, than the disk has room for, or to too many files. The folder is removed.
    """
    folder.mkdir(parents=True)
    try:
        _unpack(file, folder, _Allowance(file, folder))
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, Exception) or isinstance(error, RunError):
            raise
        raise RunError(_told(error, file, folder)) from None


def _unpack(file: Path, folder: Path, allowance: "_Allowance") -> None:
    if file.name.endswith(TARS):
        _unpack_tar(file, folder, allowance)
    elif file.suffix == ".zip":
        _unpack_zip(file, folder, allowance)
    elif file.suffix == ".gz":
        _unpack_gz(file, folder / file.stem, allowance)
    else:
        shutil.copy2(file, folder / file.name)


def _told(error: Exception, file: Path, folder: Path) -> str:
    if isinstance(error, tarfile.FilterError):
        return f"{file}: {error}. Nothing of it was used."
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
        return f"{file} cannot be unpacked to {folder} ({error.strerror or error})."
    # a damaged file can make readers of archives raise anything
    return f"{file} is damaged ({str(error) or type(error).__name__}). Remove it and fetch it again."


class _Allowance:
    """How much an archive may still unpack to."""

    def __init__(self, file: Path, folder: Path):
        expected, free = max(MAX_GROWTH * file.stat().st_size, SMALL), shutil.disk_usage(folder).free
        self.file, self.members, self.left = file, 0, min(expected, free)
        free_or_expected = f"are free at {folder}" if free < expected else f"are to be expected of {file.name}"
        self.limit = f"the {self.left / 1e9:.1f} GB that {free_or_expected}"

    def take(self, size: int, members: int = 1) -> None:
        """Counts what is about to be written, in bytes; a RunError where it is too much."""
        self.members, self.left = self.members + members, self.left - size
        if self.left < 0:
            raise RunError(f"{self.file} unpacks to more than {self.limit}. Nothing of it was used.")
        if self.members > MAX_MEMBERS:
            raise RunError(f"{self.file} holds more than {MAX_MEMBERS:,} files. Nothing of it was used.")


def merge(source: Path, target: Path) -> None:
    """Moves what `source` holds into `target` by renaming; what is there already stays as it is."""
    for item in sorted(source.iterdir()):
        place = target / item.name
        if item.is_dir() and place.is_dir():
            merge(item, place)
        elif not place.exists():
            item.rename(place)


def _unpack_tar(file: Path, folder: Path, allowance: _Allowance) -> None:
    with open_tar(file) as tar:
        members = (member for member, _ in track(tar.walk(), f"unpacking {file.name}"))
        tar.extractall(folder, members=_counted(members, allowance), filter="data")
    if tar.damages and not tar.complete:  # behind its end mark there may be anything
        raise tarfile.ReadError(tar.damages[0])


def _counted(members: Iterator[tarfile.TarInfo], allowance: _Allowance) -> Iterator[tarfile.TarInfo]:
    for member in members:
        allowance.take(member.size)
        yield member


def _unpack_zip(file: Path, folder: Path, allowance: _Allowance) -> None:
    with zipfile.ZipFile(file) as packed:
        members = list(_wanted(packed, file))
        for member in members:
            allowance.take(member.file_size)
        for member in track(members, f"unpacking {file.name}"):
            packed.extract(member, folder)


def _unpack_gz(file: Path, target: Path, allowance: _Allowance) -> None:
    with gzip.open(file) as packed, target.open("wb") as handle:
        while piece := packed.read(PIECE_BYTES):
            allowance.take(len(piece), members=0)
            handle.write(piece)


def _wanted(packed: zipfile.ZipFile, file: Path) -> Iterator[zipfile.ZipInfo]:
    for member in packed.infolist():
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if ".." in parts or parts[:1] == ("/",):
            raise RunError(f"{file}: {member.filename!r} would be written outside its folder. Nothing of it was used.")
        if not any(part in LITTER for part in parts):
            yield member
