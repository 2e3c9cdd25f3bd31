"""A grid of encoders x training sets: a head is trained and measured in each cell (PACL, Table 3)."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from glob import escape
from itertools import product
from pathlib import Path
from typing import Any

from pacl_bench.data.pair_names import split_sum
from pacl_bench.data.pairs import load_pairs, short_name
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.errors import UsageError
from pacl_bench.evaluators import EVALUATORS
from pacl_bench.model.embedder import head_class
from pacl_bench.model.head_files import CARD, RESIDUAL, default_name, read_card
from pacl_bench.progress import note
from pacl_bench.records import Key, Record
from pacl_bench.registry import text_hash
from pacl_bench.studies.runner import require_known_encoders, run_study
from pacl_bench.studies.study import Rerun, Study
from pacl_bench.training.identity import Identity, changed, encoder_identity, head_identity, run_identity
from pacl_bench.training.loop import pairs_fingerprint, train
from pacl_bench.training.recipe import Loading, Recipe, TrainConfig
from pacl_bench.training.state import RESUME_STATE, saved_identity
from pacl_bench.validation.configs import defaults_of, without_defaults

TEXT_OF_THE_TEXTLESS = "clip-b16"  # what the paper pairs DINO with


@dataclass(frozen=True)
class Grid:
    """What is varied, and what all cells share."""

    encoders: list[str]
    pairs: list[str]
    text: str  # empty: the encoder's own
    recipe: Recipe
    dataset: str = "voc20"
    seed: int = 0
    head: str = RESIDUAL
    base: Recipe | None = None  # names of heads tell what differs from it; None: nothing does


@dataclass(frozen=True)
class Cell:
    """A head to train."""

    config: TrainConfig
    name: str
    earlier_name: str  # what earlier versions called it: changes of the recipe were not told
    identity: Identity  # what decides its weights


def ablate(
    grid: Grid,
    heads: Path,
    results: Path,
    rerun: Rerun = "missing",
    device: str = "cpu",
    loading: Loading | None = None,
) -> list[Record]:
    """Trains and measures cell by cell; a trained head is used again, a half trained one goes on.

    Args:
        heads: the folder that gets a folder for each head.

    Raises:
        UsageError: before any training, where an encoder or a training set cannot be had.
    """
    folders = _trained_before(grid, heads) if rerun == "never" else _train(grid, heads, device, loading)
    found: dict[Key, Record] = {}
    for folder in folders:
        study = Study("ablate", "segment", heads=[str(folder)], datasets=[grid.dataset])
        found |= {record.key: record for record in run_study(study, results, rerun, device)}
    return list(found.values())


def head_name(encoder: str, pairs: str, grid: Grid) -> str:
    """What a cell's head is called: pacl-clip-b16.cc12m+yfcc15m, then what differs from the grid's base.

    Such as .steps=3, .temperature=0.1, .head=linear, and .seed1 where the seed is not 0.
    """
    changes = "".join(f".{name}={value}" for name, value in _changes(grid).items())
    return f"{_plain_name(encoder, pairs, grid)}{changes}"


def _plain_name(encoder: str, pairs: str, grid: Grid) -> str:
    sets = "+".join(short_name(name) for name in split_sum(pairs))
    seed = f".seed{grid.seed}" if grid.seed else ""
    return f"{default_name(encoder)}.{sets}{seed}"


def _changes(grid: Grid) -> dict[str, str]:
    """What differs from the base. What is None is not told: epochs are where steps are given."""
    base = grid.base or grid.recipe
    recipe = {entry.name: getattr(grid.recipe, entry.name) for entry in fields(grid.recipe)}
    changes = {name: value for name, value in recipe.items() if value not in (None, getattr(base, name))}
    return {name: _as_named(value) for name, value in changes.items()} | without_defaults(
        {"head": grid.head}, {"head": RESIDUAL}
    )


def _as_named(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(map(_as_named, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _trained_before(grid: Grid, heads: Path) -> list[Path]:
    """The heads there are of the grid, without looking at what they were trained on: it need not be there."""
    names = [head_name(encoder, pairs, grid) for pairs, encoder in product(grid.pairs, grid.encoders)]
    found = [folder for name in names for folder in [heads / name, *sorted(heads.glob(f"{escape(name)}-????????"))]]
    return [folder for folder in dict.fromkeys(found) if (folder / CARD).is_file()]


def _train(grid: Grid, heads: Path, device: str, loading: Loading | None) -> Iterator[Path]:
    """The folder of each cell's head, one trained after the other."""
    for cell in _cells(grid):
        folder = _folder(heads, cell)
        if not (folder / CARD).is_file():
            train(cell.config, folder, resume=(folder / RESUME_STATE).is_file(), device=device, loading=loading)
        yield folder


def _cells(grid: Grid) -> list[Cell]:
    """What is to be trained; all that is needed for it was found, and nothing need be loaded again to know it."""
    if not grid.encoders or not grid.pairs:
        raise UsageError("Nothing to train: give --encoders and --pairs.")
    head_class(grid.head)
    require_known_encoders(grid.encoders)
    fingerprints = {pairs: pairs_fingerprint(load_pairs(pairs)) for pairs in grid.pairs}
    EVALUATORS["segment"].load_sets([grid.dataset])  # before hours of training
    visions, text_of = {}, {}
    for encoder in grid.encoders:
        vision = load_encoder(encoder)
        visions[encoder] = encoder_identity(vision)
        text_of[encoder] = grid.text or (encoder if vision.projection_dim is not None else TEXT_OF_THE_TEXTLESS)
    texts = {text: encoder_identity(load_text_encoder(text)) for text in dict.fromkeys(text_of.values())}
    cells = []
    for pairs, encoder in product(grid.pairs, grid.encoders):
        text = text_of[encoder]
        config = TrainConfig(encoder, text, pairs, grid.recipe, grid.seed, grid.head)
        identity = run_identity(config, visions[encoder], texts[text], fingerprints[pairs])
        cells.append(Cell(config, head_name(encoder, pairs, grid), _plain_name(encoder, pairs, grid), identity))
    return cells


def _folder(heads: Path, cell: Cell) -> Path:
    """Where the cell's head lies or goes: where another head has its name, eight digits of what it is stand behind it.

    Two training sets a/p.csv and b/p.csv are both called p.
    """
    recipe = cell.config.recipe
    told = json.dumps(without_defaults(cell.identity, defaults_of(type(recipe))), sort_keys=True)
    plain, own = heads / cell.name, heads / f"{cell.name}-{text_hash([told])[:8]}"
    for folder in (heads / cell.earlier_name, plain, own):
        held = _identity_in(folder)
        if held is not None and not changed(held, cell.identity, recipe):
            return folder
    held = _identity_in(plain)
    if held is None:
        return plain
    if _identity_in(own) is not None:
        raise UsageError(f"{own} holds another head. Choose another --out.")
    note(f"{plain} was trained with another {', '.join(changed(held, cell.identity, recipe))}; this head goes to {own}")
    return own


def _identity_in(folder: Path) -> Identity | None:
    """Of the head or the stopped run in a folder; None where there is neither."""
    if (folder / CARD).is_file():
        return head_identity(read_card(folder))
    return saved_identity(folder / RESUME_STATE) if (folder / RESUME_STATE).is_file() else None
