"""Every declared set, read from a small tree in its official layout. The colour of an image says its class."""

import csv
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pacl_bench.data.classification import CLASSIFICATION_SETS, load_classification
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import LabelledImages

LABELS = [1, 0, 1]  # of three images, in the order in which the layout has them


def colour(label: int) -> tuple[int, int, int]:
    return (50 * label + 20,) * 3


def draw(file: Path, label: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour(label)).save(file, format="png")  # under any name: Pillow looks at the content


def pixels(side: int) -> np.ndarray:
    """All images as "image height width_px channel"."""
    return np.stack([np.full((side, side, 3), colour(label), np.uint8) for label in LABELS])


def class_folders(root: Path, name: str, below: str) -> None:
    names = list(CLASSIFICATION_SETS[name].folder_names)
    for number, label in enumerate(LABELS):
        draw(root / below / names[label] / f"{number}.JPEG", label)


def cifar(root: Path, folder: str, test: str, meta: str, labels: str, names: str) -> None:
    (root / folder).mkdir()
    batch = {"data": pixels(32).transpose(0, 3, 1, 2).reshape(3, -1), labels: LABELS}
    (root / folder / test).write_bytes(pickle.dumps(batch))
    (root / folder / meta).write_bytes(pickle.dumps({names: ["a", "b"]}))


def stl10(root: Path) -> None:
    (root / "stl10_binary").mkdir()
    pixels(96).transpose(0, 3, 2, 1).tofile(root / "stl10_binary" / "test_X.bin")
    (np.array(LABELS, np.uint8) + 1).tofile(root / "stl10_binary" / "test_y.bin")


def food101(root: Path) -> None:
    folders = [name.replace(" ", "_") for name in CLASSIFICATION_SETS["food101"].classnames]
    test = {folder: [] for folder in folders}
    for number, label in enumerate(LABELS):
        test[folders[label]].append(f"{folders[label]}/{number}")
        draw(root / "food-101" / "images" / folders[label] / f"{number}.jpg", label)
    (root / "food-101" / "meta").mkdir()
    (root / "food-101" / "meta" / "test.json").write_text(json.dumps(test))


def pets(root: Path) -> None:
    names = [("Abyssinian_201", 0), ("american_bulldog_100", 1), ("american_bulldog_9", 1)]
    for name, label in names:
        draw(root / "oxford-iiit-pet" / "images" / f"{name}.jpg", label)
    (root / "oxford-iiit-pet" / "annotations").mkdir()
    listed = "".join(f"{name} {label + 1} 1 1\n" for name, label in reversed(names))
    (root / "oxford-iiit-pet" / "annotations" / "test.txt").write_text(listed)


def flowers102(root: Path) -> None:
    for number, label in enumerate(LABELS, start=5):
        draw(root / "flowers-102" / "jpg" / f"image_{number:05}.jpg", label)
    savemat(root / "flowers-102" / "setid.mat", {"tstid": [[5, 6, 7]], "trnid": [[1, 2]], "valid": [[3, 4]]})
    savemat(root / "flowers-102" / "imagelabels.mat", {"labels": [[9, 9, 9, 9, *(label + 1 for label in LABELS)]]})


def dtd(root: Path) -> None:
    names = CLASSIFICATION_SETS["dtd"].classnames
    for label, name in enumerate(names):
        draw(root / "images" / name / f"{name}_0001.jpg", label % 5)
        draw(root / "images" / name / f"{name}_0002.jpg", label % 5)
    (root / "labels").mkdir()
    (root / "labels" / "test1.txt").write_text("".join(f"{name}/{name}_0001.jpg\n" for name in names))


def fgvc_aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    names = CLASSIFICATION_SETS["fgvc-aircraft"].classnames
    for number, label in enumerate(LABELS):
        draw(data / "images" / f"{number:07}.jpg", label)
    (data / "variants.txt").write_text("\n".join(names) + "\n")
    listed = [f"{number:07} {names[label]}" for number, label in enumerate(LABELS)]
    (data / "images_variant_test.txt").write_text("\n".join(listed) + "\n")


