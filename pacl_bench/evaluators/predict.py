"""One image through a protocol: from a photo and the embeddings of names to a label map."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor

from pacl_bench.data.images import upright_rgb
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.batched import encode_batch
from pacl_bench.encoders.view import View
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.presets import EVERY_SET, PRESETS
from pacl_bench.evaluators.protocol_steps import large_classes
from pacl_bench.evaluators.score_field import ScoreField, score_field
from pacl_bench.evaluators.steps import Steps, parse_background
from pacl_bench.image_sets import IGNORE_LABEL
from pacl_bench.model.compatibility import patch_similarity
from pacl_bench.registry import lookup, unknown_name


@torch.no_grad()
def predict_map(
    encoder: VisionEncoder,
    image: Image.Image,
    text_embeddings: Float[Tensor, "name dim"],
    class_of_name: Sequence[int],
    protocol: str = "sclip",
    dataset: str = "voc21",
    label_size: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "height width_px"]:
    """The class of each pixel of an image, found as somebody else's evaluation code finds it.

    The whole of the protocol is applied: its resize and windows, its attention and positional embeddings where the
    encoder has such a part, the pixels' mean and spread it uses, its thresholds. Only the texts are yours.

    Args:
        encoder: one with a text space of its own, a CLIP for example; `from_open_clip` makes one of a model in hand.
            It stays as it is.
        image: of any size and mode. It is turned as its EXIF orientation says, and of what is transparent the stored
            colour is taken, as their readers of files do it.
        text_embeddings: one for each name a class goes by, of any norm.
        class_of_name: the class of each name, from 0. Where the data set has a background it is class 0.
        protocol: `sclip`, `naclip`, `naclip-pamr`, `clearclip`, `maskclip`, `tipsv2`, `dinotxt` ...: one of
            evaluators.presets.PRESETS.
        dataset: whose settings are taken: `voc20`, `voc21`, `context59`, `context60`, `coco_object`, `coco_stuff171`,
            `cityscapes19` or `ade150`.
        label_size: (height, width) of the map in pixels; None is the image's own size, turned upright.

    Raises:
        UsageError: a protocol or data set that does not exist, names and classes that do not fit each other, an image
            of which the protocol leaves less than one patch, or in grey of 32 bits.
    """
    preset = lookup(PRESETS, protocol, "protocol")
    if dataset not in EVERY_SET:
        raise UsageError(unknown_name(dataset, EVERY_SET, "data set of a protocol"))
    steps = preset.steps_on(dataset)
    classes = _classes(class_of_name, len(text_embeddings))
    if 0 not in classes and steps.area is not None:
        raise UsageError(f"{protocol} on {dataset}: class 0 is its background, and no name has it.")
    if not parse_background(steps.background).candidate and not classes.any():
        raise UsageError(f"{protocol} on {dataset}: class 0 is its background, and no name has another class.")
    encoder, view = encoder.set_up(replace(preset.setup, pos=steps.pos)), view_of(steps)
    image = _photo(image)
    shown = view.shown(encoder, image)
    (features,) = encode_batch(encoder, [shown], view)
    patch_embeddings = encoder.project(features.patch_tokens)
    width, own = text_embeddings.shape[1], patch_embeddings.shape[-1]
    if width != own:
        raise UsageError(f"text_embeddings: {width} numbers each; {encoder.name} has {own}. Take its own text encoder.")
    scores = patch_similarity(patch_embeddings, text_embeddings.to(patch_embeddings))[0].unflatten(-1, features.grid)
    label_size = label_size or (image.height, image.width)
    return class_map(scores.cpu(), classes, steps, shown.cpu(), encoder.patch_size, label_size)


def view_of(steps: Steps) -> View:
    """How the encoder is shown the images."""
    return View(
        True, steps.size, steps.stride, steps.window, steps.overlap, steps.resize, steps.long_side, steps.remainder
    )


def class_map(
    scores: Float[Tensor, "name row col"],
    class_of_name: Int[Tensor, " name"],
    steps: Steps,
    shown: Float[Tensor, "3 shown_height shown_width"],
    patch_size: int,
    label_size: tuple[int, int],
) -> UInt8[np.ndarray, "height width_px"]:
    """The class of each pixel of a label map, from the cosines of the patches of all windows with every name.

    Args:
        shown: the image as the encoder saw it, before it was cut into windows.
    """
    field = score_field(scores, class_of_name, steps, view_of(steps), shown, patch_size, label_size)
    return label_map(field, steps).numpy().astype(np.uint8)


def label_map(field: ScoreField, steps: Steps, background: int = 0) -> Int[Tensor, "height width_px"]:
    """The class of each pixel, from the scores of candidates.

    Args:
        background: the class that stands for none of the others, of a set that has one.
    """
    rule = parse_background(steps.background)
    among = torch.arange(len(field.class_of))
    if not rule.candidate:
        among = among[field.class_of != background]
    best = field.best(among)
    if steps.area is not None:
        classes = field.class_of[best]
        large = large_classes(classes, int(field.class_of.max()) + 1, steps.area, background)
        best = field.best(among[large[field.class_of[among]]])
    found = field.class_of[best]
    if rule.threshold is None and rule.entropy is None:
        return found
    certainty = field.certainty(among, best, steps.scale, steps.softmax == "names", rule.entropy is not None)
    if rule.threshold is not None:
        found[certainty.probability < rule.threshold] = background
    if rule.entropy is not None and certainty.entropy is not None:
        found[certainty.entropy > rule.entropy] = background
    return found


def _photo(image: Image.Image) -> Image.Image:
    """The image as a data set would give it; a UsageError where it is not known what number is white in it."""
    try:
        return upright_rgb(image)
    except ValueError as error:
        raise UsageError(f"image: {error}.") from None


def _classes(class_of_name: Sequence[int], names: int) -> Int[Tensor, " name"]:
    """The class of each name; a UsageError where they do not fit the names or a map of bytes."""
    classes = torch.as_tensor(class_of_name, dtype=torch.long)
    if len(classes) != names or not names:
        raise UsageError(f"class_of_name: {len(classes)} classes for {names} text_embeddings; one a name is wanted.")
    if not 0 <= int(classes.min()) <= int(classes.max()) < IGNORE_LABEL:
        raise UsageError(f"class_of_name: classes from 0 to {IGNORE_LABEL - 1} are wanted.")
    return classes
