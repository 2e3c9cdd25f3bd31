"""Downloads that can be stopped and go on: HTTP with resume, size and checksum, then unpacking to where it belongs.

A file has a temporary name until it is complete and its checksum right; what an archive holds has one until all of it
is unpacked. None of the HTTP libraries that come with our dependencies resumes and checks, so this is urllib.
"""

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from pacl_bench.data.catalog import declaration, load
from pacl_bench.data.declaration import Declaration
from pacl_bench.data.tools.archives import is_archive, merge, unpack
from pacl_bench.data.tools.downloads import DOWNLOADS, Download
from pacl_bench.errors import RunError, UsageError
from pacl_bench.paths import data_root
from pacl_bench.progress import console

CHUNK_BYTES = 1 << 20
FOLDER = ".downloads"  # below the data root, so that all renames stay on one disk


@dataclass(frozen=True)
class Patience:
    """How long a slow or failing server is waited for: one that never answers, five and a half minutes."""

    timeout: float = 60.0  # seconds without a byte
    attempts: int = 5  # in a row that bring nothing new
    pause: float = 2.0  # seconds before the second attempt; doubled before each further one

    @property
    def longest(self) -> float:
        """Seconds until a server that never answers is given up."""
        return self.attempts * self.timeout + self.pause * (2 ** (self.attempts - 1) - 1)


class _TryAgain(Exception):
    """A stall, a cut connection, a busy server: nothing that would not pass."""


def steps(entry: Declaration) -> list[str]:
    """What is to be done by hand to have a set; empty where `data fetch` does all of it."""
    if entry.name in DOWNLOADS:
        return []
    by_hand = [line.strip() for line in entry.steps.splitlines() if line.strip()]
    return [
        f"Get it from {entry.source} (licence: {entry.licence}; {entry.space} on disk).",
        *by_hand,
        f"It is looked for at {' or '.join(map(str, entry.candidates()))}.",
        f"Look whether all is well: pacl-bench data check {entry.name}",
    ]


def fetch(name: str, patience: Patience | None = None) -> Path:
    """Downloads and unpacks a set below the data root; what is there already is left alone.

    Returns:
        The folder that holds the set.

    Raises:
        UsageError: nobody has declared it, or its owners offer no plain download.
        RunError: the server, the disk or the file is at fault; what has arrived is kept where it can be used.
    """
    entry = declaration(name)
    for download in missing(entry):
        fetch_one(download, data_root(), entry.source, patience or Patience())
    folder = entry.found()
    if folder is None:
        raise RunError(
            f"{name}: fetched, but not found at {' or '.join(map(str, entry.candidates()))}. Its owners may have "
            f"changed the layout: see {entry.source}."
        )
    return folder


def missing(entry: Declaration) -> list[Download]:
    """What is still to be downloaded of a set; a UsageError if its owners offer no plain download."""
    if entry.name not in DOWNLOADS:
        raise UsageError(
            f"{entry.name}: its owners offer no plain download; what to do says: pacl-bench data where {entry.name}"
        )
    if _is_readable(entry.name):
        return []
    root = data_root()
    return [
        download for download in DOWNLOADS[entry.name] if not all((root / made).exists() for made in download.makes)
    ]


def _is_readable(name: str) -> bool:
    """Whether a set is there, in whichever layout its reader knows; a part of it counts too."""
    try:
        load(name)
    except (UsageError, RunError, OSError):
        return False
    return True


