"""Every data set that has a name, whatever it is used for."""

from pathlib import Path
from typing import Any

from pacl_bench.data.classification import CLASSIFICATION_SETS, load_classification
from pacl_bench.data.declaration import Declaration, Kind
from pacl_bench.data.outside_sets import OutsideSet, outside_sets
from pacl_bench.data.pairs import PAIR_SOURCES, load_pairs
from pacl_bench.data.segmentation import SEGMENTATION_SETS, load_segmentation
from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name
from pacl_bench.world import WORLD_CLASSIFICATION, WORLD_PAIRS, WORLD_SEGMENTATION

DECLARED: dict[Kind, dict[str, Declaration]] = {
    "segmentation": {**SEGMENTATION_SETS},
    "classification": {**CLASSIFICATION_SETS},
    "pairs": {**PAIR_SOURCES},
}
BUILT_IN: dict[Kind, tuple[str, ...]] = {
    "segmentation": (*WORLD_SEGMENTATION,),
    "classification": (*WORLD_CLASSIFICATION,),
    "pairs": (*WORLD_PAIRS,),
}


def declarations() -> dict[str, Declaration]:
    """The declared sets of all kinds by name, those of installed packages among them."""
    own = {name: entry for entries in DECLARED.values() for name, entry in entries.items()}
    return {**own, **outside()}


def outside() -> dict[str, OutsideSet]:
    """The sets that installed packages add."""
    return outside_sets([name for kind in DECLARED for name in (*DECLARED[kind], *BUILT_IN[kind])])


def declaration(name: str) -> Declaration:
    """The declared set called so; a UsageError with the nearest known name where there is none."""
    entries = declarations()
    if name in entries:
        return entries[name]
    if any(name in names for names in BUILT_IN.values()):
        raise UsageError(f"{name} is drawn by the built-in world: it has no files.")
    raise UsageError(unknown_name(name, entries, "data set"))


def is_declared(name: str) -> bool:
    """Whether a set is known by its name: declared or built in, here or by an installed package. Folders are not."""
    return name in declarations() or any(name in names for names in BUILT_IN.values())


def load(name: str) -> Any:
    """The set itself: SegmentationImages, LabelledImages, or a list of pairs, by its kind."""
    return {"segmentation": load_segmentation, "classification": load_classification, "pairs": load_pairs}[
        kind_of(name)
    ](name)


def kind_of(name: str) -> Kind:
    """What a set is for. Besides declared names: `folder:PATH`, `wds:PATH`, csv files, patterns of tar files."""
    for kind, entries in DECLARED.items():
        if name in entries or name in BUILT_IN[kind]:
            return kind
    entry = outside().get(name)
    if entry is not None:
        return entry.kind
    if name.startswith("wds:"):
        return "classification"
    folder = Path(name.removeprefix("folder:"))
    sorted_by_class = (folder / "names.tsv").is_file()
    if (folder / "names.txt").is_file() or ((folder / "masks").is_dir() and not sorted_by_class):
        return "segmentation"
    if name.startswith("folder:"):
        return "classification"
    if name.lower().endswith((".csv", ".tsv")) or name.endswith(".tar") or any(folder.glob("*.tar")):
        return "pairs"
    known = [*declarations(), *(built_in for names in BUILT_IN.values() for built_in in names)]
    own = "folder:PATH, wds:PATH, a csv file or a pattern of tar files"
    raise UsageError(f"{unknown_name(name, known, 'data set')} Your own: {own}.")
