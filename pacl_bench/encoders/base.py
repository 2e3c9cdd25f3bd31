"""What every frozen encoder offers, whatever library it comes from. Nothing downstream knows open_clip from timm."""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from pacl_bench.encoders.setup import Setup
from pacl_bench.encoders.spec import Tap
from pacl_bench.errors import NoTextSpace, UsageError
from pacl_bench.progress import track

Module = TypeVar("Module", bound=nn.Module)
Pooling = Literal["token", "average", "attention"]
# CLS token, None where the model has none, and patch tokens
Tokens = tuple[Float[Tensor, "image width"] | None, Float[Tensor, "image patch width"]]


class PatchFeatures(NamedTuple):
    """What a vision encoder makes of a batch of images."""

    cls_token: Float[Tensor, "image width"] | None  # None where no token of the model stands for the whole image
    patch_tokens: Float[Tensor, "image patch width"]  # row by row: patch = row * cols + col
    grid: tuple[int, int]  # (rows, cols)

    def to(self, device: torch.device | str) -> "PatchFeatures":
        """The same on a device."""
        cls_token = None if self.cls_token is None else self.cls_token.to(device)
        return PatchFeatures(cls_token, self.patch_tokens.to(device), self.grid)


@dataclass(frozen=True)
class Preprocess:
    """A model's own way from a photo to its input: resize, crop or not, scale to its mean and spread."""

    image_size: int
    patch_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    resize: str = "shortest"  # to the square: the short side first, or "squash" both

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 size size"]:
        """The centre square: the short side becomes `image_size` pixels, what is over of the long side is cut off.

        A model that was trained on squashed photos is shown the whole of it, both sides made `image_size` pixels.
        """
        return self.normalised(torch.from_numpy(self.square(image)))

    def square(self, image: Image.Image) -> UInt8[np.ndarray, "size size 3"]:
        """The pixels of that square, before they are scaled to the model's mean and spread."""
        if self.resize == "squash":
            return np.array(self._resize(image, self.image_size, self.image_size))
        height, width = self._short_side_to(self.image_size, image)
        top, left = round((height - self.image_size) / 2), round((width - self.image_size) / 2)
        square = (left, top, left + self.image_size, top + self.image_size)
        return np.array(self._resize(image, height, width).crop(square))

    def whole(self, image: Image.Image, short_side: int | None = None) -> Float[Tensor, "3 height width_px"]:
        """The whole image, nothing cut off: the short side becomes `short_side` pixels (default `image_size`).

        Both sides are then rounded to multiples of the patch size, so that patches tile the image exactly; the
        aspect ratio changes by less than half a patch.
        """
        height, width = self.whole_shape((image.height, image.width), short_side)
        return self.normalised(torch.from_numpy(np.array(self._resize(image, height, width))))

    def whole_shape(self, image_shape: tuple[int, int], short_side: int | None = None) -> tuple[int, int]:
        """(height, width) in pixels that `whole` gives an image of (height, width)."""
        short_side, shortest = short_side or self.image_size, min(image_shape)
        # the long side is rounded down, as torchvision's Resize does, which the models were trained with
        height, width = (self._tiled(short_side * side // shortest) for side in image_shape)
        return height, width

    def _short_side_to(self, short_side: int, image: Image.Image) -> tuple[int, int]:
        width, height = image.size
        # the long side is rounded down, as torchvision's Resize does, which the models were trained with
        return short_side * height // min(image.size), short_side * width // min(image.size)

    def _tiled(self, side: int) -> int:
        return max(1, round(side / self.patch_size)) * self.patch_size

    def _resize(self, image: Image.Image, height: int, width: int) -> Image.Image:
        return image.convert("RGB").resize((width, height), Image.Resampling[self.interpolation.upper()])

    def normalised(
        self, pixels: UInt8[Tensor, "*batch height width_px 3"]
    ) -> Float[Tensor, "*batch 3 height width_px"]:
        """Pixels as the model takes them, where they are: on the CPU or another device."""
        scaled = pixels.movedim(-1, -3).float() / 255
        mean, std = (torch.tensor(values, device=pixels.device)[:, None, None] for values in (self.mean, self.std))
        return (scaled - mean) / std


class VisionEncoder(nn.Module):
    """A frozen vision encoder. An adapter sets the attributes and gives `encode_blocks` (or, where there is but one
    block, `encode`), and maybe `project`.

    Attributes:
        name: what the user calls it. spec: the full text it was loaded by.
        patch_size: side of a patch in pixels. width: of a token. image_size: side of the square it was made for, in
            pixels. num_blocks: transformer blocks.
        block: the block (0 is the first) whose tokens are taken. tap: "pre-norm" as the block gives them, or
            "post-norm" after the model's final norm.
        any_stride: whether the patch convolution may step by less than a patch (the stride trick).
        attention: of the last block: "clip" is the model's own, the others are in `encoders.attention`. pos: how
            positional embeddings are interpolated to another grid, one of `encoders.positions`.
        projection_dim: of the text space the model's own projection leads to; None where the model has no text.
        pooling: what the model's own image embedding is made of: the CLS "token", the "average" of its patch tokens,
            or what its pooling head makes of them by "attention".
    """

    name: str
    spec: str
    architecture: str = ""
    patch_size: int
    width: int
    image_size: int
    num_blocks: int = 1
    block: int = 0
    tap: Tap = "pre-norm"
    any_stride: bool = True
    attention: str = "clip"
    pos: str = "bicubic"
    projection_dim: int | None = None
    pooling: Pooling = "token"
    preprocess: Preprocess
    code: dict[str, object] | None = None  # of what is a user's own code: its sha256 and options, for the settings
    blocks_share_a_pass: bool = True  # False where each has a patch size or width of its own
    siblings: "tuple[VisionEncoder, ...]" = ()  # the same encoder at other blocks, encoded in the same pass

    @torch.no_grad()  # not inference_mode: a head is trained on these tensors, and autograd refuses inference tensors
    def forward(self, images: Float[Tensor, "image 3 height width_px"], stride: int | None = None) -> PatchFeatures:
        """CLS and patch tokens of images of any size of at least one patch.

        Args:
            stride: of the patch convolution, in pixels. A stride below the patch size gives overlapping patches and a
                denser grid: PACL's "stride trick" for inference. None is the patch size. Pixels right and below of
                the last whole patch are not seen.
        """
        return self.blocks(images, [self.block], stride)[0]

    @torch.no_grad()
    def blocks(
        self, images: Float[Tensor, "image 3 height width_px"], blocks: list[int], stride: int | None = None
    ) -> list[PatchFeatures]:
        """What `forward` gives for each of several blocks (0 is the first), from one pass through the encoder."""
        stride = stride or self.patch_size
        grid = self.grid_of(images.shape[-2:], stride)
        rows, cols = ((side - 1) * stride + self.patch_size for side in grid)
        blocks = [resolve_block(block, self.num_blocks, self.name) for block in blocks]
        encoded = self.encode_blocks(images[..., :rows, :cols], stride, grid, blocks)
        if any(patch_tokens.shape[1] != grid[0] * grid[1] for _, patch_tokens in encoded):
            raise UsageError(
                f"{self.name} gives no token for each patch (a hybrid of convolutions?). Choose a plain ViT."
            )
        return [PatchFeatures(cls_token, patch_tokens, grid) for cls_token, patch_tokens in encoded]

    def at_block(self, block: int) -> "VisionEncoder":
        """The same encoder, weights and all, giving the tokens of another block."""
        assert self.fingerprint  # computed once for all of them
        other = copy.copy(self)
        other.block = resolve_block(block, self.num_blocks, self.name)
        return other

    def set_up(self, setup: Setup) -> "VisionEncoder":
        """The same encoder, weights and all, run as somebody else runs it; this one stays as it is.

        Changes it has no part for are left out: an encoder without positional embeddings keeps its own way. What
        pixels are scaled by changes in any case.
        """
        other = copy.copy(self)
        other._modules = dict(self._modules)  # a part that is replaced in the one stays in the other
        if setup.pixels is not None:
            other.preprocess = replace(self.preprocess, **setup.pixels._asdict())
        return other

    def grid_of(self, image_shape: tuple[int, ...], stride: int | None = None) -> tuple[int, int]:
        """(rows, cols) of the patches of an image of (height, width) pixels."""
        height, width = image_shape
        stride = stride or self.patch_size
        if not self.any_stride and stride != self.patch_size:
            raise UsageError(f"--stride {stride}: the stride of {self.name} is its own, {self.patch_size}.")
        if not 1 <= stride <= self.patch_size:
            raise UsageError(
                f"--stride {stride}: must lie between 1 and the patch size of {self.name}, {self.patch_size}."
            )
        if min(height, width) < self.patch_size:
            raise UsageError(
                f"An image of {height} x {width} pixels is smaller than one patch of {self.name} "
                f"({self.patch_size} pixels). Resize it first (encoder.preprocess does)."
            )
        return (height - self.patch_size) // stride + 1, (width - self.patch_size) // stride + 1

    def encode_blocks(
        self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int], blocks: list[int]
    ) -> list[Tokens]:
        """The adapter's part of `blocks`: images are tiled exactly by `grid`."""
        encoded = self.encode(images, stride, grid)
        return [encoded for _ in blocks]

    def encode(self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int]) -> Tokens:
        """The same of an encoder that has but one block."""
        raise NotImplementedError

    def project(self, tokens: Float[Tensor, "*batch width"] | None) -> Float[Tensor, "*batch dim"]:
        """Tokens through the model's own projection into its text space: "before alignment".

        Each token goes alone. A model that pools by attention takes it through its pooling head first, as if it were
        all there is of the image: without the head, patch tokens of SigLIP and of PE-Core say nothing of a text.

        Raises:
            NoTextSpace: the model has none. UsageError: `tokens` is the CLS token of a model that has none.
        """
        raise NoTextSpace(f"{self.name} has no text space of its own; give a head trained on it (--heads).")

    def image_embedding(self, features: PatchFeatures) -> Float[Tensor, "image dim"]:
        """The model's own embedding of whole images in its text space (before unit norm), from their tokens.

        It is the library's own where the tokens are those of the last block.
        """
        if features.cls_token is None:
            raise no_cls_token(self.name)
        return self.project(features.cls_token)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the weights, whatever file they came from."""
        return state_sha256(self)

    @property
    def settings(self) -> dict[str, object]:
        """All that decides which tokens come out, besides the weights and the stride; as it stands in JSON."""
        preprocess = {
            key: list(value) if isinstance(value, tuple) else value for key, value in vars(self.preprocess).items()
        }
        # what stands at its default is left out: heads trained before there was a choice still fit
        if self.preprocess.resize == Preprocess.resize:
            del preprocess["resize"]
        chosen = {"attention": self.attention, "pos": self.pos}
        changed = {name: value for name, value in chosen.items() if value != getattr(VisionEncoder, name)}
        return {
            "architecture": self.architecture,
            "block": self.block,
            "tap": self.tap,
            "preprocess": preprocess,
            **changed,
            **(self.code or {}),
        }

    @property
    def device(self) -> torch.device:
        """Where the weights are; where there are none, the CPU."""
        return next((tensor.device for tensor in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    def describe(self) -> dict[str, object]:
        """What a record says of a bare vision encoder as the model."""
        return {"encoder": {"name": self.name, "sha256": self.fingerprint, **self.settings}, "text": None, "head": None}


class TextEncoder(nn.Module):
    """A frozen text encoder with its own projection: `dim` is the width of what it gives."""

    name: str
    spec: str
    architecture: str = ""
    dim: int
    code: dict[str, object] | None = None  # of what is a user's own code: its sha256 and options, for the settings
    BATCH = 256  # texts per forward pass: bounds memory for long lists

    def forward(self, texts: list[str], show_progress: bool = True) -> Float[Tensor, "text dim"]:
        """Text embeddings of unit norm, in float32, on the CPU."""
        embeddings = torch.empty(len(texts), self.dim)
        lengths = self.lengths(texts)
        by_length = sorted(range(len(texts)), key=lengths.__getitem__)  # a batch is padded to its longest
        starts = range(0, len(texts), self.BATCH)
        for start in track(starts, f"encoding texts with {self.name}") if show_progress else starts:
            batch = by_length[start : start + self.BATCH]
            embeddings[batch] = self._unit_norm([texts[index] for index in batch])
        return embeddings

    @torch.no_grad()
    def _unit_norm(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        return nn.functional.normalize(self.encode(texts).float(), dim=-1).cpu()

    def encode(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        """The adapter's part of `forward`: embeddings of any norm."""
        raise NotImplementedError

    @property
    def for_images(self) -> "TextEncoder":
        """The encoder of what of a text whole images are compared to: this one, unless patches have a part alone."""
        return self

    def lengths(self, texts: list[str]) -> list[int]:
        """How long each text is, so that texts of about the same length share a batch: in characters, or in tokens."""
        return [len(text) for text in texts]

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the weights, whatever file they came from."""
        return state_sha256(self)

    def describe(self) -> dict[str, object]:
        """What a record says of the text encoder."""
        return {"name": self.name, "sha256": self.fingerprint, **self.settings}

    @property
    def settings(self) -> dict[str, object]:
        """All that decides which embeddings come out, besides the weights; as it stands in JSON."""
        return {"architecture": self.architecture, **(self.code or {})}


def sharing_weights(module: Module) -> Module:
    """A copy of a module that may be changed, frozen or moved without touching the module.

    The weights lie in the same memory: the copy costs none, and follows when the module is trained on.
    """
    shared = {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in module.parameters()}
    return copy.deepcopy(module, {**shared, **{id(buffer): buffer for buffer in module.buffers()}})


def state_sha256(module: nn.Module) -> str:
    """sha256 over the names and values of all weights of a module."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        # as bytes, since numpy has no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def frozen(module: Module) -> Module:
    """The module in evaluation mode, none of its weights open to training."""
    return module.requires_grad_(False).eval()


def no_cls_token(name: str) -> UsageError:
    """The one line for what asks for the CLS token of a model that has none."""
    return UsageError(
        f"{name} has no CLS token that stands for an image: take image_embedding(features), or a head (--heads)."
    )


def all_tokens(features: PatchFeatures) -> Float[Tensor, "image token width"]:
    """The patch tokens, the CLS token before them where there is one."""
    if features.cls_token is None:
        return features.patch_tokens
    return torch.cat([features.cls_token[:, None], features.patch_tokens], dim=1)


@contextmanager
def patch_stride(convolution: nn.Conv2d, stride: int) -> Iterator[None]:
    """Within the block the patch convolution steps by `stride` pixels."""
    own = convolution.stride
    convolution.stride = (stride, stride)
    try:
        yield
    finally:
        convolution.stride = own


def resolve_block(block: int | None, num_blocks: int, name: str) -> int:
    """The index of a block from 0; None is the last, negative ones count from the end."""
    index = num_blocks - 1 if block is None else block + num_blocks if block < 0 else block
    if not 0 <= index < num_blocks:
        raise UsageError(f"{name}: block={block} does not exist; its blocks are 0 to {num_blocks - 1}.")
    return index
