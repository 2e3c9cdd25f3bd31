"""Patch tokens of whole image sets: encoded once, kept on disk, read from there ever after."""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pacl_bench.data.images import BrokenImage, ImageSet
from pacl_bench.data.vocabulary import text_hash
from pacl_bench.encoders.base import PatchFeatures, TextEncoder, VisionEncoder
from pacl_bench.errors import RunError, UsageError
from pacl_bench.files import write_json
from pacl_bench.paths import cache_root
from pacl_bench.progress import track
from pacl_bench.windows import cut, side_by_side, window_starts

FORMAT = 1
BATCH = 16  # images a forward pass, of one shape
LOADERS = 2  # threads that decode ahead of the encoder
DEFAULT_LIMIT = "20GB"
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class View:
    """How an encoder is shown an image."""

    whole: bool  # True: the whole image, its aspect ratio kept; False: the centre square
    short_side: int | None = None  # in pixels, for `whole`; None is the encoder's image_size
    stride: int | None = None  # of the patch convolution in pixels; None is the patch size
    window: int | None = None  # side of a sliding window in pixels, for `whole`; None is the image in one piece
    overlap: float = 0.5  # the share of a window that the next one covers too

    def tensor(self, encoder: VisionEncoder, images: ImageSet, index: int) -> Tensor:
        image = images.image(index)
        return encoder.preprocess.whole(image, self.short_side) if self.whole else encoder.preprocess(image)

    def windows(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, cols) of windows over an image of (height, width) pixels."""
        rows, cols = (len(window_starts(side, self.window, self.overlap)) for side in image_shape)
        return rows, cols

    def window_grid(self, encoder: VisionEncoder, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, cols) of the patches of one window of an image of (height, width) pixels."""
        if self.window is not None and (self.window < 1 or self.window % encoder.patch_size):
            raise UsageError(
                f"--window {self.window}: must be a multiple of the patch size of {encoder.name}, {encoder.patch_size}."
            )
        return encoder.grid_of(tuple(min(side, self.window or side) for side in image_shape), self.stride)

    @property
    def identity(self) -> dict[str, object]:
        """All that decides which tokens come out; without windows as it was before there were any."""
        unused = () if self.window else ("window", "overlap")
        return {name: value for name, value in asdict(self).items() if name not in unused}


def encoded(encoder: VisionEncoder, images: ImageSet, view: View) -> Iterator[tuple[int, PatchFeatures]]:
    """(index, features of one image) for all images in order, from the cache where they are or fit.

    Tokens are rounded to half precision in either case, so that a number does not depend on whether it was cached.

    Raises:
        RunError: an image that does not decode: a measurement never leaves out an image in silence.
    """
    if fits_cache(encoder, images, view):
        tokens = cached_tokens(encoder, images, view)
        if tokens.broken:
            index, cause = next(iter(tokens.broken.items()))
            raise RunError(f"{images.name}: {cause} ({len(tokens.broken)} broken in all, the first is number {index}).")
        yield from ((index, tokens[index]) for index in range(len(images)))
        return
    for index, features in _encode_all(encoder, images, view):
        if isinstance(features, BrokenImage):
            raise RunError(f"{images.name}: {features}")
        cls_token = None if features.cls_token is None else _rounded(features.cls_token)
        yield index, PatchFeatures(cls_token, _rounded(features.patch_tokens), features.grid)


class CachedTokens:
    """The features of an image set in a folder: tokens in one flat file of half precision, memory-mapped."""

    def __init__(self, folder: Path):
        self.folder = folder
        index = json.loads((folder / "index.json").read_text())
        self.width: int = index["width"]
        self.has_cls: bool = index["has_cls"]
        self.grids: list[tuple[int, int]] = [tuple(grid) for grid in index["grids"]]  # (0, 0) for a broken image
        self.broken = {int(number): cause for number, cause in index["broken"].items()}
        sizes = [rows * cols + self.has_cls for rows, cols in self.grids]
        self.starts = np.concatenate(
            [[0], np.cumsum([size if grid[0] else 0 for size, grid in zip(sizes, self.grids, strict=True)])]
        )

    @cached_property
    def tokens(self) -> np.ndarray:
        """All tokens of all images, "token width"; of each image the CLS token first."""
        return np.memmap(self.folder / "tokens.f16", np.float16, mode="r", shape=(int(self.starts[-1]), self.width))

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


