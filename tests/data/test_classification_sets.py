"""What every declared classification set promises, groups of them, and how one is loaded."""

import inspect
from pathlib import Path

import pytest
from PIL import Image

from pacl_bench.data.classification import CLASSIFICATION_SETS, GROUPS, TWELVE, expand, load_classification
from pacl_bench.data.layouts import ClassificationSet, TorchvisionFiles, TorchvisionPacked, Wds
from pacl_bench.data.vocabulary import templates_for
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import LabelledImages

EVERY = pytest.mark.parametrize("entry", CLASSIFICATION_SETS.values(), ids=lambda entry: entry.name)
NUM_CLASSES = {
    "imagenet": 1000, "cifar10": 10, "cifar100": 100, "stl10": 10, "caltech101": 101, "food101": 101,
    "oxford-pets": 37, "flowers102": 102, "dtd": 47, "eurosat": 10, "fgvc-aircraft": 100, "sun397": 397,
    "imagenet-v2": 1000, "imagenet-r": 200, "imagenet-a": 200, "imagenet-sketch": 1000, "stanford-cars": 196,
    "mnist": 10, "svhn": 10, "gtsrb": 43, "pcam": 2, "country211": 211,
}  # fmt: skip
ALIKE = {"missile", "sunglasses"}  # what OpenAI calls two of ImageNet's classes


@EVERY
def test_every_set_has_its_names(entry: ClassificationSet) -> None:
    names = entry.classnames
    assert len(names) == NUM_CLASSES[entry.name]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == (ALIKE if entry.names == "imagenet" or entry.name == "imagenet" else set())
    assert all(name == name.strip() and name and "_" not in name for name in names)
    assert all(folder == folder.strip() and folder for folder in entry.folder_names)


@EVERY
def test_every_set_has_templates_of_its_own(entry: ClassificationSet) -> None:
    assert entry.templates
    assert len(set(entry.templates)) == len(entry.templates)
    assert all(template.count("{}") == 1 for template in entry.templates)


@EVERY
def test_every_declaration_is_complete(entry: ClassificationSet) -> None:
    for text in (entry.title, entry.source, entry.licence, entry.space):
        assert text == text.strip() != ""
    assert entry.num_images > 0
    assert len(set(entry.folders)) == len(entry.folders) > 0
    assert not any(Path(folder).is_absolute() or ".." in folder for folder in entry.folders)
    assert any(isinstance(layout, Wds) and layout.folder.startswith("wds_") for layout in entry.layouts)


@EVERY
def test_what_torchvision_reads_it_knows(entry: ClassificationSet) -> None:
    import torchvision.datasets

    for layout in entry.layouts:
        if isinstance(layout, TorchvisionFiles | TorchvisionPacked):
            known = inspect.signature(getattr(torchvision.datasets, layout.dataset).__init__).parameters
            assert set(layout.options) <= set(known)


def test_those_read_on_real_files_here_are_said() -> None:
    assert [entry.name for entry in CLASSIFICATION_SETS.values() if entry.read_here] == [
        "imagenet", "cifar10", "caltech101", "dtd",
    ]  # fmt: skip


def test_the_twelve() -> None:
    assert len(TWELVE) == len(set(TWELVE)) == 12
    assert set(TWELVE) <= set(CLASSIFICATION_SETS)
    assert not set(GROUPS) & set(CLASSIFICATION_SETS)


def test_a_group_stands_for_its_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    for name in TWELVE:
        CLASSIFICATION_SETS[name].candidates()[0].mkdir(parents=True)
    assert expand(["mnist", "twelve", "cifar10"]) == ["mnist", *TWELVE]
    assert expand(["nobody-knows"]) == ["nobody-knows"]  # the loader says so


def test_all_that_a_group_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    (tmp_path / "wds_sun397").mkdir()
    (tmp_path / "dtd" / "images").mkdir(parents=True)
    with pytest.raises(UsageError, match="twelve: 10 of its 12 sets are not under") as raised:
        expand(["twelve"])
    line = str(raised.value)
    assert all(name in line for name in TWELVE)
    assert line.endswith("measure those that are there: dtd,sun397.")


def test_names_nobody_knows() -> None:
    with pytest.raises(UsageError, match="Did you mean 'oxford-pets'"):
        load_classification("oxfort-pets")
    with pytest.raises(UsageError, match=r"food101: .*food-101 or .*wds_food101 not found"):
        load_classification("food101")


