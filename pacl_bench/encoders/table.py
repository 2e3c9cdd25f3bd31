"""The encoders that have a short name, and the libraries they come from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pacl_bench.encoders.spec import Tap

if TYPE_CHECKING:
    pass

Library = Literal["open_clip", "timm", "built-in", "random", "mocov2", "pixels"]
DEFAULT_TAP: dict[str, Tap] = {"open_clip": "pre-norm"}  # the others: post-norm
LIBRARIES = ("open_clip", "timm", "transformers", "random")
NEEDS_NO_FILE = ("built-in", "random", "pixels")
OPTIONS = {  # after "?", of vision encoders
    "open_clip": ("block", "tap", "size", "attention", "pos"),
    "built-in": ("block", "tap", "size", "attention", "pos"),
    "timm": ("block", "tap", "size", "pos"),
    "random": ("block", "tap", "size", "pos"),
    "mocov2": ("block", "size"),
    "pixels": ("size",),
}
ATTENTIONS = {  # what stands in the last block of a CLIP; their formulas are in encoders.attention
    "clip": "the model's own last block",
    "maskclip": "values without attention in the last block (MaskCLIP)",
    "sclip": "query-query and key-key attention in the last block (SCLIP)",
    "clearclip": "query-query attention and nothing else in the last block (ClearCLIP)",
    "naclip": "key-key attention that favours neighbours and nothing else in the last block (NACLIP)",
    "naclip-kk": "key-key attention and nothing else in the last block (NACLIP's kk)",
    "clip-noresidual": "the model's own attention and nothing else in the last block (ClearCLIP's vanilla)",
    "maskclip-noresidual": "maskclip without residual and mlp (ClearCLIP's MaskCLIP)",
    "sclip-noresidual": "sclip without residual and mlp (ClearCLIP's SCLIP)",
    "clearclip-residual": "clearclip with residual and mlp",
    "naclip-residual": "naclip with residual and mlp (NACLIP's vanilla architecture)",
    "naclip-kk-residual": "naclip-kk with residual and mlp",
}
POSITIONS = {  # how positional embeddings come to another grid; the ways are in encoders.positions
    "bicubic": "with antialias, as timm does it",
    "bilinear": "with antialias (TIPS)",
    "bicubic-noalias": "without antialias (MaskCLIP)",
    "bicubic+0.1": "without antialias, sampled as for a grid a tenth of a patch larger (SCLIP, NACLIP, ClearCLIP)",
}


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder with a short name."""

    library: Library
    model: str  # what the library calls it
    tag: str | None = None  # of the weights, in open_clip
    size: int | None = None  # side of the input square in pixels, where another than the library's is used
    block: int | None = None  # whose tokens are taken, where it is not the last
    attention: str = "clip"  # of the last block: one of ATTENTIONS
    weights: str | None = None  # the entry whose weights it has, where they are another's
    note: str = ""


# DINOv2's timm entries ask for 518 pixels, its last and short phase of training; 224 makes it comparable with the rest
ENCODERS: dict[str, EncoderEntry] = {
    "clip-b32": EncoderEntry("open_clip", "ViT-B-32", "openai", note="OpenAI CLIP ViT-B/32"),
    "clip-b16": EncoderEntry("open_clip", "ViT-B-16", "openai", note="OpenAI CLIP ViT-B/16, the paper's main encoder"),
    "clip-l14": EncoderEntry("open_clip", "ViT-L-14", "openai", note="OpenAI CLIP ViT-L/14"),
    "clip-l14-336": EncoderEntry("open_clip", "ViT-L-14-336", "openai", note="OpenAI CLIP ViT-L/14 at 336 pixels"),
    **{
        f"{attention}-b16": EncoderEntry(
            "open_clip", "ViT-B-16", "openai", attention=attention, weights="clip-b16", note=f"clip-b16, {what}"
        )
        for attention, what in ATTENTIONS.items()
        if attention != "clip" and "-" not in attention
    },
    "dino-s16": EncoderEntry("timm", "vit_small_patch16_224.dino", note="DINO ViT-S/16"),
    "dino-s8": EncoderEntry("timm", "vit_small_patch8_224.dino", note="DINO ViT-S/8"),
    "dino-b16": EncoderEntry("timm", "vit_base_patch16_224.dino", note="DINO ViT-B/16, the paper's comparison"),
    "dino-b8": EncoderEntry("timm", "vit_base_patch8_224.dino", note="DINO ViT-B/8"),
    "dinov2-s14": EncoderEntry("timm", "vit_small_patch14_dinov2.lvd142m", size=224, note="DINOv2 ViT-S/14"),
    "dinov2-b14": EncoderEntry("timm", "vit_base_patch14_dinov2.lvd142m", size=224, note="DINOv2 ViT-B/14"),
    "dinov2-l14": EncoderEntry("timm", "vit_large_patch14_dinov2.lvd142m", size=224, note="DINOv2 ViT-L/14"),
    "dinov2-s14-reg": EncoderEntry("timm", "vit_small_patch14_reg4_dinov2.lvd142m", size=224, note="with 4 registers"),
    "dinov2-b14-reg": EncoderEntry("timm", "vit_base_patch14_reg4_dinov2.lvd142m", size=224, note="with 4 registers"),
    "dinov2-l14-reg": EncoderEntry("timm", "vit_large_patch14_reg4_dinov2.lvd142m", size=224, note="with 4 registers"),
    "tiny-clip": EncoderEntry("built-in", "tiny-clip", note="CLIP of the built-in world, shipped: 64 pixels, patch 8"),
    # the last of its four blocks serves the CLS token: AUROC of its patch tokens is 0.66, of the block before 0.87
    "tiny-dino": EncoderEntry(
        "built-in", "tiny-dino", block=2, note="DINO of the built-in world, shipped; block 2 of 0-3"
    ),
    "mae-b16": EncoderEntry("timm", "vit_base_patch16_224.mae", note="MAE ViT-B/16"),
    "mocov2-r50": EncoderEntry("mocov2", "resnet50", note="MoCo v2 ResNet-50, last feature map; official checkpoint"),
    "crf-kernel": EncoderEntry("pixels", "crf-kernel", note="a dense CRF's affinity of colour and place; no weights"),
    "pixels": EncoderEntry("pixels", "pixels", note="a patch's own pixels; no weights"),
    "random-b16": EncoderEntry("random", "vit_base_patch16_224", note="ViT-B/16 that was never trained"),
}
