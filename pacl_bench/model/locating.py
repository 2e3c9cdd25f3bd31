"""Heads that travel: a card names its encoders without the folders of a machine, and on another they are found again.

Weights lie where they lay in training, which a file beside the card says to this machine alone; else in PACL_WEIGHTS
under the name of their file, of their folder or of the encoder; else the encoder's library may have them from the hub.
Whatever is found is compared by its sha256.
"""

import json
from pathlib import Path

from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.encoders.own_code import names_code
from pacl_bench.encoders.spec import EncoderSpec, parse_spec
from pacl_bench.encoders.weights_files import find_weights
from pacl_bench.files import write_json
from pacl_bench.model.head_files import FrozenPart
from pacl_bench.paths import weights_root

PLACES = "places.json"


def frozen_part(encoder: VisionEncoder | TextEncoder) -> FrozenPart:
    """A frozen encoder as a card has it: nothing in it depends on where a machine keeps its files."""
    return FrozenPart(portable(encoder.name), portable(encoder.spec), encoder.fingerprint, encoder.settings)


def write_places(folder: Path, vision: VisionEncoder, text: TextEncoder) -> None:
    """Notes beside a card, for this machine, where the encoders lie that the card names without folders."""
    places = {"encoder": vision.spec, "text": text.spec}
    if any(portable(spec) != spec for spec in places.values()):
        write_json(folder / PLACES, places)


def places_of(folder: Path) -> dict[str, str]:
    """Where the encoders of the head in `folder` lay in training, by option; empty where nobody noted it."""
    try:
        noted = json.loads((folder / PLACES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {option: spec for option, spec in noted.items() if isinstance(spec, str)} if isinstance(noted, dict) else {}


def portable(text: str) -> str:
    """What a card calls an encoder: its file or folder by name alone, `open_clip:ViT-B-16/openai@mine.pt`.

    Code of one's own is named as it was: it is never looked for elsewhere.
    """
    spec = parse_spec(text)
    if names_code(spec):
        return text
    if spec.file is not None:
        return _with_file(text, spec, Path(spec.file.name))
    if spec.library == "transformers" and Path(spec.model).is_dir():
        return text.replace(spec.model, Path(spec.model).resolve().name, 1)
    return text


def located(part: FrozenPart, place: str | None = None) -> str:
    """The text that loads an encoder of a card on this machine; `place` is where it lay in training."""
    spec = parse_spec(part.spec)
    if names_code(spec):
        return part.spec
    if place is not None and _lies_there(parse_spec(place)):
        return place
    if spec.library == "transformers":
        folder = _in_weights_root(Path(spec.model).name)
        elsewhere = folder is not None and folder.is_dir() and not Path(spec.model).is_dir()
        return part.spec.replace(spec.model, str(folder), 1) if elsewhere else part.spec
    if spec.file is None or spec.file.expanduser().is_file():
        return part.spec
    file = _in_weights_root(spec.file.name)
    found = file if file is not None and file.is_file() else find_weights(part.name, None)
    # where there is none, the library may have the weights under the name of its own model
    return _with_file(part.spec, spec, found)


def _lies_there(place: EncoderSpec) -> bool:
    """Whether what a note beside a card names is there; code it cannot name, since it may come from anybody too."""
    if names_code(place):
        return False
    return place.file.expanduser().is_file() if place.file else Path(place.model).is_dir()


def ways(part: FrozenPart, option: str) -> str:
    """How the weights of an encoder of a card may be found, as the one line says where they are not."""
    spec = parse_spec(part.spec)
    if names_code(spec):
        return f"Name it beside --heads, with its places on this machine: --{option} {part.spec}."
    own = spec.file.name if spec.file else Path(spec.model).name if spec.library == "transformers" else ""
    name = own or f"{part.name}.safetensors"
    return (
        f"Put {name} (sha256 of its weights {part.sha256[:12]}) into PACL_WEIGHTS, or name it beside --heads: "
        f"--{option} {'transformers:FOLDER' if spec.library == 'transformers' else 'NAME@FILE'}."
    )


def _in_weights_root(name: str) -> Path | None:
    root = weights_root()
    return root / name if root else None


def _with_file(text: str, spec: EncoderSpec, file: Path | None) -> str:
    """The same text with another file behind "@", or with none."""
    return text.replace(f"@{spec.file}", f"@{file}" if file is not None else "", 1)
