"""Other people's protocols, as declarations: which steps their evaluation code takes, with what numbers.

Each was read in the repository named at the commit named, and is held to what that code gives (tests/golden). Their
published numbers were made by float16 on a GPU, which alone changes 0.1 to 1.2 % of the pixels of a picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pacl_bench.data.vocabulary import PEERS, has_names
from pacl_bench.encoders.resizing import Remainder, Resize
from pacl_bench.encoders.setup import Pixels, Setup
from pacl_bench.encoders.view import View
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.protocol_steps import Fusion, Merged, Refinement, Softmax, Upsampled


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Every step from a photo to a label map; see evaluators.protocol_steps and encoders.resizing for what each is."""

    resize: Resize = "patch-multiple"
    size: int | None = None  # short side in pixels; None is the encoder's own
    long_side: int | None = None  # in pixels, which the long side may not exceed
    stride: int | None = None  # of the patch convolution in pixels
    window: int | None = None  # side of a sliding window in pixels; None is the whole image
    overlap: float = 0.5  # the share of a window that the next one covers too
    remainder: Remainder = "none"
    fusion: Fusion = "scores"
    upsampled: Upsampled = "once"
    refinement: Refinement = "none"
    merged: Merged = "patches"
    softmax: Softmax = "classes"
    scale: float = 40.0  # of the cosines in the softmax
    area: float | None = None  # the share of foreground that a class must have; None: none
    candidate: bool = True  # whether background, class 0, is a class like the others
    threshold: float | None = None  # of the best probability, below which a pixel is background
    entropy: float | None = None  # in nats, above which a pixel is background
    templates: str = "paper7"
    vocabulary: str = "plain"

    def __post_init__(self) -> None:
        if self.fusion == "probabilities" and self.upsampled == "once":
            raise UsageError("--fusion probabilities: is of the pixels of the resized image; --upsampled twice.")
        if self.fusion == "probabilities" and (self.threshold, self.entropy) != (None, None):
            raise UsageError("--fusion probabilities: knows no thresholds of background; --fusion scores does.")
        if self.area is not None and not self.candidate:
            raise UsageError("--area: wants background to be a candidate.")

    @property
    def view(self) -> View:
        """How the encoder is shown the images."""
        return View(
            True, self.size, self.stride, self.window, self.overlap, self.resize, self.long_side, self.remainder
        )


@dataclass(frozen=True)
class Preset:
    """What one evaluation code does."""

    title: str  # the method and where it was published
    source: str  # repository@commit, files
    steps: Steps
    setup: Setup = field(default_factory=Setup)  # how it runs its encoder
    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # data set -> the steps that differ there
    datasets: tuple[str, ...] = ()  # those that its code has settings for; on others its general ones are taken

    def steps_on(self, dataset: str | None) -> Steps:
        """The steps on a data set, with its plain names where the code has none; None is one that nobody knows."""
        steps = replace(self.steps, **self.on.get(dataset or "", {}))
        if steps.vocabulary in PEERS and not has_names(steps.vocabulary, dataset or ""):
            return replace(steps, vocabulary="plain")
        return steps


def described(name: str, dataset: str | None, steps: Steps) -> str:
    """What a record calls steps that a preset was the start of: "sclip", or "sclip, but size=448"."""
    own = PRESETS[name].steps_on(dataset)
    changed = [f"{key}={value}" for key, value in vars(steps).items() if value != getattr(own, key)]
    return f"{name}, but {', '.join(changed)}" if changed else name


def _of_255(*values: float) -> tuple[float, ...]:
    return tuple(value / 255 for value in values)


WITH_BACKGROUND = ("voc21", "context60", "coco_object")
EVERY_SET = ("voc20", "voc21", "context59", "context60", "coco_object", "coco_stuff171", "cityscapes19", "ade150")
CLIP_PIXELS = Pixels(_of_255(122.771, 116.746, 104.094), _of_255(68.501, 66.632, 70.323))
IMAGENET_PIXELS = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# SCLIP's segmentor, on which NACLIP's and ClearCLIP's were built
_SCLIP = Steps(
    resize="mmseg",
    size=336,
    long_side=2048,
    window=224,
    remainder="drop",
    upsampled="twice",
    merged="pixels",
    softmax="names",
    scale=40.0,
    templates="openai80",
    vocabulary="sclip",
)
_NACLIP = Preset(
    "NACLIP without PAMR: Hajimiri et al., Pay Attention to Your Neighbours, WACV 2025",
    "sinahmr/NACLIP@0cac3a651f753b11315ea799cfbfabf79da1bd76: naclip.py, configs/, eval.py --pamr off",
    _SCLIP,
    Setup("naclip", "bicubic+0.1", pixels=CLIP_PIXELS),
    {
        "voc20": {"window": None},
        "voc21": {"window": None, "threshold": 0.1},
        "context60": {"threshold": 0.1},
        "coco_object": {"threshold": 0.1},
        "cityscapes19": {"size": 560},
    },
    EVERY_SET,
)
_TIPS = Preset(
    "TIPSv2, its zero-shot segmentation in windows",
    "google-deepmind/tips@4db271d3b9622b901cf4a1a821e4cb7a5e6b2490: pytorch/TIPS_zeroshot_segmentation.ipynb",
    Steps(
        resize="pillow",
        size=448,
        window=448,
        overlap=0.25,
        remainder="stretch",
        fusion="probabilities",
        upsampled="twice",
        scale=1.0,
        templates="tcl9",
        vocabulary="tipsv2",
    ),
    Setup("maskclip", "bilinear", pixels=Pixels((0.0,) * 3, (1.0,) * 3)),
    datasets=("ade150",),
)
_DINOTXT = Preset(
    "dino.txt, its zero-shot segmentation in windows: Jose et al., CVPR 2025",
    "facebookresearch/dinov3@6876159a11b4df116f30f667f8c9888617df0751: notebooks/dinotxt_segmentation_inference.ipynb",
    replace(_TIPS.steps, size=512, window=384, overlap=0.5, templates="openai80", vocabulary="dinotxt"),
    Setup("clip", pixels=IMAGENET_PIXELS),  # its positions rotate (RoPE); an encoder that adds them keeps its own way
    datasets=("cityscapes19", "ade150"),
)
_WHOLE = {"window": None, "fusion": "scores", "upsampled": "once"}  # mode whole of both notebooks

