"""The libraries that encoders come from, and the encoders that have a short name."""

from dataclasses import dataclass

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
    takes_file: bool = True  # whether @FILE may name its weights
    needs_file: bool = True  # False where weights are shipped or there are none
    tagged: bool = False  # whether its models are written MODEL/TAG
    short_names_alone: bool = False  # True where LIBRARY:MODEL cannot be written


_VIT_OPTIONS = ("block", "tap", "size", "pos")
_CLIP_OPTIONS = ("block", "tap", "size", "attention", "pos")

LIBRARIES: dict[str, EncoderLibrary] = {
    "open_clip": EncoderLibrary(
        "pacl_bench.encoders.open_clip:load_open_clip_vision",
        "pacl_bench.encoders.open_clip:load_open_clip_text",
        options=_CLIP_OPTIONS,
        text_options=_CLIP_OPTIONS,  # a CLIP may be named with the options of its vision tower
        default_tap="pre-norm",
        tagged=True,
    ),
    "timm": EncoderLibrary("pacl_bench.encoders.timm:load_timm_vision", options=_VIT_OPTIONS),
    "transformers": EncoderLibrary(
        load_text="pacl_bench.encoders.transformers:load_transformers_text", text_options=("pool",)
    ),
    "random": EncoderLibrary(
        "pacl_bench.encoders.timm:load_random_vit", options=_VIT_OPTIONS, takes_file=False, needs_file=False
    ),
    "python": EncoderLibrary(
        "pacl_bench.encoders.python:load_python_vision",
        "pacl_bench.encoders.python:load_python_text",
        options=None,
        text_options=None,
        takes_file=False,
        needs_file=False,
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
}


@dataclass(frozen=True)
class EncoderEntry:
    """An encoder with a short name."""

    library: str
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
        if attention != "clip"
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
