"""What a declared classification set says of itself, and the layouts in which one may lie."""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pacl_bench.data.class_folders import ClassFolders, LabelledFiles, listed_files, require_files
from pacl_bench.data.declaration import Declaration
from pacl_bench.data.torchvision_sets import PackedImages, open_torchvision
from pacl_bench.data.vocabulary import has_folder_names, shipped_folder_names, shipped_names, shipped_templates
from pacl_bench.data.wds_folders import WdsFolder
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import LabelledImages
from pacl_bench.paths import data_root


@runtime_checkable
class ClassificationLayout(Protocol):
    """A way in which a set may lie under the data root."""

    @property
    def folder(self) -> str:
        """Below the data root; where it exists, the set is taken to lie in this layout."""
        ...

    def read(self, entry: Any) -> LabelledImages:
        """The images of a ClassificationSet; a UsageError where they are not as the layout says."""
        ...


@dataclass(frozen=True, kw_only=True)
class ClassificationSet(Declaration):
    """Images with one class each. Class names are in names/<names>.txt or .tsv, templates in templates/<own>.txt."""

    layouts: tuple[ClassificationLayout, ...]  # the first whose folder exists is read
    folders: tuple[str, ...] = field(init=False)
    names: str = ""  # default: as the set is called
    own: str = ""  # likewise

    def __post_init__(self) -> None:
        object.__setattr__(self, "folders", tuple(layout.folder for layout in self.layouts))

    @property
    def folder_names(self) -> dict[str, str]:
        """Folder -> class name, in class order. All of them are candidates, also those without an image here."""
        names = self.names or self.name
        if has_folder_names(names):
            return shipped_folder_names(names)
        return {name: name for name in shipped_names(names)}

    @property
    def classnames(self) -> list[str]:
        return list(self.folder_names.values())

    @property
    def templates(self) -> list[str]:
        """Its own prompt templates."""
        return shipped_templates(self.own or self.name)

    def read(self) -> LabelledImages:
        """The set as it lies under the data root."""
        found = self.candidates().index(self.root())
        return self.layouts[found].read(self)


@dataclass(frozen=True)
class Folders:
    """One folder of image files a class."""

    folder: str
    num_images: int | None = None  # officially, where the set has more or fewer in this layout
    numbered: bool = False  # folders are called 0, 1, 2 ... in class order

    def read(self, entry: ClassificationSet) -> LabelledImages:
        folders = entry.folder_names
        if self.numbered:
            folders = {str(label): name for label, name in enumerate(folders.values())}
        images = self.num_images or entry.num_images
        return ClassFolders(entry.name, data_root() / self.folder, folders, images, entry.templates)


@dataclass(frozen=True)
class Listed:
    """One folder of image files a class, of which a list names those that count."""

    listing: str  # below the data root: a file with one <class folder>/<file> a line
    images: str

    @property
    def folder(self) -> str:
        return str(Path(self.listing).parent)

    def read(self, entry: ClassificationSet) -> LabelledImages:
        root, listing = data_root() / self.images, data_root() / self.listing
        if not listing.is_file():
            raise UsageError(f"{entry.name}: {listing} not found. It comes with the set, from {entry.source}.")
        labelled = sorted(listed_files(entry.name, listing, root, entry.folder_names))
        return LabelledFiles(entry.name, root, entry.classnames, labelled, entry.num_images, entry.templates)


@dataclass(frozen=True)
class TorchvisionFiles:
    """As a class of torchvision.datasets finds image files and their labels, in the layout that it downloads to."""

    folder: str
    dataset: str  # its class
    options: dict[str, Any]
    items: tuple[str, ...] = ("_image_files", "_labels")  # its attributes: of files and of labels, or one of pairs

    def read(self, entry: ClassificationSet) -> LabelledImages:
        root = data_root() / self.folder
        dataset = open_torchvision(entry.name, self.dataset, data_root(), self.options, entry.source)
        found = [getattr(dataset, attribute) for attribute in self.items]
        pairs = zip(*found, strict=True) if len(found) == 2 else found[0]
        labelled = sorted((Path(file), int(label)) for file, label in pairs)
        classnames = entry.classnames
        _require_labels(entry, [label for _, label in labelled])
        require_files(entry.name, labelled, root)
        return LabelledFiles(entry.name, data_root(), classnames, labelled, entry.num_images, entry.templates)


@dataclass(frozen=True)
class TorchvisionPacked:
    """As a class of torchvision.datasets reads a set that keeps its images in a few files."""

    folder: str
    dataset: str
    options: dict[str, Any]
    files: str  # the files of the split below the folder, as a pattern
    labels: Callable[[Any], Any] = attrgetter("labels")
    root: str = ""  # what its class is given, below the data root

    def read(self, entry: ClassificationSet) -> LabelledImages:
        dataset = open_torchvision(entry.name, self.dataset, data_root() / self.root, self.options, entry.source)
        files = sorted((data_root() / self.folder).glob(self.files))
        labels = [int(label) for label in self.labels(dataset)]
        _require_labels(entry, labels)
        return PackedImages(entry.name, dataset, files, entry.classnames, labels, entry.num_images, entry.templates)


@dataclass(frozen=True)
class Wds:
    """CLIP_benchmark's export; class names and templates are the folder's own."""

    folder: str
    num_images: int | None = None  # officially, where the export has more or fewer

    def read(self, entry: ClassificationSet) -> LabelledImages:
        return WdsFolder(entry.name, data_root() / self.folder, self.num_images or entry.num_images)


def _require_labels(entry: ClassificationSet, labels: list[int]) -> None:
    beyond = [label for label in labels if not 0 <= label < len(entry.classnames)]
    if beyond:
        raise UsageError(f"{entry.name}: label {beyond[0]} is none of its {len(entry.classnames)} classes.")
