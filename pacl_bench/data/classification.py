"""Classification sets: a table of declarations and a reader of class folders."""

from dataclasses import dataclass
from pathlib import Path

from pacl_bench.data.built_in import WorldLabels
from pacl_bench.data.images import SUFFIXES, LabelledImages, PhotoFiles, files_fingerprint, require_folder
from pacl_bench.data.vocabulary import shipped_folder_names, shipped_names
from pacl_bench.data.world import WORLD_CLASSIFICATION
from pacl_bench.errors import UsageError
from pacl_bench.paths import data_root
from pacl_bench.registry import unknown_name


@dataclass(frozen=True)
class ClassificationSet:
    """A set with one folder of images a class."""

    name: str
    title: str
    folder: str  # below the data root
    num_images: int  # officially
    spoken: bool = False  # True: names/<name>.tsv says which class a folder stands for; else folders are classes
    source: str = ""
    licence: str = ""

    @property
    def folder_names(self) -> dict[str, str]:
        """Folder -> class name, in class order. All of them are candidates, also those without an image here."""
        return shipped_folder_names(self.name) if self.spoken else {name: name for name in shipped_names(self.name)}

    @property
    def classnames(self) -> list[str]:
        return list(self.folder_names.values())

    def read(self) -> "ClassFolders":
        """The set as it lies under the data root."""
        root = require_folder(
            data_root() / self.folder,
            self.name,
            f"Get it from {self.source}, or say where it lies with --data-root or PACL_DATA.",
        )
        return ClassFolders(self.name, root, self.folder_names, self.num_images)


CLASSIFICATION_SETS: dict[str, ClassificationSet] = {
    entry.name: entry
    for entry in (
        ClassificationSet(
            "cifar10", "CIFAR-10 test images as files", "cifar10/test", 10_000,
            source="cs.toronto.edu/~kriz/cifar.html (exported to files)", licence="not stated",
        ),
        ClassificationSet(
            "caltech101", "Caltech-101, all images of 101 categories", "caltech101/101_ObjectCategories", 8_677,
            spoken=True, source="data.caltech.edu/records/mzrjq-6wc02", licence="CC BY 4.0",
        ),
        ClassificationSet(
            "dtd", "Describable Textures, all images", "dtd/images", 5_640,
            source="robots.ox.ac.uk/~vgg/data/dtd", licence="research",
        ),
    )
}  # fmt: skip


class ClassFolders(PhotoFiles):
    """Images sorted into one folder a class."""

    def __init__(self, name: str, root: Path, folder_names: dict[str, str], official_images: int):
        self.root, self.official_images = root, official_images
        self.classnames = list(folder_names.values())
        labelled = [
            (file, label)
            for label, folder in enumerate(folder_names)
            for file in sorted((root / folder).glob("*"))
            if file.suffix.lower() in SUFFIXES
        ]
        if not labelled:
            raise UsageError(
                f"{name}: no image below {root}/<class>/, where <class> is {', '.join(list(folder_names)[:3])} ..."
            )
        super().__init__(name, [file for file, _ in labelled])
        self.labels = [label for _, label in labelled]

    @property
    def fingerprint(self) -> str:
        """Over names and sizes of all images."""
        return files_fingerprint(self.root, self.files)


def load_classification(name: str) -> LabelledImages:
    """A classification set by name: of the built-in world, or from the data root."""
    if name in WORLD_CLASSIFICATION:
        return WorldLabels(name)
    if name in CLASSIFICATION_SETS:
        return CLASSIFICATION_SETS[name].read()
    raise UsageError(unknown_name(name, [*CLASSIFICATION_SETS, *WORLD_CLASSIFICATION], "classification set"))
