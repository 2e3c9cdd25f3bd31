"""Weights under other names than their library's: a training script's prefixes, and Hugging Face's names.

Names are changed only where each weight then has its exact place: the libraries load what comes out of here strictly.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pacl_bench.errors import UsageError
from pacl_bench.progress import note

Weights = dict[str, Tensor]

# where a file holds several copies of an encoder, that which its authors evaluate: DINO's, iBOT's and DINOv2's teacher,
# MoCo v3's base_encoder (not its momentum_encoder)
EVALUATED = ("teacher.", "base_encoder.")
# what pre-training or fine-tuning puts on top of an encoder, MAE's decoder among it
ON_TOP = ("head.", "heads.", "head_dist.", "fc.", "classifier.", "projector.", "predictor.", "decoder_", "decoder.")

# in order, each wherever it fits; Hugging Face's names are those of transformers' Dinov2Model, ViTModel and CLIPModel
VIT_NAMES = (
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.", ""),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
)
CLIP_NAMES = (
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.embeddings\.", "visual."),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.embeddings\.", ""),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_projection\.weight$", "text_projection"),
    (r"\.layer_norm(\d)\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"\.self_attn\.(q|k|v)_proj\.", r".attn.\1."),
    (r"\.self_attn\.", ".attn."),
)


def below_prefix(weights: Weights, anchor: str, file: Path) -> Weights:
    """The weights of one encoder without the prefix of a training script: `teacher.backbone.`, `model.`, `_orig_mod.`.

    Args:
        anchor: the name of a weight that the encoder has and that tells where it lies.

    Raises:
        UsageError: there are several encoders, and it is not known which of them is meant.
    """
    prefixes = [name.removesuffix(anchor) for name in weights if name.endswith(f".{anchor}")]
    if not prefixes or anchor in weights:
        return weights
    evaluated = [prefix for prefix in prefixes if any(f".{name}" in f".{prefix}" for name in EVALUATED)]
    if len(prefixes) > 1 and len(evaluated) != 1:
        raise UsageError(f"{file} holds several encoders, below {', '.join(prefixes)}: save the one that is meant.")
    prefix = (evaluated or prefixes)[0]
    note(f"{file}: the encoder's weights are those below {prefix!r}")
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def without_top(weights: Weights, own: Mapping[str, Tensor], file: Path) -> Weights:
    """Without what a training script has put on top of the encoder, where it is none of the model's `own` weights."""
    top = [name for name in weights if name.startswith(ON_TOP) and name not in own]
    if top:
        note(f"{file}: {len(top)} weights on top of the encoder are left out ({top[0]} ...)")
    return {name: weight for name, weight in weights.items() if name not in top}


def vit_weights(weights: Weights, file: Path) -> Weights:
    """Hugging Face's Dinov2Model or ViTModel under the names of DINO's and DINOv2's own releases, which timm reads."""
    anchor = "embeddings.patch_embeddings.projection.weight"
    if not any(name.endswith(anchor) for name in weights):
        return weights
    weights = below_prefix(weights, anchor, file)
    renamed = _renamed({name: weight for name, weight in weights.items() if not name.startswith("pooler.")}, VIT_NAMES)
    return _joined(renamed, r"(.+\.attn\.)(query|key|value)\.(weight|bias)", "{}qkv.{}")


def clip_weights(weights: Weights, file: Path) -> Weights:
    """Hugging Face's CLIPModel under the names of OpenAI's and open_clip's."""
    anchor = "vision_model.embeddings.class_embedding"
    if not any(name.endswith(anchor) for name in weights):
        return weights
    weights = below_prefix(weights, anchor, file)
    # older files hold the numbers 0, 1, 2 ... too
    renamed = _renamed({name: one for name, one in weights.items() if not name.endswith("position_ids")}, CLIP_NAMES)
    for name in {"visual.proj", "text_projection"} & renamed.keys():
        renamed[name] = renamed[name].T.contiguous()
    return _joined(renamed, r"(.+\.attn\.)(q|k|v)\.(weight|bias)", "{}in_proj_{}")


def _renamed(weights: Weights, rules: tuple[tuple[str, str], ...]) -> Weights:
    renamed = {}
    for name, weight in weights.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = weight
    return renamed


def _joined(weights: Weights, pattern: str, name: str) -> Weights:
    """With the three maps of each attention, query, key and value, as one."""
    joined, parts = {}, {}
    for old, weight in weights.items():
        found = re.fullmatch(pattern, old)
        if found is None:
            joined[old] = weight
        else:
            parts.setdefault(name.format(found[1], found[3]), {})[found[2][0]] = weight  # by q, k, v
    return joined | {new: torch.cat([of[one] for one in "qkv" if one in of]) for new, of in parts.items()}
