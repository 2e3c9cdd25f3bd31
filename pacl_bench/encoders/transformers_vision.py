"""Vision transformers of the transformers library, alone or as the vision tower of a dual encoder (CLIP, SigLIP)."""

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import unfold

from pacl_bench.encoders.alone import alone, refuse_unless_alone
from pacl_bench.encoders.base import (
    PatchFeatures,
    Pooling,
    Preprocess,
    Tokens,
    VisionEncoder,
    frozen,
    no_cls_token,
    patch_stride,
    resolve_block,
)
from pacl_bench.encoders.positions import at_grid
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.setup import Setup
from pacl_bench.encoders.spec import Tap
from pacl_bench.encoders.transformers_folder import PROCESSORS, from_pretrained, load_model
from pacl_bench.errors import UsageError


@dataclass(frozen=True)
class Family:
    """What vision towers of one model type have in common."""

    tap: Tap = "post-norm"  # whose tokens its own `last_hidden_state` holds
    has_cls: bool = True
    pooling: Pooling = "token"
    pos: str = "bicubic"  # how its positions come to another grid where nobody says


CLIPS, VITS = Family(tap="pre-norm"), Family()
FAMILIES: dict[str, Family] = {  # by the model_type in the tower's config.json
    "clip_vision_model": CLIPS,
    "metaclip_2_vision_model": CLIPS,
    "altclip_vision_model": CLIPS,
    "chinese_clip_vision_model": CLIPS,
    "clipseg_vision_model": CLIPS,
    "siglip_vision_model": Family(has_cls=False, pooling="attention"),
    # its only positions are a square of 16 x 16 that it always brings to the image's grid itself
    "siglip2_vision_model": Family(has_cls=False, pooling="attention", pos="bilinear"),
    "tipsv2_vision_model": Family(pos="bilinear"),
    "dinov2": VITS,
    "dinov2_with_registers": VITS,
    "dinov3_vit": VITS,
    "vit": VITS,
    "vit_msn": VITS,
}
NORMS = ("post_layernorm", "layernorm", "norm")  # what the final norm is called


