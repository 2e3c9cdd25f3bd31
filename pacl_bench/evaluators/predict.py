"""One image through a protocol: from a photo and the embeddings of names to a label map."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.batched import encode_batch
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.presets import EVERY_SET, PRESETS, Steps
from pacl_bench.evaluators.protocol_steps import (
    Axis,
    Tiles,
    axis_of,
    best_candidate,
    best_of_names,
    entropy,
    large_classes,
    mean_probabilities,
    probability,
    refined,
    stretched,
)
from pacl_bench.evaluators.upsampling import TILE_ENTRIES, Placing, pixel_scores
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
        image: of any size and mode.
        text_embeddings: one for each name a class goes by, of any norm.
        class_of_name: the class of each name, from 0. Where the data set has a background it is class 0.
        protocol: `sclip`, `naclip`, `naclip-pamr`, `clearclip`, `maskclip`, `tipsv2`, `dinotxt` ...: one of
            evaluators.presets.PRESETS.
        dataset: whose settings are taken: `voc20`, `voc21`, `context59`, `context60`, `coco_object`, `coco_stuff171`,
            `cityscapes19` or `ade150`.
        label_size: (height, width) of the map in pixels; None is the image's own size.

    Raises:
        UsageError: a protocol or data set that does not exist, names and classes that do not fit each other, an image
            of which the protocol leaves less than one patch.
    """
    preset = lookup(PRESETS, protocol, "protocol")
    if dataset not in EVERY_SET:
        raise UsageError(unknown_name(dataset, EVERY_SET, "data set of a protocol"))
    steps = preset.steps_on(dataset)
    classes = _classes(class_of_name, len(text_embeddings))
    if 0 not in classes and steps.area is not None:
        raise UsageError(f"{protocol} on {dataset}: class 0 is its background, and no name has it.")
    if not steps.candidate and not classes.any():
        raise UsageError(f"{protocol} on {dataset}: class 0 is its background, and no name has another class.")
    encoder = encoder.set_up(preset.setup)
    shown = steps.view.shown(encoder, image)
    (features,) = encode_batch(encoder, [shown], steps.view)
    patch_embeddings = encoder.project(features.patch_tokens)
    width, own = text_embeddings.shape[1], patch_embeddings.shape[-1]
    if width != own:
        raise UsageError(f"text_embeddings: {width} numbers each; {encoder.name} has {own}. Take its own text encoder.")
    scores = patch_similarity(patch_embeddings, text_embeddings.to(patch_embeddings))[0].unflatten(-1, features.grid)
    label_size = label_size or (image.height, image.width)
    return class_map(scores.cpu(), classes, steps, shown.cpu(), encoder.patch_size, label_size)


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
    scores, class_of_name = _candidates(scores, class_of_name, steps)
    tiles = score_tiles(scores, steps, shown, patch_size, label_size)
    if steps.softmax == "classes":
        tiles, class_of_name = _merged(tiles, class_of_name)
    best = best_candidate(tiles)
    if steps.area is not None:
        large = large_classes(class_of_name[best], int(class_of_name.max()) + 1, steps.area)
        best = best_candidate(tiles, large[class_of_name].nonzero()[:, 0])
    label_map = class_of_name[best]
    if steps.threshold is not None:
        label_map[probability(tiles, best, steps.scale) < steps.threshold] = 0
    if steps.entropy is not None:
        label_map[entropy(tiles, steps.scale) > steps.entropy] = 0
    return label_map.numpy().astype(np.uint8)


def _candidates(
    scores: Float[Tensor, "name row col"], class_of_name: Int[Tensor, " name"], steps: Steps
) -> tuple[Float[Tensor, "candidate row col"], Int[Tensor, " candidate"]]:
    """What is upsampled, in the order of classes, since of equal scores the first wins: names, or classes already."""
    in_order = class_of_name.argsort(stable=True)
    if not steps.candidate:
        in_order = in_order[class_of_name[in_order] > 0]
    scores, class_of_name = scores[in_order], class_of_name[in_order]
    return best_of_names(scores, class_of_name) if steps.merged == "patches" else (scores, class_of_name)


def score_tiles(
    scores: Float[Tensor, "name row col"],
    steps: Steps,
    shown: Float[Tensor, "3 shown_height shown_width"],
    patch_size: int,
    label_size: tuple[int, int],
) -> Tiles:
    """The scores of the pixels of a label map, fused, upsampled and refined."""
    axes = [axis_of(pixels, steps.view, patch_size) for pixels in shown.shape[1:]]
    if steps.fusion == "probabilities":
        at_input = mean_probabilities(steps.scale * scores, *axes).permute(2, 0, 1)
        dense = interpolate(at_input[None], size=label_size, mode="bilinear", align_corners=False)[0]
    else:
        down, across = _weights(steps, axes, patch_size, label_size)
        if steps.refinement == "none":
            return lambda: pixel_scores(scores, down, across)
        dense = torch.cat(list(pixel_scores(scores, down, across))).permute(2, 0, 1).contiguous()
    if steps.refinement == "pamr":
        guide = interpolate(shown[None], size=label_size, mode="bilinear", align_corners=False)[0]
        dense = refined(dense, guide)
    rows = max(1, TILE_ENTRIES // dense[:, 0].numel())
    return lambda: iter(dense.permute(1, 2, 0).split(rows))


def _weights(
    steps: Steps, axes: list[Axis], patch_size: int, label_size: tuple[int, int]
) -> list[Float[Tensor, "pixel patch"]]:
    """How the patches of all windows count for the pixels of a label map, down its rows and across its columns."""
    if steps.upsampled == "twice":
        return [stretched(axis.fused(), pixels) for axis, pixels in zip(axes, label_size, strict=True)]
    height, width = (axis.pixels for axis in axes)
    stride = steps.stride or patch_size
    placing = Placing(patch_size, stride, (height, width), steps.window, steps.overlap, steps.remainder)
    return [placing.weights(axis, pixels) for axis, pixels in enumerate(label_size)]


def _merged(tiles: Tiles, class_of_name: Int[Tensor, " name"]) -> tuple[Tiles, Int[Tensor, " label"]]:
    """The scores of classes at pixels from those of names."""
    classes = class_of_name.unique()
    if len(classes) == len(class_of_name):
        return tiles, class_of_name

    def of_classes() -> Iterator[Tensor]:
        for tile in tiles():
            yield best_of_names(tile.movedim(-1, 0), class_of_name)[0].movedim(0, -1)

    return of_classes, classes


def _classes(class_of_name: Sequence[int], names: int) -> Int[Tensor, " name"]:
    """The class of each name; a UsageError where they do not fit the names or a map of bytes."""
    classes = torch.as_tensor(class_of_name, dtype=torch.long)
    if len(classes) != names or not names:
        raise UsageError(f"class_of_name: {len(classes)} classes for {names} text_embeddings; one a name is wanted.")
    if not 0 <= int(classes.min()) <= int(classes.max()) < IGNORE_LABEL:
        raise UsageError(f"class_of_name: classes from 0 to {IGNORE_LABEL - 1} are wanted.")
    return classes
