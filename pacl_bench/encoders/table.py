"""The libraries that encoders come from, and the encoders that have a short name."""

from dataclasses import dataclass
from typing import Any

from pacl_bench.encoders.spec import Tap


@dataclass(frozen=True)
class EncoderLibrary:
    """Where encoders come from, and how they are loaded.

    `load_vision` and `load_text` are functions of an EncoderRequest, named as "module:function" and imported when one
    is asked for, so that a library costs nothing until it is used. Empty: it has no such encoders.
    """

    load_vision: str = ""
    load_text: str = ""
    options: tuple[str, ...] | None = ()  # after "?", of its vision encoders; None: the loader says
    text_options: tuple[str, ...] | None = ()
    default_tap: Tap = "post-norm"
    taps: tuple[Tap, ...] = ("pre-norm", "post-norm")
    takes_file: bool = True  # whether @FILE may name its weights
    needs_file: bool = True  # False where weights are shipped or there are none
    tagged: bool = False  # whether its models are written MODEL/TAG
    short_names_alone: bool = False  # True where LIBRARY:MODEL cannot be written
    own_code: bool = False  # whether its names say which code of the user's own is to run


_VIT_TAPS: tuple[Tap, ...] = ("pre-norm", "post-norm", "values")
_VIT_OPTIONS = ("block", "tap", "size", "pos")
_CLIP_OPTIONS = ("block", "tap", "size", "attention", "pos")