def fetch_one(download: Download, root: Path, source: str, patience: Patience) -> None:
    """One file of a set: to `.downloads`, checked, unpacked there, moved to its place below the root."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    file = receive(download, folder, source, patience)
    unpacked = folder / f"{download.filename}.unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was stopped
    unpack(file, unpacked)
    if download.inside:
        _unpack_inside(unpacked, download)
    (root / download.into).mkdir(parents=True, exist_ok=True)
    merge(unpacked, root / download.into)
    shutil.rmtree(unpacked)
    absent = next((made for made in download.makes if not (root / made).exists()), None)
    if absent is not None:
        raise RunError(
            f"{file} does not hold {absent}: its owners may have changed it; see {source}. Remove it to have it "
            "fetched anew."
        )
    file.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _unpack_inside(unpacked: Path, download: Download) -> None:
    inner = unpacked / download.inside
    if not inner.is_file():
        raise RunError(f"{download.filename} does not hold {download.inside}: its owners may have changed it.")
    outer = unpacked.with_name(f"{unpacked.name}.outer")
    shutil.rmtree(outer, ignore_errors=True)
    unpacked.rename(outer)
    unpack(outer / download.inside, unpacked)
    shutil.rmtree(outer)


def receive(download: Download, folder: Path, source: str, patience: Patience) -> Path:
    """The file, complete and with the right checksum, in `folder`. Goes on from what an earlier run has left."""
    file = folder / download.filename
    if not file.exists():
        partial = folder / f"{download.filename}.partial"
        with _bar(download.filename) as progress:
            _receive_all(download, partial, source, patience, progress)
        _verify(download, partial)
        partial.replace(file)
    return file


def _receive_all(download: Download, partial: Path, source: str, patience: Patience, progress: Progress) -> None:
    failures, most = 0, _size(partial)
    while True:
        try:
            return _receive_some(download, partial, source, patience.timeout, progress)
        except _TryAgain as error:
            failures = 0 if _size(partial) > most else failures + 1
            most = max(most, _size(partial))
            if failures >= patience.attempts:
                raise RunError(
                    f"{download.url}: {error}; given up after {failures} attempts. What has arrived is kept: the same "
                    f"command goes on from there. Its owners' page: {source}"
                ) from None
            seconds = patience.pause * 2 ** max(failures - 1, 0)
            console.print(
                f"{download.filename}: {error}; trying again in {seconds:g} s, giving up after "
                f"{patience.longest:.0f} s without a byte at the latest",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            time.sleep(seconds)


def _receive_some(download: Download, partial: Path, source: str, timeout: float, progress: Progress) -> None:
    """One connection: appends what comes. Returns when the file is complete, else raises _TryAgain."""
    have = _size(partial)
    if have and have == download.size:
        return
    headers = {"User-Agent": "pacl-bench"} | ({"Range": f"bytes={have}-"} if have else {})
    with _opened(urllib.request.Request(download.url, headers=headers), download, partial, source, timeout) as response:
        start, total = _extent(response, have)
        total = download.size if total is None else total
        if start not in (0, have):
            partial.unlink()
            raise _TryAgain("the server went on at another place than asked")
        if total is not None and download.size not in (None, total):
            raise RunError(
                f"{download.url} has {total:,} bytes, {download.size:,} are expected: its owners have replaced it; "
                f"see {source}."
            )
        _look_for_room(download, partial, start, total)
        task = progress.task_ids[0]
        progress.update(task, completed=start, total=total)
        try:
            with partial.open("ab" if start else "wb") as handle:
                for chunk in _chunks(response):
                    handle.write(chunk)
                    handle.flush()  # what has arrived is kept, however this run ends
                    progress.advance(task, len(chunk))
        except OSError as error:
            raise RunError(
                f"{partial} cannot be written ({error.strerror}). What has arrived is kept: the same command goes on "
                "from there."
            ) from None
    if total is not None and _size(partial) < total:
        raise _TryAgain(f"the connection ended after {_size(partial):,} of {total:,} bytes")


def _opened(
    request: urllib.request.Request, download: Download, partial: Path, source: str, timeout: float
) -> http.client.HTTPResponse:
    try:
        # an opener of its own, which asks the environment for proxies now; a proxy looks up the server's name itself
        return urllib.request.build_opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # more is here than there is: of another version of the file
            partial.unlink(missing_ok=True)
            raise _TryAgain("the file at the server is shorter than what is here, starting anew") from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _TryAgain(f"the server answers {error.code} {error.reason}") from None
        raise RunError(
            f"{download.url}: the server answers {error.code} {error.reason}. Its owners' page may say where it has "
            f"gone: {source}"
        ) from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _TryAgain(_said(error)) from None


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What comes, in pieces; only the network's errors become _TryAgain, not those of whoever writes the pieces."""
    while True:
        try:
            chunk = response.read1(CHUNK_BYTES)
        except (http.client.HTTPException, OSError) as error:
            raise _TryAgain(_said(error)) from None
        if not chunk:
            return
        yield chunk


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where the answer starts in the file, and how long the whole file is if the server says."""
    length = response.headers.get("Content-Length")
    if response.status != 206:  # Range ignored: all of it comes
        return 0, int(length) if length else None
    span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    start = span.partition("-")[0]
    if not start.isdigit():
        return have, have + int(length) if length else None
    return int(start), int(total) if total.isdigit() else None


def _look_for_room(download: Download, partial: Path, start: int, total: int | None) -> None:
    """Photos do not shrink in an archive, so unpacking takes about the archive's size once more."""
    if total is None:
        return
    needed = total - start + (total if is_archive(partial.with_suffix("")) else 0)
    free = shutil.disk_usage(partial.parent).free
    if free < needed:
        raise RunError(
            f"{download.filename}: {needed / 1e9:.1f} GB are needed to fetch and unpack it, {free / 1e9:.1f} GB are "
            f"free at {partial.parent.parent}. Make room or take another --data-root."
        )


def _verify(download: Download, partial: Path) -> None:
    """Size and checksum; a file with the wrong ones is of no use and is removed."""
    algorithm, _, expected = download.checksum.partition(":")
    if download.size is not None and _size(partial) != download.size:
        found, wanted = f"{_size(partial):,} bytes", f"{download.size:,}"
    elif not expected:
        return
    else:
        with partial.open("rb") as handle:
            found = hashlib.file_digest(handle, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
        if found == expected:
            return
        found, wanted = f"the {algorithm} {found}", expected
    partial.unlink()
    raise RunError(
        f"{download.url} arrived with {found}, expected {wanted}: it is removed. Try again; if it stays so, its owners "
        "have replaced the file."
    )


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _said(error: Exception) -> str:
    cause = getattr(error, "reason", None) or error
    if isinstance(cause, TimeoutError):
        return "the server does not answer"
    return f"no connection ({cause})" if str(cause) else type(cause).__name__


def _bar(description: str) -> Progress:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    progress.add_task(description, total=None)
    return progress
