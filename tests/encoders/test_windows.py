"""Sliding windows: where they lie, and that what they cut goes back to its place."""

import pytest
import torch

from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.encoders import load_encoder
from pacl_bench.encoders.view import View
from pacl_bench.encoders.windows import cut, side_by_side, window_starts
from pacl_bench.errors import UsageError


@pytest.mark.parametrize(
    ("side", "window", "overlap", "starts"),
    [
        (224, None, 0.5, [0]),
        (224, 224, 0.5, [0]),
        (224, 300, 0.0, [0]),
        (224, 112, 0.0, [0, 112]),
        (224, 112, 0.5, [0, 56, 112]),
        (230, 112, 0.5, [0, 56, 112, 118]),  # as mmsegmentation: the last is moved back
        (10, 4, 0.99, list(range(7))),
    ],
)
def test_windows_end_with_the_side(side: int, window: int | None, overlap: float, starts: list[int]) -> None:
    assert window_starts(side, window, overlap) == starts


def test_cut_and_laid_side_by_side() -> None:
    """With patches of one pixel and no overlap, what was cut is the image again."""
    image = torch.arange(3 * 4 * 6).reshape(3, 4, 6).float()
    crops = torch.stack(cut(image, 2, 0.0))
    tokens = side_by_side(crops.flatten(2).mT, (2, 2), (2, 3))
    assert tokens.shape == (1, 24, 3)
    # one large grid of (2 * 2) x (3 * 2): here the image's own pixels, in their places
    assert (tokens[0].T.reshape(3, 4, 6) == image).all()


def test_a_window_is_encoded_as_an_image_of_its_own(voc, clip_spec: str) -> None:
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    view = View(whole=True, short_side=64, window=32, overlap=0.5)
    for index, features in EncodedSet(encoder, images, view).features():
        pixels = encoder.preprocess.whole(images.image(index), 64)
        crops = torch.stack(cut(pixels, 32, 0.5))
        rows, cols = view.windows(pixels.shape[1:])
        assert features.grid == (rows * 2, cols * 2)
        grid = features.patch_tokens[0].unflatten(0, features.grid)
        expected = encoder(crops).patch_tokens
        last = grid[-2:, -2:].flatten(0, 1)
        torch.testing.assert_close(last, expected[-1], atol=2e-3, rtol=2e-3)
        assert features.cls_token is None
    in_one_piece = EncodedSet(encoder, images, View(whole=True, short_side=64))
    assert EncodedSet(encoder, images, view).estimated_bytes > in_one_piece.estimated_bytes


def test_without_windows_the_cache_key_is_as_it_was() -> None:
    assert View(whole=True, overlap=0.1).identity == {"whole": True, "short_side": None, "stride": None}


def test_a_window_that_patches_do_not_tile_is_refused(voc, clip_spec: str) -> None:
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    with pytest.raises(UsageError, match="--window 40: must be a multiple of the patch size of small-clip, 16"):
        next(EncodedSet(encoder, images, View(whole=True, window=40)).features())
