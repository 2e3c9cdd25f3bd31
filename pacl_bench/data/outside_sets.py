"""Data sets that installed packages add, each by an entry point of the group `pacl_bench.datasets`.

    [project.entry-points."pacl_bench.datasets"]
    squares = "my_package.sets:SQUARES"

The entry point names an OutsideSet; the set is called what the entry point is.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from pacl_bench.data.declaration import Declaration, Kind
from pacl_bench.data.pair_readers import Pairs
from pacl_bench.data.shards import ShardSet
from pacl_bench.errors import UsageError, one_line
from pacl_bench.paths import data_root
from pacl_bench.registry import entry_points, loaded, loaded_entry_points, package_of

ENTRY_POINTS = "pacl_bench.datasets"
IMAGES = ("name", "__len__", "image", "fingerprint", "classnames", "official_images")
WANTED: dict[Kind, tuple[str, ...]] = {  # what a set that is read must have: the protocols of image_sets
    "segmentation": (*IMAGES, "label_map"),
    "classification": (*IMAGES, "labels", "templates"),
}


@dataclass(frozen=True, kw_only=True)
class OutsideSet(Declaration):
    """The declaration of a data set in a package of somebody else's.

    Attributes:
        kind: what it is for: "segmentation", "classification" or "pairs".
        read: from the folder that holds it (the data root, for a set without folders) to SegmentationImages,
            LabelledImages (image_sets), or Pairs or ShardSet (data). Nothing is read before it is called.
        folders: where it lies below the data root; empty for a set that its package brings along.
        classnames: for `pacl-bench list`, in the order of the labels; pairs have none.
    """

    kind: Kind
    read: Callable[[Path], Any]
    classnames: tuple[str, ...] = ()
    name: str = ""  # the entry point's
    folders: tuple[str, ...] = ()
    space: str = "not stated"
    source: str = "its package"
    licence: str = "not stated"

    def root(self) -> Path:
        return super().root() if self.folders else data_root()

    @property
    def how_to_get(self) -> str:
        return f"Get it from {self.source}"

    def load(self) -> Any:
        """The set itself; a UsageError where its reader fails or gives something else than a set of this kind."""
        file = inspect.getsourcefile(self.read)
        with one_line(self.name, frozenset([file] if file else [])):
            images = self.read(self.root())
        if self.kind == "pairs":
            fault = "" if isinstance(images, Pairs | ShardSet) else f"a {type(images).__name__}, not Pairs or ShardSet"
        else:
            # a look that computes no property: a fingerprint may take a while
            lacking = [name for name in WANTED[self.kind] if inspect.getattr_static(images, name, None) is None]
            fault = f"a {type(images).__name__} without {', '.join(lacking)}" if lacking else ""
        if not fault and images.name != self.name:  # records are filed under it
            fault = f"a set called {images.name!r}"
        if fault:
            raise UsageError(f"{self.name}: the reader of the package that declares it returned {fault}.")
        return images


def outside_set(kind: Kind, name: str, own: Iterable[str]) -> OutsideSet | None:
    """The set of this kind and name that a package adds; None where there is none or the name is our own."""
    points = entry_points(ENTRY_POINTS, own)
    found = _declared(points[name]) if name in points else None
    return found if found is not None and found.kind == kind else None


def outside_sets(own: Iterable[str]) -> dict[str, OutsideSet]:
    """All sets that packages add; what does not import is told in one line and left out."""
    return loaded_entry_points(ENTRY_POINTS, own, _declared)


def outside_names(kind: Kind, own: Iterable[str]) -> list[str]:
    """The names of those of one kind."""
    return [name for name, entry in outside_sets(own).items() if entry.kind == kind]


def _declared(point: EntryPoint) -> OutsideSet:
    found = loaded(point)
    if not isinstance(found, OutsideSet):
        raise UsageError(
            f"{point.name!r} of the package {package_of(point)}: {point.value} is no OutsideSet "
            "(pacl_bench.data.outside_sets)."
        )
    return replace(found, name=point.name)