class OnlineTokens:
    """The features of an image set that is too large for the cache: encoded whenever they are asked for."""

    def __init__(self, encoder: VisionEncoder, images: ImageSet, view: View):
        self.encoder, self.images, self.view = encoder, images, view
        # decoded once beforehand, so that which images count is known before the first batch
        checks = track(ahead(self._cause, range(len(images))), f"checking {images.name}", len(images))
        self.broken = {index: cause for index, cause in enumerate(checks) if cause is not None}

    def batch(self, indices: list[int]) -> Tensor:
        """Patch tokens "image patch width" of images of one shape, in float32."""
        tensors = list(ahead(lambda index: self.view.tensor(self.encoder, self.images, index), indices))
        chunks = [tensors[start : start + BATCH] for start in range(0, len(tensors), BATCH)]
        features = (one for chunk in chunks for one in _encode(self.encoder, chunk, self.view))
        return torch.cat([_rounded(one.patch_tokens) for one in features])

    def _cause(self, index: int) -> str | None:
        try:
            self.images.image(index)
        except BrokenImage as broken:
            return str(broken)
        return None


def cached_tokens(encoder: VisionEncoder, images: ImageSet, view: View) -> CachedTokens:
    """The features of an image set, encoded now if the cache does not hold them."""
    folder = _folder(encoder, images, view)
    if not folder.is_dir():
        _write(folder, encoder, images, view)
    os.utime(folder)  # last used
    return CachedTokens(folder)


def cached_texts(encoder: TextEncoder, texts: list[str]) -> Float[Tensor, "text dim"]:
    """The embeddings of many texts, unit norm, encoded now if the cache does not hold them."""
    file = cache_root() / "texts" / f"{text_hash([encoder.fingerprint, json.dumps(encoder.settings), *texts])[:32]}.npy"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".partial-", dir=file.parent, delete=False) as made:
            np.save(made, encoder(texts).numpy())
        Path(made.name).replace(file)
    os.utime(file)  # last used
    return torch.from_numpy(np.load(file))


def fits_cache(encoder: VisionEncoder, images: ImageSet, view: View) -> bool:
    """Whether the tokens of an image set may be kept: PACL_CACHE_LIMIT (default 20GB, 0 for never) and a free disk."""
    root = cache_root()
    if is_cached(encoder, images, view):
        return True
    root.mkdir(parents=True, exist_ok=True)
    return estimated_bytes(encoder, images, view) < min(cache_limit(), 0.9 * shutil.disk_usage(root).free)


