"""The cache on disk: what it holds, how much room that takes, who is using it. No torch here.

    tokens/<key>/           a complete set, never changed again: about.json, index.json, tokens.f16
    tokens/.partial-<key>/  a set being encoded, or interrupted: about.json, batches.jsonl, tokens.f16
    texts/<key>.npy         text embeddings; <key>.json beside it says whose they are
    locks/                  empty files that processes lock: one a set, one for making room

A complete set is in use while a process has it mapped (a shared lock on its tokens), a partial one while a process
encodes it (the lock of its key). What is in use is never removed. A process that dies leaves no lock behind.

Several users may share a cache. Modes are those of their umask (002, in a folder of their group with `chmod g+s`, lets
all of them write), and locks are everybody's. Who may only read it reads what is there and keeps nothing.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout
from rich.filesize import decimal

from pacl_bench import locks
from pacl_bench.errors import UsageError
from pacl_bench.files import WriteError, write_json, writing
from pacl_bench.partial_files import PARTIAL, STALE, remove_abandoned
from pacl_bench.paths import cache_root
from pacl_bench.progress import note
from pacl_bench.registry import unknown_name

try:
    import fcntl
except ImportError:  # Windows, which itself refuses to move a file that is mapped
    fcntl = None

DEFAULT_LIMIT = "20GB"
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
FREE_SHARE = 0.9  # of the free disk that may be filled
ABOUT, INDEX, BATCHES, TOKENS = "about.json", "index.json", "batches.jsonl", "tokens.f16"
REMOVED, ROOM = ".removed-", "room"
_KEY = re.compile(r"[0-9a-f]{32}")
_SAID = {  # of a set in about.json, of texts in the file beside them
    "encoder": str, "dataset": str, "images": int, "texts": int, "bytes": int, "view": dict, "checksum": int,
}  # fmt: skip

Kind = Literal["tokens", "unfinished", "texts"]


def cache_limit() -> int:
    """PACL_CACHE_LIMIT in bytes: "0", "500MB", "20GB"."""
    text = os.environ.get("PACL_CACHE_LIMIT", DEFAULT_LIMIT).strip().upper()
    unit = next((unit for unit in sorted(UNITS, key=len, reverse=True) if text.endswith(unit)), "")
    try:
        limit = int(float(text.removesuffix(unit)) * UNITS.get(unit, 1))
        if limit < 0:
            raise ValueError
        return limit
    except (ValueError, OverflowError):
        raise UsageError(f"PACL_CACHE_LIMIT={text} is no size; write it like 20GB.") from None


@dataclass(frozen=True)
class Entry:
    """A set of patch tokens, complete or not, or a list of text embeddings."""

    kind: Kind
    key: str
    path: Path
    about: dict[str, Any]  # encoder, dataset, images, bytes ...; empty for what an older version wrote
    bytes: int
    used: float  # when it was last used, in seconds since 1970

    @property
    def encoder(self) -> str:
        """Its encoder's name."""
        return self.about.get("encoder", "unknown")

    @property
    def dataset(self) -> str | None:
        """Its data set's name; None for texts."""
        return None if self.kind == "texts" else self.about.get("dataset", "unknown")

    @cached_property
    def in_use(self) -> bool:
        """Whether a process reads or encodes it."""
        if self.kind == "unfinished":
            return _is_locked(self.key)
        return self.kind == "tokens" and _is_mapped(self.path / TOKENS)

    @property
    def claimed(self) -> int:
        """Bytes that count: of a set being encoded, those it will have."""
        return max(self.bytes, self.about.get("bytes", 0)) if self.kind == "unfinished" and self.in_use else self.bytes


def tokens_folder(key: str) -> Path:
    """Where a complete set lies."""
    return cache_root() / "tokens" / key


def holds(key: str) -> bool:
    """Whether a set is there, complete or not."""
    return is_there(tokens_folder(key)) or is_there(tokens_folder(PARTIAL + key))


