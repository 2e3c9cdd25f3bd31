"""Encoders without weights: each token is what its definition says."""

import math

import pytest
import torch

from pacl_bench import load_encoder
from pacl_bench.encoders.pixels import CrfKernelEncoder
from pacl_bench.errors import NoTextSpace, UsageError

CRF_SHA256 = "a2fc85dc15941449c2f4de3ea867099c187f8436b673f015cbe4e7554cf3da78"


@pytest.fixture
def images() -> torch.Tensor:
    """Two images of soft colour fields, normalised as the encoders' preprocessing does."""
    coarse = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(80, 96), mode="bilinear")


@pytest.mark.parametrize("stride", [None, 5])
def test_pixels_are_those_of_the_patch(images: torch.Tensor, stride: int | None) -> None:
    encoder = load_encoder("pixels")
    features = encoder(images, stride)
    step = stride or 16
    assert features.cls_token is None
    assert features.grid == ((80 - 16) // step + 1, (96 - 16) // step + 1)
    row, col = 2, 3
    token = features.patch_tokens[1, row * features.grid[1] + col]
    patch = images[1, :, row * step : row * step + 16, col * step : col * step + 16]
    assert torch.equal(token, patch.flatten())
    assert (encoder.width, encoder.device, encoder.num_blocks) == (768, torch.device("cpu"), 1)


@pytest.mark.parametrize("stride", [16, 8])
def test_the_cosine_of_crf_tokens_is_the_crfs_affinity(images: torch.Tensor, stride: int) -> None:
    """Against the kernel itself, patch by patch, within one image and across two."""
    features = load_encoder("crf-kernel")(images, stride)
    tokens = features.patch_tokens.flatten(0, 1)
    torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(len(tokens)))
    rows, cols = features.grid
    height, width = (rows - 1) * stride + 16, (cols - 1) * stride + 16  # what whole patches cover
    described = []
    for image in images:
        for row in range(rows):
            for col in range(cols):
                top, left = row * stride, col * stride
                colour = image[:, top : top + 16, left : left + 16].mean((1, 2))
                described.append((2 * (top + 8) / height - 1, 2 * (left + 8) / width - 1, *colour.tolist()))
    points = torch.tensor(described)
    place = (points[:, None, :2] - points[None, :, :2]).square().sum(-1)
    colour = (points[:, None, 2:] - points[None, :, 2:]).square().sum(-1)
    near_and_alike = 10 * torch.exp(-place / (2 * math.exp(0.5)) - colour / (2 * math.exp(0.15)))
    affinity = near_and_alike + 3 * torch.exp(-place / (2 * math.exp(0.05)))
    error = tokens @ tokens.T - affinity / 13
    assert error.square().mean().sqrt() < 0.015
    assert error.abs().max() < 0.08


def test_crf_frequencies_are_the_same_on_every_machine() -> None:
    assert load_encoder("crf-kernel").fingerprint == CRF_SHA256
    own = CrfKernelEncoder("own")
    assert own.colour.shape == (512, 5)
    torch.testing.assert_close(own.colour.var(0)[2:].mean(), torch.tensor(math.exp(-0.15)), rtol=0.02, atol=0)


def test_what_tells_encoders_without_weights_apart() -> None:
    assert load_encoder("pixels").settings["architecture"] == "pixels:pixels"
    assert load_encoder("crf-kernel").settings["architecture"] == "pixels:crf-kernel"
    assert load_encoder("crf-kernel?size=64").image_size == 64


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("pixels?block=1", "Unknown option 'block'"),
        ("crf-kernel@weights.pt", "takes no file of weights; leave out @weights.pt"),
    ],
)
def test_wrong_names(name: str, line: str) -> None:
    with pytest.raises(UsageError, match=line):
        load_encoder(name)


def test_no_text_space() -> None:
    with pytest.raises(NoTextSpace, match="pixels has no text space"):
        load_encoder("pixels").project(torch.zeros(1, 768))
