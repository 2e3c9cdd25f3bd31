"""Segmentation sets: a table of declarations."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int16

from pacl_bench.data.declaration import Declaration
from pacl_bench.data.outside_sets import outside_names, outside_set
from pacl_bench.data.segmentation_folders import (
    NAMES_FILE,
    SegmentationFolder,
    counted_classes,
    listed_classes,
    read_user_folder,
)
from pacl_bench.data.text_lines import read_lines
from pacl_bench.data.vocabulary import shipped_names
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import IGNORE_LABEL, SegmentationImages
from pacl_bench.registry import unknown_name
from pacl_bench.world import WORLD_SEGMENTATION
from pacl_bench.world.built_in import WorldLabelMaps

USER_FOLDER = "folder:"  # `folder:/data/mine` is a user's own set; so is a path that holds a names.txt


@dataclass(frozen=True, kw_only=True)
class SegmentationLayout:
    """Where the files of a set lie below its folder, and what the numbers in its label maps stand for."""

    image: str  # where the image of an id lies: JPEGImages/{}.jpg
    label_map: str  # where its label map lies: an 8-bit PNG of raw labels
    split: str = ""  # the list of ids, one a line; without one, every file that `image` fits is of the set
    first_label: int = 0  # the raw label of class 0; lower ones (0: background, other) and 255 are ignored
    classes: dict[int, int] = field(default_factory=dict)  # or raw label -> class, where they are no plain count

    @property
    def label_folder(self) -> Path:
        """That holds the label maps, in it or in folders below it."""
        return Path(self.label_map.replace("{}", "_")).parent

    def ids(self, root: Path) -> list[str]:
        """What the images are called, in the order of the list or of their names; empty where nothing is there."""
        if self.split:
            file = root / self.split
            return [line.strip() for line in read_lines(file) if line.strip()] if file.is_file() else []
        before, after = self.image.split("{}")
        folder = root / before
        names = (file.relative_to(folder).as_posix() for file in folder.rglob(f"*{after}"))
        return sorted(name.removesuffix(after) for name in names if not Path(name).name.startswith("."))

    def why_empty(self, root: Path) -> str:
        """What to say where there are no ids."""
        if not self.split:
            return f"no image {self.image.format('*')}"
        return f"{self.split} lists no images" if (root / self.split).is_file() else f"{self.split} not found"

    def class_table(self, num_classes: int) -> Int16[np.ndarray, "256"]:
        return listed_classes(self.classes) if self.classes else counted_classes(self.first_label, num_classes)


@dataclass(frozen=True, kw_only=True)
class SegmentationSet(Declaration):
    """A set with the class of each pixel, in its official layout or in one that is as widespread."""

    layouts: tuple[SegmentationLayout, ...]  # the first that is there is read

    @property
    def classnames(self) -> list[str]:
        """In the order of the label maps that the reader gives."""
        return shipped_names(self.name)

    def found(self) -> Path | None:
        """The folder that holds its label maps: `coco` with nothing but captions in it is not this set."""
        return next((root for root in self.candidates() if self._with_label_maps(root)), None)

    def root(self) -> Path:
        there = super().found()
        if there is not None and self.found() is None:
            raise UsageError(
                f"{self.name}: {self.layouts[0].label_folder.as_posix()} not found under {there}. "
                f"{self.steps or f'Get it with `pacl-bench data fetch {self.name}`.'}"
            )
        return super().root()

    def read(self) -> SegmentationFolder:
        """The set as it lies under the data root; a UsageError names the first file that is missing."""
        root = self.root()
        layout = self.layout(root)
        ids = layout.ids(root)
        if not ids:
            raise UsageError(f"{self.name}: {layout.why_empty(root)} under {root}. {self.steps}".rstrip())
        files = [root / layout.image.format(name) for name in ids]
        label_files = [root / layout.label_map.format(name) for name in ids]
        missing = next((file for file in [*files, *label_files] if not file.is_file()), None)
        if missing is not None:
            why = f"listed in {layout.split}" if layout.split else "the label map of an image"
            raise UsageError(f"{self.name}: {missing.relative_to(root)}, {why}, not found under {root}.")
        table = layout.class_table(len(self.classnames))
        return SegmentationFolder(self.name, root, ids, files, label_files, self.classnames, table, self.num_images)

    def layout(self, root: Path) -> SegmentationLayout:
        """The first layout with a label map for its first image; else the first with label maps at all."""
        there = self._with_label_maps(root)
        for layout in there:
            if any((root / layout.label_map.format(name)).is_file() for name in layout.ids(root)[:1]):
                return layout
        return there[0]

    def _with_label_maps(self, root: Path) -> list[SegmentationLayout]:
        return [layout for layout in self.layouts if (root / layout.label_folder).is_dir()]


VOC = {
    "folders": ("VOCdevkit/VOC2012", "VOC2012"),
    "num_images": 1449,
    "space": "2 GB",
    "source": "host.robots.ox.ac.uk/pascal/VOC/voc2012",
    "licence": "Flickr terms, research",
    "read_here": True,
}


def voc_layout(first_label: int) -> tuple[SegmentationLayout, ...]:
    return (
        SegmentationLayout(
            image="JPEGImages/{}.jpg",
            label_map="SegmentationClass/{}.png",
            split="ImageSets/Segmentation/val.txt",
            first_label=first_label,
        ),
    )


# VOC 2010 has 10,103 train and val images, 4,998 + 5,105, and all of them have the .mat files of PASCAL Context. The
# field reads the annotations of the PASCAL in Detail challenge instead (trainval_merged.json), whose owners have kept
# 10,100, 4,996 + 5,104 (github.com/ccvl/detail-api issue 1; which three they left out, and why, they do not say). So
# numbers measured with mmsegmentation's conversion are over 5,104 images, and so is this declaration.
CONTEXT = {
    "folders": ("VOCdevkit/VOC2010", "VOC2010"),
    "num_images": 5104,
    "space": "3 GB",
    "source": "host.robots.ox.ac.uk/pascal/VOC/voc2010 and cs.stanford.edu/~roozbeh/pascal-context",
    "licence": "Flickr terms, research",
    "steps": "Unpack VOCtrainval_03-May-2010.tar, put trainval_merged.json of the PASCAL in Detail challenge "
    "(codalabuser.blob.core.windows.net/public/trainval_merged.json: 5,104 images, the field's) or PASCAL Context's "
    "own trainval/*.mat (5,105 images) into VOCdevkit/VOC2010, and run `pacl-bench data prepare context59`, which "
    "serves context60 too.",
}


def context_layout(first_label: int) -> tuple[SegmentationLayout, ...]:
    """As `pacl-bench data prepare` and mmsegmentation's converter write it: 0 background, 1 to 59 by the alphabet."""
    return (
        SegmentationLayout(
            image="JPEGImages/{}.jpg",
            label_map="SegmentationClassContext/{}.png",
            split="ImageSets/SegmentationContext/val.txt",
            first_label=first_label,
        ),
    )