def entries() -> list[Entry]:
    """All that the cache holds, least recently used first. Files that are not the cache's own are not seen."""
    tokens = [_folder_entry(path) for path in (cache_root() / "tokens").glob("*")]
    texts = [_text_entry(path) for path in (cache_root() / "texts").glob("*.npy")]
    return sorted((entry for entry in tokens + texts if entry is not None), key=lambda entry: entry.used)


def fits(key: str, needed: int) -> bool:
    """Whether `needed` bytes may be kept under `key`, once all that is not in use were removed.

    The bounds are PACL_CACHE_LIMIT for the whole cache, and a disk that stays free.

    Raises:
        WriteError: this user may not write to the cache.
    """
    with locked(ROOM):
        held = entries()
        pinned = [entry for entry in held if entry.key != key and entry.in_use]
    removable = sum(entry.bytes for entry in held) - sum(entry.bytes for entry in pinned)
    within = sum(entry.claimed for entry in pinned) + needed <= cache_limit()
    return within and needed <= FREE_SHARE * (_free_disk() + removable)


def make_room(key: str, needed: int) -> list[Entry]:
    """Removes what was used least recently until `needed` bytes under `key` keep the bounds; returns what went.

    To be called under `locked(ROOM)`, with the claim on the room made before it is given back.
    """
    _sweep()
    held = entries()
    others = [entry for entry in held if entry.key != key]
    own = sum(entry.bytes for entry in held) - sum(entry.bytes for entry in others)
    total = sum(entry.claimed for entry in others)
    removed = []
    for entry in others:
        if total + needed <= cache_limit() and needed <= FREE_SHARE * (_free_disk() + own):
            break
        if remove(entry):
            total -= entry.claimed
            removed.append(entry)
    return removed


def begin(key: str, about: dict[str, Any]) -> Path:
    """Makes room for a set and claims it; the folder to encode it into, with what an interrupted run left there.

    To be called within `encoding(key)`. `about` names encoder and dataset, and how many bytes the set will have.
    """
    folder = tokens_folder(PARTIAL + key)
    with locked(ROOM), writing(folder):
        removed = make_room(key, about["bytes"])
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / ABOUT, about)
    if removed:
        note(f"made room in the cache: removed {decimal(sum(entry.bytes for entry in removed))}, least recently used")
    return folder


def texts_file(key: str) -> Path:
    """Where text embeddings lie."""
    return cache_root() / "texts" / f"{key}.npy"


def is_there(path: Path) -> bool:
    """Whether a file or folder of the cache is there, and may be looked at."""
    with suppress(OSError):
        return path.exists()
    return False


def touch(path: Path) -> None:
    """Marks an entry as used now."""
    with suppress(OSError):  # another user's cache, which may be read all the same
        os.utime(path)


def remove(entry: Entry) -> bool:
    """Deletes an entry; False where it is in use, or another user's who does not let us."""
    if entry.kind == "texts":
        return _remove_texts(entry.path)
    if entry.kind == "tokens":
        return not _is_mapped(entry.path / TOKENS) and remove_folder(entry.path)
    try:
        with locked(entry.key, timeout=0.0):
            return remove_folder(entry.path)
    except (Timeout, WriteError):
        return False


def _remove_texts(file: Path) -> bool:
    try:
        for part in (file, file.with_suffix(".json")):
            part.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def remove_folder(folder: Path) -> bool:
    """Moves a set's folder out of sight in one step, then deletes it; False where the system forbids that."""
    away = folder.with_name(f"{REMOVED}{folder.name.removeprefix('.')}-{os.getpid()}")
    try:
        folder.rename(away)
    except OSError:
        return False
    shutil.rmtree(away, ignore_errors=True)
    return True


def clear(encoder: str | None = None, dataset: str | None = None) -> tuple[list[Entry], list[Entry]]:
    """Removes all entries, or those of an encoder or data set; what was removed, and what is kept since it is in use.

    Raises:
        UsageError: the cache holds nothing of that name.
    """
    _sweep()
    chosen = entries()
    if encoder is not None:
        chosen = _named(chosen, "encoder", encoder)
    if dataset is not None:
        chosen = _named(chosen, "dataset", dataset)
    removed = [entry for entry in chosen if remove(entry)]
    return removed, [entry for entry in chosen if entry not in removed]


