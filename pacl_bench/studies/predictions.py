"""Segmentations as label PNGs: ours written, and anybody's scored.

A PNG holds class indices in the order of the set's names file, from 0 (voc20: aeroplane = 0 ... tvmonitor = 19); 255 is
"nothing predicted". It has the size of its image and is called <image id>.png.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pacl_bench import records
from pacl_bench.data.segmentation_folders import read_png
from pacl_bench.errors import RunError, UsageError
from pacl_bench.evaluators import EVALUATORS
from pacl_bench.evaluators.base import Evaluator, Result
from pacl_bench.evaluators.iou_counts import IouCounts, over_data_set, set_counts
from pacl_bench.evaluators.patches import background_class
from pacl_bench.evaluators.protocols import DATASET
from pacl_bench.evaluators.segmentation import Keep, evaluate_segmentation
from pacl_bench.evaluators.settings import SegmentationSettings
from pacl_bench.files import place_of, replacing, require_writable
from pacl_bench.image_counts import Counts
from pacl_bench.image_sets import IGNORE_LABEL, BrokenImage, SegmentationImages, contents_sample, image_id
from pacl_bench.metrics.segmentation import near_boundary
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.progress import console, note, track
from pacl_bench.provenance import Stopwatch
from pacl_bench.records import Key, Measurement, Record
from pacl_bench.studies.runner import describe_dataset

NOTHING_PREDICTED = 255  # the label of a pixel for which nothing was predicted
NAMED = 3  # missing files that are named; the others are counted


def label_writer(folder: Path, images: SegmentationImages) -> Keep:
    """What takes an image's index and predicted map, and writes the PNG below `folder`."""

    def write(index: int, predicted_map: UInt8[np.ndarray, "height width_px"]) -> None:
        write_label_map(folder / f"{image_id(images, index)}.png", predicted_map)

    return write


def saving_predictions(folder: Path) -> Evaluator:
    """The evaluator `segment`, which also writes the PNGs of each model below <folder>/<model>/<data set>.

    Of two sets of one name, a/m5 and b/m5, the second one's folder has eight digits of its fingerprint behind the name.
    """
    require_writable(folder, "--save-predictions")
    first: dict[str, tuple[str, str]] = {}  # what the first set of a name is known by

    def evaluate(model: AlignedModel, images: SegmentationImages, settings: SegmentationSettings) -> Result:
        known_by = (images.fingerprint, contents_sample(images))
        is_another = first.setdefault(images.name, known_by) != known_by
        called = f"{images.name}-{images.fingerprint[:8]}" if is_another else images.name
        return evaluate_segmentation(model, images, settings, label_writer(folder / model.name / called, images))

    return replace(EVALUATORS["segment"], evaluate=evaluate)


def write_label_map(file: Path, label_map: UInt8[np.ndarray, "height width_px"]) -> None:
    """A PNG of one number a pixel, whole or not at all."""
    with replacing(file, durable=False) as temporary:
        Image.fromarray(label_map).save(temporary, "PNG")


def read_label_map(file: Path, shape: tuple[int, ...], num_classes: int) -> UInt8[np.ndarray, "height width_px"]:
    """A predicted map of an image of (height, width) pixels.

    Raises:
        BrokenImage: another size, colours, a label outside the set, or no PNG at all.
    """
    _, found = read_png(file)
    if found.ndim != 2 or found.dtype.kind not in "ui":
        raise BrokenImage(file, "a prediction must hold one whole number a pixel, this holds something else")
    if found.shape != tuple(shape):
        sizes = f"{found.shape[1]} x {found.shape[0]} pixels, its image {shape[1]} x {shape[0]}"
        raise BrokenImage(file, f"{sizes}; a prediction is wanted in the size of its image")
    beyond = (found >= num_classes) & (found != NOTHING_PREDICTED)
    if beyond.any():
        raise BrokenImage(
            file, f"label {int(found[beyond][0])}; the set has 0 to {num_classes - 1}, and 255 for nothing"
        )
    return found.astype(np.uint8)


