"""Every study of the paper on the built-in world: no network, no data, minutes on a laptop's CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.data.vocabulary import load_templates
from pacl_bench.encoders import load_encoder
from pacl_bench.model.aligned import load_aligned, load_before
from pacl_bench.model.head_files import CARD
from pacl_bench.progress import console
from pacl_bench.records import Record
from pacl_bench.report import write_report
from pacl_bench.report.figures.pictures import save_picture
from pacl_bench.studies.ablate import Grid, ablate, head_name
from pacl_bench.studies.pictures import alignment_rows, segmentation_rows, similarity_rows
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import RECIPES, Recipe, TrainConfig
from pacl_bench.world import WORLD_CLASSIFICATION, WORLD_SEGMENTATION

CLIP, DINO = "tiny-clip", "tiny-dino"
# Nested as in Table 3: the analogues of GCC12M, GCC12M + YFCC15M, GCC3M + GCC12M + YFCC15M
TRAINING_SETS = ["world-4k", "world-4k+world-5k", "world-1k+world-4k+world-5k"]
THINGS, SCENES = "world-things", "world-scenes"
WORD = "zebra"  # of Figure 2


@dataclass(frozen=True)
class Size:
    """How much is trained and measured."""

    epochs: int  # the same for every training set, as in the paper: a larger set is also trained on for longer
    training_sets: list[str]
    segmentation: list[str]
    classification: list[str]
    strides: list[int | None]


FULL = Size(8, TRAINING_SETS, list(WORLD_SEGMENTATION), list(WORLD_CLASSIFICATION), [None, 4])
SMOKE = Size(5, TRAINING_SETS[:1], [THINGS], ["world-clean", "world-colours"], [None])


def quickstart(out: Path, seed: int = 0, smoke: bool = False) -> tuple[list[Record], Path]:
    """Trains, measures and draws everything below `out`; what is there already is used again.

    Args:
        seed: of the training of the heads.
        smoke: one training set and few data sets, in under a minute.

    Returns:
        All records, and the report.
    """
    size = SMOKE if smoke else FULL
    results = out / "results"
    with _own_cache(out / "cache"):
        grid = Grid([CLIP, DINO], size.training_sets, CLIP, _recipe(size.epochs), THINGS, seed)
        console.print("Training heads: both encoders, every training set (Table 3)")
        found = ablate(grid, out / "heads", results)
        best = {encoder: out / "heads" / head_name(encoder, size.training_sets[-1], grid) for encoder in grid.encoders}
        untrained = _untrained(out / "heads" / f"untrained-{CLIP}", grid)
        console.print("Measuring: patches, coherence, segmentation, classification")
        for study in _studies(size, [str(untrained), str(best[CLIP]), str(best[DINO])]):
            found += run_study(study, results)
        console.print("Drawing")
        _draw(results / "report", best)
    return found, write_report(results)


def _recipe(epochs: int) -> Recipe:
    return replace(RECIPES["small"], batch_size=128, steps=None, epochs=epochs)


def _studies(size: Size, heads: list[str]) -> Iterator[Study]:
    pair = [CLIP, DINO]
    yield Study("patches", "patches", [CLIP], heads, [name for name in (THINGS, SCENES) if name in size.segmentation])
    every_block = [f"{encoder}?block=all" for encoder in (CLIP, DINO)]
    yield Study("coherence", "coherence", [*every_block, *pair], datasets=[THINGS])
    for stride in size.strides:
        sets = size.segmentation if stride is None else [THINGS]
        yield Study("segment", "segment", [CLIP], heads, sets, {"stride": stride})
    yield Study("classify", "classify", [CLIP], heads, size.classification)


def _untrained(folder: Path, grid: Grid) -> Path:
    """The head of 0 steps that stands beside the trained ones."""
    if not (folder / CARD).is_file():
        train(TrainConfig(CLIP, CLIP, grid.pairs[0], replace(grid.recipe, steps=0, epochs=None), grid.seed), folder)
    return folder


def _draw(report: Path, best: dict[str, Path]) -> None:
    """Figures 2, 4 and 6 of scenes nobody was trained on."""
    clip, dino = load_encoder(CLIP), load_encoder(DINO)
    before, after, other = load_before(clip), load_aligned(best[CLIP], clip), load_aligned(best[DINO], dino)
    scenes = load_segmentation(SCENES)
    shown = _scenes_with(WORD, 3)
    photos = [scenes.image(index) for index in shown]
    save_picture(alignment_rows([before, after], photos, WORD), report / "figure2")
    save_picture(similarity_rows([clip, dino], photos, _middle_of(WORD, shown[0])), report / "figure4")
    labels = [scenes.label_map(index) for index in shown]
    rows = segmentation_rows(
        [before, after, other], photos, scenes.classnames, load_templates("paper7"), labels, stride=4
    )
    save_picture(rows, report / "figure6", scenes.classnames)


def _scenes_with(thing: str, number: int) -> list[int]:
    """The first scenes that show a thing large."""
    scenes = load_segmentation(SCENES)
    label = scenes.classnames.index(thing)
    large = (index for index in range(len(scenes)) if (scenes.label_map(index) == label).mean() > 0.1)
    return [next(large) for _ in range(number)]


def _middle_of(thing: str, index: int) -> tuple[float, float]:
    """(x, y) of the middle of a thing in a scene, as fractions of its sides."""
    scenes = load_segmentation(SCENES)
    label_map = scenes.label_map(index)
    rows, cols = np.nonzero(label_map == scenes.classnames.index(thing))
    middle = np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2)
    return (cols[middle] + 0.5) / label_map.shape[1], (rows[middle] + 0.5) / label_map.shape[0]


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Patch tokens go below the quickstart's own folder: deleting it leaves nothing behind."""
    own = os.environ.get("PACL_CACHE")
    os.environ["PACL_CACHE"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("PACL_CACHE")
        if own is not None:
            os.environ["PACL_CACHE"] = own
