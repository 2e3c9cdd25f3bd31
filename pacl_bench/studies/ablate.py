"""A grid of encoders x training sets: a head is trained and measured in each cell (PACL, Table 3)."""

from dataclasses import dataclass
from pathlib import Path

from pacl_bench.data.pair_names import split_sum
from pacl_bench.data.pairs import load_pairs, short_name
from pacl_bench.encoders import load_encoder
from pacl_bench.errors import UsageError
from pacl_bench.evaluators import EVALUATORS
from pacl_bench.model.head_files import CARD, default_name, read_card
from pacl_bench.records import Record
from pacl_bench.studies.runner import require_known_encoders, run_study
from pacl_bench.studies.study import Rerun, Study
from pacl_bench.training.loop import pairs_fingerprint, train
from pacl_bench.training.recipe import Loading, Recipe, TrainConfig
from pacl_bench.training.state import RESUME_STATE

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


@dataclass(frozen=True)
class Found:
    """What the check before training learnt; nothing is loaded a second time to learn it again."""

    fingerprints: dict[str, str]  # of each training set
    texts: dict[str, str]  # the text encoder of each encoder


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
    found = _require_everything(grid) if rerun != "never" else None
    records = []
    for pairs in grid.pairs:
        for encoder in grid.encoders:
            folder = heads / head_name(encoder, pairs, grid)
            if found is not None:
                _train_cell(folder, encoder, pairs, grid, found, device, loading)
            if (folder / CARD).is_file():
                study = Study("ablate", "segment", heads=[str(folder)], datasets=[grid.dataset])
                records += run_study(study, results, rerun, device)
    return records


def head_name(encoder: str, pairs: str, grid: Grid) -> str:
    """What a cell's head is called: pacl-clip-b16.cc12m+yfcc15m, with the seed where it is not 0."""
    sets = "+".join(short_name(name) for name in split_sum(pairs))
    seed = f".seed{grid.seed}" if grid.seed else ""
    return f"{default_name(encoder)}.{sets}{seed}"


def _require_everything(grid: Grid) -> Found:
    names = [head_name(encoder, pairs, grid) for pairs in grid.pairs for encoder in grid.encoders]
    if not names:
        raise UsageError("Nothing to train: give --encoders and --pairs.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"Two cells of the grid are called {twice!r}. Rename a csv file or a folder of shards, or give the encoder "
            "an ALIAS=."
        )
    require_known_encoders(grid.encoders)
    fingerprints = {pairs: pairs_fingerprint(load_pairs(pairs)) for pairs in grid.pairs}
    EVALUATORS["segment"].load_sets([grid.dataset])  # before hours of training
    own_texts = {encoder: _own_text(encoder) for encoder in grid.encoders}  # loads each: it is there
    return Found(fingerprints, {encoder: grid.text or own for encoder, own in own_texts.items()})


def _own_text(encoder: str) -> str:
    return encoder if load_encoder(encoder).projection_dim is not None else TEXT_OF_THE_TEXTLESS


def _train_cell(
    folder: Path, encoder: str, pairs: str, grid: Grid, found: Found, device: str, loading: Loading | None
) -> None:
    config = TrainConfig(encoder, found.texts[encoder], pairs, grid.recipe, grid.seed)
    if (folder / CARD).is_file():
        _require_same(folder, config, found.fingerprints[pairs])
        return
    train(config, folder, resume=(folder / RESUME_STATE).is_file(), device=device, loading=loading)


def _require_same(folder: Path, config: TrainConfig, fingerprint: str) -> None:
    """A finished head is used again only if it was trained as this grid says."""
    card = read_card(folder)
    wanted = {**config.recipe.describe(), "seed": config.seed, "pairs_fingerprint": fingerprint}
    changed = [name for name, value in wanted.items() if card.train.get(name) != value]
    changed += ["encoder"] * (card.encoder.loadable != config.encoder) + ["text"] * (card.text.loadable != config.text)
    if changed:
        raise UsageError(f"{folder} was trained with another {', '.join(changed)}. Choose another --out.")
