"""Classification sets: a table of declarations and a reader of class folders."""

from dataclasses import dataclass
from pathlib import Path

from pacl_bench.data.built_in import WorldLabels
from pacl_bench.data.declaration import Declaration
from pacl_bench.data.images import SUFFIXES, LabelledImages, PhotoFiles, files_fingerprint
from pacl_bench.data.vocabulary import shipped_folder_names, shipped_names
from pacl_bench.data.world import WORLD_CLASSIFICATION
from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name


@dataclass(frozen=True, kw_only=True)
class ClassificationSet(Declaration):
    """A set with one folder of images a class."""

    spoken: bool = False  # True: names/<name>.tsv says which class a folder stands for; else folders are classes

    @property
    def folder_names(self) -> dict[str, str]:
        """Folder -> class name, in class order. All of them are candidates, also those without an image here."""
        return shipped_folder_names(self.name) if self.spoken else {name: name for name in shipped_names(self.name)}

    @property
    def classnames(self) -> list[str]:
        return list(self.folder_names.values())

    def read(self) -> "ClassFolders":
        """The set as it lies under the data root."""
        return ClassFolders(self.name, self.root(), self.folder_names, self.num_images)


CLASSIFICATION_SETS: dict[str, ClassificationSet] = {
    entry.name: entry
    for entry in (
        ClassificationSet(
            name="cifar10", title="CIFAR-10 test images as files", folders=("cifar10/test",), num_images=10_000,
            space="40 MB", source="cs.toronto.edu/~kriz/cifar.html (exported to files)", licence="not stated",
            read_here=True,
        ),
        ClassificationSet(
            name="caltech101", title="Caltech-101, all images of 101 categories",
            folders=("caltech101/101_ObjectCategories",), num_images=8_677, space="150 MB", spoken=True,
            source="data.caltech.edu/records/mzrjq-6wc02", licence="CC BY 4.0", read_here=True,
        ),
        ClassificationSet(
            name="dtd", title="Describable Textures, all images", folders=("dtd/images",), num_images=5_640,
            space="600 MB", source="robots.ox.ac.uk/~vgg/data/dtd", licence="research", read_here=True,
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
