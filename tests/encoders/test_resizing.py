"""How a photo comes to its size, and what becomes of what fills no whole patch."""

import numpy as np
import pytest
import torch
from PIL import Image

from pacl_bench import load_encoder
from pacl_bench.encoders.base import Preprocess
from pacl_bench.encoders.batched import encode_batch
from pacl_bench.encoders.resizing import (
    Remainder,
    mmseg_scaled,
    mmseg_shape,
    opencv_bilinear,
    pillow_shape,
    rim_before,
    tiled,
    tiled_side,
)
from pacl_bench.encoders.view import View
from pacl_bench.errors import UsageError


@pytest.fixture
def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("image", "short", "long", "shown"),
    [
        ((375, 500), 336, 2048, (336, 448)),
        ((333, 500), 336, 2048, (336, 505)),  # 504.5, rounded half up
        ((500, 281), 448, 2048, (797, 448)),
        ((40, 500), 336, 2048, (164, 2048)),  # the long side is the bound
        ((375, 500), 520, 520, (390, 520)),
        ((1, 9000), 336, 2048, (1, 2048)),
    ],
)
def test_sizes_of_mmseg(image: tuple[int, int], short: int, long: int, shown: tuple[int, int]) -> None:
    assert mmseg_shape(image, short, long) == shown


@pytest.mark.parametrize(
    ("image", "short", "shown"),
    [((333, 500), 448, (448, 672)), ((500, 281), 448, (797, 448)), ((7, 7), 448, (448, 448))],
)
def test_sizes_of_the_notebooks(image: tuple[int, int], short: int, shown: tuple[int, int]) -> None:
    assert pillow_shape(image, short) == shown


def test_opencv_bilinear_has_no_antialias() -> None:
    """Stripes of four rows: halved, a pixel is the mean of two; at a quarter of the size, two of four are not read."""
    rows = np.tile(np.array([0, 100, 200, 100], np.uint8), 8)
    stripes = Image.fromarray(np.broadcast_to(rows[:, None, None], (32, 16, 3)).copy())
    assert (opencv_bilinear(stripes, (16, 16))[:, 0, 0] == [50, 150] * 8).all()
    assert (opencv_bilinear(stripes, (8, 16))[:, 0, 0] == 150).all()
    assert opencv_bilinear(stripes.convert("L"), (8, 16)).shape == (8, 16, 3)


def test_pixels_are_scaled_as_mmseg_scales_them_to_the_last_bit(photo: Image.Image) -> None:
    mean, std = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)
    pixels = torch.from_numpy(np.array(photo))
    theirs = (pixels.permute(2, 0, 1).float() - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    ours = Preprocess(64, 16, tuple(m / 255 for m in mean), tuple(s / 255 for s in std))
    assert torch.equal(mmseg_scaled(pixels, ours.mean, ours.std), theirs)
    torch.testing.assert_close(ours.normalised(pixels), theirs)


@pytest.mark.parametrize(
    ("remainder", "shape", "top_left"),
    [
        ("none", (37, 61), (0, 0)),
        ("drop", (37, 61), (0, 0)),
        ("pad", (48, 64), (0, 0)),
        ("pad-around", (48, 64), (5, 1)),  # 11 rows and 3 columns more: the smaller half above and left
    ],
)
def test_a_remainder(remainder: Remainder, shape: tuple[int, int], top_left: tuple[int, int]) -> None:
    window = torch.randn(3, 37, 61, generator=torch.Generator().manual_seed(0))
    found = tiled(window, 16, remainder)
    assert found.shape[1:] == shape == tuple(tiled_side(side, 16, remainder) for side in (37, 61))
    top, left = top_left
    assert top_left == tuple(rim_before(side, 16, remainder) for side in (37, 61))
    assert torch.equal(found[:, top : top + 37, left : left + 61], window)
    assert found.abs().sum() == pytest.approx(window.abs().sum().item())  # around it are zeros
    assert torch.equal(tiled(window[:, :32, :48], 16, remainder), window[:, :32, :48])


def test_stretching_reaches_whole_patches_and_keeps_even_areas() -> None:
    window = torch.full((3, 37, 61), 0.7)
    torch.testing.assert_close(tiled(window, 16, "stretch"), torch.full((3, 48, 64), 0.7))
    ramp = torch.arange(61.0).expand(3, 37, 61)
    stretched = tiled(ramp, 14, "stretch")  # 61 -> 70 columns, 37 -> 42 rows
    assert stretched.shape == (3, 42, 70)
    assert float(stretched[0, 20, 35]) == pytest.approx(35.5 * 61 / 70 - 0.5, abs=0.05)


def test_a_view_shows_an_image_as_a_protocol_says(photo: Image.Image) -> None:
    encoder = load_encoder("tiny-clip")  # patches of 8 pixels
    view = View(True, 45, resize="mmseg", long_side=200, remainder="pad-around", window=30, overlap=0.5)
    shown = view.shown(encoder, photo)
    assert shown.shape == (3, 45, 74)
    (features,) = encode_batch(encoder, [shown], view)
    assert features.grid == (2 * 4, 4 * 4)  # windows of 30 pixels, padded to 32
    last = encoder(tiled(shown[:, 15:, 44:], 8, "pad-around")[None]).patch_tokens[0].unflatten(0, (4, 4))
    found = features.patch_tokens[0].unflatten(0, features.grid)[4:, 12:]
    torch.testing.assert_close(found, last, rtol=1e-4, atol=1e-4)
    pillows = View(True, 45, resize="pillow", remainder="drop").shown(encoder, photo)
    assert pillows.shape == (3, 45, 74)
    assert not torch.allclose(pillows, shown, atol=0.1)


def test_what_tokens_are_kept_under_is_what_it_was() -> None:
    """New choices stand in the key of the cache only where they are made."""
    old = {"whole": True, "short_side": 448, "stride": None}
    assert View(True, 448).identity == old
    assert View(True, 448, window=224).identity == {**old, "window": 224, "overlap": 0.5}
    new = View(True, 448, resize="mmseg", long_side=2048, remainder="drop").identity
    assert new == {**old, "resize": "mmseg", "long_side": 2048, "remainder": "drop"}


def test_a_remainder_nobody_has_decided_on_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--resize mmseg: .* --remainder drop, pad, pad-around, stretch"):
        View(True, 448, resize="mmseg")
    encoder = load_encoder("tiny-clip")
    with pytest.raises(UsageError, match="--window 30: must be a multiple of the patch size of tiny-clip, 8"):
        View(True, 64, window=30).window_grid(encoder, (64, 64))
    assert View(True, 64, window=30, remainder="pad").window_grid(encoder, (64, 64)) == (4, 4)
