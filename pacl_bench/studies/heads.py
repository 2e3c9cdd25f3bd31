"""The heads of a study: what each is called, what decides its weights, and in which folder it lies."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cache
from glob import escape
from itertools import product
from pathlib import Path
from typing import Any

from pacl_bench.data.pair_names import split_sum
from pacl_bench.data.pairs import load_pairs, short_name
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.encoders.request import requested
from pacl_bench.encoders.spec import parse_spec, with_option
from pacl_bench.errors import UsageError
from pacl_bench.files import safe_name
from pacl_bench.model.embedder import head_class
from pacl_bench.model.head_files import CARD, RESIDUAL, default_name, read_card
from pacl_bench.progress import note
from pacl_bench.registry import text_hash
from pacl_bench.studies.experiment import HEAD, OF_ENCODER, Heads, recipe_of
from pacl_bench.training.identity import (
    Identity,
    changed,
    encoder_identity,
    head_identity,
    run_identity,
    without_contents,
)
from pacl_bench.training.recipe import Recipe, TrainConfig
from pacl_bench.training.run import pairs_identity
from pacl_bench.training.state import RESUME_STATE, saved_identity
from pacl_bench.validation.configs import defaults_of, without_defaults

TEXT_OF_THE_TEXTLESS = "clip-b16"  # what the paper pairs DINO with


@dataclass(frozen=True)
class WantedHead:
    """A head of a study as its file says it, before anything is loaded."""

    name: str
    earlier_name: str  # what earlier versions called it: changes of the recipe were not told
    encoder: str
    text: str  # empty: the encoder's own
    pairs: str
    recipe: Recipe
    seed: int
    kind: str  # of head
    changes: str  # what its name tells of the recipe: "patch_scale=1 head=linear"

    @property
    def title(self) -> str:
        """What lines on the console call it: "tiny-dino on world-4k", then what its name tells of the recipe."""
        if self.recipe.steps == 0:
            return f"{self.name}, which is not trained"
        seed = f"seed {self.seed}" if self.seed else ""
        told = " ".join(part for part in (self.changes, seed) if part)
        return f"{parse_spec(self.encoder).name} on {self.pairs}" + (f", {told}" if told else "")


def wanted_heads(heads: Heads) -> list[WantedHead]:
    """The heads of a table [train.NAME], training set by training set."""
    grid = [dict(zip(heads.grid, values, strict=True)) for values in product(*heads.grid.values())]
    combined = product(grid, heads.seeds or [0], heads.pairs, heads.texts or [""], heads.encoders)
    return [_wanted(heads, values, seed, pairs, text, encoder) for values, seed, pairs, text, encoder in combined]


def _wanted(heads: Heads, values: dict[str, Any], seed: int, pairs: str, text: str, encoder: str) -> WantedHead:
    kind = values.get(HEAD, heads.head)
    options = {key: value for key, value in values.items() if key in OF_ENCODER}
    recipe = recipe_of(heads, {key: value for key, value in values.items() if key not in (HEAD, *OF_ENCODER)})
    plain = heads.name or plain_name(encoder, pairs)
    plain += f".text={_as_named(parse_spec(text).name)}" if len(heads.texts) > 1 else ""
    plain += f".seed{seed}" if seed else ""
    changes = _changes(recipe, recipe_of(heads, {})) | {key: _as_named(value) for key, value in options.items()}
    changes |= without_defaults({HEAD: kind}, {HEAD: RESIDUAL})
    told = [f"{name}={value}" for name, value in changes.items()]
    for option, value in options.items():
        encoder = with_option(encoder, option, value)
    return WantedHead(".".join([plain, *told]), plain, encoder, text, pairs, recipe, seed, kind, " ".join(told))


def plain_name(encoder: str, pairs: str) -> str:
    """What a head is called after its encoder and training set: pacl-clip-b16.cc12m+yfcc15m."""
    return f"{default_name(encoder)}.{'+'.join(short_name(name) for name in split_sum(pairs))}"


def _changes(recipe: Recipe, base: Recipe) -> dict[str, str]:
    """What differs from the base. What is None is not told: epochs are where steps are given."""
    values = {entry.name: getattr(recipe, entry.name) for entry in fields(recipe)}
    return {name: _as_named(value) for name, value in values.items() if value not in (None, getattr(base, name))}


def _as_named(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_as_named, value))
    return f"{value:g}" if isinstance(value, float) else safe_name(str(value))


@dataclass(frozen=True)
class Cell:
    """A head to train; all that is needed for it was found."""

    wanted: WantedHead
    config: TrainConfig
    folder: Path

    @property
    def is_trained(self) -> bool:
        return (self.folder / CARD).is_file()

    @property
    def is_begun(self) -> bool:
        return (self.folder / RESUME_STATE).is_file()


def require_known_names(wanted: Iterable[WantedHead]) -> None:
    """A UsageError for an encoder, text encoder or kind of head that nobody knows; reads no weights."""
    for one in wanted:
        head_class(one.kind)
        requested(one.encoder)
        if one.text:
            requested(one.text)


def cells(wanted: Iterable[WantedHead], heads: Path) -> Iterator[Cell]:
    """The heads with the folders that hold them or will hold them. Each encoder and training set is looked at once."""
    taken: dict[Path, Identity] = {}
    vision = cache(lambda name: _looked_at(load_encoder(name)))
    text = cache(lambda name: encoder_identity(load_text_encoder(name)))
    pairs = cache(lambda name: pairs_identity(load_pairs(name)))
    for one in wanted:
        identity_of_vision, has_text = vision(one.encoder)
        name = one.text or (one.encoder if has_text else TEXT_OF_THE_TEXTLESS)
        config = TrainConfig(one.encoder, name, one.pairs, one.recipe, one.seed, one.kind)
        identity = run_identity(config, identity_of_vision, text(name), pairs(one.pairs))
        folder = _folder(heads, one, identity, taken)
        taken[folder] = identity
        yield Cell(one, config, folder)


def _looked_at(vision: Any) -> tuple[Identity, bool]:
    return encoder_identity(vision), vision.projection_dim is not None


def trained_before(wanted: Iterable[WantedHead], heads: Path) -> list[Path]:
    """The heads there are of these, without looking at what they were trained on: it need not be there."""
    found = [
        folder
        for one in wanted
        for folder in (heads / one.name, *sorted(heads.glob(f"{escape(one.name)}-????????")))
        if (folder / CARD).is_file()
    ]
    return list(dict.fromkeys(found))


def _folder(heads: Path, wanted: WantedHead, identity: Identity, taken: dict[Path, Identity]) -> Path:
    """Where the head lies or goes: where another head has its name, eight digits of what it is stand behind it.

    Two training sets a/p.csv and b/p.csv are both called p.

    Args:
        taken: what is going to lie in the folders of heads of the same study.
    """
    recipe = wanted.recipe
    plain = heads / wanted.name
    of_earlier_versions, own = (
        heads / f"{wanted.name}-{_digits(told, recipe)}" for told in (without_contents(identity), identity)
    )

    def held_in(folder: Path) -> Identity | None:
        return taken.get(folder) or _identity_in(folder)

    for folder in (heads / wanted.earlier_name, plain, of_earlier_versions, own):
        held = held_in(folder)
        if held is not None and not changed(held, identity, recipe):
            return folder
    held = held_in(plain)
    if held is None:
        return plain
    if held_in(own) is not None:
        raise UsageError(f"{own} holds another head. Choose another --out.")
    note(f"{plain} was trained with another {', '.join(changed(held, identity, recipe))}; this head goes to {own}")
    return own


def _digits(identity: Identity, recipe: Recipe) -> str:
    told = json.dumps(without_defaults(identity, defaults_of(type(recipe))), sort_keys=True)
    return text_hash([told])[:8]


def _identity_in(folder: Path) -> Identity | None:
    """Of the head or the stopped run in a folder; None where there is neither."""
    if (folder / CARD).is_file():
        return head_identity(read_card(folder))
    return saved_identity(folder / RESUME_STATE) if (folder / RESUME_STATE).is_file() else None
