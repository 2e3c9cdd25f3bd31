"""OpenAI's CLIP and every other model of open_clip: their vision towers."""

from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call

from pacl_bench.encoders.attention import changed_block
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
    sharing_weights,
)
from pacl_bench.encoders.open_clip_weights import activation, clip_of
from pacl_bench.encoders.positions import at_grid
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.setup import Setup
from pacl_bench.encoders.spec import Tap, VisionOptions
from pacl_bench.encoders.timm import TimmVisionEncoder, any_size, is_vit, patch_size_of
from pacl_bench.errors import UsageError


class OpenClipVisionEncoder(VisionEncoder):
    """The vision transformer of an open_clip model.

    Another `attention` changes the patch tokens; the CLS token is the model's own in any case.

    The CLS token of a model that averages its patch tokens (CLIPA) was never trained to stand for the image: there is
    none.
    """

    norm_eps: float | None = None  # what is added to the variance in layer norms, where that is not the model's own

    def __init__(
        self,
        name: str,
        visual: Any,  # a VisionTransformer of open_clip; pyright cannot know its attributes
        preprocess: Preprocess,
        block: int | None = None,
        tap: Tap = "pre-norm",
        attention: str = "clip",
        pos: str = "bicubic",
    ):
        super().__init__()
        self.name = self.spec = name
        self.tapped = _Tapped(frozen(visual))
        self.preprocess = preprocess
        self.patch_size = visual.patch_size[0]
        self.image_size = preprocess.image_size
        self.width = visual.class_embedding.shape[0]
        self.num_blocks = len(visual.transformer.resblocks)
        self.block = resolve_block(block, self.num_blocks, name)
        self.tap = tap
        self.attention, self.pos = attention, pos
        if attention != "clip":
            self._refuse_unless_changeable()
        pooling = _pooling(visual)
        if pooling is not None and visual.proj is not None:
            self.pooling, self.projection_dim = pooling, visual.proj.shape[1]
        if visual.attn_pool is not None and tap == "post-norm":
            raise UsageError(f"{name}: its final norm stands behind its pooling head; leave out tap=post-norm.")

    @property
    def visual(self) -> Any:
        return self.tapped.visual

    def set_up(self, setup: Setup) -> "OpenClipVisionEncoder":
        other = super().set_up(setup)
        assert isinstance(other, OpenClipVisionEncoder)
        other.pos = setup.pos or self.pos
        if setup.attention is not None and self._attention_changes:
            other.attention = setup.attention
        if other.attention != "clip":
            other._refuse_unless_changeable()
        if setup.activation is not None or setup.norm_eps is not None:
            other.tapped = _Tapped(_dressed(self.visual, setup))
            other.norm_eps = setup.norm_eps
        return other

    @property
    def _attention_changes(self) -> bool:
        """Whether its last block is CLIP's own, with a block before it."""
        blocks = self.visual.transformer.resblocks
        return len(blocks) > 1 and isinstance(blocks[-1], ResidualAttentionBlock)

    def _refuse_unless_changeable(self) -> None:
        last = self.num_blocks - 1
        if self.block != last:
            raise UsageError(
                f"{self.name}: attention={self.attention} changes the last block, {last}; leave out block."
            )
        if not self._attention_changes:
            raise no_other_attention(self.name, self.attention)

    def encode_blocks(
        self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int], blocks: list[int]
    ) -> list[Tokens]:
        # open_clip adds its positional embedding as it is; for another grid it is interpolated and put in its place
        table = self.visual.positional_embedding[None]
        position = at_grid(table, grid, self.visual.grid_size, num_prefix_tokens=1, pos=self.pos)[0]
        taken = sorted(set(blocks))  # the order in which they are come by
        with patch_stride(self.visual.conv1, stride):
            outs = functional_call(
                self.tapped,
                {"visual.positional_embedding": position},
                (images,),
                {"blocks": taken, "normed": self.tap == "post-norm", "attention": self.attention, "grid": grid},
            )
        if self.pooling == "average":
            outs = [(None, patch_tokens) for _, patch_tokens in outs]
        by_block = dict(zip(taken, outs, strict=True))
        return [by_block[block] for block in blocks]

    @property
    def settings(self) -> dict[str, object]:
        eps = {} if self.norm_eps is None else {"norm_eps": self.norm_eps}
        return {**super().settings, "activation": activation(self.visual), **eps}

    def project(self, tokens: Float[Tensor, "*batch width"] | None) -> Float[Tensor, "*batch dim"]:
        if self.projection_dim is None:
            return super().project(tokens)
        if tokens is None:
            raise no_cls_token(self.name)
        if self.pooling == "attention":
            return self._attended(tokens.reshape(-1, 1, self.width)).reshape(*tokens.shape[:-1], -1)
        if self.tap == "pre-norm":
            tokens = self.visual.ln_post(tokens)
        return tokens @ self.visual.proj

    def image_embedding(self, features: PatchFeatures) -> Float[Tensor, "image dim"]:
        if self.projection_dim is None or self.pooling == "token":
            return super().image_embedding(features)
        if self.pooling == "attention":
            return self._attended(all_tokens(features))
        if not self.visual.final_ln_after_pool:
            return self.project(features.patch_tokens).mean(1)
        if self.tap == "post-norm":
            raise UsageError(f"{self.name}: its image embedding is the norm of an average; leave out tap=post-norm.")
        return self.project(features.patch_tokens.mean(1))

    @torch.no_grad()
    def _attended(self, tokens: Float[Tensor, "image token width"]) -> Float[Tensor, "image dim"]:
        """Through CoCa's pooling head: what the first of its queries makes of the tokens is the image's embedding."""
        pool = self.visual.attn_pool
        pooled = functional_call(pool, {"query": pool.query[:1]}, (tokens,))[:, 0]
        return self.visual.ln_post(pooled) @ self.visual.proj


