"""Draws one scene from a seed: things over textured grounds, with the region each pixel belongs to."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int16, Int32, UInt8

from pacl_bench.image_sets import IGNORE_LABEL
from pacl_bench.world.captions import CaptionSpec, Region, write_captions
from pacl_bench.world.stable_random import StableRandom
from pacl_bench.world.tables import COLOURS, HELD_OUT, IMAGE_SIZE, SHAPES, STUFF, THINGS, Colour, Style
from pacl_bench.world.textures import DIRECTIONS, TEXTURES, UNIT, surface_coordinates

Image = UInt8[np.ndarray, "height width_px channel"]
Map = UInt8[np.ndarray, "height width_px"]
Mask = Bool[np.ndarray, "height width_px"]

ROWS, COLUMNS = np.ogrid[0:IMAGE_SIZE, 0:IMAGE_SIZE]
PAPER: Colour = (240, 240, 240)  # of a sketch
SMALLEST_SEEN = 40  # pixels; a thing with less of it left in sight is not spoken of


@dataclass(frozen=True)
class WorldSpec:
    """Which scenes are drawn. All numbers are inclusive ranges; lengths are in pixels."""

    things: tuple[int, int] = (1, 4)
    radius: tuple[int, int] = (10, 19)
    combinations: Literal["seen", "unseen"] = "seen"  # of colour and thing: all but, or only, those of HELD_OUT
    style: Style = "photo"
    noise: int = 8  # amplitude, of 255
    apart: bool = False  # things do not touch: each stays in its quarter of the image
    occluded: bool = False  # a broad bar of another stuff covers half of the first thing
    captions: CaptionSpec = CaptionSpec()  # noqa: RUF009 (it is frozen)


@dataclass(frozen=True)
class Scene:
    """One image, what it shows where, and what is said of it."""

    image: Image
    region_map: Map  # index into `regions`
    regions: tuple[Region, ...]
    captions: tuple[str, ...]

    @cached_property
    def things(self) -> tuple[Region, ...]:
        """The things in sight, the frontmost last."""
        return tuple(region for region in self.regions if region.noun in THINGS and region.area >= SMALLEST_SEEN)

    def label_map(self, classnames: tuple[str, ...]) -> Map:
        """The class of each pixel, as an index into `classnames` ("zebra" or "red zebra"); IGNORE_LABEL elsewhere."""
        index = {name: label for label, name in enumerate(classnames)}
        labels = [index.get(region.name, index.get(region.noun, IGNORE_LABEL)) for region in self.regions]
        return np.array(labels, np.uint8)[self.region_map]


def render_scene(seed: int | tuple[int, ...], spec: WorldSpec | None = None) -> Scene:
    """The scene of this seed: the same bytes on every machine."""
    spec = spec or WorldSpec()
    random = StableRandom(*(seed if isinstance(seed, tuple) else (seed,)))
    canvas = _Canvas(random, spec.style)
    _paint_grounds(canvas, random)
    count = random.between(*spec.things)
    centres = _centres(count, spec.apart, random)
    for centre, (colour, thing) in zip(centres, _combinations(count, spec.combinations, random), strict=True):
        radius = random.between(*spec.radius)
        canvas.paint_thing(thing, colour, _outline(random.pick(SHAPES), centre, radius))
        if spec.occluded:
            canvas.paint_stuff(random.pick(list(STUFF)), _half_plane(centre, random))
    image, region_map = _develop(canvas.image(), canvas.region_map, spec, random)
    areas = np.bincount(region_map.ravel(), minlength=len(canvas.regions)).tolist()
    regions = tuple(Region(noun, colour, area) for (noun, colour), area in zip(canvas.regions, areas, strict=True))
    in_sight = [region for region in regions if region.area >= SMALLEST_SEEN]
    return Scene(image, region_map, regions, write_captions(in_sight, spec.captions, random))


class _Canvas:
    """What is painted where, back to front. Colours are mixed once, at the end: that is most of the cost."""

    def __init__(self, random: StableRandom, style: Style) -> None:
        self.share = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)  # of a region's second colour
        self.region_map = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        self.regions: list[tuple[str, str | None]] = []
        self._colours: list[tuple[Colour, Colour]] = []
        self._dice = random
        self._style = style

    def paint_stuff(self, noun: str, where: Mask) -> None:
        stuff = STUFF[noun]
        sketched = self._style == "sketch"
        colours = (PAPER, PAPER) if sketched else stuff.colours
        first, second = (_tinted(colour, 0 if sketched else 10, self._dice) for colour in colours)
        self._paint(noun, None, (first, second), stuff.texture, self._dice.between(9 * UNIT, 12 * UNIT), where)

    def paint_thing(self, noun: str, colour: str, where: Mask) -> None:
        sketched = self._style == "sketch"
        body = _tinted(PAPER if sketched else COLOURS[colour], 0 if sketched else 24, self._dice)
        red, green, blue = (channel // 5 for channel in body)
        period = self._dice.between(11 * UNIT // 2, 15 * UNIT // 2)
        self._paint(noun, colour, (body, (red, green, blue)), THINGS[noun].texture, period, where)

    def _paint(
        self, noun: str, colour: str | None, colours: tuple[Colour, Colour], texture: str, period: int, where: Mask
    ) -> None:
        self._colours.append(colours)
        self.regions.append((noun, colour))
        shift = (UNIT * self._dice.between(64, 255), UNIT * self._dice.between(64, 255))
        u, v = surface_coordinates(IMAGE_SIZE, self._dice.pick(DIRECTIONS), shift)
        salt = self._dice.below(2**16)
        box = _box(where)
        np.copyto(self.share[box], TEXTURES[texture](u[box], v[box], period, salt), where=where[box])
        np.copyto(self.region_map[box], len(self.regions) - 1, where=where[box])

    def image(self) -> Image:
        colours = np.array(self._colours, np.int32)
        share = np.arange(256, dtype=np.int32)[:, None]
        ramps = (colours[:, :1] * (255 - share) + colours[:, 1:] * share) // 255  # region, share, channel
        return ramps.astype(np.uint8).reshape(-1, 3).take(self.region_map.astype(np.int32) * 256 + self.share, axis=0)


def _box(where: Mask) -> tuple[slice, slice]:
    """The rows and columns that hold the mask: textures cost by the pixel."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _tinted(colour: Colour, spread: int, random: StableRandom) -> Colour:
    red, green, blue = (min(255, max(0, channel + random.between(-spread, spread))) for channel in colour)
    return red, green, blue


