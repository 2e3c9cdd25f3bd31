"""A trained head on disk: a folder with the weights (safetensors) and a JSON that is readable without torch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacl_bench.encoders.spec import parse_spec
from pacl_bench.errors import UsageError
from pacl_bench.files import safe_name, write_bytes, write_json
from pacl_bench.validation.configs import without_defaults

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEMA = 1  # of what is written; older ones are read, newer ones refused
WEIGHTS, CARD = "head.safetensors", "head.json"
RESIDUAL = "residual"  # the kind that cards, records and checkpoints leave out, as they did before there were others


@dataclass(frozen=True)
class FrozenPart:
    """Which frozen encoder a head belongs to."""

    name: str
    spec: str
    sha256: str
    settings: dict[str, Any]  # what else decides its output: block, tap, preprocessing, pooling ...

    def describe(self) -> dict[str, Any]:
        """What a record says of the encoder."""
        return {"name": self.name, "sha256": self.sha256, **self.settings}


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
    kind: str = RESIDUAL  # of HEADS in model/embedder.py

    def content(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return without_defaults(asdict(self), {"kind": RESIDUAL})

    def describe_model(self) -> dict[str, Any]:
        """What a record says of the head with its encoders: as AlignedModel.describe, without loading them."""
        return {"encoder": self.encoder.describe(), "text": self.text.describe(), "head": self.describe()}

    def describe(self) -> dict[str, Any]:
        """What a record says of the head."""
        head = {"sha256": self.sha256, "patch_scale": self.patch_scale, "step": self.step, "train": self.train}
        return head | ({} if self.kind == RESIDUAL else {"kind": self.kind})


def default_name(encoder: str) -> str:
    """What a head of an encoder is called where nobody says: pacl-clip-b16."""
    return safe_name(f"pacl-{parse_spec(encoder).name}").replace(",", "-")  # a comma would divide --heads


def save_head(folder: Path, embedder: "nn.Module", card: HeadCard) -> None:
    """Writes the weights, then the card: a folder with a card is complete."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in embedder.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(weights))
    write_json(folder / CARD, {"schema": SCHEMA, **card.content()})


def read_card(folder: Path) -> HeadCard:
    """The card of the head in `folder`, without torch."""
    file = folder / CARD
    if not file.is_file():
        raise UsageError(f"{folder} holds no head ({CARD} not found). Make one with `pacl-bench train --out {folder}`.")
    from pacl_bench.validation.schema import CardShape
    from pacl_bench.validation.strict_json import read_checked

    card = read_checked(file, CardShape, SCHEMA, "a head's card")
    encoder, text = FrozenPart(**card.pop("encoder")), FrozenPart(**card.pop("text"))
    card |= {name: float(card[name]) for name in ("patch_scale", "temperature")}  # other programs write 1 for 1.0
    # a folder may be renamed, and its head with it
    return HeadCard(**{**card, "name": folder.resolve().name}, encoder=encoder, text=text)


def load_embedder(folder: Path, card: HeadCard) -> "nn.Module":
    """The head in `folder`; a UsageError where its weights are not those its card was written for."""
    from pacl_bench.encoders.base import state_sha256
    from pacl_bench.encoders.weights_files import load_strictly, read_state_dict
    from pacl_bench.model.embedder import make_head

    file = folder / WEIGHTS
    if not file.is_file():
        raise UsageError(f"{file} not found beside {CARD}.")
    weights = read_state_dict(file)
    _require_usable(weights, file)
    embedder = make_head(card.kind, card.width, card.dim)
    load_strictly(embedder, weights, file)
    found = state_sha256(embedder)
    if found != card.sha256:
        raise UsageError(
            f"{file} holds other weights than its {CARD} was written for (sha256 {found[:12]}, the card says "
            f"{card.sha256[:12]}). Copy both from one head, or train it again."
        )
    return embedder


def _require_usable(weights: "dict[str, Tensor]", file: Path) -> None:
    """Numbers, all of them finite; of double precision only what single precision holds is used."""
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            raise UsageError(
                f"{file}: {name} is {str(tensor.dtype).removeprefix('torch.')}; a head has float32 weights."
            )
        if not bool(tensor.isfinite().all()):
            raise UsageError(f"{file}: {name} holds NaN or infinite weights. Train the head again.")
    if any(tensor.element_size() > 4 for tensor in weights.values()):
        from pacl_bench.progress import note

        note(f"{file} is in double precision; it is used in single precision, as it was trained")