PRESETS: dict[str, Preset] = {
    "sclip": Preset(
        "SCLIP: Wang et al., ECCV 2024",
        "wangf3014/SCLIP@b56bd3014b9e8a3ee3450bcfc53700a67d627b7a: clip_segmentor.py, configs/",
        _SCLIP,
        Setup("sclip", "bicubic+0.1", pixels=CLIP_PIXELS),
        {
            "voc21": {"scale": 65.0, "threshold": 0.1, "area": 0.1},
            "context60": {"scale": 50.0, "threshold": 0.1},
            "coco_object": {"scale": 50.0, "threshold": 0.1},
            "coco_stuff171": {"size": 448},
            "cityscapes19": {"size": 560},
        },
        EVERY_SET,
    ),
    "naclip": _NACLIP,
    "naclip-pamr": replace(
        _NACLIP,
        title="NACLIP with PAMR, the default of its code: Hajimiri et al., WACV 2025",
        source="sinahmr/NACLIP@0cac3a651f753b11315ea799cfbfabf79da1bd76: naclip.py, pamr.py, configs/",
        steps=replace(_NACLIP.steps, refinement="pamr"),
    ),
    "clearclip": Preset(
        "ClearCLIP: Lan et al., ECCV 2024; its base_config.py says vanilla, its paper's rows need ClearCLIP",
        "mc-lan/ClearCLIP@ad68a404d55d48d27330b93554eb64a234ff717f: clearclip_segmentor.py, configs/",
        replace(_SCLIP, size=448, window=448, remainder="pad-around", scale=50.0, vocabulary="clearclip"),
        Setup("clearclip", "bicubic+0.1", pixels=CLIP_PIXELS),
        {
            "voc21": {"threshold": 0.5},
            "context60": {"threshold": 0.15},
            "coco_object": {"threshold": 0.4},
            "cityscapes19": {"window": 224, "overlap": 0.0},
        },
        EVERY_SET,
    ),
    "maskclip": Preset(
        "MaskCLIP: Zhou et al., Extract Free Dense Labels from CLIP, ECCV 2022; exact GELU and an epsilon of 1e-6, as "
        "its configuration says, although CLIP was trained with QuickGELU and 1e-5",
        "chongzhou96/MaskCLIP@245d31f809be9c1938f8f30561b6bf9ed033d746: mmseg/models/{backbones/vit,decode_heads/"
        "maskclip_head}.py, configs/maskclip/maskclip_vit16_*",
        Steps(
            resize="mmseg",
            size=512,
            long_side=2048,
            remainder="pad",
            upsampled="twice",
            scale=1.0,
            templates="maskclip85",
            vocabulary="maskclip",
        ),
        Setup("maskclip", "bicubic-noalias", "GELU", 1e-6, pixels=IMAGENET_PIXELS),
        {"context59": {"size": 520, "long_side": 520}, "cityscapes19": {"long_side": 1024}},
        ("voc20", "context59", "coco_stuff171", "cityscapes19"),
    ),
    "tipsv2": _TIPS,
    "tipsv2-whole": replace(
        _TIPS, title="TIPSv2, its zero-shot segmentation in one piece", steps=replace(_TIPS.steps, **_WHOLE)
    ),
    "dinotxt": _DINOTXT,
    "dinotxt-whole": replace(
        _DINOTXT,
        title="dino.txt, its zero-shot segmentation in one piece: Jose et al., CVPR 2025",
        steps=replace(_DINOTXT.steps, **_WHOLE),
    ),
    "pacl-paper-guess": Preset(
        "PACL: Mukhoti et al., CVPR 2023, as far as it is known: the stride trick and the seven templates are in the "
        "paper, 224 pixels and an entropy of 1.5 nats are told by others, the scale of 40 is a guess",
        "arXiv 2212.04994; no code was published",
        Steps(size=224, stride=4),
        on={name: {"candidate": False, "entropy": 1.5} for name in WITH_BACKGROUND},
    ),
}
