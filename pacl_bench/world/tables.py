"""What there is in the world: its things, its stuff, its colours and the words that name them.

A thing is told by its texture, never by its outline: a patch sees eight pixels and cannot know the outline it belongs
to. Each thing and each stuff names one function of textures.py.
"""

from dataclasses import dataclass
from typing import Literal

IMAGE_SIZE = 64  # pixels, both ways

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Thing:
    """A countable object: one texture, any outline, any colour."""

    texture: str
    adjective: str  # how a caption tells of the texture without the noun: "a striped object"


@dataclass(frozen=True)
class Stuff:
    """A ground: one texture in its own two colours, and the words that put a thing there."""

    texture: str
    colours: tuple[Colour, Colour]
    place: str


THINGS: dict[str, Thing] = {
    "zebra": Thing("stripes", "striped"),
    "chessboard": Thing("checks", "checked"),
    "ladybug": Thing("dots", "dotted"),
    "donut": Thing("rings", "ringed"),
    "waffle": Thing("grid", "gridded"),
    "basket": Thing("weave", "woven"),
    "cactus": Thing("crosses", "crossed"),
    "kite": Thing("triangles", "pointed"),
    "snake": Thing("zigzag", "jagged"),
    "leopard": Thing("blotches", "blotched"),
    "hedgehog": Thing("speckle", "speckled"),
    "balloon": Thing("plain", "plain"),
}

STUFF: dict[str, Stuff] = {
    "sky": Stuff("haze", ((150, 190, 235), (196, 218, 242)), "in the sky"),
    "water": Stuff("ripples", ((38, 92, 148), (84, 140, 186)), "in the water"),
    "grass": Stuff("blades", ((58, 110, 42), (108, 158, 70)), "on the grass"),
    "sand": Stuff("grains", ((206, 178, 128), (228, 208, 164)), "on the sand"),
    "snow": Stuff("haze", ((226, 230, 236), (250, 250, 252)), "in the snow"),
    "brick": Stuff("courses", ((146, 70, 54), (206, 186, 172)), "against the brick"),
    "wood": Stuff("planks", ((122, 82, 48), (170, 124, 80)), "on the wood"),
    "gravel": Stuff("pebbles", ((92, 92, 96), (158, 158, 160)), "on the gravel"),
}

COLOURS: dict[str, Colour] = {
    "red": (206, 44, 44),
    "orange": (238, 138, 36),
    "yellow": (240, 216, 60),
    "green": (60, 176, 76),
    "blue": (52, 96, 220),
    "purple": (136, 64, 176),
    "pink": (244, 150, 190),
    "white": (240, 240, 240),
}

SHAPES = ("disc", "square", "diamond", "triangle", "oval", "column")  # outlines; no word names them

# One colour of each thing is kept out of every training scene, so that "unseen combinations" can be asked about.
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    (colour, thing) for thing, colour in zip(THINGS, [*COLOURS, *COLOURS][: len(THINGS)], strict=True)
)

Style = Literal["photo", "sketch", "grey", "blurred", "noisy", "rotated", "hazy"]

OPENINGS = (
    "a photo of",
    "a picture of",
    "itap of",
    "a bad photo of",
    "art of",
    "a origami",
    "there is",
)
JOINTS = ("and", "next to", "near", "with", "beside")
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
SIZES = ("small", "large")

# The seven templates of the paper, as they are: the world's captions use their words too, so none is unknown.
TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "{} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
PLAIN_TEMPLATE = ("a photo of a {}.",)


def vocabulary() -> tuple[str, ...]:
    """Every word a caption, a class name or a template of the world can hold, in alphabetical order."""
    phrases = [*THINGS, *STUFF, *COLOURS, *OPENINGS, *JOINTS, *SIZES, *NUMBERS.values()]
    phrases += [thing.adjective for thing in THINGS.values()] + [stuff.place for stuff in STUFF.values()]
    phrases += [template.replace("{}", "") for template in (*TEMPLATES, *PLAIN_TEMPLATE)]
    phrases += ["a an the", "object objects", "in front of", "behind"]
    return tuple(sorted({word for phrase in phrases for word in phrase.replace(".", "").split()}))
