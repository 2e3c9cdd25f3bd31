"""Vision transformers of timm: DINO, DINOv2, MAE and any other by its name. They know no text."""

import inspect
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from jaxtyping import Float
from timm.data.config import resolve_data_config
from timm.models.naflexvit import NaFlexVit
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn
from torch.func import functional_call

from pacl_bench.encoders.alone import alone, refuse_unless_alone
from pacl_bench.encoders.base import (
    PatchFeatures,
    Pooling,
    Preprocess,
    Tokens,
    VisionEncoder,
    all_tokens,
    frozen,
    no_cls_token,
    patch_stride,
    resolve_block,
)
from pacl_bench.encoders.hub import hub_access
from pacl_bench.encoders.positions import at_grid
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.setup import Setup
from pacl_bench.encoders.spec import Tap, VisionOptions
from pacl_bench.encoders.weight_names import Weights, below_prefix, vit_weights, without_top
from pacl_bench.encoders.weights_files import failed_download, find_weights, other_names, read_state_dict
from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name


class TimmVisionEncoder(VisionEncoder):
    """A vision transformer of timm, with any number of prefix tokens (CLS, registers, distillation).

    Args:
        trunk: one whose patch embedding takes any image size (`dynamic_img_size=True`).
        projection: what an open_clip model puts behind its trunk to reach its text space.
    """

    def __init__(
        self,
        name: str,
        trunk: Any,  # a model of timm; pyright cannot know its attributes
        preprocess: Preprocess,
        block: int | None = None,
        tap: Tap = "post-norm",
        projection: nn.Module | None = None,
        pos: str = "bicubic",
    ):
        super().__init__()
        self.name = self.spec = name
        self.trunk = frozen(trunk)
        self.projection = frozen(projection) if projection is not None else None
        self.preprocess = preprocess
        self.patch_size = patch_size_of(trunk)
        # patches of several convolutions (MobileCLIP-B, ViTamin) and trunks of one size alone have one stride
        self.any_stride = bool(getattr(trunk, "dynamic_img_size", False)) and not hasattr(trunk.patch_embed, "backbone")
        self.image_size = preprocess.image_size
        # SAM's final norm is part of the neck behind its blocks
        in_neck = isinstance(trunk, VisionTransformerSAM) and tap != "pre-norm"
        self.width = trunk.neck[0].out_channels if in_neck else trunk.embed_dim  # type: ignore[index]
        self.num_blocks = len(trunk.blocks)
        self.block = resolve_block(block, self.num_blocks, name)
        self.tap = tap
        self.pos = pos
        if pos != "bicubic" and not self._positions_change:
            raise UsageError(f"{name}: pos={pos} is for plain ViTs with positional embeddings; leave it out.")
        if tap == "values":
            refuse_unless_alone(name, trunk.blocks[self.block], self.width)
        pooling = _pooling(trunk)
        if projection is not None and pooling is not None:
            self.pooling = pooling
            self.projection_dim = self._behind_pool(torch.zeros(1, self.width)).shape[1]

    @property
    def _positions_change(self) -> bool:
        """Whether it has positional embeddings that can be interpolated in another way."""
        return isinstance(self.trunk, VisionTransformer) and self.trunk.pos_embed is not None

    def set_up(self, setup: Setup) -> "VisionEncoder":
        other = super().set_up(setup)
        if setup.pos is not None and self._positions_change:
            other.pos = setup.pos
        return other

    def encode_blocks(
        self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int], blocks: list[int]
    ) -> list[Tokens]:
        self._refuse_other_sizes(grid)
        taken = sorted(set(blocks))  # the order in which they are come by
        # timm knows bicubic alone, but leaves an embedding as it is that has the grid's size already
        position = {} if self.pos == "bicubic" else {"trunk.pos_embed": self._position(grid)}
        with ExitStack() as stack:
            given = [stack.enter_context(_given(self.trunk.blocks[block])) for block in taken]
            if self.any_stride:
                embed = self.trunk.patch_embed
                own_grid = embed.grid_size
                stack.enter_context(patch_stride(embed.proj, stride))
                stack.enter_context(_set(embed, img_size=None, grid_size=grid if position else own_grid))
            outs = functional_call(_Intermediates(self.trunk), position, (images,), self._asked(taken))
        tokens = [self._tokens(out) for out in outs]
        if self.tap == "values":
            tokens = [self._values(*one) for one in zip(tokens, taken, given, strict=True)]
        by_block = dict(zip(taken, tokens, strict=True))
        return [by_block[block] for block in blocks]

    def _asked(self, blocks: list[int]) -> dict[str, Any]:
        """What the trunk is asked for: SAM's gives its tokens as a map; CaiT and ConViT give patch tokens alone."""
        asked = {"indices": blocks, "norm": self.tap != "pre-norm", "stop_early": True, "intermediates_only": True}
        if isinstance(self.trunk, VisionTransformerSAM):
            return asked
        if "return_prefix_tokens" in inspect.signature(self.trunk.forward_intermediates).parameters:
            asked["return_prefix_tokens"] = self.trunk.num_prefix_tokens > 0
        return asked | {"output_fmt": "NLC"}

    def _refuse_other_sizes(self, grid: tuple[int, int]) -> None:
        """A UsageError for a grid that a trunk of one size alone does not take."""
        flexible = isinstance(self.trunk, NaFlexVit | VisionTransformerSAM)
        if flexible or getattr(self.trunk, "dynamic_img_size", False):
            return
        own = tuple(self.trunk.patch_embed.grid_size)
        if grid != own:
            size = own[0] * self.patch_size
            raise UsageError(
                f"{self.name} takes images of {size} x {size} pixels alone in timm: show it windows of that size "
                f"(--size {size} --window {size})."
            )

    def _position(self, grid: tuple[int, int]) -> Float[Tensor, "1 token width"]:
        num_prefix_tokens = 0 if self.trunk.no_embed_class else self.trunk.num_prefix_tokens
        return at_grid(self.trunk.pos_embed, grid, self.trunk.patch_embed.grid_size, num_prefix_tokens, self.pos)

    def _tokens(self, out: Any) -> Tokens:
        if isinstance(out, Tensor):  # a model without prefix tokens
            return None, out.flatten(2).mT if out.ndim == 4 else out
        patch_tokens, prefix_tokens = out
        # the CLS token comes first where there is one; a model may have registers alone
        return prefix_tokens[:, 0] if _has_cls_token(self.trunk) else None, patch_tokens

    def _values(self, tokens: Tokens, block: int, given: list[Tensor]) -> Tokens:
        cls_token, patch_tokens = tokens
        before = given[0][:, -patch_tokens.shape[1] :]
        return cls_token, self.trunk.norm(alone(self.trunk.blocks[block], before))

    def project(self, tokens: Float[Tensor, "*batch width"] | None) -> Float[Tensor, "*batch dim"]:
        if self.projection_dim is None:
            return super().project(tokens)
        if tokens is None:
            raise no_cls_token(self.name)
        pooled = self._normed(tokens).reshape(-1, self.width)
        if self.pooling == "attention":
            pooled = self.trunk.attn_pool(pooled[:, None])
        return self._behind_pool(pooled).reshape(*tokens.shape[:-1], -1)

    @torch.no_grad()
    def image_embedding(self, features: PatchFeatures) -> Float[Tensor, "image dim"]:
        if self.projection_dim is None or self.pooling == "token":
            return super().image_embedding(features)
        if self.pooling == "average":
            return self._behind_pool(self._normed(features.patch_tokens).mean(1))
        with_cls = getattr(self.trunk, "pool_include_prefix", True)
        tokens = all_tokens(features) if with_cls else features.patch_tokens
        return self._behind_pool(self.trunk.attn_pool(self._normed(tokens)))

    def _normed(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.trunk.norm(tokens) if self.tap == "pre-norm" else tokens

    @torch.no_grad()
    def _behind_pool(self, pooled: Float[Tensor, "image width"]) -> Float[Tensor, "image dim"]:
        """What stands for an image, or a token in its place, in the text space."""
        assert self.projection is not None
        return self.projection(self.trunk.head(self.trunk.head_drop(self.trunk.fc_norm(pooled))))


def _pooling(trunk: Any) -> Pooling | None:
    """How a trunk pools its tokens; None where it does so in a way that no released CLIP has."""
    if getattr(trunk, "attn_pool", None) is None:
        return {"token": "token", "avg": "average"}.get(trunk.global_pool)  # type: ignore[return-value]
    # registers are not kept, so a pool that wants them has not all it wants
    return "attention" if trunk.num_prefix_tokens == _has_cls_token(trunk) else None


def _has_cls_token(trunk: Any) -> bool:
    holder = trunk.embeds if isinstance(trunk, NaFlexVit) else trunk
    return getattr(holder, "cls_token", None) is not None


class _Intermediates(nn.Module):
    """A trunk whose `forward` is its `forward_intermediates`, since functional_call calls `forward`."""

    def __init__(self, trunk: Any):
        super().__init__()
        self.trunk = trunk

    def forward(self, images: Float[Tensor, "image 3 height width_px"], **options: Any) -> list[Any]:
        return self.trunk.forward_intermediates(images, **options)


@contextmanager
def _given(block: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block: the tokens that a transformer block was given."""
    seen: list[Tensor] = []
    handle = block.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def _set(patch_embed: Any, **attributes: Any) -> Iterator[None]:
    """Within the block a patch embedding has other attributes.

    Without `img_size` it does not ask that the image be a multiple of the patch size. With the stride trick it is not:
    224 = 16 + 52 * 4. The encoder has cut off what no whole patch covers.
    """
    own = {name: getattr(patch_embed, name) for name in attributes}
    vars(patch_embed).update(attributes)
    try:
        yield
    finally:
        vars(patch_embed).update(own)


def patch_size_of(trunk: Any) -> int:
    """Side of the square of pixels that a token stands for."""
    embed: Any = trunk.embeds if isinstance(trunk, NaFlexVit) else trunk.patch_embed
    return embed.feat_ratio()


def load_timm_vision(request: EncoderRequest) -> TimmVisionEncoder:
    """A model of timm with the weights of a file, of PACL_WEIGHTS, or of the hub.

    A file may be in timm's own format or in that of the model's first release (DINO, DINOv2, MAE): timm's conversion
    is applied to it.
    """
    name, model = request.weights_name, request.entry.model
    _refuse_unknown(name, model)
    weights = find_weights(name, request.spec.file)
    trunk = _from_file(model, weights) if weights else _from_hub(name, model)
    return _encoder(name, trunk, request.vision_options)


def load_random_vit(request: EncoderRequest) -> TimmVisionEncoder:
    """A model of timm that was never trained: what its architecture alone gives.

    All matrices and embeddings are drawn uniformly with a standard deviation of 0.02, ViT's usual one; biases are 0,
    scales as timm sets them. The draw is NumPy's frozen generator with seed 0: the same weights on every machine.
    """
    name, model = request.weights_name, request.entry.model
    _refuse_unknown(name, model)
    with torch.random.fork_rng(devices=[]):  # what timm draws is drawn over
        trunk = _create(model, num_classes=0)
    draw = np.random.RandomState(0)
    for name_of_weight, weight in trunk.named_parameters():
        if weight.ndim > 1:
            values = (2 * draw.random_sample(tuple(weight.shape)) - 1) * (0.02 * math.sqrt(3))
            weight.data.copy_(torch.from_numpy(values))
        elif name_of_weight.endswith("bias"):
            weight.data.zero_()
    return _encoder(name, trunk, request.vision_options)


def any_size(trunk: Any) -> Any:
    """The same trunk, weights and all, that takes images of any size: open_clip makes them for one size alone."""
    if getattr(trunk, "dynamic_img_size", True):  # those that do not say so take any, or one alone
        return trunk
    architecture, pool = trunk.pretrained_cfg["architecture"], trunk.global_pool
    other = _create(architecture, num_classes=trunk.num_classes, global_pool=pool)
    other.load_state_dict(trunk.state_dict())
    return other


def _refuse_unknown(name: str, model: str) -> None:
    if not timm.is_model(model):
        raise UsageError(
            f"{name}: {unknown_name(model, timm.list_models(pretrained=True) + timm.list_models(), 'timm model')}"
        )


def _encoder(name: str, trunk: Any, options: VisionOptions) -> TimmVisionEncoder:
    config = resolve_data_config({}, model=trunk)
    size = options.size or config["input_size"][-1]
    preprocess = Preprocess(size, patch_size_of(trunk), config["mean"], config["std"], config["interpolation"])
    return TimmVisionEncoder(name, trunk, preprocess, options.block, options.tap, pos=options.pos)


def _create(name: str, **options: Any) -> Any:
    try:
        trunk = timm.create_model(name, dynamic_img_size=True, **options)
    except TypeError:  # of one size alone (BEiT), of any (SAM, NaFlex), or a convolutional network
        _refuse_unless_vit(name, timm.create_model(name))  # before its weights are downloaded
        trunk = timm.create_model(name, **options)
    _refuse_unless_vit(name, trunk)
    return trunk


def _refuse_unless_vit(name: str, trunk: Any) -> None:
    if not is_vit(trunk):
        raise UsageError(f"{name} is no vision transformer, so it has no patch tokens. Choose a ViT.")


def is_vit(trunk: Any) -> bool:
    """Whether a model of timm gives one token a patch, at each of its blocks."""
    if not hasattr(trunk, "blocks") or not hasattr(trunk, "forward_intermediates"):
        return False
    one_scale = hasattr(getattr(trunk, "patch_embed", None), "feat_ratio") and hasattr(trunk, "embed_dim")
    return isinstance(trunk, NaFlexVit) or one_scale


def _from_file(model: str, weights: Path) -> Any:
    state, complete = _as_released(model, read_state_dict(weights), weights)
    try:
        # timm's conversions print, where a command's table or JSON goes
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            # the classifier keeps the size it was released with, so that timm loads strictly
            trunk = _create(model, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
    except (RuntimeError, KeyError) as error:
        first = " ".join(str(error).split())[:160]
        raise UsageError(f"{weights} does not fit timm's {model} ({first}). {other_names(weights)}") from None
    if not complete:
        trunk.reset_classifier(0)
    return trunk


def _as_released(model: str, state: Weights, file: Path) -> tuple[Weights, bool]:
    """The weights in a form that timm reads, and whether the classifier among them is the file's own.

    Patch tokens need no classifier: one that the file lacks, or has for other classes, is filled up.
    """
    anchor = "patch_embed.proj.weight"
    state = below_prefix(vit_weights(state, file), anchor, file)
    if anchor not in state:  # timm's own conversions know it, or nobody
        return state, True
    with torch.device("meta"):
        trunk = _create(model)
    own = trunk.state_dict()
    names = trunk.pretrained_cfg.get("classifier")
    names = (names,) if isinstance(names, str) else names or ()
    head = [name for name in own if name.startswith(tuple(f"{one}." for one in names))]
    state = without_top(state, own, file)
    _refuse_lost_biases(model, own, state, file)
    if all(name in state and state[name].shape == own[name].shape for name in head):
        return state, True
    return state | {name: torch.zeros(own[name].shape) for name in head}, False


def _refuse_lost_biases(model: str, own: Weights, state: Weights, file: Path) -> None:
    """DINOv3's models have two architectures in timm, with and without biases of query and value.

    The one leaves such biases out in silence, which changes nothing where they are zero, as in some releases.
    """
    for name, bias in state.items():
        kept = name in own or name.replace("qkv.bias", "q_bias") in own
        if name.endswith("attn.qkv.bias") and not kept:
            query, _, value = bias.chunk(3)
            if query.any() or value.any():
                other = model.replace("_dinov3", "_dinov3_qkvb")
                raise UsageError(
                    f"{file} has biases ({name}) that timm's {model} leaves out. Name timm:{other}@{file}."
                )


def _from_hub(name: str, model: str) -> Any:
    if not timm.is_model_pretrained(model):
        raise UsageError(f"{name}: timm has no weights for {model}. Give a local file: {name}@FILE.")
    with hub_access():
        try:
            return _create(model, pretrained=True)
        except (RuntimeError, OSError) as error:
            raise failed_download(name, f"timm's {model}", error) from None