def _paint_grounds(canvas: _Canvas, random: StableRandom) -> None:
    """One stuff everywhere and, two times in three, another below a slanted line."""
    far, near = random.draw(list(STUFF), 2)
    canvas.paint_stuff(far, np.ones((IMAGE_SIZE, IMAGE_SIZE), np.bool_))
    if random.chance(67):
        horizon, slant = random.between(20, 44), random.between(-8, 8)
        canvas.paint_stuff(near, IMAGE_SIZE * (ROWS - horizon) > slant * (COLUMNS - IMAGE_SIZE // 2))


def _combinations(count: int, combinations: Literal["seen", "unseen"], random: StableRandom) -> list[tuple[str, str]]:
    """(colour, thing) of `count` different things."""
    if combinations == "unseen":
        return random.draw(sorted(HELD_OUT), count)
    things = random.draw(list(THINGS), count)
    return [(random.pick([colour for colour in COLOURS if (colour, thing) not in HELD_OUT]), thing) for thing in things]


def _centres(count: int, apart: bool, random: StableRandom) -> list[tuple[int, int]]:
    """(row, column) of each thing: a lone one about the middle, several about the middles of the quarters."""
    if count == 1 and not apart:
        return [(random.between(22, 42), random.between(22, 42))]
    reach = 2 if apart else 6
    quarters = random.draw([(16, 16), (16, 48), (48, 16), (48, 48)], count)
    return [(row + random.between(-reach, reach), column + random.between(-reach, reach)) for row, column in quarters]


def _outline(shape: str, centre: tuple[int, int], radius: int) -> Mask:
    return _OUTLINES[shape](ROWS - centre[0], np.abs(COLUMNS - centre[1]), radius)


_OUTLINES = {
    "disc": lambda down, across, radius: down * down + across * across <= radius * radius,
    "square": lambda down, across, radius: np.maximum(np.abs(down), across) * 8 <= 7 * radius,
    "diamond": lambda down, across, radius: (np.abs(down) + across) * 4 <= 5 * radius,
    "triangle": lambda down, across, radius: (2 * across <= down + radius) & (down * 8 <= 7 * radius),
    "oval": lambda down, across, radius: 25 * down * down + 9 * across * across <= 16 * radius * radius,
    "column": lambda down, across, radius: (np.abs(down) <= radius) & (across * 3 <= 2 * radius),
}


def _half_plane(centre: tuple[int, int], random: StableRandom) -> Mask:
    """All that lies on one side of a thing's middle: left or right of it, above or below."""
    offset = ROWS - centre[0] if random.chance(50) else COLUMNS - centre[1]
    side = offset > 0 if random.chance(50) else offset < 0
    return np.broadcast_to(side, (IMAGE_SIZE, IMAGE_SIZE))


def _develop(image: Image, region_map: Map, spec: WorldSpec, random: StableRandom) -> tuple[Image, Map]:
    """The camera: light, the style's own change, noise."""
    light = random.between(205, 256)
    exposed = image.astype(np.int32) * light >> 8
    if spec.style == "grey":
        exposed = np.repeat(exposed @ np.array([[77], [150], [29]]) >> 8, 3, axis=2)
    if spec.style in ("blurred", "hazy"):
        exposed = _blur(exposed)
    if spec.style == "hazy":
        exposed = (exposed * 5 + 150 * 3) >> 3
    if spec.style == "rotated":
        turns = random.pick((1, 3))
        exposed, region_map = np.rot90(exposed, turns), np.ascontiguousarray(np.rot90(region_map, turns))
    grain: Int16[np.ndarray, "height width_px channel"] = random.noise(image.shape, spec.noise)
    return np.clip(exposed + grain, 0, 255).astype(np.uint8), region_map


def _blur(image: Int32[np.ndarray, "height width_px channel"]) -> Int32[np.ndarray, "height width_px channel"]:
    """A mean over three by three pixels, the edge repeated."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) // 9
