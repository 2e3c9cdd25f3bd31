"""Images sorted into one folder a class: of a declared set, of a list of its files, or the user's own."""

from functools import cached_property
from pathlib import Path

from pacl_bench.data.images import PhotoFiles, files_fingerprint, image_files
from pacl_bench.data.vocabulary import folder_names
from pacl_bench.errors import UsageError
from pacl_bench.files import read_text

NAMES = "names.tsv"  # in a folder of the user's own


class LabelledFiles(PhotoFiles):
    """Image files below a folder, with one class each, in the order given."""

    def __init__(
        self,
        name: str,
        root: Path,
        classnames: list[str],
        labelled: list[tuple[Path, int]],
        official_images: int | None = None,
        templates: list[str] | None = None,
    ):
        super().__init__(name, [file for file, _ in labelled])
        self.root, self.classnames, self.templates = root, classnames, templates or []
        self.labels = [label for _, label in labelled]
        self.official_images = len(labelled) if official_images is None else official_images

    @cached_property
    def fingerprint(self) -> str:
        """Over names and sizes of all images."""
        return files_fingerprint(self.root, self.files)


class ClassFolders(LabelledFiles):
    """Images sorted into one folder a class; class by class, by name.

    Args:
        folders: folder -> class name, in class order. A class without a folder is a candidate all the same.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        folders: dict[str, str],
        official_images: int | None = None,
        templates: list[str] | None = None,
    ):
        labelled = [(file, label) for label, folder in enumerate(folders) for file in image_files(root / folder)]
        if not labelled:
            raise UsageError(
                f"{name}: no image below {root}/<class>/, where <class> is {', '.join(list(folders)[:3])} ..."
            )
        super().__init__(name, root, list(folders.values()), labelled, official_images, templates)


def listed_files(name: str, listing: Path, images: Path, folders: dict[str, str]) -> list[tuple[Path, int]]:
    """(file, label) of what a list names, one `<class folder>/<file>` a line; a UsageError for a line that is wrong."""
    label_of = {folder: label for label, folder in enumerate(folders)}
    labelled = []
    for line in read_text(listing).split():
        folder = line.partition("/")[0]
        if folder not in label_of:
            raise UsageError(f"{name}: {listing} lists {line}, and {folder} is none of its {len(folders)} classes.")
        labelled.append((images / line, label_of[folder]))
    return require_files(name, labelled, listing)


def require_files(name: str, labelled: list[tuple[Path, int]], listing: Path) -> list[tuple[Path, int]]:
    """The same; a UsageError where a file is not there or nothing is listed."""
    if not labelled:
        raise UsageError(f"{name}: {listing} lists no images.")
    missing = [file for file, _ in labelled if not file.is_file()]
    if missing:
        raise UsageError(
            f"{name}: {missing[0]} not found; {len(missing):,} of {len(labelled):,} images are missing that are "
            f"listed in {listing}. Unpack the set anew."
        )
    return labelled


def open_own_folders(path: Path) -> ClassFolders:
    """A user's own images, one folder a class: `folder:PATH`.

    Folder names are class names, with `_` read as a space; where PATH holds names.tsv (folder <tab> class name), it
    says which folders count, in which order, and what their classes are called.
    """
    if not path.is_dir():
        raise UsageError(f"folder:{path}: no such folder.")
    spoken = path / NAMES
    if spoken.is_file():
        folders = folder_names(read_text(spoken))
        unnamed = next((folder for folder, name in folders.items() if not name.strip()), None)
        if unnamed is not None:
            raise UsageError(f"{spoken}: every line must be folder <tab> class name; found {unnamed!r}.")
    else:
        found = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        folders = {folder: folder.replace("_", " ") for folder in found}
    if len(folders) < 2:
        raise UsageError(f"folder:{path}: one subfolder a class is wanted, two at least; found {len(folders)}.")
    return ClassFolders(path.resolve().name, path, folders)
