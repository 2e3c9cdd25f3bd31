"""Official architectures with random weights: what is checked at any time, and that the written table is of today."""

import csv

import pytest
from official import FILE, OF_LIBRARIES, check

from pacl_bench.cli import catalog
from pacl_bench.encoders.table import ENCODERS


@pytest.mark.parametrize("name", ["dino-s16", "dinov3-s16"])
def test_the_smallest_give_what_their_library_does(name: str) -> None:
    found = check(name)
    assert found.passed, found


@pytest.mark.slow
def test_a_whole_clip_gives_what_its_library_does() -> None:
    found = check("clip-b32")
    assert found.passed, found
    assert found.image is not None
    assert found.text is not None


def test_every_encoder_of_a_library_was_checked_as_it_is_loaded_today() -> None:
    """By `python tests/samples/official.py`, which writes the table that `list encoders` shows."""
    with FILE.open(newline="", encoding="utf-8") as handle:
        rows = {row["name"]: row for row in csv.DictReader(handle)}
    assert list(rows) == OF_LIBRARIES
    for name, row in rows.items():
        entry = ENCODERS[name]
        assert row["architecture"] == entry.model, name
        assert row["passed"] == "True", name
        assert bool(row["text"]) == bool(row["image"]) == entry.text, name
    shown = {row["name"]: row["checked"] for row in catalog.encoders()}
    assert shown["maskclip-b16"] == shown["clip-b16"] == "yes"
    assert shown["pixels"] == ""
