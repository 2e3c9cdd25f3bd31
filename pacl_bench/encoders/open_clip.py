"""OpenAI's CLIP and every other model of open_clip: vision and text towers that share a space."""

import json
import logging
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from jaxtyping import Float, Int
from open_clip import CLIP, CustomTextCLIP
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, TextTransformer, VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call

from pacl_bench.encoders.attention import changed_block
from pacl_bench.encoders.base import (
    PatchFeatures,
    Pooling,
    Preprocess,
    TextEncoder,
    Tokens,
    VisionEncoder,
    all_tokens,
    frozen,
    no_cls_token,
    patch_stride,
    resolve_block,
    sharing_weights,
)
from pacl_bench.encoders.hub import hub_access
from pacl_bench.encoders.positions import at_grid
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.setup import Setup
from pacl_bench.encoders.spec import Tap, VisionOptions
from pacl_bench.encoders.timm import TimmVisionEncoder, any_size, is_vit, patch_size_of
from pacl_bench.encoders.weight_names import below_prefix, clip_weights
from pacl_bench.encoders.weights_files import failed_download, find_weights, load_strictly, read_state_dict
from pacl_bench.errors import UsageError
from pacl_bench.files import read_text
from pacl_bench.progress import note
from pacl_bench.registry import lookup, unknown_name


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


class OpenClipTextEncoder(TextEncoder):
    """The text tower of an open_clip model with its own tokenizer and projection.

    Its tokenizer fills every text up to 77 tokens. A tower that sees nothing of what follows the token it pools is run
    at the length of the longest text of a batch; a tower that sees its padding (SigLIP's) is run at all of it.
    """

    BATCH = 64  # of up to 77 tokens each

    def __init__(self, name: str, clip: Any, tokenizer: Callable[[list[str]], Tensor]):
        super().__init__()
        self.name = self.spec = name
        self.clip = frozen(clip)
        self.tokenizer = tokenizer
        self.causal = _causal_tower(clip)
        self.dim = self.encode(["a"]).shape[1]

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        tokens = self.tokenizer(texts).to(next(self.clip.parameters()).device)
        if self.causal is None:
            return self.clip.encode_text(tokens)
        tokens = tokens[:, : int(self.causal.lengths(tokens).max())]
        return functional_call(self.clip, self.causal.cut_to(tokens.shape[1]), kwargs={"text": tokens})[1]

    def lengths(self, texts: list[str]) -> list[int]:
        if self.causal is None:
            return super().lengths(texts)
        batches = (texts[start : start + self.BATCH] for start in range(0, len(texts), self.BATCH))
        return [int(length) for batch in batches for length in self.causal.lengths(self.tokenizer(batch))]

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, "activation": activation(self.clip)}


class _CausalTower(NamedTuple):
    """A text tower whose tokens see none that come after them: what follows the token that it pools changes nothing."""

    tower: Any  # has the two tensors below
    prefix: str  # of its tensors' names in the whole model
    pool_type: str
    end: int  # the token that ends a text

    def lengths(self, tokens: Int[Tensor, "text token"]) -> Int[Tensor, " text"]:
        """How many tokens each text takes, with the one that is pooled as the last (open_clip's text_global_pool)."""
        pooled = tokens == self.end if self.pool_type == "eos" else tokens
        return pooled.int().argmax(dim=-1) + 1

    def cut_to(self, length: int) -> dict[str, Tensor]:
        """What the tower has for each position, for `length` positions."""
        return {
            f"{self.prefix}positional_embedding": self.tower.positional_embedding[:length],
            f"{self.prefix}attn_mask": self.tower.attn_mask[:length, :length],
        }


def _causal_tower(clip: Any) -> _CausalTower | None:
    """The text tower of a model, where it is open_clip's own, causal, and pools the token that ends the text."""
    whole: Any = clip  # pyright takes any attribute of a module for another module
    if isinstance(clip, CLIP):
        found = _CausalTower(whole, "", whole.text_pool_type, whole.text_eos_id)
    elif isinstance(clip, CustomTextCLIP) and type(clip.text) is TextTransformer and clip.text.cls_emb is None:
        found = _CausalTower(whole.text, "text.", whole.text.pool_type, whole.text.eos_id)
    else:
        return None
    mask = found.tower.attn_mask
    causal = mask is not None and torch.equal(mask, torch.full_like(mask, float("-inf")).triu(1))
    return found if causal and found.pool_type in ("argmax", "eos") else None


def activation(model: nn.Module) -> str:
    """Two models of the same weights differ by it."""
    return "QuickGELU" if any(isinstance(module, QuickGELU) for module in model.modules()) else "GELU"


def no_other_attention(name: str, attention: str) -> UsageError:
    """The one line for a model whose last block is not CLIP's."""
    return UsageError(f"{name}: attention={attention} is for open_clip's own ViTs, such as clip-b16.")


