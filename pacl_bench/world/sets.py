"""The world's data sets: nothing is stored, each item is drawn when asked for, always the same.

Each set has its own stream of seeds, so no evaluation scene was ever trained on.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from pacl_bench.world.captions import CaptionSpec
from pacl_bench.world.scene import Image, Map, Scene, WorldSpec, render_scene
from pacl_bench.world.tables import COLOURS, HELD_OUT, NUMBERS, STUFF, TEMPLATES, THINGS


@dataclass(frozen=True)
class WorldScenes:
    """`size` scenes of one kind. Index `i` of stream `s` is the scene of seed (s, i)."""

    why: str
    stream: int
    size: int
    spec: WorldSpec = field(default_factory=WorldSpec)

    def __len__(self) -> int:
        return self.size

    def scene(self, index: int) -> Scene:
        if not 0 <= index < self.size:
            raise IndexError(f"scene {index} of {self.size}")
        return render_scene((self.stream, index), self.spec)


@dataclass(frozen=True)
class WorldPairs(WorldScenes):
    """Images with one caption each."""

    def __getitem__(self, index: int) -> tuple[Image, str]:
        scene = self.scene(index)
        return scene.image, scene.captions[0]


@dataclass(frozen=True, kw_only=True)
class WorldSegmentation(WorldScenes):
    """Images with the class of each pixel; IGNORE_LABEL where none of the set's classes is."""

    classnames: tuple[str, ...]
    templates: tuple[str, ...] = TEMPLATES

    def __getitem__(self, index: int) -> tuple[Image, Map]:
        scene = self.scene(index)
        return scene.image, scene.label_map(self.classnames)


@dataclass(frozen=True, kw_only=True)
class WorldClassification(WorldScenes):
    """Images with one label each: what the first thing is, its colour, its texture, or how many things there are."""

    target: Literal["thing", "colour", "texture", "count"] = "thing"
    templates: tuple[str, ...] = TEMPLATES

    @property
    def classnames(self) -> tuple[str, ...]:
        return TARGET_CLASSNAMES[self.target]

    def __getitem__(self, index: int) -> tuple[Image, int]:
        scene = self.scene(index)
        things = [region for region in scene.regions if region.noun in THINGS]
        if self.target == "count":
            return scene.image, len(things) - 1
        if self.target == "colour":
            return scene.image, list(COLOURS).index(str(things[0].colour))
        return scene.image, list(THINGS).index(things[0].noun)


TARGET_CLASSNAMES: dict[str, tuple[str, ...]] = {
    "thing": tuple(THINGS),
    "colour": tuple(f"{colour} object" for colour in COLOURS),
    "texture": tuple(f"{thing.adjective} object" for thing in THINGS.values()),
    "count": tuple(f"{word} object" if number == 1 else f"{word} objects" for number, word in NUMBERS.items()),
}

# The pre-training of the tiny encoders draws from this stream, and from no other.
PRETRAINING_STREAM = 1

# A three-thousandth of GCC3M, GCC12M and YFCC15M. The larger, the looser its captions, as on the web.
WORLD_PAIRS: dict[str, WorldPairs] = {
    "world-1k": WorldPairs("GCC3M: few pairs, carefully cleaned captions", 11, 1_000),
    "world-4k": WorldPairs(
        "GCC12M: more pairs, looser captions", 12, 4_000, WorldSpec(captions=CaptionSpec(thing=65, mismatch=5))
    ),
    "world-5k": WorldPairs(
        "YFCC15M: most pairs, what people happened to write",
        13,
        5_000,
        WorldSpec(captions=CaptionSpec(thing=55, stuff=50, colour=60, mismatch=10)),
    ),
}

_FINE = tuple(f"{colour} {thing}" for thing in THINGS for colour in COLOURS if (colour, thing) not in HELD_OUT)

WORLD_SEGMENTATION: dict[str, WorldSegmentation] = {
    "world-things": WorldSegmentation("things only, as PASCAL VOC's 20", 21, 200, classnames=tuple(THINGS)),
    "world-scenes": WorldSegmentation(
        "things and stuff: every pixel has a class, as PASCAL Context's 59", 22, 200, classnames=(*THINGS, *STUFF)
    ),
    "world-fine": WorldSegmentation(
        "a large vocabulary of near neighbours (colour and thing), as COCO-Stuff's 171", 23, 200, classnames=_FINE
    ),
    "world-hazy": WorldSegmentation(
        "a shifted style the encoders have not seen: haze, blur, noise",
        24,
        200,
        WorldSpec(style="hazy", noise=40),
        classnames=(*THINGS, *STUFF),
    ),
}

_ALONE = WorldSpec(things=(1, 1), radius=(14, 22))

WORLD_CLASSIFICATION: dict[str, WorldClassification] = {
    "world-clean": WorldClassification("one large thing: the easiest question", 31, 300, _ALONE),
    "world-colours": WorldClassification("an attribute in place of the noun", 32, 300, _ALONE, target="colour"),
    "world-textures": WorldClassification(
        "an adjective seldom heard in place of the noun, as DTD", 33, 300, _ALONE, target="texture"
    ),
    "world-counts": WorldClassification(
        "how many: what patches alone cannot tell, as CLEVR counts",
        34,
        300,
        WorldSpec(radius=(8, 11), apart=True),
        target="count",
    ),
    "world-sketch": WorldClassification(
        "texture in ink on paper, no colour, as ImageNet-Sketch", 35, 300, replace(_ALONE, style="sketch")
    ),
    "world-grey": WorldClassification("no colour", 36, 300, replace(_ALONE, style="grey")),
    "world-blurred": WorldClassification("fine detail lost", 37, 300, replace(_ALONE, style="blurred")),
    "world-noisy": WorldClassification("fine detail drowned", 38, 300, replace(_ALONE, noise=90)),
    "world-rotated": WorldClassification(
        "a quarter turn: orientations never trained on", 39, 300, replace(_ALONE, style="rotated")
    ),
    "world-small": WorldClassification(
        "one or two patches hold the answer", 40, 300, WorldSpec(things=(1, 1), radius=(5, 7))
    ),
    "world-occluded": WorldClassification("half of the thing is hidden", 41, 300, replace(_ALONE, occluded=True)),
    "world-unseen": WorldClassification(
        "colours these things never had in training", 42, 300, replace(_ALONE, combinations="unseen")
    ),
}