def stanford_cars(root: Path) -> None:
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    rows = [(f"{number:05}.jpg", label + 1) for number, label in enumerate(LABELS)]
    for (file, _), label in zip(rows, LABELS, strict=True):
        draw(folder / "cars_test" / file, label)
    savemat(
        folder / "cars_test_annos_withlabels.mat",
        {"annotations": np.array(rows, dtype=[("fname", object), ("class", np.uint8)])},
    )
    names = np.array(CLASSIFICATION_SETS["stanford-cars"].classnames, dtype=object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})


def mnist(root: Path) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (raw / name).touch()
    grey = pixels(28)[..., 0]
    (raw / "t10k-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, 3, 28, 28) + grey.tobytes())
    (raw / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, 3) + bytes(LABELS))


def svhn(root: Path) -> None:
    (root / "svhn").mkdir()
    ten_is_zero = np.array([[label or 10] for label in LABELS], np.uint8)
    savemat(root / "svhn" / "test_32x32.mat", {"X": pixels(32).transpose(1, 2, 3, 0), "y": ten_is_zero})


def gtsrb(root: Path) -> None:
    for number, label in enumerate(LABELS):
        draw(root / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / f"{number:05}.ppm", label)
    with (root / "gtsrb" / "GT-final_test.csv").open("w", newline="") as handle:
        rows = csv.writer(handle, delimiter=";")
        rows.writerow(["Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId"])
        rows.writerows([f"{number:05}.ppm", 8, 8, 0, 0, 8, 8, label] for number, label in enumerate(LABELS))


def pcam(root: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="PCam is read through h5py, which is not installed")
    (root / "pcam").mkdir()
    for letter, content in (("x", pixels(96)), ("y", np.array(LABELS, np.uint8).reshape(3, 1, 1, 1))):
        with h5py.File(root / "pcam" / f"camelyonpatch_level_2_split_test_{letter}.h5", "w") as file:
            file[letter] = content