COCO_SEGMENTATION = {
    "folders": ("coco", "coco_stuff164k"),
    "num_images": 5000,
    "space": "2 GB",
    "source": "cocodataset.org (val2017.zip) and github.com/nightrome/cocostuff (stuffthingmaps_trainval2017.zip)",
    "licence": "annotations CC BY 4.0, images Flickr terms",
    "steps": "Unpack val2017.zip to coco/val2017 and stuffthingmaps_trainval2017.zip to coco/stuffthingmaps/val2017; "
    "mmsegmentation's coco_stuff164k/images/val2017 and annotations/val2017 do as well.",
}
# the raw labels of stuffthingmaps are the ids of COCO-Stuff less 1; of these 182, eleven things are in no image
COCO_LABELS = [raw for raw in range(182) if raw not in (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)]
STUFF_CLASSES = {raw: label for label, raw in enumerate(COCO_LABELS)}
# as GroupViT and SCLIP have it: the 80 things are 1 to 80, all stuff and what is unlabelled (255) is background
OBJECT_CLASSES = {raw: label + 1 if label < 80 else 0 for raw, label in STUFF_CLASSES.items()} | {IGNORE_LABEL: 0}


def coco_layouts(classes: dict[int, int], converted: str) -> tuple[SegmentationLayout, ...]:
    """The official layout, mmsegmentation's, and the latter with nothing but converted label maps in it."""
    images, label_maps = "images/val2017/{}.jpg", "annotations/val2017/{}"
    return (
        SegmentationLayout(image="val2017/{}.jpg", label_map="stuffthingmaps/val2017/{}.png", classes=classes),
        SegmentationLayout(image=images, label_map=f"{label_maps}.png", classes=classes),
        SegmentationLayout(image=images, label_map=f"{label_maps}{converted}.png"),
    )


