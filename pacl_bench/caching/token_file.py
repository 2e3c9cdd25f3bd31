"""The file of patch tokens: how it is written and how it is read."""

import json
import os
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float16
from torch import Tensor

from pacl_bench.caching.disk import BATCHES, INDEX, TOKENS
from pacl_bench.encoders.base import PatchFeatures
from pacl_bench.errors import RunError
from pacl_bench.files import append_lines, write_json, write_text, writing
from pacl_bench.partial_files import PARTIAL

try:
    import fcntl
except ImportError:  # Windows, which itself refuses to move a file that is mapped
    fcntl = None

FORMAT = 1  # of the tokens' file: half precision, of each image the CLS token first
COMMIT_SECONDS = 5.0  # of encoding that a killed process or machine may lose


class DamagedTokens(RunError):
    """Patch tokens on disk that are not those that were written."""


def mapped(file: Path, rows: int, width: int) -> np.ndarray:
    """Tokens "token width" of half precision, memory-mapped, in use for as long as the array lives.

    Raises:
        ValueError: the file has another length.
    """
    with file.open("rb") as handle:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks: a removed file stays readable all the same
                fcntl.flock(handle, fcntl.LOCK_SH)  # the map holds a duplicate of the handle, and so the lock
        if os.fstat(handle.fileno()).st_size != rows * width * 2:
            raise ValueError(f"{file} has another length than its index says")
        return np.memmap(handle, np.float16, mode="r", shape=(rows, width)) if rows else np.empty((0, width), "f2")


def checksum(tokens: Float16[np.ndarray, "token width"], grid: tuple[int, int], has_cls: bool) -> int:
    """CRC-32 of an image's tokens and of how they are laid out, which is damaged as easily."""
    return zlib.crc32(np.ascontiguousarray(tokens).data, zlib.crc32(f"{grid[0]} {grid[1]} {has_cls}".encode()))