class TransformersVisionEncoder(VisionEncoder):
    """A vision transformer of transformers, with CLS token or without, and any number of registers behind it.

    Args:
        model: a vision model, or a dual encoder with a vision and a text tower.
        tap: None takes the tokens that the library calls `last_hidden_state`; pos: None is the model's own way.
    """

    def __init__(
        self,
        name: str,
        model: Any,  # of transformers; pyright cannot know its attributes
        preprocess: Preprocess,
        block: int | None = None,
        tap: Tap | None = None,
        pos: str | None = None,
    ):
        super().__init__()
        self.name = self.spec = name
        self.family, tower = family_of(name, model)
        self.tower = frozen(tower)
        self.preprocess = preprocess
        self.patch_size, self.image_size = preprocess.patch_size, preprocess.image_size
        self.width = tower.config.hidden_size
        self.layers = next(module for module in tower.modules() if isinstance(module, nn.ModuleList))
        self.norm = next(getattr(tower, norm) for norm in NORMS if hasattr(tower, norm))
        self.num_prefix = self.family.has_cls + getattr(tower.config, "num_register_tokens", 0)
        self.num_blocks = len(self.layers)
        self.block = resolve_block(block, self.num_blocks, name)
        self.tap, self.pos = tap or self.family.tap, pos or self.family.pos
        # DINOv3's positions rotate by the whole patches there are: the stride trick would give it others
        self.any_stride = self._positions is not None
        if pos is not None and self._positions is None:
            raise UsageError(f"{name}: pos={pos} is for positional embeddings, and its positions rotate; leave it out.")
        if self.tap == "values":
            refuse_unless_alone(name, self.layers[self.block], self.width)
        # a ViT in a VisionTextDualEncoder leads its CLS token through a pooler, which is not for patches
        pools = self.family.pooling == "token" or tower.use_head
        if hasattr(model, "text_model") and pools and getattr(tower, "pooler", None) is None:
            self.pooling = self.family.pooling
            # SigLIP and TIPSv2 have none
            self.projection = frozen(getattr(model, "visual_projection", None) or nn.Identity())
            self.projection_dim = getattr(self.projection, "out_features", self.width)

    @property
    def _positions(self) -> Float[Tensor, "1 token width"] | None:
        """Its positional embedding, that of the CLS token first."""
        embeddings = self.tower.embeddings
        found = getattr(embeddings, "position_embeddings", None)  # a weight; CLIP and SigLIP have an nn.Embedding
        if found is None and hasattr(embeddings, "position_embedding"):
            found = embeddings.position_embedding.weight[None]
        return found

    def set_up(self, setup: Setup) -> "VisionEncoder":
        other = super().set_up(setup)
        if setup.pos is not None and self._positions is not None:
            other.pos = setup.pos
        if setup.attention == "maskclip":  # by another name
            refuse_unless_alone(self.name, self.layers[self.block], self.width)
            other.tap = "values"
        return other

    def encode_blocks(
        self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int], blocks: list[int]
    ) -> list[Tokens]:
        with ExitStack() as stack:
            states = [stack.enter_context(_observed(self.layers[block])) for block in blocks]
            self._run(images, stride, grid)
        return [self._tokens(block, **state) for block, state in zip(blocks, states, strict=True)]

    def _run(self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int]) -> None:
        """One pass through the tower."""
        with ExitStack() as stack:
            if self._positions is not None:
                stack.enter_context(_replaced(self.tower.embeddings, "interpolate_pos_encoding", self._at_grid(grid)))
            convolution = next(module for module in self.tower.modules() if isinstance(module, nn.Conv2d))
            stack.enter_context(patch_stride(convolution, stride))
            self.tower(images, **_interpolates(self.tower))

    def _at_grid(self, grid: tuple[int, int]) -> Float[Tensor, "1 token width"]:
        positions = self._positions
        assert positions is not None
        side = isqrt(positions.shape[1] - self.family.has_cls)
        return at_grid(positions, grid, (side, side), int(self.family.has_cls), self.pos)

    def _tokens(self, block: int, given: Tensor, out: Tensor) -> Tokens:
        patch_tokens = out[:, self.num_prefix :]
        if self.tap == "values":
            patch_tokens = alone(self.layers[block], given[:, self.num_prefix :])
        cls_token = out[:, 0] if self.family.has_cls else None
        if self.tap == "pre-norm":
            return cls_token, patch_tokens
        return None if cls_token is None else self.norm(cls_token), self.norm(patch_tokens)

    @torch.no_grad()
    def project(self, tokens: Float[Tensor, "*batch width"] | None) -> Float[Tensor, "*batch dim"]:
        if self.projection_dim is None:
            return super().project(tokens)
        if tokens is None:
            raise no_cls_token(self.name)
        tokens = self._normed(tokens)
        if self.pooling == "attention":
            tokens = self.tower.head(tokens.reshape(-1, 1, self.width)).reshape(*tokens.shape[:-1], -1)
        return self.projection(tokens)

    @torch.no_grad()
    def image_embedding(self, features: PatchFeatures) -> Float[Tensor, "image dim"]:
        if self.projection_dim is None or self.pooling == "token":
            return super().image_embedding(features)
        return self.projection(self.tower.head(self._normed(features.patch_tokens)))

    def _normed(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.norm(tokens) if self.tap == "pre-norm" else tokens


class NaFlexVisionEncoder(TransformersVisionEncoder):
    """SigLIP 2's tower for images of any shape (Siglip2Model): it takes patches, not images."""

    def _run(self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int]) -> None:
        patches = unfold(images, self.patch_size, stride=stride).unflatten(1, (3, -1))
        patches = patches.movedim(3, 1).transpose(2, 3).flatten(2)  # a pixel's three channels side by side
        shapes = torch.tensor([grid] * len(images), device=images.device)
        mask = torch.ones(patches.shape[:2], dtype=torch.int32, device=images.device)
        with _replaced(self.tower.embeddings, "resize_positional_embeddings", self._at_grid(grid)):
            self.tower(patches, pixel_attention_mask=mask, spatial_shapes=shapes)