def score_predictions(
    folder: Path,
    name: str,
    images: SegmentationImages,
    results: Path,
    study: str = "segment",
    boundary: int = SegmentationSettings.boundary,
    allow_partial: bool = False,
) -> Record:
    """Scores label PNGs made elsewhere over the data set, writes the record and returns it.

    The PNGs lie in `folder`, or in its folder of the set's name. `present-miou` is not scored: candidates cannot be
    narrowed to the classes of an image after they were chosen from.

    Args:
        name: of the method, as tables show it.
        allow_partial: score the images there are predictions of, where some are missing.
    """
    place_of(results, "--results")
    require_writable((results / records.FOLDER / Key(study, name, images.name).path).parent, "--results")
    stopwatch = Stopwatch()
    files = _files(folder, images, allow_partial)
    measured, counts = _measured(files, images, boundary)
    digest = hashlib.sha256()
    for file in files.values():
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    dataset = describe_dataset(images) | {"images": len(files)}
    sha256 = digest.hexdigest()
    made = {"name": name, "sha256": sha256, "missing": len(images) - len(files)}
    config = {
        "evaluator": "segment",
        "settings": {"boundary": boundary},
        "model": {"encoder": None, "text": None, "head": None, "predictions": made},
        "dataset": dataset,
        "seed": 0,
    }
    variant = "predictions" if len(files) == len(images) else "predictions,partial"
    key = _own_key(results / records.FOLDER, Key(study, name, images.name, variant), sha256)
    record = Record(key, measured, config, stopwatch.provenance("cpu"))
    return records.read(records.write(results / records.FOLDER, record, counts))


def _own_key(folder: Path, plain: Key, sha256: str) -> Key:
    """The key of these predictions: where others were scored under the name, eight digits of theirs stand behind it."""
    file = folder / plain.path
    scored = records.read(file).config["model"].get("predictions") if file.is_file() else None
    if scored is None or scored.get("sha256") == sha256:
        return plain
    own = replace(plain, model=f"{plain.model}-{sha256[:8]}")
    note(f"recorded as {own.path}: other predictions were scored under the name of {plain.path}")
    return own


def _files(folder: Path, images: SegmentationImages, allow_partial: bool) -> dict[int, Path]:
    """The prediction of each image that has one."""
    folder = folder / images.name if (folder / images.name).is_dir() else folder
    if not folder.is_dir():
        raise UsageError(f"--predictions {folder}: no such folder.")
    every = {index: folder / f"{image_id(images, index)}.png" for index in range(len(images))}
    missing = [file for file in every.values() if not file.is_file()]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        told = f"{folder}: {len(missing)} of {len(images)} predictions for {images.name} are missing "
        told += f"({', '.join(file.name for file in missing[:NAMED])}{more})."
        if len(missing) == len(images):
            raise UsageError(f"{told} A prediction is called <image id>.png.")
        if not allow_partial:
            raise UsageError(f"{told} Score the others with --allow-partial.")
        console.print(told, style="dim", markup=False, highlight=False, soft_wrap=True)
    return {index: file for index, file in every.items() if file.is_file()}


def _measured(files: dict[int, Path], images: SegmentationImages, boundary: int) -> tuple[list[Measurement], Counts]:
    """Under `background=none` and, where the set has a background, `background=class`."""
    background, num_classes = background_class(images), len(images.classnames)
    none = IouCounts([f"{DATASET}, background=none"])
    whole = IouCounts([f"{DATASET}, background=class"])
    for index, file in track(files.items(), f"scoring {images.name}", len(files)):
        label_map = images.label_map(index)
        counted = label_map != IGNORE_LABEL
        predicted = read_label_map(file, label_map.shape, num_classes)[counted].astype(np.int64)
        labels, inner = label_map[counted].astype(np.int64), ~near_boundary(label_map, boundary)[counted]
        foreground = np.full(len(labels), True) if background is None else labels != background
        without = (
            np.where(predicted == background, NOTHING_PREDICTED, predicted) if background is not None else predicted
        )
        none.add(labels[foreground], without[foreground], num_classes, inner=inner[foreground])
        if background is not None:
            whole.add(labels, predicted, num_classes, inner=inner)
    measured = over_data_set(none, images.classnames, num_classes - (background is not None))
    measured += over_data_set(whole, images.classnames, num_classes) if background is not None else []
    if not measured:
        raise RunError(f"{images.name} has no pixel with a label that counts.")
    return measured, {**set_counts(none), **(set_counts(whole) if background is not None else {})}
