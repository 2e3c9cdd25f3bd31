"""How somebody else's evaluation runs an encoder: what it changes in the network, and the pixels it feeds it.

What is done about each choice is in encoders.resizing, encoders.positions and encoders.attention. No torch here.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

MOST_PIXELS = 10_000  # of a side of what an encoder is shown: beyond it memory ends before anything is measured
Activation = Literal["GELU", "QuickGELU"]

# a name of encoders.table.POSITIONS
Position = Literal["bicubic", "bilinear", "bicubic-noalias", "bicubic+0.1"]

# patch-multiple: the short side given, both rounded to whole patches, the encoder's own interpolation (the default)
# mmseg: as mmcv's Resize does it, an upper bound for either side, bilinear without antialias
# pillow: the short side given, the long one rounded down, Pillow's bicubic
Resize = Literal["patch-multiple", "mmseg", "pillow"]

# none: nothing is over. drop: pixels right and below of the last whole patch are not seen, and what the patches say is
# stretched over all pixels. pad: zeros on the right and below fill the last patches, and what all patches say is
# squeezed into the pixels. pad-around: zeros on every side, cut off again. stretch: bicubic to whole patches, and back.
Remainder = Literal["none", "drop", "pad", "pad-around", "stretch"]


class Pixels(NamedTuple):
    """How pixels from 0 to 1 are scaled: the mean is taken away, what is left divided by the standard deviation."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Setup:
    """Changes to an encoder that need no other weights; None leaves a thing as the encoder has it."""

    attention: str | None = None  # of the last block, a name of encoders.table.ATTENTIONS
    pos: Position | None = None  # how positional embeddings are interpolated
    activation: Activation | None = None  # of every block
    norm_eps: float | None = None  # of every layer norm: what is added to the variance
    pixels: Pixels | None = None

    def describe(self) -> dict[str, object]:
        """What changes, as it stands in JSON."""
        pixels = {} if self.pixels is None else {"mean": list(self.pixels.mean), "std": list(self.pixels.std)}
        return {name: value for name, value in (vars(self) | pixels).items() if value is not None and name != "pixels"}
