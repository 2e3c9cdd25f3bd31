"""Encoding many images, by whatever decodes them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pacl_bench.encoders import load_encoder
from pacl_bench.encoders.base import PatchFeatures
from pacl_bench.encoders.batched import encode_all
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError
from pacl_bench.image_sets import BrokenImage


class Drawn:
    """Forty images of noise, of two shapes."""

    name, fingerprint = "drawn", "drawn"

    def __init__(self, before: Callable[[int], object] = lambda index: None):
        self.before = before

    def __len__(self) -> int:
        return 40

    def image(self, index: int) -> Image.Image:
        self.before(index)
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32 + 16 * (index % 7 == 0), 3), dtype=np.uint8)
        return Image.fromarray(pixels)


def encoded(images: Drawn, workers: int | None) -> list[tuple[int, PatchFeatures | BrokenImage]]:
    return list(encode_all(load_encoder("pixels"), images, View(whole=True, short_side=32), workers=workers))


def broken_fifth(index: int) -> None:
    if index == 5:
        raise BrokenImage(Path("5.jpg"), "torn")


def test_processes_give_what_this_one_gives() -> None:
    """In order, to the last digit, and what is broken at its place."""
    images = Drawn(broken_fifth)
    alone, by_two = encoded(images, 0), encoded(images, 2)
    assert [index for index, _ in alone] == [index for index, _ in by_two] == list(range(40))
    for (index, one), (_, other) in zip(alone, by_two, strict=True):
        if index == 5:
            assert str(one) == str(other) == "5.jpg: torn"
        else:
            assert isinstance(one, PatchFeatures)
            assert isinstance(other, PatchFeatures)
            assert one.grid == other.grid
            assert torch.equal(one.patch_tokens, other.patch_tokens)


def test_images_are_decoded_in_other_processes() -> None:
    with pytest.raises(RunError, match=r"^drawn: \d+$") as told:
        encoded(Drawn(fails_with_its_process), 2)
    assert int(str(told.value).split()[1]) != os.getpid()


def fails_with_its_process(index: int) -> None:
    raise RunError(f"drawn: {os.getpid()}")


def test_a_killed_process_is_told_in_one_line() -> None:
    main = os.getpid()

    def die(index: int) -> None:
        if index == 30 and os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match=r"^Loading drawn failed: DataLoader worker .*(killed|exited)") as told:
        encoded(Drawn(die), 2)
    assert "\n" not in str(told.value)
