"""Patch tokens of whole image sets: encoded once, kept on disk, read from there ever after."""

import errno
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.filesize import decimal
from torch import Tensor

from pacl_bench import cores, processes
from pacl_bench.caching import disk
from pacl_bench.caching.token_file import FORMAT, CachedTokens, DamagedTokens, TokenWriter, flat, opened, rounded
from pacl_bench.encoders.base import PatchFeatures, VisionEncoder
from pacl_bench.encoders.batched import BATCH, Blocks, ahead, encode_all, encode_batch, encoded_batches, loaded_ahead
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError
from pacl_bench.files import WriteError
from pacl_bench.image_sets import BrokenImage, ImageSet, contents_of, contents_sample
from pacl_bench.paths import cache_root
from pacl_bench.progress import bar, note, track
from pacl_bench.signals import stop_if_asked


@dataclass(frozen=True, eq=False)
class EncodedSet:
    """The patch tokens of an image set: of these images, by this encoder, under this view, wherever they are.

    They are kept in the cache where they fit, and encoded whenever they are asked for where they do not. Tokens are
    rounded to half precision in either case, so that a number does not depend on it.
    """

    encoder: VisionEncoder
    images: ImageSet
    view: View
    workers: int | None = None  # processes that decode; None leaves it to `pacl_bench.cores`

    @cached_property
    def key(self) -> str:
        """What the cache knows the tokens by: a hash over all that decides which tokens they are.

        It costs a look at every file of the set, and is computed once. Tokens that an earlier version kept, which did
        not look into the files, or not into as much of them, keep the key they have.
        """
        identity = {
            "format": FORMAT,
            "weights": self.encoder.fingerprint,
            "settings": self.encoder.settings,
            "images": self.images.fingerprint,
            "view": self.view.identity,
        }
        looked_into = [contents_sample(self.images), contents_of(self.images)]
        keys = [_hash(identity), *(_hash({**identity, "contents": seen}) for seen in looked_into if seen)]
        return next(filter(disk.holds, keys), keys[-1])

    @property
    def folder(self) -> Path:
        """Where the cache keeps the tokens."""
        return disk.tokens_folder(self.key)

    @property
    def is_cached(self) -> bool:
        """Whether the tokens are on disk already."""
        return disk.is_there(self.folder)

    @property
    def estimated_bytes(self) -> int:
        """Disk space for the tokens; an image shown whole is taken to be 4:3."""
        side = self.view.short_side or self.encoder.image_size
        shape = (side, side * 4 // 3 if self.view.whole else side)
        tokens = math.prod((*self.view.windows(shape), *self.view.window_grid(self.encoder, shape)))
        return len(self.images) * (tokens + 1) * self.encoder.width * 2

    @property
    def own(self) -> range:
        """The images whose features this process has: its share of all, where several measure together."""
        return processes.share(len(self.images))

    def features(self) -> Iterator[tuple[int, PatchFeatures]]:
        """(index, features of one image) for the process's own images in order, from the cache where they are or fit.

        Raises:
            RunError: an image that does not decode: a measurement never leaves out an image in silence.
        """
        if len(self.own) == len(self.images) or processes.agreed(self.is_cached):
            yield from self._features(self.own)
            return
        part = replace(self, images=ImagePart(self.images, self.own))
        for index, features in part._features(range(len(self.own))):
            yield self.own[index], features

    def _features(self, indices: range) -> Iterator[tuple[int, PatchFeatures]]:
        kept = self.kept()
        if kept is None:
            yield from self._online(indices)
            return
        if kept.broken:
            index, cause = next(iter(kept.broken.items()))
            raise RunError(
                f"{self.images.name}: {cause} ({len(kept.broken)} broken in all, the first is number {index})."
            )
        for index in indices:
            stop_if_asked()
            try:
                features = kept[index]
            except DamagedTokens:  # what went before was checked
                note(f"{self.folder}: the patch tokens of image {index} are damaged; encoding again from there on")
                yield from self._online(range(index, indices.stop))
                return
            yield index, features

    def _online(self, indices: range) -> Iterator[tuple[int, PatchFeatures]]:
        """What `features` gives of these images, by the encoder."""
        for index, features in encode_all(self.encoder, self.images, self.view, indices.start, self.workers):
            if index == indices.stop:
                return
            if isinstance(features, BrokenImage):
                raise RunError(f"{self.images.name}: {features}")
            cls_token = None if features.cls_token is None else rounded(features.cls_token)
            yield index, PatchFeatures(cls_token, rounded(features.patch_tokens), features.grid)

    def tokens(self) -> "CachedTokens | OnlineTokens":
        """The features by image, in any order: for training."""
        kept = self.kept()
        return OnlineTokens(self) if kept is None else kept

    def kept(self) -> CachedTokens | None:
        """The features in the cache, encoded now if it does not hold them; None where they do not fit.

        PACL_CACHE_LIMIT (default 20GB, 0 for never) bounds the whole cache; what is not in use makes room. An encoding
        that was interrupted is gone on with. If another process is at it, it is waited for. In a cache that this user
        may not write to nothing fits; one line says so.
        """
        try:
            kept = opened(self.folder, len(self.images))
            if kept is None and disk.fits(self.key, self.estimated_bytes):
                kept = _made(self)
        except WriteError as error:
            disk.say_not_kept(cache_root(), error.cause)
            return None
        if kept is None:
            self._say_not_kept()
        else:
            disk.touch(self.folder)
        return kept

    def _say_not_kept(self) -> None:
        note(
            f"encoding {self.title}: about {decimal(self.estimated_bytes)} of patch tokens, which are not kept (limit "
            f"{decimal(disk.cache_limit())}: PACL_CACHE_LIMIT)"
        )

    @property
    def title(self) -> str:
        """What lines on the console call it: "voc20 with clip-b16"."""
        return f"{self.images.name} with {self.encoder.name}"

    @property
    def about(self) -> dict[str, Any]:
        """What `pacl-bench cache info` says of it."""
        return {
            "encoder": self.encoder.name,
            "dataset": self.images.name,
            "images": len(self.images),
            "view": {
                **self.view.identity,
                "short_side": self.view.short_side or self.encoder.image_size,
                "stride": self.view.stride or self.encoder.patch_size,
                "block": self.encoder.settings.get("block"),
                "tap": self.encoder.settings.get("tap"),
            },
            "bytes": self.estimated_bytes,
        }


@dataclass(frozen=True)
class ImagePart:
    """Some consecutive images of a set, as a set of images."""

    images: ImageSet
    indices: range

    @property
    def name(self) -> str:
        return self.images.name

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Image.Image:
        """That of the whole set."""
        return self.images.image(self.indices[index])

    @cached_property
    def fingerprint(self) -> str:
        """That of the whole set, and which of its images these are."""
        return f"{self.images.fingerprint} {self.indices.start}:{self.indices.stop}"

    @property
    def contents_sample(self) -> str:
        """That of the whole set."""
        return contents_sample(self.images)

    @property
    def contents(self) -> str:
        """That of the whole set."""
        return contents_of(self.images)


def _hash(identity: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def shared_tokens(whole: EncodedSet) -> "Iterator[tuple[range, CachedTokens | OnlineTokens]]":
    """The tokens of a set, part by part, with the images that each part has: one part for each process.

    The whole is one part where the cache holds it already, and where there is but one process. Else each process
    encodes its part, and waits for the others.
    """
    if processes.world_size() == 1 or processes.agreed(whole.is_cached):
        yield range(len(whole.images)), whole.tokens()
        return
    parts = [
        replace(whole, images=ImagePart(whole.images, part))
        for part in processes.each(processes.share(len(whole.images)))
    ]
    parts[processes.rank()].kept()
    processes.each(None)  # once all have come here, all parts are encoded
    for part in parts:
        assert isinstance(part.images, ImagePart)
        yield part.images.indices, part.tokens()


class OnlineTokens:
    """The features of an image set that is too large for the cache: encoded whenever they are asked for."""

    def __init__(self, encoded: EncodedSet):
        self.encoded = encoded
        images = encoded.images
        # decoded once beforehand, so that which images count is known before the first batch
        loading = cores.loaders(encoded.encoder.device.type == "cpu", encoded.workers)
        causes = loaded_ahead(self._cause, range(len(images)), loading, images.name)
        checks = track(causes, f"checking {images.name}", len(images))
        self.broken = {index: cause for index, cause in enumerate(checks) if cause is not None}

    def batch(self, indices: list[int]) -> Tensor:
        """Patch tokens "image patch width" of images of one shape, in float32."""
        encoder, images, view = self.encoded.encoder, self.encoded.images, self.encoded.view
        tensors = list(ahead(lambda index: view.tensor(encoder, images, index), indices))
        chunks = [tensors[start : start + BATCH] for start in range(0, len(tensors), BATCH)]
        features = (one for chunk in chunks for one in encode_batch(encoder, chunk, view))
        return torch.cat([rounded(one.patch_tokens) for one in features])

    def _cause(self, index: int) -> str | None:
        try:
            self.encoded.images.image(index)
        except BrokenImage as broken:
            return str(broken)
        return None


def _made(wanted: EncodedSet) -> CachedTokens | None:
    """What the cache lacks or holds damaged, encoded; with it those of the encoder's siblings that are missing too."""
    together, images = _together(wanted), len(wanted.images)
    with ExitStack() as held:
        for one in together:
            held.enter_context(disk.encoding(one.key, one.title))
        # another process may have made some by now
        missing = [one for one in together if opened(one.folder, images) is None]
        for damaged in (one for one in missing if one.is_cached):
            if not disk.remove_folder(damaged.folder):
                raise WriteError(damaged.folder, PermissionError(errno.EACCES, ""))
            note(f"the cached patch tokens of {damaged.title} are damaged; encoding them again")
        if missing:
            _write(missing)
        return opened(wanted.folder, images)


def _together(wanted: EncodedSet) -> list[EncodedSet]:
    """The set with those of the encoder's siblings that the cache lacks, where there is room for them all."""
    others = [replace(wanted, encoder=one) for one in wanted.encoder.siblings if one.block != wanted.encoder.block]
    together = [wanted, *(one for one in others if not one.is_cached)]
    together.sort(key=lambda one: one.encoder.block)  # processes that take the same locks take them in one order
    return together if disk.fits(wanted.key, wanted.estimated_bytes * len(together)) else [wanted]


def _write(sets: list[EncodedSet]) -> None:
    """Encodes everything into the cache, from where an interrupted run left off.

    Args:
        sets: one, or those of several blocks of one encoder, which come from the same passes.
    """
    encoder = sets[0].encoder if len(sets) == 1 else Blocks([one.encoder for one in sets])
    title = f"encoding {sets[0].images.name} with {encoder.name}"
    held = sum(entry.bytes for entry in disk.entries())
    note(
        f"{title}: about {decimal(len(sets) * sets[0].estimated_bytes)} of patch tokens into {cache_root()} "
        f"(limit {decimal(disk.cache_limit())}, {decimal(held)} used)"
    )
    try:
        begun = [disk.begin(one.key, one.about) for one in sets]
        with ExitStack() as stack:
            writers = [
                stack.enter_context(TokenWriter(folder, one.encoder.width))
                for folder, one in zip(begun, sets, strict=True)
            ]
            _encode(replace(sets[0], encoder=encoder), writers)
        for writer in writers:
            writer.finish()
    except WriteError as error:
        if not error.full:
            raise
        raise RunError(
            f"{title}: {error.cause}. What is encoded is kept. Make room (`pacl-bench cache clear`), set PACL_CACHE to "
            "another disk, or PACL_CACHE_LIMIT=0 to keep nothing; then give the same command again."
        ) from None


def _encode(wanted: EncodedSet, writers: list[TokenWriter]) -> None:
    """What the writers, one for each block of the encoder, do not have yet."""
    images = wanted.images
    done = min(writer.images for writer in writers)
    if done:
        note(f"{done:,} of {len(images):,} images were encoded before; going on from there")
    with bar() as progress:
        task = progress.add_task(f"encoding {wanted.title}", total=len(images), completed=done)
        for batch in encoded_batches(wanted.encoder, images, wanted.view, done, wanted.workers):
            _add(batch, writers, done)
            done += 1 if isinstance(batch, BrokenImage) else len(batch)
            progress.update(task, completed=done)


def _add(batch: list[PatchFeatures] | BrokenImage, writers: list[TokenWriter], done: int) -> None:
    """Hands each writer its part of the tokens; one that had more before an interruption waits for the others."""
    if isinstance(batch, BrokenImage):
        for writer in (writer for writer in writers if writer.images == done):
            writer.add_broken(str(batch))
        return
    parts = zip(*(np.split(flat(features), len(writers), axis=-1) for features in batch), strict=True)
    for writer, part in zip(writers, parts, strict=True):
        if writer.images == done:
            writer.add(batch[0].grid, batch[0].cls_token is not None, part)
