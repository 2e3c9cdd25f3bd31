"""Baselines of semantic coherence that know nothing but a patch's pixels and place: no weights, no network."""

from math import exp, sqrt

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, unfold
from torch.quasirandom import SobolEngine

from pacl_bench.encoders.base import Preprocess, Tokens, VisionEncoder
from pacl_bench.encoders.request import EncoderRequest

IMAGE_SIZE, PATCH_SIZE = 224, 16
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PixelEncoder(VisionEncoder):
    """A patch's own pixels, normalised by the mean and spread of ImageNet, as its token: width 16 * 16 * 3 = 768."""

    def __init__(self, name: str, size: int | None = None):
        super().__init__()
        self.name = self.spec = name
        self.patch_size, self.image_size = PATCH_SIZE, size or IMAGE_SIZE
        self.width = 3 * PATCH_SIZE**2
        self.preprocess = Preprocess(self.image_size, PATCH_SIZE, IMAGENET_MEAN, IMAGENET_STD)

    def encode(self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int]) -> Tokens:
        return None, unfold(images, PATCH_SIZE, stride=stride).mT


class CrfKernelEncoder(PixelEncoder):
    """Tokens whose cosine is the affinity of a dense CRF: patches of like colour at like places are alike.

    The affinity of two patches with mean colours c (normalised by the mean and spread of ImageNet) and centres p (each
    axis of the image from -1 to 1) is, up to a constant factor and summand,

        w1 exp(-|p - p'|^2 / 2a - |c - c'|^2 / 2b) + w2 exp(-|p - p'|^2 / 2g)

    with w1 = 10, w2 = 3, a = exp(0.5), b = exp(0.15), g = exp(0.05): Kraehenbuehl and Koltun, NeurIPS 2011, with the
    numbers of the CRF curve of STEGO (mhamilton723/STEGO, src/plot_pr_curves.py).

    A Gaussian kernel is the mean of cos(f . (x - x')) over normally distributed frequencies f (Rahimi and Recht,
    NeurIPS 2007). Here 512 + 64 quasi-random ones stand for all, each a cosine and a sine of the token; the cosine of
    two tokens is then the affinity over w1 + w2 with a root mean square error of 0.01.
    """

    W1, W2 = 10.0, 3.0
    ALPHA, BETA, GAMMA = exp(0.5), exp(0.15), exp(0.05)
    NUM_COLOUR, NUM_PLACE = 512, 64

    colour: Tensor  # frequencies of (place, colour)
    place: Tensor  # frequencies of the place alone

    def __init__(self, name: str, size: int | None = None):
        super().__init__(name, size)
        self.width = 2 * (self.NUM_COLOUR + self.NUM_PLACE)
        spread = torch.tensor([self.ALPHA] * 2 + [self.BETA] * 3).sqrt()
        self.register_buffer("colour", _normal(self.NUM_COLOUR, 5) / spread)
        self.register_buffer("place", _normal(self.NUM_PLACE, 2) / sqrt(self.GAMMA))

    def encode(self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int]) -> Tokens:
        colours = avg_pool2d(images, PATCH_SIZE, stride).flatten(2).mT
        places = _places(grid, stride).to(images).expand(len(images), -1, -1)
        share = self.W1 / (self.W1 + self.W2)
        near_and_alike = _waves(torch.cat([places, colours], -1) @ self.colour.mT) * sqrt(share)
        return None, torch.cat([near_and_alike, _waves(places @ self.place.mT) * sqrt(1 - share)], -1)


PIXEL_ENCODERS = {"pixels": PixelEncoder, "crf-kernel": CrfKernelEncoder}


def load_pixels(request: EncoderRequest) -> PixelEncoder:
    """One of the two by its name."""
    return PIXEL_ENCODERS[request.entry.model](request.weights_name, request.vision_options.size)


def _places(grid: tuple[int, int], stride: int) -> Float[Tensor, "patch 2"]:
    """Centres of patches; -1 and 1 are the edges of the image."""
    rows, cols = (
        (2 * stride * torch.arange(side) + PATCH_SIZE) / ((side - 1) * stride + PATCH_SIZE) - 1 for side in grid
    )
    return torch.cartesian_prod(rows, cols)


def _waves(phases: Float[Tensor, "*batch frequency"]) -> Float[Tensor, "*batch twice"]:
    """Of unit norm; the inner product of two is the mean of the cosines of their phases' differences."""
    return torch.cat([phases.cos(), phases.sin()], -1) / sqrt(phases.shape[-1])


def _normal(count: int, dim: int) -> Float[Tensor, "count dim"]:
    """Points of a Sobol sequence, made normally distributed; rounded, so that all machines have the same to a bit."""
    uniform = SobolEngine(dim).draw(count, dtype=torch.float64) + 0.5 / count
    return torch.special.ndtri(uniform).mul(1e4).round().div(1e4).float()
