"""The best, the median and the worst image of each head, chosen by its counts by image, beside the label."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pacl_bench.data.vocabulary import load_templates
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import SegmentationImages, image_id
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.registry import listed
from pacl_bench.report.comparison import find_side, own_numbers
from pacl_bench.report.figures.pictures import PhotoPanel
from pacl_bench.report.runs import Number
from pacl_bench.studies.pictures import model_titles, overlay_rows, segmented

CANDIDATE, NONE = "dataset-miou, background=class", "dataset-miou, background=none"


class NoCounts(UsageError):
    """A record that does not say what each image adds to it: one of an earlier version."""


def gallery_rows(models: Sequence[AlignedModel], images: SegmentationImages, results: Path) -> list[list[PhotoPanel]]:
    """Three rows for each model: image, label, and what it predicts, with the image's own mIoU.

    Raises:
        UsageError: a model was not measured on the set, or its record has no counts by image.
    """
    named = zip(models, model_titles(models), strict=True)
    return [row for model, name in named for row in _of_model(model, name, images, results)]


def ranked(number: Number) -> dict[str, int]:
    """The places of the best, the median and the worst image of the set, by the images' own numbers."""
    own = own_numbers(number)
    if own is None:
        raise NoCounts(f"{number.run.file} has no counts by image. Measure it again: --rerun always.")
    order = [int(at) for at in np.argsort(-own, kind="stable") if not np.isnan(own[at])]
    return {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}


def _of_model(model: AlignedModel, name: str, images: SegmentationImages, results: Path) -> list[list[PhotoPanel]]:
    number = _number(model.name, images, results)
    settings, own, places = number.run.record.config["settings"], own_numbers(number), ranked(number)
    photos = [images.image(at) for at in places.values()]
    templates = load_templates(listed(settings.get("templates") or "paper7")[0])
    predicted = segmented(model, photos, list(images.classnames), templates, settings.get("stride"))
    titles = [f"{what}: {100 * own[at]:.1f} %\n{image_id(images, at)}" for what, at in places.items()]  # type: ignore[index]
    rows = overlay_rows(photos, {"label": [images.label_map(at) for at in places.values()], name: predicted})
    return [[PhotoPanel(row[0].image, title), *row[1:]] for title, row in zip(titles, rows, strict=True)]


def _number(model: str, images: SegmentationImages, results: Path) -> Number:
    """The mIoU by which images are told apart: with background as a class, where the set has one."""
    runs = [run for run in find_side(model, results).runs if (run.evaluator, run.dataset) == ("segment", images.name)]
    runs.sort(key=lambda run: run.variant != "default")
    found = {
        row.protocol: Number(run, row) for run in runs[:1] for row in run.record.measurements if row.metric == "miou"
    }
    number = found.get(CANDIDATE) or found.get(NONE)
    if number is None:
        raise UsageError(f"{model} has no record of segment on {images.name} below {results}. Measure it first.")
    if number.run.record.config["dataset"].get("fingerprint") != images.fingerprint:
        raise UsageError(f"{images.name} has changed since {number.run.file} was measured. Measure it again.")
    return number
