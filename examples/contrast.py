"""An encoder in a file: pacl-bench coherence --encoders python:examples/contrast.py:Contrast"""

from torch import Tensor, cat, nn
from torch.nn.functional import avg_pool2d


class Contrast(nn.Module):
    """The mean of each patch's pixels, and their spread."""

    patch_size, image_size, mean, std = 16, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def forward(self, images: Tensor) -> Tensor:  # "image 3 height width_px" -> "image width rows cols"
        means, squares = avg_pool2d(images, self.patch_size), avg_pool2d(images**2, self.patch_size)
        return cat([means, (squares - means**2).clamp(min=0).sqrt()], dim=1)
