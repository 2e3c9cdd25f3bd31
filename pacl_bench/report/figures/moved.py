"""The images whose own numbers changed most between two sides, beside their labels, where the data is there."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from pacl_bench.errors import RunError, UsageError
from pacl_bench.evaluators import EVALUATORS
from pacl_bench.image_sets import IGNORE_LABEL, image_id
from pacl_bench.report.comparison import MovedImage, Pair
from pacl_bench.report.figures.pictures import PhotoPanel, picture_figure
from pacl_bench.report.runs import Run

SHOWN = 4  # images that gained most, and as many that lost most
SIDE = 160  # pixels, the long side of a thumbnail
COLUMNS = 4  # panels in a row


def moved_images(pair: Pair) -> list[MovedImage]:
    """Those that gained most, the first the most, then those that lost most."""
    gained = [image for image in pair.images if image.value > 0][:SHOWN]
    return gained + [image for image in pair.images if image.value < 0][:SHOWN]


def moved_figure(pair: Pair) -> Figure | None:
    """Thumbnails of them; None where the data is not there, or has changed since it was measured."""
    images, shown = data_of(pair.run), moved_images(pair)
    if images is None or not shown:
        return None
    panels = [panel for moved in shown for panel in _panels(images, moved)]
    rows = [panels[at : at + COLUMNS] for at in range(0, len(panels), COLUMNS)]
    return picture_figure(rows, images.classnames if hasattr(images, "label_map") else None)


def data_of(run: Run) -> Any | None:
    """The data set that a run was measured on, by name and fingerprint; None where it is not there."""
    evaluator = EVALUATORS.get(run.evaluator)
    try:
        [images] = evaluator.load_sets([run.dataset]) if evaluator else [None]
    except (UsageError, RunError):
        return None
    recorded = run.record.config["dataset"].get("fingerprint")
    return images if images is not None and images.fingerprint == recorded else None


def _panels(images: Any, moved: MovedImage) -> list[PhotoPanel]:
    """The photo and, of a segmentation set, its label over it."""
    photo = images.image(moved.place)
    photo.thumbnail((SIDE, SIDE))
    title = f"{image_id(images, moved.place)}\n{100 * moved.first:.1f} → {100 * moved.second:.1f}"
    if not hasattr(images, "label_map"):
        return [PhotoPanel(np.asarray(photo), f"{title}\n{images.classnames[images.labels[moved.place]]}")]
    label_map = Image.fromarray(images.label_map(moved.place)).resize(photo.size, Image.Resampling.NEAREST)
    labels = np.asarray(label_map).astype(np.int64)
    labels[labels == IGNORE_LABEL] = -1
    return [PhotoPanel(np.asarray(photo), title), PhotoPanel(np.asarray(photo), "label", predicted_map=labels)]
