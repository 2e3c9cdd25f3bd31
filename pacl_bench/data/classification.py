"""Classification sets: a table of declarations, groups of them, and how one is loaded by its name."""

from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path

from pacl_bench.data.class_folders import open_own_folders
from pacl_bench.data.layouts import ClassificationSet, Folders, Listed, TorchvisionFiles, TorchvisionPacked, Wds
from pacl_bench.data.outside_sets import outside_names, outside_set
from pacl_bench.data.torchvision_sets import pcam_labels
from pacl_bench.data.wds_folders import open_wds_folder
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import LabelledImages
from pacl_bench.paths import data_root
from pacl_bench.registry import unknown_name
from pacl_bench.world import WORLD_CLASSIFICATION
from pacl_bench.world.built_in import WorldLabels

TEST = {"split": "test"}
IMAGENET_TERMS = "ImageNet's: research, non-commercial"


def _wds(*names: str) -> tuple[Wds, ...]:
    """CLIP_benchmark's names of a set; a folder is called wds_<name>, with - for /."""
    return tuple(Wds(f"wds_{name}") for name in names)


# What is evaluated is what CLIP_benchmark evaluates, class names and templates are OpenAI's for CLIP, unless said.
CLASSIFICATION_SETS: dict[str, ClassificationSet] = {
    entry.name: entry
    for entry in (
        ClassificationSet(
            name="imagenet", title="ImageNet-1k validation images", num_images=50_000, space="7 GB", own="openai80",
            layouts=(Folders("imagenet/val"), *_wds("imagenet1k", "imagenet")),
            source="image-net.org (ILSVRC2012)", licence="research, non-commercial; agreement",
            steps="Register at image-net.org; put ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz into "
            "<data root>/imagenet; torchvision.datasets.ImageNet(root, split='val') sorts them into val/<wnid>/.",
            read_here=True,
        ),
        ClassificationSet(
            name="cifar10", title="CIFAR-10 test images", num_images=10_000, space="180 MB",
            layouts=(
                TorchvisionPacked(
                    "cifar-10-batches-py", "CIFAR10", {"train": False}, "test_batch", attrgetter("targets")
                ),
                Folders("cifar10/test"),
                *_wds("vtab-cifar10", "cifar10"),
            ),
            source="cs.toronto.edu/~kriz/cifar.html (python version)", licence="not stated", read_here=True,
        ),
        ClassificationSet(
            name="cifar100", title="CIFAR-100 test images, 100 fine labels", num_images=10_000, space="180 MB",
            layouts=(
                TorchvisionPacked("cifar-100-python", "CIFAR100", {"train": False}, "test", attrgetter("targets")),
                *_wds("vtab-cifar100", "cifar100"),
            ),
            source="cs.toronto.edu/~kriz/cifar.html (python version)", licence="not stated",
        ),
        ClassificationSet(
            name="stl10", title="STL-10 test images", num_images=8_000, space="3.1 GB",
            layouts=(TorchvisionPacked("stl10_binary", "STL10", TEST, "test_*.bin"), *_wds("stl10")),
            source="cs.stanford.edu/~acoates/stl10 (binary files)", licence="not stated",
        ),
        ClassificationSet(
            name="caltech101", title="Caltech-101, all images of 101 categories (no background; class names ours)",
            layouts=(
                Folders("caltech101/101_ObjectCategories"),
                Wds("wds_vtab-caltech101", num_images=6_084),  # test, and background as a 102nd class
                *_wds("caltech101"),
            ),
            num_images=8_677, space="150 MB", source="data.caltech.edu/records/mzrjq-6wc02", licence="CC BY 4.0",
            read_here=True,
        ),
        ClassificationSet(
            name="food101", title="Food-101 test images", num_images=25_250, space="5 GB",
            layouts=(TorchvisionFiles("food-101", "Food101", TEST), *_wds("food101")),
            source="data.vision.ee.ethz.ch/cvl/datasets_extra/food-101", licence="Foodspotting's, research",
        ),
        ClassificationSet(
            name="oxford-pets", title="Oxford-IIIT Pet test images", num_images=3_669, space="800 MB",
            layouts=(
                TorchvisionFiles("oxford-iiit-pet", "OxfordIIITPet", TEST, ("_images", "_labels")),
                *_wds("vtab-pets", "pets"),
            ),
            source="robots.ox.ac.uk/~vgg/data/pets", licence="CC BY-SA 4.0",
            steps="Unpack images.tar.gz and annotations.tar.gz in <data root>/oxford-iiit-pet.",
        ),
        ClassificationSet(
            name="flowers102", title="Oxford Flowers-102 test images", num_images=6_149, space="350 MB",
            layouts=(TorchvisionFiles("flowers-102", "Flowers102", TEST), *_wds("vtab-flowers", "flowers")),
            source="robots.ox.ac.uk/~vgg/data/flowers/102", licence="not stated",
            steps="Put jpg/ (from 102flowers.tgz), imagelabels.mat and setid.mat into <data root>/flowers-102.",
        ),
        ClassificationSet(
            name="dtd", title="Describable Textures, test images of split 1 (all 5,640 where labels/ is not there)",
            layouts=(
                TorchvisionFiles("dtd/dtd", "DTD", TEST),
                Listed("dtd/labels/test1.txt", images="dtd/images"),
                Folders("dtd/images", num_images=5_640),
                *_wds("vtab-dtd", "dtd"),
            ),
            num_images=1_880, space="600 MB", source="robots.ox.ac.uk/~vgg/data/dtd", licence="research",
            read_here=True,
        ),
        ClassificationSet(
            name="eurosat", title="EuroSAT, all images (it has no split; 5,400 in CLIP_benchmark's vtab export)",
            layouts=(
                Folders("eurosat/2750"), Wds("wds_vtab-eurosat", num_images=5_400), *_wds("eurosat"),
            ),
            num_images=27_000, space="90 MB", source="github.com/phelber/eurosat (RGB)", licence="MIT",
        ),
        ClassificationSet(
            name="fgvc-aircraft", title="FGVC-Aircraft test images, 100 variants", num_images=3_333, space="2.8 GB",
            layouts=(TorchvisionFiles("fgvc-aircraft-2013b", "FGVCAircraft", TEST), *_wds("fgvc_aircraft")),
            source="robots.ox.ac.uk/~vgg/data/fgvc-aircraft", licence="research, non-commercial",
        ),
        ClassificationSet(
            name="sun397", title="SUN397, all images (CLIP's paper: 19,850 of them)", num_images=108_754,
            layouts=(Folders("SUN397"), *_wds("sun397")), space="37 GB",
            source="vision.princeton.edu/projects/2010/SUN", licence="not stated, research",
        ),
        ClassificationSet(
            name="imagenet-v2", title="ImageNet-V2, matched frequency", num_images=10_000, names="imagenet",
            own="openai80", space="1.2 GB",
            layouts=(
                Folders("imagenetv2-matched-frequency-format-val", numbered=True), *_wds("imagenetv2", "imagenet-v2"),
            ),
            source="github.com/modestyachts/ImageNetV2", licence="MIT; photos: Flickr terms",
        ),
        ClassificationSet(
            name="imagenet-r", title="ImageNet-R, renditions of 200 classes", num_images=30_000, own="openai80",
            layouts=(Folders("imagenet-r"), *_wds("imagenet-r")), space="2 GB",
            source="github.com/hendrycks/imagenet-r", licence="MIT",
        ),
        ClassificationSet(
            name="imagenet-a", title="ImageNet-A, photos of 200 classes that misled a ResNet-50", num_images=7_500,
            layouts=(Folders("imagenet-a"), *_wds("imagenet-a")), space="700 MB", own="openai80",
            source="github.com/hendrycks/natural-adv-examples", licence="MIT",
        ),
        ClassificationSet(
            name="imagenet-sketch", title="ImageNet-Sketch, drawings of the 1,000 classes", num_images=50_889,
            layouts=(Folders("sketch"), Folders("imagenet-sketch"), *_wds("imagenet_sketch", "imagenet-sketch")),
            names="imagenet", own="openai80", space="8 GB", source="github.com/HaohanWang/ImageNet-Sketch",
            licence="MIT",
        ),
        ClassificationSet(
            name="stanford-cars", title="Stanford Cars test images", num_images=8_041, space="1.9 GB",
            layouts=(
                TorchvisionFiles("stanford_cars", "StanfordCars", TEST, ("_samples",)), *_wds("cars", "stanford-cars"),
            ),
            source="ai.stanford.edu/~jkrause/cars (no longer served; copies are on Kaggle)", licence=IMAGENET_TERMS,
            steps="Put devkit/, cars_test/ and cars_test_annos_withlabels.mat into <data root>/stanford_cars.",
        ),
        ClassificationSet(
            name="mnist", title="MNIST test images", num_images=10_000, space="60 MB",
            layouts=(
                TorchvisionPacked("MNIST/raw", "MNIST", {"train": False}, "t10k-*-ubyte", attrgetter("targets")),
                *_wds("mnist"),
            ),
            source="yann.lecun.com/exdb/mnist", licence="CC BY-SA 3.0",
        ),
        ClassificationSet(
            name="svhn", title="SVHN test images, cropped digits (templates ours)", num_images=26_032, space="65 MB",
            layouts=(
                TorchvisionPacked("svhn", "SVHN", TEST, "test_32x32.mat", root="svhn"), *_wds("vtab-svhn", "svhn"),
            ),
            source="ufldl.stanford.edu/housenumbers", licence="non-commercial",
            steps="Put test_32x32.mat into <data root>/svhn.",
        ),
        ClassificationSet(
            name="gtsrb", title="German traffic signs, test images", num_images=12_630, space="90 MB",
            layouts=(TorchvisionFiles("gtsrb", "GTSRB", TEST, ("_samples",)), *_wds("gtsrb")),
            source="benchmark.ini.rub.de/gtsrb_news.html", licence="not stated",
            steps="Unpack GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip in <data root>/gtsrb.",
        ),
        ClassificationSet(
            name="pcam", title="PatchCamelyon test images (pip install h5py)", num_images=32_768, space="900 MB",
            layouts=(
                TorchvisionPacked("pcam", "PCAM", TEST, "camelyonpatch_level_2_split_test_*.h5", pcam_labels),
                *_wds("vtab-pcam", "pcam"),
            ),
            source="github.com/basveeling/pcam", licence="CC0",
            steps="Unpack camelyonpatch_level_2_split_test_x.h5.gz and .._y.h5.gz in <data root>/pcam.",
        ),
        ClassificationSet(
            name="country211", title="Country211 test images", num_images=21_100, space="11 GB",
            layouts=(Folders("country211/test"), *_wds("country211")),
            source="github.com/openai/CLIP (data/country211.md)", licence="Creative Commons, as each photo says",
        ),
    )
}  # fmt: skip

