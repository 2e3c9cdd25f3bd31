"""How an encoder is shown an image: its size, its crop, its windows."""

from dataclasses import asdict, dataclass

from torch import Tensor

from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.windows import window_starts
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import ImageSet


@dataclass(frozen=True)
class View:
    """How an encoder is shown an image."""

    whole: bool  # True: the whole image, its aspect ratio kept; False: the centre square
    short_side: int | None = None  # in pixels, for `whole`; None is the encoder's image_size
    stride: int | None = None  # of the patch convolution in pixels; None is the patch size
    window: int | None = None  # side of a sliding window in pixels, for `whole`; None is the image in one piece
    overlap: float = 0.5  # the share of a window that the next one covers too

    def tensor(self, encoder: VisionEncoder, images: ImageSet, index: int) -> Tensor:
        image = images.image(index)
        return encoder.preprocess.whole(image, self.short_side) if self.whole else encoder.preprocess(image)

    def windows(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, cols) of windows over an image of (height, width) pixels."""
        rows, cols = (len(window_starts(side, self.window, self.overlap)) for side in image_shape)
        return rows, cols

    def window_grid(self, encoder: VisionEncoder, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """(rows, cols) of the patches of one window of an image of (height, width) pixels."""
        if self.window is not None and (self.window < 1 or self.window % encoder.patch_size):
            raise UsageError(
                f"--window {self.window}: must be a multiple of the patch size of {encoder.name}, {encoder.patch_size}."
            )
        return encoder.grid_of(tuple(min(side, self.window or side) for side in image_shape), self.stride)

    @property
    def identity(self) -> dict[str, object]:
        """All that decides which tokens come out; without windows as it was before there were any."""
        unused = () if self.window else ("window", "overlap")
        return {name: value for name, value in asdict(self).items() if name not in unused}