TREES: dict[str, Callable[[Path], None]] = {
    "imagenet": lambda root: class_folders(root, "imagenet", "imagenet/val"),
    "cifar10": lambda root: cifar(root, "cifar-10-batches-py", "test_batch", "batches.meta", "labels", "label_names"),
    "cifar100": lambda root: cifar(root, "cifar-100-python", "test", "meta", "fine_labels", "fine_label_names"),
    "stl10": stl10,
    "caltech101": lambda root: class_folders(root, "caltech101", "caltech101/101_ObjectCategories"),
    "food101": food101,
    "oxford-pets": pets,
    "flowers102": flowers102,
    "eurosat": lambda root: class_folders(root, "eurosat", "eurosat/2750"),
    "fgvc-aircraft": fgvc_aircraft,
    "sun397": lambda root: class_folders(root, "sun397", "SUN397"),
    "imagenet-r": lambda root: class_folders(root, "imagenet-r", "imagenet-r"),
    "imagenet-a": lambda root: class_folders(root, "imagenet-a", "imagenet-a"),
    "imagenet-sketch": lambda root: class_folders(root, "imagenet-sketch", "sketch"),
    "stanford-cars": stanford_cars,
    "mnist": mnist,
    "svhn": svhn,
    "gtsrb": gtsrb,
    "pcam": pcam,
    "country211": lambda root: class_folders(root, "country211", "country211/test"),
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root. torchvision knows the checksums of some official files, which those made here cannot have."""
    for module in ("cifar", "stl10", "flowers102", "svhn"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda *given: True)
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    return tmp_path


def shown(images: LabelledImages) -> list[tuple[int, ...]]:
    return [images.image(index).getpixel((0, 0)) for index in range(len(images))]  # type: ignore[misc]


@pytest.mark.parametrize("name", TREES)
def test_images_and_labels_belong_together(root: Path, name: str) -> None:
    TREES[name](root)
    images = load_classification(name)
    assert isinstance(images, LabelledImages)
    assert len(images) == 3
    assert sorted(images.labels) == sorted(LABELS)
    assert shown(images) == [colour(label) for label in images.labels]
    assert images.image(0).mode == "RGB"
    entry = CLASSIFICATION_SETS[name]
    assert (images.name, images.classnames, images.official_images) == (name, entry.classnames, entry.num_images)
    assert images.templates == entry.templates
    assert images.fingerprint == load_classification(name).fingerprint


def test_every_set_has_a_tree_here() -> None:
    assert {*TREES, "dtd", "imagenet-v2"} == set(CLASSIFICATION_SETS)


@pytest.mark.parametrize(("below", "listed"), [("dtd/dtd", True), ("dtd", True), ("dtd", False)])
def test_dtd_is_its_first_test_split_where_that_is_listed(root: Path, below: str, listed: bool) -> None:
    dtd(root / below)
    if not listed:
        (root / below / "labels" / "test1.txt").unlink()
        (root / below / "labels").rmdir()
    images = load_classification("dtd")
    assert (len(images), images.official_images) == ((47, 1_880) if listed else (94, 5_640))
    assert shown(images) == [colour(label % 5) for label in images.labels]
    assert set(images.labels) == set(range(47))


def test_a_list_that_does_not_fit_is_named(root: Path) -> None:
    dtd(root / "dtd")
    (root / "dtd/images/zigzagged/zigzagged_0001.jpg").unlink()
    with pytest.raises(UsageError, match=r"zigzagged_0001.jpg not found; 1 of 47 images are missing"):
        load_classification("dtd")
    (root / "dtd/labels/test1.txt").write_text("zigzaged/x.jpg\n")
    with pytest.raises(UsageError, match=r"lists zigzaged/x.jpg, and zigzaged is none of its 47 classes"):
        load_classification("dtd")
    (root / "dtd/labels/test1.txt").unlink()
    with pytest.raises(UsageError, match=r"test1.txt not found. It comes with the set"):
        load_classification("dtd")


def test_imagenet_v2_has_numbers_for_folders(root: Path) -> None:
    """As text, 10 comes before 9: a reader that sorts its folders gets nearly all of them wrong."""
    for label in (10, 9, 207):
        draw(root / "imagenetv2-matched-frequency-format-val" / str(label) / "a.jpeg", label % 5)
    images = load_classification("imagenet-v2")
    assert images.labels == [9, 10, 207]
    assert images.classnames[207] == "Golden Retriever"
    assert shown(images) == [colour(4), colour(0), colour(2)]


def test_folders_stand_in_for_the_official_files(root: Path) -> None:
    class_folders(root, "cifar10", "cifar10/test")
    assert load_classification("cifar10").labels == sorted(LABELS)


def test_an_image_of_another_size_is_another_fingerprint(root: Path) -> None:
    food101(root)
    before = load_classification("food101").fingerprint
    draw(root / "food-101" / "images" / "apple_pie" / "1.jpg", 4)
    with (root / "food-101" / "images" / "apple_pie" / "1.jpg").open("ab") as file:
        file.write(b"more")
    assert load_classification("food101").fingerprint != before


def test_what_torchvision_cannot_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_DATA", str(tmp_path))
    TREES["cifar10"](tmp_path)  # with other checksums than the official ones
    with pytest.raises(UsageError, match=r"cifar10: torchvision.datasets.CIFAR10 cannot read .*: Dataset not found or"):
        load_classification("cifar10")
    food101(tmp_path)
    (tmp_path / "food-101/meta/test.json").write_text("{")
    with pytest.raises(UsageError, match=r"food101: torchvision.datasets.Food101 cannot read .* It comes from data"):
        load_classification("food101")


def test_labels_beyond_the_classes_are_refused(root: Path) -> None:
    (root / "svhn").mkdir()
    savemat(root / "svhn" / "test_32x32.mat", {"X": pixels(32).transpose(1, 2, 3, 0), "y": [[1], [2], [11]]})
    with pytest.raises(UsageError, match="svhn: label 11 is none of its 10 classes"):
        load_classification("svhn")
