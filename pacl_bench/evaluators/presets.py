"""Other people's protocols, as declarations: which steps their evaluation code takes, with what numbers.

Each was read in the repository named at the commit named, and is held to what that code gives (tests/golden). Their
published numbers were made by float16 on a GPU, which alone changes 0.1 to 1.2 % of the pixels of a picture. No torch
here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pacl_bench.data.vocabulary import PEERS, has_names, vocabulary_label
from pacl_bench.encoders.setup import Pixels, Setup
from pacl_bench.evaluators.steps import Steps, changed_steps


@dataclass(frozen=True)
class Preset:
    """What one evaluation code does."""

    title: str  # the method and where it was published
    source: str  # repository@commit, files
    steps: Steps
    setup: Setup = field(default_factory=Setup)  # how it runs the encoder that it is for
    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # data set -> the steps that differ there
    datasets: tuple[str, ...] = ()  # those that its code has settings for; on others its general ones are taken

    def steps_on(self, dataset: str) -> Steps:
        """The steps on a data set, with its plain names where the code has none."""
        steps = replace(self.steps, **self.on.get(dataset, {}))
        return steps if _has_names(steps.vocabulary, dataset) else replace(steps, vocabulary="plain")


@dataclass(frozen=True)
class Chosen:
    """A protocol on a data set, with the options that were given beside it."""

    preset: Preset | None
    told: str  # what a number's protocol says of it: "sclip, but size=448"; empty without a preset
    steps: Steps

    def describe(self) -> dict[str, Any]:
        """Every step's value, and how the encoder is run that the protocol is for; as it stands in JSON."""
        return vars(self.steps) | ({"encoder": self.preset.setup.describe()} if self.preset is not None else {})


def chosen(protocol: str, dataset: str, options: Mapping[str, Any]) -> Chosen:
    """A protocol on a data set; options, by the names of steps, take the place of its own.

    Args:
        protocol: one of PRESETS, or empty for steps at their defaults.

    Raises:
        UsageError: options that do not fit the steps beside them.
    """
    if not protocol:
        return Chosen(None, "", Steps(**options))
    steps = replace(PRESETS[protocol].steps_on(dataset), **options)
    return Chosen(PRESETS[protocol], described(protocol, dataset, steps), steps)


def described(name: str, dataset: str, steps: Steps) -> str:
    """What a record calls steps that a preset was the start of: "sclip", or "sclip, but size=448"."""
    own = PRESETS[name].steps_on(dataset)
    changed = [f"{key}={told_step(key, value)}" for key, value in changed_steps(steps, own).items()]
    return f"{name}, but {', '.join(changed)}" if changed else name


def told_step(step: str, value: Any) -> str:
    """A step's value as a protocol's name and the list of protocols say it."""
    if step == "vocabulary":
        return vocabulary_label(value)
    if step == "templates":
        return Path(value).name
    return f"{value:g}" if isinstance(value, float) else "whole" if (step, value) == ("window", None) else str(value)


def _has_names(vocabulary: str, dataset: str) -> bool:
    return vocabulary not in PEERS or has_names(vocabulary, dataset)


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
    pos="bicubic+0.1",
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
    Setup("naclip", pixels=CLIP_PIXELS),
    {
        "voc20": {"window": None},
        "voc21": {"window": None, "background": "candidate+threshold=0.1"},
        "context60": {"background": "candidate+threshold=0.1"},
        "coco_object": {"background": "candidate+threshold=0.1"},
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
        pos="bilinear",
        fusion="probabilities",
        upsampled="twice",
        scale=1.0,
        templates="tcl9",
        vocabulary="tipsv2",
    ),
    Setup("maskclip", pixels=Pixels((0.0,) * 3, (1.0,) * 3)),
    datasets=("ade150",),
)
_DINOTXT = Preset(
    "dino.txt, its zero-shot segmentation in windows: Jose et al., CVPR 2025",
    "facebookresearch/dinov3@6876159a11b4df116f30f667f8c9888617df0751: notebooks/dinotxt_segmentation_inference.ipynb",
    replace(
        _TIPS.steps, size=512, window=384, overlap=0.5, templates="openai80", vocabulary="dinotxt", pos=None
    ),  # its positions rotate (RoPE); an encoder that adds them keeps its own way
    Setup("clip", pixels=IMAGENET_PIXELS),
    datasets=("cityscapes19", "ade150"),
)
_WHOLE = {"window": None, "fusion": "scores", "upsampled": "once"}  # mode whole of both notebooks

PRESETS: dict[str, Preset] = {
    "sclip": Preset(
        "SCLIP: Wang et al., ECCV 2024",
        "wangf3014/SCLIP@b56bd3014b9e8a3ee3450bcfc53700a67d627b7a: clip_segmentor.py, configs/",
        _SCLIP,
        Setup("sclip", pixels=CLIP_PIXELS),
        {
            "voc21": {"scale": 65.0, "background": "candidate+threshold=0.1", "area": 0.1},
            "context60": {"scale": 50.0, "background": "candidate+threshold=0.1"},
            "coco_object": {"scale": 50.0, "background": "candidate+threshold=0.1"},
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
        Setup("clearclip", pixels=CLIP_PIXELS),
        {
            "voc21": {"background": "candidate+threshold=0.5"},
            "context60": {"background": "candidate+threshold=0.15"},
            "coco_object": {"background": "candidate+threshold=0.4"},
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
            pos="bicubic-noalias",
            upsampled="twice",
            scale=1.0,
            templates="maskclip85",
            vocabulary="maskclip",
        ),
        Setup("maskclip", activation="GELU", norm_eps=1e-6, pixels=IMAGENET_PIXELS),
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
        on={name: {"background": "entropy=1.5"} for name in WITH_BACKGROUND},
    ),
}