CITYSCAPES_LABELS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # by trainId
CITYSCAPES_CLASSES = dict.fromkeys(range(34), IGNORE_LABEL) | {
    raw: label for label, raw in enumerate(CITYSCAPES_LABELS)
}

SEGMENTATION_SETS: dict[str, SegmentationSet] = {
    entry.name: entry
    for entry in (
        SegmentationSet(
            name="voc20", title="PASCAL VOC 2012 val, 20 classes, background ignored", layouts=voc_layout(1), **VOC
        ),
        SegmentationSet(
            name="voc21", title="PASCAL VOC 2012 val, 20 classes and background", layouts=voc_layout(0), **VOC
        ),
        SegmentationSet(
            name="context59", title="PASCAL Context val, 59 classes, the rest ignored", layouts=context_layout(1),
            **CONTEXT,
        ),
        SegmentationSet(
            name="context60", title="PASCAL Context val, 59 classes and background", layouts=context_layout(0),
            **CONTEXT,
        ),
        SegmentationSet(
            name="coco_stuff171", title="COCO-Stuff val2017, 80 things and 91 kinds of stuff",
            layouts=coco_layouts(STUFF_CLASSES, "_labelTrainIds"), **COCO_SEGMENTATION,
        ),
        SegmentationSet(
            name="coco_object", title="COCO-Object val2017, 80 things, all else is background",
            layouts=coco_layouts(OBJECT_CLASSES, "_instanceTrainIds"), **COCO_SEGMENTATION,
        ),
        SegmentationSet(
            name="ade150", title="ADE20K validation, 150 classes, other ignored", folders=("ADEChallengeData2016",),
            layouts=(
                SegmentationLayout(
                    image="images/validation/{}.jpg", label_map="annotations/validation/{}.png", first_label=1
                ),
            ),
            num_images=2000, space="2 GB", source="data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
            licence="research and education, not commercial", read_here=True,
        ),
        SegmentationSet(
            name="cityscapes19", title="Cityscapes val, 19 classes", folders=("cityscapes",),
            layouts=tuple(
                SegmentationLayout(
                    image="leftImg8bit/val/{}_leftImg8bit.png", label_map=f"gtFine/val/{{}}_gtFine_{kind}.png",
                    classes=classes,
                )
                for kind, classes in (("labelIds", CITYSCAPES_CLASSES), ("labelTrainIds", {}))
            ),
            num_images=500, space="12 GB", source="cityscapes-dataset.com",
            licence="research, not commercial; by agreement",
            steps="Register at cityscapes-dataset.com, accept the licence, download leftImg8bit_trainvaltest.zip and "
            "gtFine_trainvaltest.zip, and unpack both in cityscapes/ (leftImg8bit/val/<city>/, gtFine/val/<city>/).",
        ),
    )
}  # fmt: skip


def load_segmentation(name: str) -> SegmentationImages:
    """A segmentation set by name: from the data root, of the built-in world or an installed package, or `folder:PATH`.

    The last is a user's own.
    """
    own = [*SEGMENTATION_SETS, *WORLD_SEGMENTATION]
    outside = outside_set("segmentation", name, own)
    if outside is not None:
        return outside.load()
    if name in WORLD_SEGMENTATION:
        return WorldLabelMaps(name)
    if name in SEGMENTATION_SETS:
        return SEGMENTATION_SETS[name].read()
    known = [*own, *outside_names("segmentation", own)]
    if name.startswith(USER_FOLDER) or (Path(name) / NAMES_FILE).is_file():
        return read_user_folder(Path(name.removeprefix(USER_FOLDER)), known)
    unknown = unknown_name(name, known, "segmentation set")
    raise UsageError(f"{unknown} Or give folder:PATH, a folder with images/, masks/ and {NAMES_FILE}.")
