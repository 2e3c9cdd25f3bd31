"""Chance that falls the same way on every machine and with every version of numpy."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Int16

Option = TypeVar("Option")


class StableRandom:
    """Choices made from PCG64's raw words.

    numpy promises that seeding and raw words never change; it makes no such promise for the distributions of
    `Generator`. Whole numbers below 2**16 taken modulo from 64-bit words are uneven by less than 2**-48.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def below(self, stop: int) -> int:
        return int(self._bits.random_raw()) % stop

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def pick(self, options: Sequence[Option]) -> Option:
        return options[self.below(len(options))]

    def draw(self, options: Sequence[Option], count: int) -> list[Option]:
        """`count` different options, in random order."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def noise(self, shape: tuple[int, ...], amplitude: int) -> Int16[np.ndarray, "..."]:
        """Independent whole numbers from -amplitude to +amplitude, of two uniform parts (a triangle's distribution)."""
        count = int(np.prod(shape))
        words = np.asarray(self._bits.random_raw((count + 3) // 4)).astype("<u8")
        parts = words.view(np.uint8).reshape(2, -1)[:, :count].astype(np.int16)
        return ((parts[0] + parts[1] - 255) * amplitude // 255).reshape(shape)
