"""Positional embeddings brought to another grid."""

import pytest
import torch

from pacl_bench import load_encoder
from pacl_bench.encoders.positions import at_grid
from pacl_bench.encoders.table import POSITIONS
from pacl_bench.errors import UsageError

OWN = (14, 10)


def ramp(rows: int, cols: int, prefix: int) -> torch.Tensor:
    """A table that holds the row and the column of each patch, behind prefix tokens of -1."""
    places = torch.cartesian_prod(torch.arange(rows).float(), torch.arange(cols).float())
    return torch.cat([torch.full((prefix, 2), -1.0), places])[None]


def cubic(place: float) -> float:
    """A ramp at a place between its points, by Keys' kernel with a = -0.75: not quite the place."""
    share = place % 1
    near = [((-0.75 + 2) * x - (-0.75 + 3)) * x * x + 1 for x in (share, 1 - share)]
    far = [((-0.75 * x + 5 * 0.75) * x - 8 * 0.75) * x + 4 * 0.75 for x in (1 + share, 2 - share)]
    first = place - share
    return near[0] * first + near[1] * (first + 1) + far[0] * (first - 1) + far[1] * (first + 2)


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize(
    ("pos", "more"), [("bicubic", 0.0), ("bilinear", 0.0), ("bicubic-noalias", 0.0), ("bicubic+0.1", 0.1)]
)
def test_where_the_table_is_read(pos: str, more: float, prefix: int) -> None:
    """A ramp is read at the very place: row i of the new grid at (i + 0.5) * 14 / (rows + more) - 0.5."""
    grid, without_antialias = (23, 31), pos in ("bicubic-noalias", "bicubic+0.1")
    found = at_grid(ramp(*OWN, prefix), grid, OWN, prefix, pos)[0]
    assert (found[:prefix] == -1).all()
    rows, cols = found[prefix:].unflatten(0, grid).unbind(-1)
    for places, axis in ((rows[:, 15], 0), (cols[11], 1)):
        for new in range(grid[axis] // 4, grid[axis] * 3 // 4):  # at the rim, neighbours are missing
            place = (new + 0.5) * OWN[axis] / (grid[axis] + more) - 0.5
            assert float(places[new]) == pytest.approx(cubic(place) if without_antialias else place, abs=1e-5)


def test_antialias_is_what_tells_a_coarser_grid_apart() -> None:
    table = torch.randn(1, 1 + 14 * 14, 8, generator=torch.Generator().manual_seed(0))
    smooth, rough = (at_grid(table, (5, 5), (14, 14), 1, pos)[0, 1:].std() for pos in ("bicubic", "bicubic-noalias"))
    assert smooth < 0.6 * rough


@pytest.mark.parametrize("pos", POSITIONS)
def test_as_many_patches_in_another_shape(pos: str) -> None:
    """MaskCLIP's and DINO's ways give 7 x 20 patches the table of 14 x 10 row by row."""
    table = ramp(*OWN, 1)
    kept = at_grid(table, (7, 20), OWN, 1, pos)
    assert torch.equal(kept, table) == (pos in ("bicubic-noalias", "bicubic+0.1"))
    assert torch.equal(at_grid(table, OWN, OWN, 1, pos), table)


@pytest.mark.parametrize("library", ["open_clip", "timm"])
def test_it_is_an_option_of_every_library(library: str, clip_spec: str, vit_file) -> None:
    spec = clip_spec if library == "open_clip" else f"vit=timm:vit_tiny_patch16_224@{vit_file}"
    image = torch.randn(1, 3, 48, 112)
    plain, tokens = load_encoder(spec), {}
    for pos in POSITIONS:
        encoder = load_encoder(f"{spec}?pos={pos}&block=0")
        tokens[pos] = encoder(image).patch_tokens
        assert encoder.settings.get("pos", "bicubic") == pos
        assert encoder.fingerprint == plain.fingerprint
        own = load_encoder(f"{spec}?block=0")(image[..., :16, :16])
        assert tokens[pos].shape == (1, 21, own.patch_tokens.shape[-1])
    assert "pos" not in plain.settings
    pairs = [(one, other) for one in POSITIONS for other in POSITIONS if one < other]
    assert not any(torch.allclose(tokens[one], tokens[other], atol=1e-5) for one, other in pairs)


def test_an_unknown_way_is_named() -> None:
    with pytest.raises(UsageError, match=r"pos=nearest must be one of bicubic, bilinear, bicubic-noalias, bicubic.0.1"):
        load_encoder("tiny-clip?pos=nearest")
