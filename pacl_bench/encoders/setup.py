"""How somebody else's evaluation runs an encoder: what it changes in the network, and the pixels it feeds it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Activation = Literal["GELU", "QuickGELU"]


class Pixels(NamedTuple):
    """How pixels from 0 to 1 are scaled: the mean is taken away, what is left divided by the standard deviation."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Setup:
    """Changes to an encoder that need no other weights; None leaves a thing as the encoder has it."""

    attention: str | None = None  # of the last block, a name of encoders.table.ATTENTIONS
    pos: str | None = None  # how positional embeddings are interpolated, a name of encoders.table.POSITIONS
    activation: Activation | None = None  # of every block
    norm_eps: float | None = None  # of every layer norm: what is added to the variance
    pixels: Pixels | None = None
