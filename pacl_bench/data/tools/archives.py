"""Unpacking other people's archives: nothing is written outside the folder they are unpacked to."""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pacl_bench.errors import RunError
from pacl_bench.progress import track

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LITTER = ("__MACOSX", ".DS_Store")  # what a Mac leaves in a zip


def is_archive(file: Path) -> bool:
    """Whether unpacking makes more of it than one file of the same size."""
    return file.name.endswith((*TARS, ".zip", ".gz"))


def unpack(file: Path, folder: Path) -> None:
    """Unpacks a tar, zip or gz to a new folder; any other file is copied there.

    Raises:
        RunError: the archive is damaged, or would write outside the folder.
    """
    folder.mkdir(parents=True)
    try:
        if file.name.endswith(TARS):
            _unpack_tar(file, folder)
        elif file.suffix == ".zip":
            _unpack_zip(file, folder)
        elif file.suffix == ".gz":
            with gzip.open(file) as packed, (folder / file.stem).open("wb") as handle:
                shutil.copyfileobj(packed, handle)
        else:
            shutil.copy2(file, folder / file.name)
    except tarfile.FilterError as error:
        raise RunError(f"{file}: {error}. Nothing of it was used.") from None
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise RunError(f"{file} is damaged ({error}). Remove it and fetch it again.") from None
    except OSError as error:
        raise RunError(f"{file} cannot be unpacked to {folder} ({error.strerror or error}).") from None


def merge(source: Path, target: Path) -> None:
    """Moves what `source` holds into `target` by renaming; what is there already stays as it is."""
    for item in sorted(source.iterdir()):
        place = target / item.name
        if item.is_dir() and place.is_dir():
            merge(item, place)
        elif not place.exists():
            item.rename(place)


def _unpack_tar(file: Path, folder: Path) -> None:
    with tarfile.open(file) as tar:
        tar.extractall(folder, members=track(tar, f"unpacking {file.name}"), filter="data")


def _unpack_zip(file: Path, folder: Path) -> None:
    with zipfile.ZipFile(file) as packed:
        for member in track(list(_wanted(packed, file)), f"unpacking {file.name}"):
            packed.extract(member, folder)


def _wanted(packed: zipfile.ZipFile, file: Path) -> Iterator[zipfile.ZipInfo]:
    for member in packed.infolist():
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if ".." in parts or parts[:1] == ("/",):
            raise RunError(f"{file}: {member.filename!r} would be written outside its folder. Nothing of it was used.")
        if not any(part in LITTER for part in parts):
            yield member