def load_open_clip_vision(request: EncoderRequest) -> VisionEncoder:
    """The vision tower of an architecture with the weights of a file, of PACL_WEIGHTS, or of the hub's tag."""
    name, options = request.weights_name, request.vision_options  # a wrong option is told before weights are read
    encoder = _adapted(name, _clip_of(request).visual, options)
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


def load_open_clip_text(request: EncoderRequest) -> TextEncoder:
    """The text tower that belongs to the same weights."""
    name, arch = request.weights_name, request.entry.model
    clip = _clip_of(request)
    with hub_access():
        try:
            tokenizer = open_clip.get_tokenizer(arch)
        except OSError as error:  # some models keep their tokenizer on the hub
            raise failed_download(name, f"the tokenizer of {arch}", error) from None
    return OpenClipTextEncoder(name, clip, tokenizer)


def _clip_of(request: EncoderRequest) -> Any:
    name, entry = request.weights_name, request.entry
    return load_clip(name, entry.model, entry.tag, find_weights(name, request.spec.file))


@lru_cache(maxsize=1)  # the two towers of one model are asked for one after the other
def load_clip(name: str, arch: str, tag: str | None, weights: Path | None) -> Any:
    """An open_clip model with its weights; in float32, as all that is measured here."""
    if open_clip.get_model_config(arch) is None:
        raise UsageError(f"{name}: {unknown_name(arch, open_clip.list_models(), 'open_clip architecture')}")
    return _from_file(arch, tag, weights) if weights else _from_hub(name, arch, tag)


def _from_file(arch: str, tag: str | None, weights: Path) -> Any:
    clip = untrained_clip(
        arch,
        pretrained_text=False,
        force_quick_gelu=_quick_gelu(arch, tag),
        force_preprocess_cfg=_trained_with(arch, tag, weights),
    )
    anchor = next(name for name in clip.state_dict() if name.startswith("visual."))
    state = read_state_dict(weights)
    renamed = clip_weights(state, weights)
    if renamed is not state:
        _refuse_other_activation(clip, arch, weights)
    state = convert_state_dict(clip, below_prefix(renamed, anchor, weights))
    if "positional_embedding" in state and not hasattr(clip, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    for scalar in ("logit_scale", "logit_bias"):  # saved with one axis by some versions and none by others
        if scalar in state and getattr(clip, scalar) is not None:
            state[scalar] = state[scalar].reshape(getattr(clip, scalar).shape)
    load_strictly(clip, state, weights)
    return clip


def _refuse_other_activation(clip: Any, arch: str, weights: Path) -> None:
    """What Hugging Face's config.json beside the weights says of it must be so."""
    config = weights.with_name("config.json")
    if not config.is_file():
        return
    theirs = json.loads(read_text(config)).get("vision_config", {}).get("hidden_act", "quick_gelu")  # CLIP's default
    if (theirs == "quick_gelu") != (activation(clip) == "QuickGELU"):
        raise UsageError(
            f"{weights}: {config} says {theirs}, and open_clip:{arch} runs {activation(clip)}. Name the architecture "
            "that runs it (open_clip has -quickgelu ones), or the tag its training began with (/openai)."
        )


def _trained_with(arch: str, tag: str | None, weights: Path) -> dict[str, Any]:
    """How photos were shown in training: a file keeps the preprocessing of its tag, as what the hub sends does."""
    configs = {one: open_clip.get_pretrained_cfg(arch, one) for one in open_clip.list_pretrained_tags_by_model(arch)}
    if tag is not None:
        return lookup(configs, tag, f"pretrained tag of {arch}")
    if configs and all(config.get("mean") not in (None, open_clip.OPENAI_DATASET_MEAN) for config in configs.values()):
        note(
            f"{weights}: pixels are scaled as for OpenAI's CLIP, unlike for the released {arch}. If its training began "
            f"with released weights, name their tag: open_clip:{arch}/{next(iter(configs))}@{weights}."
        )
    return {}


def untrained_clip(arch: str, **options: Any) -> Any:
    """An open_clip model with random weights, without open_clip's warning that it has none: they are loaded next."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return open_clip.create_model(arch, load_weights=False, **options)
    finally:
        logging.disable(level)


def _from_hub(name: str, arch: str, tag: str | None) -> Any:
    if tag is None:
        raise UsageError(f"{name}: no weights. Give open_clip:{arch}/TAG or open_clip:{arch}@FILE.")
    lookup(dict.fromkeys(open_clip.list_pretrained_tags_by_model(arch)), tag, f"pretrained tag of {arch}")
    with hub_access(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return open_clip.create_model(arch, pretrained=tag, force_quick_gelu=_quick_gelu(arch, tag))
        except (RuntimeError, OSError) as error:
            raise failed_download(name, f"{arch}/{tag}", error) from None


def _quick_gelu(arch: str, tag: str | None) -> bool:
    """Whether the weights were trained with QuickGELU: OpenAI's were, and run without it they are subtly wrong."""
    config = open_clip.get_pretrained_cfg(arch, tag) if tag else {}
    return bool(config.get("quick_gelu", False))


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