def _named(chosen: list[Entry], attribute: str, name: str) -> list[Entry]:
    known = sorted({value for entry in chosen if (value := getattr(entry, attribute)) is not None})
    if known and name not in known:
        raise UsageError(f"{unknown_name(name, known, attribute)} See `pacl-bench cache info`.")
    return [entry for entry in chosen if getattr(entry, attribute) == name]


def locked(name: str, timeout: float = -1.0) -> AbstractContextManager[None]:
    """Within the block no other process holds the lock of a key, or ROOM; raises what `locks.locked` does."""
    return locks.locked(cache_root() / "locks" / f"{name}.lock", timeout)


@contextmanager
def encoding(key: str, what: str) -> Iterator[None]:
    """Within the block no other process encodes the set; if one does, it is waited for, and a line says so."""
    with ExitStack() as held:
        try:
            # who only asks whether the lock is free holds it for a moment
            held.enter_context(locked(key, timeout=0.2))
        except Timeout:
            note(f"another process is encoding {what}; waiting for it")
            held.enter_context(locked(key))
        yield


@cache  # says it once a process
def say_not_kept(root: Path, cause: str) -> None:
    """One line for a cache that cannot be written: the work goes on without it."""
    note(f"{root}: {cause}. What is encoded is not kept; set PACL_CACHE to a folder that may be written to.")


def _folder_entry(path: Path) -> Entry | None:
    key = path.name.removeprefix(PARTIAL)
    if not _KEY.fullmatch(key) or path.is_symlink() or not path.is_dir():
        return None
    try:
        status = {file.name: file.stat() for file in path.iterdir()}
        times = [path.stat().st_mtime, *(file.st_mtime for file in status.values())]
    except OSError:  # another process was about to finish or remove it, or it is another user's
        return None
    if not all(name in {ABOUT, INDEX, BATCHES, TOKENS} or ".partial" in name for name in status):
        return None  # somebody's own files
    kind = "tokens" if path.name == key else "unfinished"
    return Entry(kind, key, path, read_about(path / ABOUT), sum(file.st_size for file in status.values()), max(times))


def _text_entry(path: Path) -> Entry | None:
    if not _KEY.fullmatch(path.stem) or path.is_symlink():
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return Entry("texts", path.stem, path, read_about(path.with_suffix(".json")), status.st_size, status.st_mtime)


def read_about(file: Path) -> dict[str, Any]:
    """What is said of a set, or of texts; nothing where the file is damaged, or somebody else's."""
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(about, dict) or "encoder" not in about:
        return {}
    return about if all(isinstance(about[name], kind) for name, kind in _SAID.items() if name in about) else {}


def _is_locked(key: str) -> bool:
    try:
        with locked(key, timeout=0.0):
            return False
    except (Timeout, WriteError):
        return True


def _is_mapped(file: Path) -> bool:
    """Whether a process holds the shared lock that `mapped` takes."""
    if fcntl is None:
        return False
    try:
        with file.open("r+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # locked, or another user's
        return True
    return False


def _free_disk() -> int:
    cache_root().mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(cache_root()).free


def _sweep() -> None:
    """Deletes what processes left that died while they wrote or removed something."""
    remove_abandoned(cache_root() / "texts")
    for path in (cache_root() / "tokens").glob(".*"):
        with suppress(OSError):
            if path.name.startswith(REMOVED) or (_is_of_no_key(path) and time.time() - path.lstat().st_mtime > STALE):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def _is_of_no_key(path: Path) -> bool:
    """Whether a folder was begun under a name that nothing will go on with."""
    return path.name.startswith(PARTIAL) and not _KEY.fullmatch(path.name.removeprefix(PARTIAL))