class TokenWriter:
    """Appends the tokens of a set, batch by batch, so that an interrupted run can be gone on with.

    What a line of batches.jsonl says is on the disk before the line is; a batch is there as a whole or not at all,
    so that a resumed run makes the same batches, and the same bytes, as an uninterrupted one.

    Raises:
        WriteError: the disk is full, and the like.
    """

    def __init__(self, folder: Path, width: int):
        self.folder, self.width = folder, width
        with writing(folder):
            self.batches = _whole_batches(folder, width)  # committed before, and since
        self.pending: list[dict[str, Any]] = []
        self.images = sum(batch["images"] for batch in self.batches)  # how many are done, from the first on
        write_text(folder / BATCHES, "".join(f"{json.dumps(batch)}\n" for batch in self.batches))
        with writing(folder / TOKENS):
            self.tokens = (folder / TOKENS).open("ab")
            self.tokens.truncate(sum(_bytes_of(batch, width) for batch in self.batches))
        self.committed = time.monotonic()

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with writing(self.folder / TOKENS):
            try:
                self.commit()
            finally:
                self.tokens.close()

    def add(self, grid: tuple[int, int], has_cls: bool, images: Sequence[np.ndarray]) -> None:
        """The next images, of one shape: of each the tokens "token width", the CLS token first if there is one."""
        halves = [tokens.astype(np.float16) for tokens in images]
        with writing(self.folder / TOKENS):
            for tokens in halves:
                self.tokens.write(tokens.tobytes())
        checksums = [checksum(tokens, grid, has_cls) for tokens in halves]
        self._added({"images": len(images), "grid": list(grid), "has_cls": has_cls, "checksums": checksums})

    def add_broken(self, cause: str) -> None:
        """The next image, which does not decode."""
        self._added({"images": 1, "broken": cause})

    def _added(self, batch: dict[str, Any]) -> None:
        self.pending.append(batch)
        self.images += batch["images"]
        if time.monotonic() - self.committed >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Brings all batches to the disk, tokens first."""
        with writing(self.folder / TOKENS):
            self.tokens.flush()
            os.fsync(self.tokens.fileno())
        batches, self.pending = self.pending, []  # before they are written: never twice, whatever happens here
        append_lines(self.folder / BATCHES, map(json.dumps, batches))
        self.batches += batches
        self.committed = time.monotonic()

    def finish(self) -> None:
        """Once all images are there and committed: makes the folder that of a complete set."""
        write_json(self.folder / INDEX, self._index())
        complete = self.folder.with_name(self.folder.name.removeprefix(PARTIAL))
        with writing(complete):
            self.folder.rename(complete)
            (complete / BATCHES).unlink()

    def _index(self) -> dict[str, Any]:
        grids, broken, checksums = [], {}, []
        for batch in self.batches:
            if "broken" in batch:
                broken[len(grids)] = batch["broken"]
            grids += [batch.get("grid", [0, 0])] * batch["images"]
            checksums += batch.get("checksums", [None] * batch["images"])
        has_cls = any(batch.get("has_cls", False) for batch in self.batches)
        return {"width": self.width, "has_cls": has_cls, "grids": grids, "broken": broken, "checksums": checksums}


def _whole_batches(folder: Path, width: int) -> list[dict[str, Any]]:
    """The batches of an interrupted run whose line is not torn and whose tokens are all there and undamaged."""
    if not ((folder / BATCHES).is_file() and (folder / TOKENS).is_file()):
        return []
    batches: list[dict[str, Any]] = []
    with (folder / TOKENS).open("rb") as tokens:
        for line in (folder / BATCHES).read_bytes().split(b"\n")[:-1]:
            try:
                batch = json.loads(line)
                if not _follows(batch, tokens, width):
                    break
            except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
                break
            batches.append(batch)
    return batches


def _follows(batch: dict[str, Any], tokens: BinaryIO, width: int) -> bool:
    """Whether the next tokens of the file are those that a line of batches.jsonl was written for."""
    size = _bytes_of(batch, width)
    if not 0 <= size <= os.fstat(tokens.fileno()).st_size - tokens.tell() or batch["images"] < 1:
        return False
    content = np.frombuffer(tokens.read(size), np.float16)
    if "checksums" not in batch:  # a broken image, or written by an older version
        return True
    (rows, cols), has_cls = batch["grid"], batch["has_cls"]
    images = content.reshape(batch["images"], -1, width)
    return [checksum(image, (rows, cols), has_cls) for image in images] == batch["checksums"]


def _bytes_of(batch: dict[str, Any], width: int) -> int:
    if "broken" in batch:
        return 0
    rows, cols = batch["grid"]
    return batch["images"] * (rows * cols + batch["has_cls"]) * width * 2


class CachedTokens:
    """The features of an image set in a folder: tokens in one flat file of half precision, memory-mapped.

    While this object lives, no process removes them to make room. The tokens of each image are checked when they are
    read for the first time (0.15 ms for 197 tokens of width 768); those that older versions wrote have no checksums.

    Args:
        images: how many the set has.

    Raises:
        Whatever a damaged folder leads to; `opened` answers it.
    """

    def __init__(self, folder: Path, images: int):
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        self.folder = folder
        self.width: int = index["width"]
        self.has_cls: bool = index["has_cls"]
        self.grids: list[tuple[int, int]] = [(rows, cols) for rows, cols in index["grids"]]  # (0, 0): a broken image
        self.broken = {int(number): cause for number, cause in index["broken"].items()}
        self.checksums: list[int | None] = index.get("checksums", [None] * images)
        if not len(self.grids) == len(self.checksums) == images:
            raise ValueError(f"{folder} is of another number of images")
        if [number for number, grid in enumerate(self.grids) if not all(grid)] != sorted(self.broken):
            raise ValueError(f"{folder / INDEX} contradicts itself")
        sizes = [rows * cols + self.has_cls if rows else 0 for rows, cols in self.grids]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
        # all tokens of all images, "token width"; of each image the CLS token first
        self.tokens = mapped(folder / TOKENS, int(self.starts[-1]), self.width)

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, index: int) -> PatchFeatures:
        """The features of one image, as a batch of one, in float32.

        Raises:
            DamagedTokens: they are not those that were written. The set then counts as damaged, and the next one to
                ask for it encodes it anew.
        """
        halves = self.tokens[self.starts[index] : self.starts[index + 1]]
        self._check(index, halves)
        rows = torch.from_numpy(halves.astype(np.float32))
        cls_token = rows[:1] if self.has_cls else None
        return PatchFeatures(cls_token, rows[self.has_cls :][None], self.grids[index])

    def _check(self, index: int, halves: Float16[np.ndarray, "token width"]) -> None:
        expected = self.checksums[index]
        if expected is None:
            return
        if expected != checksum(halves, self.grids[index], self.has_cls):
            raise self._damaged(index)
        self.checksums[index] = None  # once is enough

    def _damaged(self, index: int) -> DamagedTokens:
        """The error, after the index is taken away, without which no process takes the set for complete."""
        way_out = "Give the same command again (train: with --resume): they are encoded anew"
        try:
            (self.folder / INDEX).unlink(missing_ok=True)
        except OSError:  # another user's cache
            way_out = "Tell its owner, or set PACL_CACHE to a folder of your own"
        return DamagedTokens(f"{self.folder}: the patch tokens of image {index} are damaged. {way_out}.")

    def batch(self, indices: list[int]) -> Tensor:
        """Patch tokens "image patch width" of images of one shape, in float32."""
        return torch.cat([self[index].patch_tokens for index in indices])


def opened(folder: Path, images: int) -> CachedTokens | None:
    """What a folder of the cache holds; None where it is not there, damaged, or may not be read."""
    try:
        return CachedTokens(folder, images)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None


def flat(features: PatchFeatures) -> np.ndarray:
    """All tokens of one image, "token width", the CLS token first."""
    patch_tokens = rounded(features.patch_tokens)[0]
    if features.cls_token is None:
        return patch_tokens.numpy()
    return torch.cat([rounded(features.cls_token), patch_tokens]).numpy()


def rounded(tokens: Tensor) -> Tensor:
    """On the CPU, in float32 but with the digits of half precision."""
    rounded = tokens.half().float().cpu()
    if not bool(rounded.isfinite().all()):
        raise RunError("patch tokens are NaN or beyond half precision; check the encoder's weights.")
    return rounded
