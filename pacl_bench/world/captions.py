"""What is said of a scene: a part of what it shows, in varied English, now and then about another picture."""

from dataclasses import dataclass

from pacl_bench.world.stable_random import StableRandom
from pacl_bench.world.tables import COLOURS, JOINTS, NUMBERS, OPENINGS, STUFF, THINGS


@dataclass(frozen=True)
class Region:
    """A thing or a stuff in a scene."""

    noun: str
    colour: str | None  # of a thing
    area: int  # pixels in sight

    @property
    def name(self) -> str:
        return f"{self.colour} {self.noun}" if self.colour else self.noun


@dataclass(frozen=True)
class CaptionSpec:
    """How much a caption tells, in percent."""

    count: int = 1  # captions of a scene
    thing: int = 75  # each thing is named (one always is)
    stuff: int = 65  # a stuff is named
    colour: int = 70  # a named thing's colour is told
    mismatch: int = 0  # the caption is about another picture, as in text gathered from the web


def write_captions(in_sight: list[Region], spec: CaptionSpec, random: StableRandom) -> tuple[str, ...]:
    return tuple(_caption(in_sight, spec, random) for _ in range(spec.count))


def _caption(in_sight: list[Region], spec: CaptionSpec, random: StableRandom) -> str:
    if random.chance(spec.mismatch):
        in_sight = _another_picture(random)
    things = [region for region in in_sight if region.noun in THINGS]
    grounds = [region.noun for region in in_sight if region.noun in STUFF]
    subject = _count(len(things)) if things and random.chance(8) else _subject(things, spec, random)
    place = random.pick(grounds) if grounds and (random.chance(spec.stuff) or not things) else None
    return _sentence(subject, place, random)


def _count(number: int) -> str:
    return f"{NUMBERS[number]} object" if number == 1 else f"{NUMBERS[number]} objects"


def _another_picture(random: StableRandom) -> list[Region]:
    things = [Region(thing, random.pick(list(COLOURS)), 1000) for thing in random.draw(list(THINGS), 2)]
    return [*things, Region(random.pick(list(STUFF)), None, 1000)]


def _subject(things: list[Region], spec: CaptionSpec, random: StableRandom) -> str:
    """The things named, in random order: "a red zebra next to the small kite"."""
    order = random.draw(things, len(things))
    named = order[:1] + [thing for thing in order[1:] if random.chance(spec.thing)]
    mentions = [_mention(thing, spec, random) for thing in named]
    subject = mentions[0] if mentions else ""
    for mention in mentions[1:]:
        subject += f" {random.pick(JOINTS)} {mention}"
    return subject


def _mention(thing: Region, spec: CaptionSpec, random: StableRandom) -> str:
    words = [random.pick(("a", "a", "the"))]
    if random.chance(20):
        words.append("large" if thing.area > 500 else "small")
    if random.chance(spec.colour) and thing.colour:
        words.append(thing.colour)
    if random.chance(82):
        words.append(thing.noun)
    elif random.chance(70):
        words += [THINGS[thing.noun].adjective, "object"]
    else:
        words.append("object")
    if words[0] == "a" and words[1][0] in "aeiou":
        words[0] = "an"
    return " ".join(words)


def _sentence(subject: str, place: str | None, random: StableRandom) -> str:
    """The subject in its place, said in one of several ways."""
    if place is None:
        said = subject
    elif not subject:
        said = place
    else:
        phrase = STUFF[place].place
        said = random.pick((f"{subject} {phrase}", f"{subject} {phrase}", f"{subject} in front of {place}"))
        if random.chance(20):
            said = f"{place} with {subject}"
        elif random.chance(10):
            said = f"{subject}, the {place} behind"
    if random.chance(45):
        return f"{said}."
    if random.chance(12):
        return f"{said} in a video game."
    return _opened(random.pick(OPENINGS), said)


def _opened(opening: str, said: str) -> str:
    """An opening ends in "of" or in a noun; before the noun's own phrase the latter drops the article."""
    if opening == "a origami":
        said = said.removeprefix("a ").removeprefix("an ").removeprefix("the ")
    return f"{opening} {said}."
