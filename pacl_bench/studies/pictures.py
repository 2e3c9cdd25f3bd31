"""The pictures of Figures 2, 4 and 6 for any image: what a model sees where."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from pacl_bench.data.images import open_image
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.view import View
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.prompts import ClassTexts, class_scores
from pacl_bench.evaluators.upsampling import Side, best_class, placing
from pacl_bench.image_sets import BrokenImage
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.records import Key, Record
from pacl_bench.report.figures.pictures import PhotoPanel
from pacl_bench.report.lines import line_name, names_apart
from pacl_bench.report.runs import Run

LONG_SIDE = 480  # pixels; a photo is drawn no larger


def read_photos(files: Sequence[Path], long_side: int | None = LONG_SIDE) -> list[Image.Image]:
    """The photos, none larger than `long_side`; a UsageError names the one that cannot be read."""
    photos = []
    for file in files:
        try:
            photo = open_image(file)
        except BrokenImage as broken:
            raise UsageError(f"{broken}.") from None
        if long_side is not None:
            photo.thumbnail((long_side, long_side))
        photos.append(photo)
    return photos


def model_titles(models: Iterable[AlignedModel]) -> list[str]:
    """Above the picture of each model what tables call it: its encoder, then its method and what tells it from others.

    "tiny-clip", and below "PACL head, 10,000 images".
    """
    runs = [Run(Record(Key("", model.name, ""), [], {"model": model.describe()}, {})) for model in models]
    names = ["\n".join(dict.fromkeys([run.encoder, line_name(run)])) for run in runs]
    return names_apart(runs, names)


def alignment_rows(
    models: Sequence[AlignedModel], photos: Sequence[Image.Image], word: str, template: str = "a photo of a {}."
) -> list[list[PhotoPanel]]:
    """Figure 2: for each photo the cosine similarity of each patch with a word, one column a model.

    Each model has colours of its own range, over all photos: cosines of different models are not comparable.
    """
    maps = [[_alignment(model, photo, template.replace("{}", word)) for photo in photos] for model in models]
    rows = [[PhotoPanel(np.asarray(photo), f"“{word}”" if not at else "")] for at, photo in enumerate(photos)]
    for title, heats in zip(model_titles(models), maps, strict=True):
        spread = _spread(heats)
        for at, heat in enumerate(heats):
            rows[at].append(PhotoPanel(np.asarray(photos[at]), "" if at else _title(title, spread), heat, spread))
    return rows


def similarity_rows(
    encoders: Sequence[VisionEncoder], photos: Sequence[Image.Image], point: tuple[float, float]
) -> list[list[PhotoPanel]]:
    """Figure 4: a patch is marked in the first photo; how similar is it to all patches of this and the other photos?

    Args:
        point: (x, y) of the marked patch, as fractions of the first photo's sides.
    """
    marked = PhotoPanel(np.asarray(photos[0]), "marked patch", marker=point)
    rows = []
    for encoder in encoders:
        heats = [_similarity(encoder, photos[0], photo, point) for photo in photos]
        spread = _spread(heats)
        titles = [encoder.name, *["another image"] * (len(photos) - 1)]
        maps = [
            PhotoPanel(np.asarray(photo), title, heat, spread, marker=point if photo is photos[0] else None)
            for photo, title, heat in zip(photos, titles, heats, strict=True)
        ]
        rows.append([marked, *maps])
    return rows


def segmentation_rows(
    models: Sequence[AlignedModel],
    photos: Sequence[Image.Image],
    classnames: list[str],
    templates: list[str],
    label_maps: Sequence[Integer[np.ndarray, "_ _"]] | None = None,
    stride: int | None = None,
) -> list[list[PhotoPanel]]:
    """Figure 6: photo, labels where there are some, then each model's prediction; all classes are candidates."""
    predicted = [segmented(model, photos, classnames, templates, stride) for model in models]
    maps = dict(zip(model_titles(models), predicted, strict=True))
    return overlay_rows(photos, {"label": label_maps, **maps} if label_maps else maps)


