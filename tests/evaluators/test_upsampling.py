"""From patches to pixels: against torch's own interpolation, and the quick way against the plain one."""

import pytest
import torch
from torch.nn.functional import interpolate

from pacl_bench.evaluators.upsampling import PixelScores, Placing, Upsampling, best_class


def upsampled(scores: torch.Tensor, placing: Placing, shape: tuple[int, int], upsampling: Upsampling) -> torch.Tensor:
    down, across = (placing.side(axis, shape[axis], upsampling).weights for axis in (0, 1))
    return torch.cat(list(PixelScores(scores, down, across))).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("grid", "shape"), [((4, 7), (64, 112)), ((3, 5), (50, 37)), ((1, 6), (20, 300)), ((2, 2), (3, 2))]
)
@pytest.mark.parametrize(("upsampling", "mode"), [("bilinear", "bilinear"), ("nearest", "nearest-exact")])
def test_without_overlap_it_is_torchs(grid, shape, upsampling: Upsampling, mode: str) -> None:
    scores = torch.randn(5, *grid)
    placing = Placing(16, 16, (16 * grid[0], 16 * grid[1]))
    settings = {"align_corners": False} if mode == "bilinear" else {}
    expected = interpolate(scores[None], shape, mode=mode, **settings)[0]
    torch.testing.assert_close(upsampled(scores, placing, shape, upsampling), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("placing", [
    Placing(16, 16, (96, 128)), Placing(16, 4, (96, 128)), Placing(16, 16, (96, 128), 64, 0.5),
    Placing(16, 8, (96, 128), 48, 0.3), Placing(16, 16, (96, 128), 64, 0.0), Placing(16, 16, (16, 128)),
])  # fmt: skip
@pytest.mark.parametrize("upsampling", ["bilinear", "nearest"])
@pytest.mark.parametrize("number", [1, 2, 40])
def test_the_best_class_is_that_of_all_scores(placing: Placing, upsampling: Upsampling, number: int) -> None:
    torch.manual_seed(0)
    down, across = placing.side(0, 75, upsampling), placing.side(1, 101, upsampling)
    smooth = torch.randn(number, 1, 1) + 0.5 * torch.randn(number, down.weights.shape[1], across.weights.shape[1])
    for scores in (smooth, torch.zeros_like(smooth), smooth.round(decimals=1)):  # equal scores: the first class wins
        every = torch.cat(list(PixelScores(scores, down.weights, across.weights)))
        chosen = every.gather(2, best_class(scores, down, across)[..., None])[..., 0]
        torch.testing.assert_close(chosen, every.amax(2), rtol=0, atol=1e-6)
    assert (best_class(smooth, down, across) == torch.cat(
        list(PixelScores(smooth, down.weights, across.weights))
    ).argmax(2)).all()  # fmt: skip
    assert (best_class(torch.zeros_like(smooth), down, across) == 0).all()


def test_only_cells_with_pixels_that_are_asked_for_are_looked_at() -> None:
    torch.manual_seed(0)
    down, across = (Placing(16, 8, (96, 128), 48, 0.3).side(axis, pixels) for axis, pixels in ((0, 75), (1, 101)))
    scores = 1 + torch.randn(9, down.weights.shape[1], across.weights.shape[1])
    whole, where = best_class(scores, down, across), torch.zeros(75, 101, dtype=torch.bool)
    assert (best_class(scores, down, across, where) == 0).all()
    where[20:23, 30] = where[74, 100] = True
    found = best_class(scores, down, across, where)
    assert (found[where] == whole[where]).all()
    assert 0 < found.count_nonzero() < whole.count_nonzero() / 10


def test_overlapping_patches_fall_where_they_were_seen() -> None:
    """Stride 4 of patch 16: centres from 8 to 56 of 64 pixels, not from 2.5 to 61.5."""
    weights = Placing(16, 4, (64, 64)).side(0, 64).weights
    assert weights[:8, 0].tolist() == [1.0] * 8
    centres = 8 + 4 * torch.arange(13.0)
    torch.testing.assert_close(weights.sum(1), torch.ones(64))
    torch.testing.assert_close(weights @ centres, (torch.arange(64) + 0.5).clamp(8, 56))


def test_pixels_beyond_the_last_patch_are_not_stretched_over() -> None:
    """Stride 5 of patch 16 sees 61 of 64 pixels: the last centre is at 53, and stays there."""
    weights = Placing(16, 5, (64, 64)).side(0, 64).weights
    torch.testing.assert_close(weights @ (8 + 5 * torch.arange(10.0)), (torch.arange(64) + 0.5).clamp(8, 53))


def test_windows_are_averaged_where_they_overlap() -> None:
    """Straight from the definition: each window upsampled alone, summed, divided by how many cover the pixel."""
    torch.manual_seed(0)
    placing = Placing(8, 8, (40, 56), 32, 0.5)
    tops, lefts = [0, 8], [0, 16, 24]  # steps of 16, the last moved back to end with the image
    scores = torch.randn(3, 4 * len(tops), 4 * len(lefts))
    total, covering = torch.zeros(3, 40, 56), torch.zeros(40, 56)
    for row, top in enumerate(tops):
        for col, left in enumerate(lefts):
            window = scores[:, 4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
            larger = interpolate(window[None], (32, 32), mode="bilinear", align_corners=False)[0]
            total[:, top : top + 32, left : left + 32] += larger
            covering[top : top + 32, left : left + 32] += 1
    torch.testing.assert_close(upsampled(scores, placing, (40, 56), "bilinear"), total / covering)


def test_memory_does_not_grow_with_classes_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacl_bench.evaluators.upsampling.TILE_ENTRIES", 5000)
    side = Placing(16, 16, (64, 64)).side(0, 200)
    scores = torch.randn(20, 4, 4)
    tiles = list(PixelScores(scores, side.weights, side.weights))
    assert max(tile.numel() for tile in tiles) <= 5000
    assert (best_class(scores, side, side) == torch.cat(tiles).argmax(2)).all()
