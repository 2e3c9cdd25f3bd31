"""Images sorted into one folder a class: of a declared set, of a list of its files, or the user's own."""

from functools import cached_property
from pathlib import Path

from pacl_bench.data.images import PhotoFiles, files_fingerprint, image_files, other_files
from pacl_bench.data.text_lines import is_comment, is_unicode, printable, read_lines
from pacl_bench.errors import UsageError

NAMES = "names.tsv"  # in a folder of the user's own
OF_A_MAC = "__MACOSX"  # what zip files made on a Mac hold beside their content


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
        self.folders = [root / folder for folder in folders]

    @property
    def left_out(self) -> list[Path]:
        """What lies in the folders of the classes and is no image by its name, and images beside these folders."""
        return [*image_files(self.root), *(file for folder in self.folders for file in other_files(folder))]


def listed_files(name: str, listing: Path, images: Path, folders: dict[str, str]) -> list[tuple[Path, int]]:
    """(file, label) of what a list names, one `<class folder>/<file>` a line; a UsageError for a line that is wrong."""
    label_of = {folder: label for label, folder in enumerate(folders)}
    labelled = []
    for line in filter(None, map(str.strip, read_lines(listing))):
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
    if not spoken.is_file() and (path / "images").is_dir() and (path / "masks").is_dir():
        raise UsageError(
            f"folder:{path} holds images/ and masks/: a segmentation set, for segment, patches and coherence. To "
            f"classify images of two classes called so, say it in {spoken}: a line for each, folder <tab> class name."
        )
    folders = _listed_folders(spoken) if spoken.is_file() else _folders_in(path)
    if len(folders) < 2:
        raise UsageError(f"folder:{path}: one subfolder a class is wanted, two at least; found {len(folders)}.")
    names = list(folders.values())
    double = next((name for at, name in enumerate(names) if name in names[:at]), None)
    if double is not None:
        raise UsageError(f"folder:{path}: two folders stand for the class {double!r}.")
    return ClassFolders(path.resolve().name, path, folders)


def _folders_in(path: Path) -> dict[str, str]:
    found = sorted(
        entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith((".", OF_A_MAC))
    )
    foreign = next((folder for folder in found if not is_unicode(folder)), None)
    if foreign is not None:
        raise UsageError(f"folder:{path}: the name of the folder {printable(foreign)} is not in UTF-8. Rename it.")
    return {folder: folder.replace("_", " ") for folder in found}


def _listed_folders(file: Path) -> dict[str, str]:
    folders: dict[str, str] = {}
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip() or is_comment(line):
            continue
        folder, _, name = (part.strip() for part in line.partition("\t"))
        if not name:
            raise UsageError(f"{file}: every line must be folder <tab> class name; found {line.strip()!r}.")
        if folder in folders:
            raise UsageError(f"{file}, line {number}: the folder {folder!r} was listed before.")
        folders[folder] = name
    return folders