TWELVE = (
    "imagenet", "cifar10", "cifar100", "stl10", "caltech101", "food101", "oxford-pets", "flowers102", "dtd", "eurosat",
    "fgvc-aircraft", "sun397",
)  # fmt: skip
"""Our twelve: Figure 8 of the paper shows twelve sets, but which they are is not known to us."""

GROUPS: dict[str, tuple[str, ...]] = {"twelve": TWELVE}

# the user's own, by path: wds:/data/wds_mine, folder:/data/mine
BY_PATH = {"wds": open_wds_folder, "folder": open_own_folders}


def expand(names: Iterable[str]) -> list[str]:
    """The names with each group replaced by its members, each name once.

    Raises:
        UsageError: members of a group are not under the data root; all of them are named.
    """
    expanded: list[str] = []
    for name in names:
        missing = [member for member in GROUPS.get(name, ()) if CLASSIFICATION_SETS[member].found() is None]
        if missing:
            there = [member for member in GROUPS[name] if member not in missing]
            raise UsageError(
                f"{name}: {len(missing)} of its {len(GROUPS[name])} sets are not under {data_root()}: "
                f"{', '.join(missing)}. `pacl-bench list datasets` shows what is found where"
                + (f"; or measure those that are there: {','.join(there)}." if there else ".")
            )
        expanded += GROUPS.get(name, (name,))
    return list(dict.fromkeys(expanded))


def load_classification(name: str) -> LabelledImages:
    """A classification set by name: from the data root, of the built-in world or an installed package, or by path.

    A path is written `wds:PATH` or `folder:PATH`.
    """
    own = [*CLASSIFICATION_SETS, *WORLD_CLASSIFICATION]
    outside = outside_set("classification", name, own)
    if outside is not None:
        return outside.load()
    if name in WORLD_CLASSIFICATION:
        return WorldLabels(name)
    if name in CLASSIFICATION_SETS:
        return CLASSIFICATION_SETS[name].read()
    kind, _, path = name.partition(":")
    known = [*own, *outside_names("classification", own)]
    if kind in BY_PATH and path:
        images = BY_PATH[kind](Path(path).expanduser())
        if images.name in known:  # their records would overwrite each other
            raise UsageError(f"{name}: {images.name!r} is the name of another data set. Give the folder another name.")
        return images
    raise UsageError(unknown_name(name, known, "classification set") + " Or give wds:PATH or folder:PATH.")
