"""The steps from a photo to its label map: every choice there is, by name. No torch here.

What is done about each is in evaluators.protocol_steps and evaluators.score_field; before it, in encoders.resizing and
encoders.positions. `Steps` is a complete choice; evaluators.presets holds those of other people's protocols.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pacl_bench.encoders.setup import Position, Remainder, Resize
from pacl_bench.errors import UsageError

Fusion = Literal["scores", "probabilities"]
Upsampled = Literal["once", "twice"]
Upsampling = Literal["bilinear", "nearest"]
Refinement = Literal["none", "pamr"]
Merged = Literal["patches", "pixels"]
Names = Literal["best", "mean"]
Softmax = Literal["classes", "names"]

SCALE = 40.0  # of cosines before a softmax: what the field's training-free methods multiply CLIP's by

CANDIDATE = "candidate"
_BACKGROUND = re.compile(r"candidate|(?P<both>candidate\+)?(?P<kind>threshold|entropy)=(?P<value>\d+(\.\d+)?)")


class Background(NamedTuple):
    """Which pixels are background."""

    candidate: bool  # whether it is a class like the others, with its names as prompts
    threshold: float | None  # of the best candidate's probability, below which a pixel is background in any case
    entropy: float | None  # over the candidates, in nats, above which it is


def parse_background(text: str) -> Background:
    """`candidate`, `candidate+threshold=0.1`, `threshold=0.1` or `entropy=1.5` taken apart; else a UsageError."""
    found = _BACKGROUND.fullmatch(text)
    if found is None:
        raise UsageError("candidate, candidate+threshold=0.1, threshold=0.1 or entropy=1.5 is wanted.")
    values = {found["kind"]: float(found["value"])} if found["kind"] else {}
    return Background(not values or found["both"] is not None, values.get("threshold"), values.get("entropy"))


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Every step from a photo to a label map."""

    resize: Resize = "patch-multiple"
    size: int | None = None  # short side in pixels; None is the encoder's own
    long_side: int | None = None  # in pixels, which the long side may not exceed; None: no bound
    stride: int | None = None  # of the patch convolution in pixels; None is the patch size
    window: int | None = None  # side of a sliding window in pixels; None is the whole image
    overlap: float = 0.5  # the share of a window that the next one covers too
    remainder: Remainder = "none"
    pos: Position | None = None  # how positional embeddings come to another grid; None is the encoder's own
    fusion: Fusion = "scores"
    upsampled: Upsampled = "once"
    upsampling: Upsampling = "bilinear"
    refinement: Refinement = "none"
    merged: Merged = "patches"
    names: Names = "best"
    softmax: Softmax = "classes"
    scale: float = SCALE  # of the cosines in the softmax
    area: float | None = None  # the share of foreground that a class must have; None: none
    background: str = CANDIDATE  # of a set that has one, see parse_background
    templates: str = "paper7"
    vocabulary: str = "plain"

    def __post_init__(self) -> None:
        background = parse_background(self.background)
        if self.resize != "patch-multiple" and self.remainder == "none":
            raise UsageError(
                f"--resize {self.resize}: its sides are no whole patches; say what becomes of the rest: --remainder "
                "drop, pad, pad-around or stretch."
            )
        if self.fusion == "probabilities" and self.upsampled == "once":
            raise UsageError("--fusion probabilities: is of the pixels of the resized image; give --upsampled twice.")
        if self.fusion == "probabilities" and background != Background(True, None, None):
            raise UsageError("--fusion probabilities: knows no thresholds of background; --fusion scores does.")
        if self.upsampling == "nearest" and self.upsampled == "twice":
            raise UsageError("--upsampling nearest: is for --upsampled once.")
        if self.names == "mean" and self.merged == "pixels":
            raise UsageError("--names mean: is for --merged patches.")
        if self.area is not None and not background.candidate:
            raise UsageError("--area: wants background to be a candidate; --background candidate.")


def changed_steps(steps: Steps, own: Steps = Steps()) -> dict[str, Any]:
    """The steps that are not as in others, by default the usual ones."""
    return {name: value for name, value in vars(steps).items() if value != getattr(own, name)}