def folders(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for index in range(number + 1):
            Image.new("RGB", (8, 8)).save(root / name / f"{index}.png")
    return root


def test_classes_without_a_folder_are_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    root = folders(tmp_path / "cifar10" / "test", "dog", "cat")
    (root / "cat" / "notes.txt").write_text("no image")
    images = load_classification("cifar10")
    assert images.labels == [3, 3, 5]  # cat and dog among the ten
    assert len(images.classnames) == 10
    (tmp_path / "dtd" / "images").mkdir(parents=True)
    with pytest.raises(UsageError, match="dtd: no image below"):
        load_classification("dtd")


def test_folders_of_the_user(tmp_path: Path) -> None:
    root = folders(tmp_path / "mine", "red_fox", "dog")
    images = load_classification(f"folder:{root}")
    assert isinstance(images, LabelledImages)
    assert (images.name, images.classnames, images.labels) == ("mine", ["dog", "red fox"], [0, 0, 1])
    assert images.official_images == 3
    assert not images.templates
    (root / "dog" / "._0.jpg").write_bytes(b"what a Mac leaves beside a file")
    # with the byte order mark that Windows' editor writes
    names = "red_fox\tvulpes vulpes\ndog\tpoodle\n# mine\nwolf\twolf\n"
    (root / "names.tsv").write_text(names, encoding="utf-8-sig")
    named = load_classification(f"folder:{root}")
    assert (named.classnames, named.labels) == (["vulpes vulpes", "poodle", "wolf"], [0, 1, 1])


def test_folders_of_the_user_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load_classification(f"folder:{tmp_path}/nowhere")
    root = folders(tmp_path / "mine", "dog")
    with pytest.raises(UsageError, match="one subfolder a class is wanted, two at least; found 1"):
        load_classification(f"folder:{root}")
    (root / "names.tsv").write_text("dog poodle\n")
    with pytest.raises(UsageError, match=r"names.tsv: every line must be folder <tab> class name; found 'dog poodle'"):
        load_classification(f"folder:{root}")
    (root / "names.tsv").write_bytes("dog\tchi\xe9n\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"names.tsv is no text in UTF-8"):
        load_classification(f"folder:{root}")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    (tmp_path / "empty" / "b").mkdir()
    with pytest.raises(UsageError, match="no image below"):
        load_classification(f"folder:{tmp_path}/empty")


def test_a_segmentation_folder_is_no_set_of_two_classes(tmp_path: Path) -> None:
    root = folders(tmp_path / "mine", "images", "masks")
    with pytest.raises(UsageError, match=r"mine holds images/ and masks/: a segmentation set, for segment,"):
        load_classification(f"folder:{root}")
    (root / "names.tsv").write_text("images\tphoto\nmasks\tmask\n")
    assert load_classification(f"folder:{root}").classnames == ["photo", "mask"]


def test_names_of_folders_that_cannot_be_told_apart(tmp_path: Path) -> None:
    root = folders(tmp_path / "mine", "red_fox", "red fox")
    with pytest.raises(UsageError, match="two folders stand for the class 'red fox'"):
        load_classification(f"folder:{root}")
    (root / "names.tsv").write_text("red_fox\tfox\nred fox\tFox\nred_fox\tdog\n")
    with pytest.raises(UsageError, match=r"names\.tsv, line 3: the folder 'red_fox' was listed before"):
        load_classification(f"folder:{root}")
    (root / "names.tsv").unlink()
    (root / "red fox").rename(root / "caf\udce9")
    with pytest.raises(UsageError, match=r"the name of the folder caf\\udce9 is not in UTF-8"):
        load_classification(f"folder:{root}")
    (root / "caf\udce9").rename(root / "#1 fox\u2028")
    assert load_classification(f"folder:{root}").classnames == ["#1 fox\u2028", "red fox"]


def test_own_templates_are_those_of_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    folders(tmp_path / "eurosat" / "2750", "Forest", "River")
    eurosat = load_classification("eurosat")
    assert templates_for(eurosat, "own")[0] == "a centered satellite photo of {}."
    assert len(templates_for(eurosat, "paper7")) == 7
    with pytest.raises(UsageError, match=r"mine has no templates of its own: give paper7, simple, .*tcl9 or a file"):
        templates_for(load_classification(f"folder:{folders(tmp_path / 'mine', 'a', 'b')}"), "own")


@pytest.mark.shared
def test_the_real_sets(shared_data: Path) -> None:
    here = [name for name, entry in CLASSIFICATION_SETS.items() if entry.read_here]
    loaded = {name: load_classification(name) for name in here}
    assert {name: len(images) for name, images in loaded.items()} == {
        "imagenet": 1000, "cifar10": 1000, "caltech101": 404, "dtd": 120,
    }  # fmt: skip
    assert {name: images.official_images for name, images in loaded.items()} == {
        "imagenet": 50_000, "cifar10": 10_000, "caltech101": 8_677, "dtd": 5_640,
    }  # fmt: skip
    assert loaded["imagenet"].labels == list(range(1000))
    assert loaded["imagenet"].classnames[207] == "Golden Retriever"
    assert all(min(images.image(len(images) - 1).size) >= 32 for images in loaded.values())