def estimated_bytes(encoder: VisionEncoder, images: ImageSet, view: View) -> int:
    """Disk space for the tokens; an image shown whole is taken to be 4:3."""
    side = view.short_side or encoder.image_size
    shape = (side, side * 4 // 3 if view.whole else side)
    tokens = math.prod((*view.windows(shape), *view.window_grid(encoder, shape)))
    return len(images) * (tokens + 1) * encoder.width * 2


def is_cached(encoder: VisionEncoder, images: ImageSet, view: View) -> bool:
    """Whether the tokens of an image set are on disk already."""
    return _folder(encoder, images, view).is_dir()


def cache_limit() -> int:
    """PACL_CACHE_LIMIT in bytes: "0", "500MB", "20GB"."""
    text = os.environ.get("PACL_CACHE_LIMIT", DEFAULT_LIMIT).strip().upper()
    unit = next((unit for unit in sorted(UNITS, key=len, reverse=True) if text.endswith(unit)), "")
    try:
        return int(float(text.removesuffix(unit)) * UNITS.get(unit, 1))
    except ValueError:
        raise UsageError(f"PACL_CACHE_LIMIT={text} is no size; write it like 20GB.") from None


def _folder(encoder: VisionEncoder, images: ImageSet, view: View) -> Path:
    """Where the tokens lie: the name says all that decides which tokens they are."""
    identity = {
        "format": FORMAT,
        "weights": encoder.fingerprint,
        "settings": encoder.settings,
        "images": images.fingerprint,
        "view": view.identity,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    return cache_root() / "tokens" / key


def _write(folder: Path, encoder: VisionEncoder, images: ImageSet, view: View) -> None:
    """Encodes everything into a folder beside the final one, then renames it: two processes may do so at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent, ignore_cleanup_errors=True) as temporary:
        made = Path(temporary) / "tokens"
        made.mkdir()
        write_json(made / "index.json", _write_tokens(made / "tokens.f16", encoder, images, view))
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same tokens
                raise


def _write_tokens(file: Path, encoder: VisionEncoder, images: ImageSet, view: View) -> dict:
    grids, broken, has_cls = [], {}, False
    with file.open("wb") as out:
        progress = track(_encode_all(encoder, images, view), f"encoding {images.name} with {encoder.name}", len(images))
        for index, features in progress:
            if isinstance(features, BrokenImage):
                broken[index] = str(features)
                grids.append((0, 0))
                continue
            has_cls = features.cls_token is not None
            if features.cls_token is not None:
                out.write(_rounded(features.cls_token).half().numpy().tobytes())
            out.write(_rounded(features.patch_tokens).half().numpy().tobytes())
            grids.append(features.grid)
    return {"width": encoder.width, "has_cls": has_cls, "grids": grids, "broken": broken}


def _rounded(tokens: Tensor) -> Tensor:
    """On the CPU, in float32 but with the digits of half precision."""
    rounded = tokens.half().float().cpu()
    if not bool(rounded.isfinite().all()):
        raise RunError("patch tokens are NaN or beyond half precision; check the encoder's weights.")
    return rounded


def _encode_all(
    encoder: VisionEncoder, images: ImageSet, view: View
) -> Iterator[tuple[int, PatchFeatures | BrokenImage]]:
    """One item an image, in order. Neighbours of one shape share a forward pass; images are decoded ahead."""

    def load(index: int) -> Tensor | BrokenImage:
        try:
            return view.tensor(encoder, images, index)
        except BrokenImage as broken:
            return broken

    waiting: list[Tensor] = []
    first = 0
    for index, loaded in enumerate(ahead(load, range(len(images)))):
        if waiting and (len(waiting) == BATCH or not isinstance(loaded, Tensor) or loaded.shape != waiting[0].shape):
            yield from enumerate(_encode(encoder, waiting, view), start=first)
            waiting = []
        if isinstance(loaded, BrokenImage):
            yield index, loaded
        else:
            first = first if waiting else index
            waiting.append(loaded)
    if waiting:
        yield from enumerate(_encode(encoder, waiting, view), start=first)


def _encode(encoder: VisionEncoder, tensors: list[Tensor], view: View) -> Iterator[PatchFeatures]:
    """The features of images of one shape; windows lie side by side as one large grid, and have no one CLS token."""
    shape = tensors[0].shape[1:]
    crops = [crop for tensor in tensors for crop in cut(tensor, view.window, view.overlap)]
    chunks = (torch.stack(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH))
    features = [encoder(chunk.to(encoder.device), view.stride) for chunk in chunks]
    (rows, cols), (down, across) = view.window_grid(encoder, shape), view.windows(shape)
    patch_tokens = side_by_side(torch.cat([one.patch_tokens for one in features]), (rows, cols), (down, across))
    cls_tokens = [one.cls_token for one in features if one.cls_token is not None and view.window is None]
    for row in range(len(tensors)):
        cls_token = torch.cat(cls_tokens)[row : row + 1] if cls_tokens else None
        yield PatchFeatures(cls_token, patch_tokens[row : row + 1], (down * rows, across * cols))


def ahead(function: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """`map` by threads, in order, a few batches ahead of what is asked for: loading overlaps with computing."""
    with ThreadPoolExecutor(LOADERS) as pool:
        pending: deque = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * BATCH:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
