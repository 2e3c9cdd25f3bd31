"""What a training step is shown, whatever source it comes from."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from pacl_bench.data.pair_readers import Pairs
from pacl_bench.data.shards import ShardSet
from pacl_bench.encoders.view import View

TRAINING_VIEW = View(whole=False)  # the encoder's own centre square; the paper does not say
Sets = list[Pairs | ShardSet]


class Batch(NamedTuple):
    """Image-text pairs of one step."""

    patch_tokens: Float[Tensor, "pair patch width"]
    text_embeddings: Float[Tensor, "pair dim"]
    same_text: Bool[Tensor, "pair pair"]  # where two pairs have the same text
    position: dict[str, Any]  # how to go on after it; what a checkpoint keeps


@runtime_checkable
class Batches(Protocol):
    """A source of batches."""

    batch_size: int

    @property
    def num_pairs(self) -> int | None:
        """Of an epoch; None where nobody has counted."""
        ...

    def plan(self, steps: int) -> None:
        """Told once, before the first batch: how many steps the whole run has."""
        ...

    def batch(self, step: int) -> Batch:
        """Of a step. A stream gives them in order only, from the position it was opened at."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a head's card says of the pairs."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Loading:
    """How pairs are loaded. Nothing in it changes the weights."""

    workers: int | None = None  # processes that read shards; 0: the main process; None: all cores but one
    max_skipped: float = 0.1  # share of pairs that may fail before training stops


@dataclass(frozen=True)
class Drawing:
    """What decides which pairs and texts a step is shown."""

    batch_size: int
    noun_share: float
    seed: int