LIBRARIES: dict[str, EncoderLibrary] = {
    "open_clip": EncoderLibrary(
        "pacl_bench.encoders.open_clip:load_open_clip_vision",
        "pacl_bench.encoders.open_clip_text:load_open_clip_text",
        options=_CLIP_OPTIONS,
        text_options=_CLIP_OPTIONS,  # a CLIP may be named with the options of its vision tower
        default_tap="pre-norm",
        tagged=True,
    ),
    "timm": EncoderLibrary("pacl_bench.encoders.timm:load_timm_vision", options=_VIT_OPTIONS, taps=_VIT_TAPS),
    "transformers": EncoderLibrary(
        "pacl_bench.encoders.transformers_vision:load_transformers_vision",
        "pacl_bench.encoders.transformers:load_transformers_text",
        options=_VIT_OPTIONS,
        text_options=("pool", *_VIT_OPTIONS),  # a dual encoder may be named with the options of its vision tower
        taps=_VIT_TAPS,
        takes_file=False,  # weights lie in the folder that is named
        needs_file=False,
    ),
    "random": EncoderLibrary(
        "pacl_bench.encoders.timm:load_random_vit",
        options=_VIT_OPTIONS,
        taps=_VIT_TAPS,
        takes_file=False,
        needs_file=False,
    ),
    "python": EncoderLibrary(
        "pacl_bench.encoders.python:load_python_vision",
        "pacl_bench.encoders.python:load_python_text",
        options=None,
        text_options=None,
        takes_file=False,
        needs_file=False,
        own_code=True,
    ),
    "dinotxt": EncoderLibrary(
        "pacl_bench.encoders.dinotxt:load_dinotxt_vision",
        "pacl_bench.encoders.dinotxt:load_dinotxt_text",
        options=("clone", "size"),
        text_options=("clone", "size"),
        short_names_alone=True,
        own_code=True,
    ),
    "built-in": EncoderLibrary(
        "pacl_bench.world.encoders:load_tiny_vision",
        "pacl_bench.world.encoders:load_tiny_text",
        options=_CLIP_OPTIONS,
        text_options=_CLIP_OPTIONS,
        needs_file=False,
        short_names_alone=True,
    ),
    "mocov2": EncoderLibrary(
        "pacl_bench.encoders.mocov2:load_mocov2", options=("block", "size"), short_names_alone=True
    ),
    "pixels": EncoderLibrary(
        "pacl_bench.encoders.pixels:load_pixels",
        options=("size",),
        takes_file=False,
        needs_file=False,
        short_names_alone=True,
    ),
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
    """An encoder with a short name; of one that is named by its library, the first three fields alone are set."""

    library: str
    model: str  # what the library calls it
    tag: str | None = None  # of the weights, in open_clip
    patch: int | None = None  # its side in pixels
    size: int | None = None  # side of the input square in pixels
    licence: str = ""  # of the weights, as the hub writes it; empty where there are none
    note: str = ""
    text: bool = False  # whether its tokens have a projection into the space of a text encoder of its own
    block: int | None = None  # whose tokens are taken, where it is not the last
    attention: str = "clip"  # of the last block: one of ATTENTIONS
    weights: str | None = None  # the entry whose weights it has, where they are another's


def _open_clip(model: str, tag: str, patch: int, size: int, licence: str, note: str, **more: Any) -> EncoderEntry:
    return EncoderEntry("open_clip", model, tag, patch, size, licence, note, **{"text": True, **more})


def _timm(model: str, patch: int, size: int, licence: str, note: str) -> EncoderEntry:
    return EncoderEntry("timm", model, None, patch, size, licence, note)


def _dinotxt(model: str, patch: int, licence: str, note: str) -> EncoderEntry:
    return EncoderEntry("dinotxt", model, None, patch, 224, licence, note, text=True)


APACHE, BY_NC, DINOV3, NVIDIA = "apache-2.0", "cc-by-nc-4.0", "dinov3-license", "nvidia-open-model-license"
FAIR = "fair-noncommercial-research-license"

ENCODERS: dict[str, EncoderEntry] = {
    "clip-b32": _open_clip("ViT-B-32", "openai", 32, 224, "mit", "OpenAI CLIP ViT-B/32"),
    "clip-b16": _open_clip("ViT-B-16", "openai", 16, 224, "mit", "OpenAI CLIP ViT-B/16, the paper's main encoder"),
    "clip-l14": _open_clip("ViT-L-14", "openai", 14, 224, "mit", "OpenAI CLIP ViT-L/14"),
    "clip-l14-336": _open_clip("ViT-L-14-336", "openai", 14, 336, "mit", "OpenAI CLIP ViT-L/14 at 336 pixels"),
    **{
        f"{attention}-b16": _open_clip(
            "ViT-B-16", "openai", 16, 224, "mit", f"clip-b16, {what}", attention=attention, weights="clip-b16"
        )
        for attention, what in ATTENTIONS.items()
        if attention != "clip" and "-" not in attention
    },
    "metaclip2-h14": _open_clip(
        "ViT-H-14-worldwide", "metaclip2_worldwide", 14, 224, BY_NC, "MetaCLIP 2 ViT-H/14, of texts in all languages"
    ),
    "siglip2-b16": _open_clip("ViT-B-16-SigLIP2", "webli", 16, 224, APACHE, "SigLIP 2 ViT-B/16"),
    "siglip2-so400m": _open_clip("ViT-SO400M-14-SigLIP2", "webli", 14, 224, APACHE, "SigLIP 2 So400m/14"),
    "pe-core-b16": _open_clip("PE-Core-B-16", "meta", 16, 224, APACHE, "Perception Encoder, core, B/16"),
    "pe-core-l14": _open_clip("PE-Core-L-14-336", "meta", 14, 336, APACHE, "Perception Encoder, core, L/14"),
    "pe-spatial-b16": _timm("vit_pe_spatial_base_patch16_512.fb", 16, 512, APACHE, "Perception Encoder, spatial, B/16"),
    "pe-spatial-l14": _timm(
        "vit_pe_spatial_large_patch14_448.fb", 14, 448, APACHE, "Perception Encoder, spatial, L/14"
    ),
    "dino-s16": _timm("vit_small_patch16_224.dino", 16, 224, APACHE, "DINO ViT-S/16"),
    "dino-s8": _timm("vit_small_patch8_224.dino", 8, 224, APACHE, "DINO ViT-S/8"),
    "dino-b16": _timm("vit_base_patch16_224.dino", 16, 224, APACHE, "DINO ViT-B/16, the paper's comparison"),
    "dino-b8": _timm("vit_base_patch8_224.dino", 8, 224, APACHE, "DINO ViT-B/8"),
    # timm's entries ask for 518 pixels, DINOv2's last and short phase of training; 224 compares with the others
    "dinov2-s14": _timm("vit_small_patch14_dinov2.lvd142m", 14, 224, APACHE, "DINOv2 ViT-S/14"),
    "dinov2-b14": _timm("vit_base_patch14_dinov2.lvd142m", 14, 224, APACHE, "DINOv2 ViT-B/14"),
    "dinov2-l14": _timm("vit_large_patch14_dinov2.lvd142m", 14, 224, APACHE, "DINOv2 ViT-L/14"),
    "dinov2-s14-reg": _timm("vit_small_patch14_reg4_dinov2.lvd142m", 14, 224, APACHE, "DINOv2 with 4 registers"),
    "dinov2-b14-reg": _timm("vit_base_patch14_reg4_dinov2.lvd142m", 14, 224, APACHE, "DINOv2 with 4 registers"),
    "dinov2-l14-reg": _timm("vit_large_patch14_reg4_dinov2.lvd142m", 14, 224, APACHE, "DINOv2 with 4 registers"),
    "dinov3-s16": _timm("vit_small_patch16_dinov3.lvd1689m", 16, 256, DINOV3, "DINOv3 ViT-S/16"),
    "dinov3-b16": _timm("vit_base_patch16_dinov3.lvd1689m", 16, 256, DINOV3, "DINOv3 ViT-B/16"),
    "dinov3-l16": _timm("vit_large_patch16_dinov3.lvd1689m", 16, 256, DINOV3, "DINOv3 ViT-L/16"),
    "eupe-b16": _timm("vit_base_patch16_dinov3_qkvb.eupe_lvd1689m", 16, 256, FAIR, "EUPE ViT-B/16"),
    "tipsv2-b14": _timm("vit_base_patch14_reg1_tipsv2.webli", 14, 448, APACHE, "TIPSv2 ViT-B/14"),
    "tipsv2-l14": _timm("vit_large_patch14_reg1_tipsv2.webli", 14, 448, APACHE, "TIPSv2 ViT-L/14"),
    "radio-v3-b16": _timm("vit_base_patch16_radio_v3.c_radio", 16, 512, NVIDIA, "C-RADIOv3 ViT-B/16"),
    "radio-v3-l16": _timm("vit_large_patch16_radio_v3.c_radio", 16, 512, NVIDIA, "C-RADIOv3 ViT-L/16"),
    "dinotxt-l16": _dinotxt(
        "dinov3_vitl16_dinotxt_tet1280d20h24l", 16, DINOV3, "dino.txt on DINOv3 ViT-L/16, with a clone of its code"
    ),
    "dinotxt-l14": _dinotxt(
        "dinov2_vitl14_reg4_dinotxt_tet1280d20h24l", 14, APACHE, "dino.txt on DINOv2 ViT-L/14, with a clone of its code"
    ),
    "mae-b16": _timm("vit_base_patch16_224.mae", 16, 224, BY_NC, "MAE ViT-B/16"),
    "tiny-clip": EncoderEntry(
        "built-in", "tiny-clip", None, 8, 64, "mit", "CLIP of the built-in world, shipped", text=True
    ),
    # the last of its four blocks serves the CLS token: AUROC of its patch tokens is 0.66, of the block before 0.87
    "tiny-dino": EncoderEntry(
        "built-in", "tiny-dino", None, 8, 64, "mit", "DINO of the built-in world, shipped; block 2 of 0-3", block=2
    ),
    "mocov2-r50": EncoderEntry(
        "mocov2", "resnet50", None, 32, 224, BY_NC, "MoCo v2 ResNet-50, last feature map; official checkpoint"
    ),
    "crf-kernel": EncoderEntry(
        "pixels", "crf-kernel", None, 16, 224, note="a dense CRF's affinity of colour and place; no weights"
    ),
    "pixels": EncoderEntry("pixels", "pixels", None, 16, 224, note="a patch's own pixels; no weights"),
    "random-b16": EncoderEntry("random", "vit_base_patch16_224", None, 16, 224, note="ViT-B/16 that was never trained"),
}
