"""Figures 2, 4 and 6 and the gallery as a study file asks for them: images are chosen, models loaded, a picture drawn.

Beside figure2.png lies figure2.json, which says what was drawn: it is drawn again when that changes.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from PIL import Image

from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.data.vocabulary import load_templates
from pacl_bench.encoders import load_encoder
from pacl_bench.encoders.spec import parse_spec
from pacl_bench.errors import UsageError
from pacl_bench.files import write_json
from pacl_bench.image_sets import SegmentationImages
from pacl_bench.model.aligned import AlignedModel, load_aligned, load_before
from pacl_bench.model.head_files import read_card
from pacl_bench.progress import note
from pacl_bench.registry import unknown_name
from pacl_bench.report.figures.pictures import PhotoPanel, save_picture
from pacl_bench.studies.experiment import Picture
from pacl_bench.studies.gallery import NoCounts, gallery_rows
from pacl_bench.studies.pictures import alignment_rows, segmentation_rows, similarity_rows

NOTHING = -1  # in a map: no class
LARGE = 0.1  # of an image: the share from which a class is shown large
TEMPLATES = "paper7"


def draw_picture(picture: Picture, trained: Sequence[Path], stem: Path, device: str = "cpu") -> None:
    """Draws it to `stem`.png and .pdf; a UsageError where a data set or class is not there.

    A gallery is of the first data set alone, and chosen by the records beside the folder that the picture goes to.

    Args:
        trained: folders of heads that are shown after `picture.encoders` and `picture.heads`.
    """
    shown = [(images, index) for images in _sets(picture) for index in chosen(images, picture.showing, picture.images)]
    photos = [images.image(index) for images, index in shown]
    if picture.kind == "similarity":
        encoders = [load_encoder(name).to(device) for name in picture.encoders]
        save_picture(similarity_rows(encoders, photos, middle_of(picture.showing, *shown[0])), stem)
    elif picture.kind == "alignment":
        save_picture(alignment_rows(_models(picture, trained, device), photos, picture.showing), stem)
    elif picture.kind == "gallery":
        [images, *_] = _sets(picture)
        try:
            rows = gallery_rows(_models(picture, trained, device), images, stem.parent.parent)
        except NoCounts as error:  # a record of an earlier version, which is as good as it was
            note(f"{stem.name} is not drawn: {error}")
            return
        save_picture(rows, stem, list(images.classnames))
    else:
        rows, classnames = _segmentations(picture, _models(picture, trained, device))
        save_picture(rows, stem, classnames)
    write_json(stem.with_suffix(".json"), what_is_drawn(picture, trained))


def is_drawn(picture: Picture, trained: Sequence[Path], stem: Path) -> bool:
    """Whether the picture at `stem` is of these heads and images."""
    try:
        held = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return stem.with_suffix(".png").is_file() and held == what_is_drawn(picture, trained)


def what_is_drawn(picture: Picture, trained: Sequence[Path]) -> dict[str, Any]:
    """All that decides a picture, as it stands in JSON beside it."""
    heads = [*map(Path, picture.heads), *trained]
    shown = {name: value for name, value in asdict(picture).items() if name not in ("heads", "trained")}
    sets = {images.name: images.fingerprint for images in _sets(picture)}
    return {"picture": shown, "data": sets, "heads": {folder.name: read_card(folder).sha256 for folder in heads}}


def chosen(images: SegmentationImages, showing: str, number: int) -> list[int]:
    """The first images that show a class large; without a class the first images.

    Raises:
        UsageError: the set has no such class, or fewer images of it than are wanted.
    """
    if not showing:
        return list(range(min(number, len(images))))
    found = []
    label = _label(images, showing)
    for index in range(len(images)):
        if (images.label_map(index) == label).mean() > LARGE:
            found.append(index)
        if len(found) == number:
            return found
    raise UsageError(f"{images.name}: {len(found)} images show {showing!r} large, {number} are wanted.")


def middle_of(showing: str, images: SegmentationImages, index: int) -> tuple[float, float]:
    """(x, y) of the pixel of a class that is nearest to the middle of them all, as fractions of the image's sides."""
    label_map = images.label_map(index)
    rows, cols = np.nonzero(label_map == _label(images, showing))
    middle = np.argmin((rows - rows.mean()) ** 2 + (cols - cols.mean()) ** 2)
    return (cols[middle] + 0.5) / label_map.shape[1], (rows[middle] + 0.5) / label_map.shape[0]


def _label(images: SegmentationImages, showing: str) -> int:
    if showing not in images.classnames:
        raise UsageError(f"{images.name}: {unknown_name(showing, images.classnames, 'class')}")
    return images.classnames.index(showing)


def _sets(picture: Picture) -> list[SegmentationImages]:
    return list(map(load_segmentation, picture.datasets))


def _models(picture: Picture, trained: Sequence[Path], device: str) -> list[AlignedModel]:
    """Before alignment, then after; an encoder that is shown before is not loaded again for its head."""
    encoders = {parse_spec(name).name: load_encoder(name) for name in picture.encoders}
    before = list(map(load_before, encoders.values()))
    after = [load_aligned(folder, encoders.get(read_card(folder).encoder.name)) for folder in trained]
    of_folders = [load_aligned(folder) for folder in map(Path, picture.heads)]
    return [model.to(device) for model in (*before, *of_folders, *after)]


def _segmentations(picture: Picture, models: list[AlignedModel]) -> tuple[list[list[PhotoPanel]], list[str]]:
    """The rows of all data sets, their classes numbered through: those of one name are one."""
    sets = _sets(picture)
    classnames = list(dict.fromkeys(name for images in sets for name in images.classnames))
    rows: list[list[PhotoPanel]] = []
    for images in sets:
        indices = chosen(images, picture.showing, picture.images)
        photos: list[Image.Image] = [images.image(index) for index in indices]
        labels = [images.label_map(index) for index in indices]
        templates = load_templates(TEMPLATES)
        drawn = segmentation_rows(models, photos, list(images.classnames), templates, labels, picture.stride)
        numbers = np.array([classnames.index(name) for name in images.classnames])
        rows += [[_renumbered(panel, numbers) for panel in row] for row in drawn]
    return rows, classnames


def _renumbered(panel: PhotoPanel, numbers: Int[np.ndarray, " label"]) -> PhotoPanel:
    """The panel with the numbers that its classes have among those of all sets."""
    if panel.predicted_map is None:
        return panel
    known = panel.predicted_map < len(numbers)
    return replace(panel, predicted_map=np.where(known, numbers[np.where(known, panel.predicted_map, 0)], NOTHING))
