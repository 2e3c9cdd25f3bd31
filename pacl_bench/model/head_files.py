"""A trained head on disk: a folder with the weights (safetensors) and a JSON that is readable without torch."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacl_bench.encoders.spec import parse_spec, with_alias
from pacl_bench.errors import UsageError
from pacl_bench.files import safe_name, write_bytes, write_json

if TYPE_CHECKING:
    from pacl_bench.model.embedder import VisionEmbedder

SCHEMA = 1
WEIGHTS, CARD = "head.safetensors", "head.json"


@dataclass(frozen=True)
class FrozenPart:
    """Which frozen encoder a head belongs to."""

    name: str
    spec: str
    sha256: str
    settings: dict[str, Any]  # what else decides its output: block, tap, preprocessing, pooling ...

    @property
    def loadable(self) -> str:
        """The text that loads the encoder under its name again."""
        return with_alias(self.name, self.spec)


@dataclass(frozen=True)
class HeadCard:
    """What is known of a head without loading its weights."""

    name: str
    encoder: FrozenPart
    text: FrozenPart
    width: int
    dim: int
    patch_scale: float
    temperature: float
    step: int  # training steps done; 0 is an untrained head
    sha256: str  # of the weights
    train: dict[str, Any]  # the complete training configuration
    provenance: dict[str, Any]


def default_name(encoder: str) -> str:
    """What a head of an encoder is called where nobody says: pacl-clip-b16."""
    return safe_name(f"pacl-{parse_spec(encoder).name}").replace(",", "-")  # a comma would divide --heads


def save_head(folder: Path, embedder: "VisionEmbedder", card: HeadCard) -> None:
    """Writes the weights, then the card: a folder with a card is complete."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in embedder.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(weights))
    write_json(folder / CARD, {"schema": SCHEMA, **asdict(card)})


def read_card(folder: Path) -> HeadCard:
    """The card of the head in `folder`, without torch."""
    file = folder / CARD
    if not file.is_file():
        raise UsageError(f"{folder} holds no head ({CARD} not found). Make one with `pacl-bench train --out {folder}`.")
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        if card.pop("schema") != SCHEMA:
            raise UsageError(f"{file} was written by another version of pacl-bench. Train the head again.")
        encoder, text = FrozenPart(**card.pop("encoder")), FrozenPart(**card.pop("text"))
        # a folder may be renamed, and its head with it
        return HeadCard(**{**card, "name": folder.resolve().name}, encoder=encoder, text=text)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is not a head's card ({error}).") from None


def load_embedder(folder: Path, card: HeadCard) -> "VisionEmbedder":
    """The weights of the head in `folder`."""
    from pacl_bench.encoders.weights_files import load_strictly, read_state_dict
    from pacl_bench.model.embedder import VisionEmbedder

    file = folder / WEIGHTS
    if not file.is_file():
        raise UsageError(f"{file} not found beside {CARD}.")
    embedder = VisionEmbedder(card.width, card.dim)
    load_strictly(embedder, read_state_dict(file), file)
    return embedder
