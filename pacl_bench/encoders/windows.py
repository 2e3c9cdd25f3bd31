"""Sliding windows over an image: where they start, how the image is cut, how their patches lie side by side."""

from jaxtyping import Float
from torch import Tensor


def window_starts(side: int, window: int | None, overlap: float) -> list[int]:
    """First pixel of each window along a side: in equal steps, the last one moved back so that it ends with the side.

    Args:
        window: in pixels; None, or more than the side: one window, the side itself.
        overlap: the share of a window that the next one covers too, in [0, 1).
    """
    if window is None or window >= side:
        return [0]
    step = max(1, round(window * (1 - overlap)))
    return [min(start, side - window) for start in range(0, side - window + step, step)]


def cut(image: Float[Tensor, "3 height width_px"], window: int | None, overlap: float) -> list[Tensor]:
    """The windows of an image, row by row; views, nothing is copied."""
    tops, lefts = (window_starts(side, window, overlap) for side in image.shape[1:])
    size = max(image.shape) if window is None else window
    return [image[:, top : top + size, left : left + size] for top in tops for left in lefts]


def side_by_side(
    patch_tokens: Float[Tensor, "window window_patch width"], grid: tuple[int, int], windows: tuple[int, int]
) -> Float[Tensor, "image patch width"]:
    """Patches of the windows of images as one large grid an image: (rows of windows * rows) x (their cols * cols)."""
    laid = patch_tokens.unflatten(0, (-1, *windows)).unflatten(3, grid)  # image, window row, window col, row, col
    return laid.transpose(2, 3).flatten(1, 4)
