"""The size at which an image is shown whole, and what becomes of its rim where patches do not tile it.

Other people's evaluations differ in both, and their numbers with them. Pixels are RGB from 0 to 255 as long as nothing
is said, and sides are (height, width).
"""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from pacl_bench.encoders.setup import Remainder


def mmseg_shape(image_shape: tuple[int, int], short_side: int, long_side: int) -> tuple[int, int]:
    """The largest size with the short side at most `short_side` and the long one at most `long_side`.

    Source: open-mmlab/mmcv, mmcv/image/geometric.py, rescale_size.
    """
    factor = min(long_side / max(image_shape), short_side / min(image_shape))
    height, width = (max(1, int(side * factor + 0.5)) for side in image_shape)
    return height, width


def pillow_shape(image_shape: tuple[int, int], short_side: int) -> tuple[int, int]:
    """The short side exactly, the long one rounded down.

    Source: google-deepmind/tips, pytorch/TIPS_zeroshot_segmentation.ipynb; dino.txt's notebook has the same.
    """
    shortest = min(image_shape)
    height, width = (short_side if side == shortest else int(short_side * side / shortest) for side in image_shape)
    return height, width


def opencv_bilinear(image: Image.Image, shape: tuple[int, int]) -> UInt8[np.ndarray, "height width_px 3"]:
    """The pixels as mmcv resizes them: OpenCV's bilinear on whole numbers, to the byte."""
    height, width = shape
    return np.asarray(cv2.resize(np.asarray(image.convert("RGB")), (width, height), interpolation=cv2.INTER_LINEAR))


def pillow_bicubic(image: Image.Image, shape: tuple[int, int]) -> UInt8[np.ndarray, "height width_px 3"]:
    """The pixels as torchvision resizes a PIL image."""
    height, width = shape
    return np.array(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


def mmseg_scaled(
    pixels: UInt8[Tensor, "height width_px 3"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "3 height width_px"]:
    """Pixels minus the mean, over the standard deviation, both of pixels from 0 to 255.

    The same numbers as those of pixels from 0 to 1 but for the last bit, and PAMR asks for that one: in an even area it
    divides what rounding has left of a difference by what it has left of a spread.
    """
    middle, spread = (torch.tensor([255 * value for value in values])[:, None, None] for values in (mean, std))
    return (pixels.movedim(-1, 0).float() - middle) / spread


def tiled_side(side: int, patch_size: int, remainder: Remainder) -> int:
    """What a side of an image or window is, in pixels, once its remainder has been treated."""
    if remainder in ("none", "drop"):
        return side  # encoders see whole patches only, so nothing is to be cut off
    return -(-side // patch_size) * patch_size


def tiled(
    window: Float[Tensor, "3 height width_px"], patch_size: int, remainder: Remainder
) -> Float[Tensor, "3 tiled_height tiled_width"]:
    """An image or window of scaled pixels as the encoder gets it."""
    height, width = window.shape[1:]
    tall, wide = (tiled_side(side, patch_size, remainder) for side in (height, width))
    if (tall, wide) == (height, width):
        return window
    if remainder == "stretch":
        return interpolate(window[None], size=(tall, wide), mode="bicubic", align_corners=False)[0]
    above, left = (rim_before(side, patch_size, remainder) for side in (height, width))
    return pad(window, (left, wide - width - left, above, tall - height - above))


def rim_before(side: int, patch_size: int, remainder: Remainder) -> int:
    """Pixels that are put before a side: above an image or left of it."""
    if remainder != "pad-around":
        return 0
    return (tiled_side(side, patch_size, remainder) - side) // 2