def segmented(
    model: AlignedModel,
    photos: Sequence[Image.Image],
    classnames: list[str],
    templates: list[str],
    stride: int | None = None,
) -> list[Integer[np.ndarray, "_ _"]]:
    """The best of the classes for each pixel of each photo, "height width_px", in the photo's own size."""
    classes = model.class_embeddings(classnames, templates)
    return [_segmented(model, photo, classes, stride) for photo in photos]


def overlay_rows(
    photos: Sequence[Image.Image], maps: Mapping[str, Sequence[Integer[np.ndarray, "_ _"]]]
) -> list[list[PhotoPanel]]:
    """A row a photo: the photo, then each of the maps over it. Large ones are drawn smaller."""
    rows = []
    for at, photo in enumerate(photos):
        shown = photo.copy()
        shown.thumbnail((LONG_SIDE, LONG_SIDE))
        image = np.asarray(shown)
        overlays = [
            PhotoPanel(image, "" if at else title, predicted_map=_drawn(of_photos[at], shown.size))
            for title, of_photos in maps.items()
        ]
        rows.append([PhotoPanel(image, "" if at else "image"), *overlays])
    return rows


def _drawn(
    label_map: Integer[np.ndarray, "height width_px"], size: tuple[int, int]
) -> Integer[np.ndarray, "drawn_height drawn_width"]:
    """A map as it is drawn over a smaller photo: labels are picked, never mixed."""
    small = Image.fromarray(label_map.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    return np.asarray(small).astype(np.int64)


def _alignment(model: AlignedModel, photo: Image.Image, text: str) -> Float[np.ndarray, "height width_px"]:
    features = _encode(model.vision, photo)
    texts = ClassTexts(model.text([text]).to(model.vision.device), [1])
    scores = class_scores(model, features.patch_tokens, texts, features.grid)
    return _over_photo(scores[0], photo, model.vision)


def _similarity(
    encoder: VisionEncoder, first: Image.Image, other: Image.Image, point: tuple[float, float]
) -> Float[np.ndarray, "height width_px"]:
    marked = _encode(encoder, first)
    rows, cols = marked.grid
    patch = min(int(point[1] * rows), rows - 1) * cols + min(int(point[0] * cols), cols - 1)
    shown = _encode(encoder, other)
    tokens = normalize(shown.patch_tokens[0], dim=-1)
    similarity = tokens @ normalize(marked.patch_tokens[0, patch], dim=-1)
    return _over_photo(similarity.reshape(shown.grid).cpu(), other, encoder)


def _segmented(
    model: AlignedModel, photo: Image.Image, classes: Float[Tensor, "label dim"], stride: int | None
) -> Integer[np.ndarray, "height width_px"]:
    features = _encode(model.vision, photo, stride)
    scores = class_scores(model, features.patch_tokens, ClassTexts(classes, [1] * len(classes)), features.grid)
    return best_class(scores, *_sides(model.vision, photo, stride)).numpy()


def _encode(encoder: VisionEncoder, photo: Image.Image, stride: int | None = None):
    return encoder(encoder.preprocess.whole(photo)[None].to(encoder.device), stride)


def _sides(encoder: VisionEncoder, photo: Image.Image, stride: int | None = None) -> tuple[Side, Side]:
    """How patches count for the pixels of the photo, down and across."""
    shape = (photo.height, photo.width)
    placed = placing(encoder, View(whole=True, stride=stride), shape)
    return placed.side(0, shape[0]), placed.side(1, shape[1])


def _over_photo(
    values: Float[Tensor, "row col"], photo: Image.Image, encoder: VisionEncoder
) -> Float[np.ndarray, "height width_px"]:
    """Values of patches, interpolated to the pixels of the photo."""
    down, across = (side.weights for side in _sides(encoder, photo))
    return (down @ values.float() @ across.T).numpy()


def _spread(heats: Sequence[Float[np.ndarray, "..."]]) -> tuple[float, float]:
    """The range of all maps but their outermost hundredth, so that one patch does not decide the colours."""
    values = np.concatenate([heat.ravel() for heat in heats])
    low, high = np.percentile(values, [1, 99])
    return float(low), float(max(high, low + 1e-6))


def _title(model: str, spread: tuple[float, float]) -> str:
    return f"{model}\ncos {spread[0]:.2f} to {spread[1]:.2f}"