def _pooling(visual: Any) -> Pooling | None:
    """How a vision transformer pools its tokens; None where it does so in a way that no released model has."""
    if visual.attn_pool is None:
        return {"tok": "token", "avg": "average"}.get(visual.pool_type)  # type: ignore[return-value]
    return "attention" if visual.attn_pool_contrastive is None and visual.pool_type == "tok" else None


class _Tapped(nn.Module):
    """A vision transformer whose `forward` is its `forward_intermediates`, since functional_call calls `forward`."""

    def __init__(self, visual: VisionTransformer):
        super().__init__()
        self.visual = visual

    def forward(
        self,
        images: Float[Tensor, "image 3 height width_px"],
        blocks: list[int],
        normed: bool,
        attention: str,
        grid: tuple[int, int],
    ) -> list[Tokens]:
        last = len(self.visual.transformer.resblocks) - 1
        if attention == "clip" or last not in blocks:
            states = self._states(images, blocks)
        else:
            states = self._states(images, sorted({*blocks, last - 1}))
            changed = changed_block(self.visual.transformer.resblocks[last], states[last - 1], grid, attention)
            states[last] = torch.cat([states[last][:, :1], changed[:, 1:]], dim=1)
        tokens = [self.visual.ln_post(states[block]) if normed else states[block] for block in blocks]
        return [(one[:, 0], one[:, 1:]) for one in tokens]

    def _states(
        self, images: Float[Tensor, "image 3 height width_px"], blocks: list[int]
    ) -> dict[int, Float[Tensor, "image token width"]]:
        """CLS and patch tokens behind each block."""
        out = self.visual.forward_intermediates(
            images,
            indices=blocks,
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        parts = zip(out["image_intermediates_prefix"], out["image_intermediates"], strict=True)
        return {block: torch.cat(part, dim=1) for block, part in zip(blocks, parts, strict=True)}


def _dressed(visual: Any, setup: Setup) -> Any:
    """A vision transformer of the same weights with another activation or another epsilon in its layer norms."""
    other = sharing_weights(visual)
    for module in list(other.modules()):
        if isinstance(module, nn.LayerNorm) and setup.norm_eps is not None:
            module.eps = setup.norm_eps
        for name, child in module.named_children():
            if isinstance(child, QuickGELU | nn.GELU) and setup.activation is not None:
                setattr(module, name, nn.GELU() if setup.activation == "GELU" else QuickGELU())
    return other


def no_other_attention(name: str, attention: str) -> UsageError:
    """The one line for a model whose last block is not CLIP's."""
    return UsageError(f"{name}: attention={attention} is for open_clip's own ViTs, such as clip-b16.")


def load_open_clip_vision(request: EncoderRequest) -> VisionEncoder:
    """The vision tower of an architecture with the weights of a file, of PACL_WEIGHTS, or of the hub's tag."""
    name, options = request.weights_name, request.vision_options  # a wrong option is told before weights are read
    encoder = _adapted(name, clip_of(request).visual, options)
    if encoder is None:
        raise UsageError(
            f"{name}: {request.entry.model} is no vision transformer, so it has no patch tokens. Choose a ViT."
        )
    return encoder


def from_open_clip(visual: nn.Module, name: str = "open_clip model") -> VisionEncoder:
    """The vision tower of an open_clip model that you have in hand, as an encoder that everything here takes.

    The module itself stays as it is, in training mode if it was. The encoder reads the same weights, so it can measure
    a model between two steps of its training; of weights in half precision it has a copy in single. Photos are prepared
    as `create_model` has noted on the tower; for one that was built by hand, as for OpenAI's CLIP, at its own size.

    Args:
        visual: `model.visual` of a model of open_clip: a VisionTransformer, or a ViT of timm.
        name: what tables and records call it.

    Raises:
        UsageError: a tower that gives no patch tokens, or a whole CLIP where its tower is wanted.
    """
    if isinstance(getattr(visual, "visual", None), nn.Module):
        raise UsageError(f"{name}: a whole {type(visual).__name__}; give its vision tower, model.visual.")
    encoder = _adapted(name, sharing_weights(visual).float(), VisionOptions(tap="pre-norm"))
    if encoder is None:
        raise UsageError(f"{name}: a {type(visual).__name__} is no vision transformer of open_clip: no patch tokens.")
    encoder.architecture = f"open_clip:{type(visual).__name__}"
    return encoder


def _adapted(name: str, visual: Any, options: VisionOptions) -> VisionEncoder | None:
    """The adapter of a vision tower; None where it is no vision transformer."""
    own, timms = isinstance(visual, VisionTransformer), isinstance(visual, TimmModel)
    if own:
        preprocess = _preprocess(visual, visual.patch_size[0], options.size)
        return OpenClipVisionEncoder(
            name, visual, preprocess, options.block, options.tap, options.attention, options.pos
        )
    if timms and is_vit(visual.trunk):
        if options.attention != "clip":
            raise no_other_attention(name, options.attention)
        preprocess = _preprocess(visual, patch_size_of(visual.trunk), options.size)
        return TimmVisionEncoder(
            name,
            any_size(visual.trunk),
            preprocess,
            options.block,
            options.tap,
            projection=visual.head,
            pos=options.pos,
        )
    return None


def _preprocess(visual: Any, patch_size: int, size: int | None) -> Preprocess:
    config = getattr(visual, "preprocess_cfg", None) or asdict(PreprocessCfg(size=visual.image_size))
    own_size = config["size"] if isinstance(config["size"], int) else config["size"][0]
    return Preprocess(
        size or own_size,
        patch_size,
        tuple(config["mean"]),
        tuple(config["std"]),
        config["interpolation"],
        "squash" if config["resize_mode"] == "squash" else "shortest",
    )
