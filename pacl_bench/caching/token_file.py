"""The file of patch tokens: how it is written and how it is read."""

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pacl_bench.caching import disk, token_file
from pacl_bench.encoders.base import PatchFeatures
from pacl_bench.errors import RunError
from pacl_bench.files import write_json, write_text

try:
    import fcntl
except ImportError:  # Windows, which itself refuses to move a file that is mapped
    fcntl = None
from pacl_bench.caching.disk import BATCHES, INDEX, PARTIAL, TOKENS

COMMIT_SECONDS = 5.0  # of encoding that a killed process or machine may lose


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


class TokenWriter:
    """Appends the tokens of a set, batch by batch, so that an interrupted run can be gone on with.

    What a line of batches.jsonl says is on the disk before the line is; a batch is there as a whole or not at all,
    so that a resumed run makes the same batches, and the same bytes, as an uninterrupted one.
    """

    def __init__(self, folder: Path, width: int):
        self.folder, self.width = folder, width
        self.batches = _whole_batches(folder, width)  # committed before, and since
        self.pending: list[dict[str, Any]] = []
        self.images = sum(batch["images"] for batch in self.batches)  # how many are done, from the first on
        write_text(folder / BATCHES, "".join(f"{json.dumps(batch)}\n" for batch in self.batches))
        self.tokens = (folder / TOKENS).open("ab")
        self.tokens.truncate(_bytes_of(self.batches, width))
        self.committed = time.monotonic()

    def __enter__(self) -> "TokenWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.commit()
        finally:
            self.tokens.close()

    def add(self, grid: tuple[int, int], has_cls: bool, images: Sequence[np.ndarray]) -> None:
        """The next images, of one shape: of each the tokens "token width", the CLS token first if there is one."""
        for tokens in images:
            self.tokens.write(tokens.astype(np.float16).tobytes())
        self._added({"images": len(images), "grid": list(grid), "has_cls": has_cls})

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
        self.tokens.flush()
        os.fsync(self.tokens.fileno())
        batches, self.pending = self.pending, []  # before they are written: never twice, whatever happens here
        with (self.folder / BATCHES).open("a") as lines:
            lines.write("".join(f"{json.dumps(batch)}\n" for batch in batches))
        self.batches += batches
        self.committed = time.monotonic()

    def finish(self) -> Path:
        """Once all images are there and committed: the folder of the complete set."""
        write_json(self.folder / INDEX, self._index())
        folder = self.folder.rename(self.folder.with_name(self.folder.name.removeprefix(PARTIAL)))
        (folder / BATCHES).unlink()
        return folder

    def _index(self) -> dict[str, Any]:
        grids, broken = [], {}
        for batch in self.batches:
            if "broken" in batch:
                broken[len(grids)] = batch["broken"]
            grids += [batch.get("grid", [0, 0])] * batch["images"]
        has_cls = any(batch.get("has_cls", False) for batch in self.batches)
        return {"width": self.width, "has_cls": has_cls, "grids": grids, "broken": broken}


def _whole_batches(folder: Path, width: int) -> list[dict[str, Any]]:
    """The batches of an interrupted run whose line is not torn and whose tokens are all there."""
    lines = (folder / BATCHES).read_bytes().split(b"\n")[:-1] if (folder / BATCHES).is_file() else []
    size = (folder / TOKENS).stat().st_size if (folder / TOKENS).is_file() else 0
    batches: list[dict[str, Any]] = []
    for line in lines:
        try:
            batch = json.loads(line)
            if _bytes_of([*batches, batch], width) > size:
                break
        except (ValueError, KeyError, TypeError):
            break
        batches.append(batch)
    return batches


def _bytes_of(batches: list[dict[str, Any]], width: int) -> int:
    whole = [batch for batch in batches if "broken" not in batch]
    return sum(b["images"] * (b["grid"][0] * b["grid"][1] + b["has_cls"]) * width * 2 for b in whole)


FORMAT = 1  # of the tokens' file: half precision, of each image the CLS token first


class CachedTokens:
    """The features of an image set in a folder: tokens in one flat file of half precision, memory-mapped.

    While this object lives, no process removes them to make room.

    Raises:
        Whatever a damaged folder leads to; `cached_tokens` makes it anew.
    """

    def __init__(self, folder: Path):
        index = json.loads((folder / "index.json").read_text())
        self.width: int = index["width"]
        self.has_cls: bool = index["has_cls"]
        self.grids: list[tuple[int, int]] = [tuple(grid) for grid in index["grids"]]  # (0, 0) for a broken image
        self.broken = {int(number): cause for number, cause in index["broken"].items()}
        sizes = [rows * cols + self.has_cls for rows, cols in self.grids]
        self.starts = np.concatenate(
            [[0], np.cumsum([size if grid[0] else 0 for size, grid in zip(sizes, self.grids, strict=True)])]
        ).astype(int)
        # all tokens of all images, "token width"; of each image the CLS token first
        self.tokens = token_file.mapped(folder / disk.TOKENS, int(self.starts[-1]), self.width)

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, index: int) -> PatchFeatures:
        """The features of one image, as a batch of one, in float32."""
        rows = torch.from_numpy(self.tokens[self.starts[index] : self.starts[index + 1]].astype(np.float32))
        cls_token = rows[:1] if self.has_cls else None
        return PatchFeatures(cls_token, rows[self.has_cls :][None], self.grids[index])

    def batch(self, indices: list[int]) -> Tensor:
        """Patch tokens "image patch width" of images of one shape, in float32."""
        return torch.cat([self[index].patch_tokens for index in indices])


def opened(folder: Path) -> CachedTokens | None:
    """What a folder of the cache holds; None where it is not there, or damaged."""
    try:
        return CachedTokens(folder)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError):
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