def family_of(name: str, model: Any) -> tuple[Family, Any]:
    """The family of a model's vision tower, and the tower; a UsageError where there is none of a known family."""
    tower = getattr(model, "vision_model", model)
    kind = tower.config.model_type
    if kind not in FAMILIES:
        raise UsageError(
            f"{name}: a {type(model).__name__} ({kind}) gives no patch tokens here. Its vision tower must be one of "
            f"{', '.join(FAMILIES)}."
        )
    return FAMILIES[kind], tower


@contextmanager
def _observed(layer: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within the block: what a layer was given last, and what it made of it."""
    seen: dict[str, Tensor] = {}

    def keep(_module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Any) -> None:
        seen["given"] = given[0] if given else named["hidden_states"]
        seen["out"] = out[0] if isinstance(out, tuple) else out  # a tuple in versions before 5

    handle = layer.register_forward_hook(keep, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def _replaced(module: nn.Module, method: str, value: Tensor) -> Iterator[None]:
    """Within the block a method of a module returns a value, whatever it is called with."""
    vars(module)[method] = lambda *_given, **_named: value
    try:
        yield
    finally:
        del vars(module)[method]


def _interpolates(tower: nn.Module) -> dict[str, bool]:
    """What makes a tower take images of any size: some are told to, the others do so anyway."""
    option = "interpolate_pos_encoding"
    return {option: True} if option in inspect.signature(tower.forward).parameters else {}


def load_transformers_vision(request: EncoderRequest) -> TransformersVisionEncoder:
    """The vision tower of a folder that `save_pretrained` wrote, or of the hub; photos as its own processor says."""
    name, options = request.spec.name, request.vision_options
    model = load_model(name, request.entry.model)
    _, tower = family_of(name, model)
    folder = Path(request.entry.model)
    if folder.is_dir() and not any((folder / file).is_file() for file in PROCESSORS):
        raise UsageError(f"{name}: {folder} has no {PROCESSORS[0]}, which says how photos are shown to it.")
    processor = from_pretrained(name, request.entry.model, "AutoImageProcessor")
    preprocess = preprocessing(processor, tower.config.patch_size, options.size)
    given = request.spec.options
    kind = NaFlexVisionEncoder if tower.config.model_type == "siglip2_vision_model" else TransformersVisionEncoder
    make = partial(kind, name, model, preprocess, options.block)
    encoder = make(options.tap if "tap" in given else None, options.pos if "pos" in given else None)
    encoder.architecture = f"transformers:{tower.config.model_type}"  # what it is the folder says, not its name
    return encoder


def preprocessing(processor: Any, patch_size: int, size: int | None) -> Preprocess:
    """What an image processor of transformers does, as far as it can be told from its settings."""
    normalised = processor.do_normalize
    mean = tuple(processor.image_mean) if normalised else (0.0,) * 3
    std = tuple(processor.image_std) if normalised else (1.0,) * 3
    own, squashed = _size(processor, patch_size)
    interpolation = Image.Resampling(int(processor.resample)).name.lower()
    return Preprocess(size or own, patch_size, mean, std, interpolation, "squash" if squashed else "shortest")


def _size(processor: Any, patch_size: int) -> tuple[int, bool]:
    """Side of the square that a processor makes of a photo, and whether both sides are squashed to it."""
    crop = getattr(processor, "crop_size", None)
    if getattr(processor, "do_center_crop", False) and crop:
        return _side(crop), False
    if getattr(processor, "size", None):
        return _side(processor.size), "height" in _entries(processor.size)
    return patch_size * isqrt(processor.max_num_patches), False  # SigLIP 2's: as many patches as it may have


def _side(size: Any) -> int:
    entries = _entries(size)
    return entries.get("height") or entries["shortest_edge"]


def _entries(size: Any) -> dict[str, int]:
    """A size of transformers, which is a dict or has attributes, those that are set."""
    entries = dict(size) if isinstance(size, dict) else vars(size)
    return {name: value for name, value in entries.items() if value}
