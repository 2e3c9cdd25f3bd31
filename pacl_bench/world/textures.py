"""The surfaces of the world, in whole numbers only: sine and exponential differ between machines in the last bit.

A texture takes the coordinates of each pixel in sixteenths of a pixel (turned and shifted already, see
`surface_coordinates`), the period of its pattern in the same unit, and a salt for the irregular ones. It answers with
the share of the second colour, from 0 to 255.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int32, UInt8

UNIT = 16  # steps in one pixel

Coordinates = Int32[np.ndarray, "height width"]
Share = UInt8[np.ndarray, "height width"]
Texture = Callable[[Coordinates, Coordinates, int, int], Share]

# Nearly unit vectors in sixteenths: upright within 22 degrees, so that "rotated" is a true change.
DIRECTIONS = ((16, 0), (16, 2), (16, -2), (15, 4), (15, -4), (15, 6), (15, -6))


def surface_coordinates(
    size: int, direction: tuple[int, int], shift: tuple[int, int]
) -> tuple[Coordinates, Coordinates]:
    """(u, v) of each pixel of a square image: along and down the surface, never negative if `shift` is large."""
    step = np.arange(size, dtype=np.int32)
    cosine, sine = direction
    u = (cosine * step + shift[0])[None, :] + (sine * step)[:, None]
    v = (cosine * step + shift[1])[:, None] - (sine * step)[None, :]
    return u, v


def _share(second: np.ndarray) -> Share:
    """A mask as a share: 255 where the second colour shows."""
    return second.view(np.uint8) * np.uint8(255)


def _centred(coordinate: Coordinates, period: int) -> Coordinates:
    """The distance to the centre of the cell one is in, signed."""
    return coordinate % period - period // 2


def _scramble(column: Coordinates, row: Coordinates, salt: int) -> UInt8[np.ndarray, "height width"]:
    """A number from 0 to 255 for each cell of a lattice, without any pattern to see."""
    mixed = column.astype(np.uint32) * np.uint32(374761393) + row.astype(np.uint32) * np.uint32(668265263)
    mixed += np.uint32(salt * 2246822519 % 2**32)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(1274126177)
    return (mixed >> np.uint32(24)).astype(np.uint8)


# --- things ---------------------------------------------------------------------------------------------------------


def plain(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return np.zeros(u.shape, np.uint8)


def stripes(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _share(u % period < period // 2)


def checks(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _share((u % period < period // 2) ^ (v % period < period // 2))


def dots(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _share(_centred(u, period) ** 2 + _centred(v, period) ** 2 < period * period // 9)


def rings(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    cell = period * 3 // 2
    squared = _centred(u, cell) ** 2 + _centred(v, cell) ** 2
    return _share((squared < cell * cell * 17 // 100) & (squared > cell * cell * 3 // 100))


def grid(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _share((u % period < period // 4) | (v % period < period // 4))


def weave(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    cell = period
    upright = (u // cell + v // cell) % 2 == 0
    return _share(np.where(upright, u, v) % (cell // 2) < cell // 4)


def crosses(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    across, down = np.abs(_centred(u, period)), np.abs(_centred(v, period))
    return _share((np.minimum(across, down) < period // 8) & (np.maximum(across, down) < period * 2 // 5))


def triangles(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _share(2 * np.abs(_centred(u, period)) < v % period)


def zigzag(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _share((v + np.abs(_centred(u, period))) % (period * 3 // 4) < period * 3 // 8)


def blotches(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _share(_scramble(2 * u // period, 2 * v // period, salt) < 110)


def speckle(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _share(_scramble(u // UNIT, v // UNIT, salt) < 90)


# --- stuff ----------------------------------------------------------------------------------------------------------


def haze(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return (np.abs(v // 8 % 512 - 256) * 255 // 256).astype(np.uint8)


def ripples(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    bent = v + np.abs(_centred(u, 4 * period)) // 3
    return (np.abs(bent % period - period // 2) * 510 // period).astype(np.uint8)


def blades(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _scramble(u // UNIT, v // (5 * UNIT), salt)


def grains(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _scramble(u // UNIT, v // UNIT, salt)


def courses(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    row = v // period
    return _share((v % period < period // 5) | ((u + row % 2 * period) % (2 * period) < period // 5))


def planks(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _scramble(u // (24 * UNIT), v // (2 * UNIT), salt)


def pebbles(u: Coordinates, v: Coordinates, period: int, salt: int) -> Share:
    return _scramble(u // (2 * UNIT), v // (2 * UNIT), salt)


TEXTURES: dict[str, Texture] = {
    texture.__name__: texture
    for texture in (plain, stripes, checks, dots, rings, grid, weave, crosses, triangles, zigzag, blotches, speckle)
    + (haze, ripples, blades, grains, courses, planks, pebbles)
}
