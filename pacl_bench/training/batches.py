"""What a training step is given, and what gives it: from files in any order, or from a stream of shards."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from pacl_bench.data.pair_readers import Pairs
from pacl_bench.data.shards import ShardSet
from pacl_bench.encoders.view import View

TRAINING_VIEW = View(whole=False)  # the encoder's own centre square; the paper does not say
Sets = list[Pairs | ShardSet]


class Batch(NamedTuple):
    """The image-text pairs of one step; where several processes train together, the texts of all and its own images."""

    patch_tokens: Float[Tensor, "own patch width"]
    text_embeddings: Float[Tensor, "pair dim"]
    same_text: Bool[Tensor, "own pair"]  # True where two pairs have the same text: they are no negatives
    own: Int[Tensor, " own"]  # which pairs of the batch the process's own images are of
    position: dict[str, Any]  # where the next batch begins: kept in the checkpoint, so that a resumed run starts there


@runtime_checkable
class Batches(Protocol):
    """What the training loop takes its batches from."""

    batch_size: int  # pairs of a batch; fewer than were asked for, where there are no more

    @property
    def num_pairs(self) -> int | None:
        """How many pairs an epoch has; None where that is not known."""
        ...

    @property
    def progress(self) -> tuple[float, ...]:
        """How far a stream was read, as numbers that compare with those of other heads that read it too."""
        ...

    def plan(self, steps: int) -> None:
        """Told once, before the first batch: how many steps the whole run has."""
        ...

    def batch(self, step: int) -> Batch:
        """The batch of a step. A stream cannot jump: it gives the next batch, and must be asked step by step."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a head's card says of the pairs: how many images and captions, and what was skipped why."""
        ...

    def close(self) -> None:
        """Ends what was started to load pairs."""
        ...


@dataclass(frozen=True)
class Drawing:
    """What decides, for given pairs, which of them and which of their texts a step is given."""

    batch_size: int
    noun_share: float  # how often a noun of the caption, in a template, stands in for the caption
    seed: int
    sets_apart: bool = False  # whether each set of shards has an order of its own
    bfloat16: bool = False  # whether images from shards are encoded under autocast
