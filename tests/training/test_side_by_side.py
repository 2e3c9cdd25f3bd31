"""Heads trained side by side are those trained alone, and the images they share are encoded once."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shard_samples import write_shards

from pacl_bench.encoders.open_clip import OpenClipVisionEncoder
from pacl_bench.errors import RunError, UsageError
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import RECIPES, Loading, TrainConfig
from pacl_bench.training.side_by_side import passes, sharing, train_many
from pacl_bench.training.state import TrainState

APART = replace(RECIPES["small"], batch_size=10, steps=6, warmup_steps=0, sets_apart=True)
ALONE = Loading(workers=0)


@pytest.fixture
def nested(clip_spec: str, tmp_path: Path) -> list[TrainConfig]:
    """Three sums as in Table 3, of 45, 65 and 95 pairs, each shown for six batches of ten."""
    sets = [
        str(write_shards(tmp_path / name, sizes)) for name, sizes in (("a", [25, 20]), ("b", [20]), ("c", [18, 12]))
    ]
    return [TrainConfig(clip_spec, clip_spec, "+".join(sets[:number]), APART) for number in (1, 2, 3)]


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass through the encoder had."""
    counted: list[int] = []
    encode = OpenClipVisionEncoder.encode_blocks

    def counting(self: OpenClipVisionEncoder, shown: torch.Tensor, *given):
        counted.append(len(shown))
        return encode(self, shown, *given)

    monkeypatch.setattr(OpenClipVisionEncoder, "encode_blocks", counting)
    return counted


def test_nested_sets_share_a_pass(nested: list[TrainConfig], tmp_path: Path, images: list[int]) -> None:
    alone = [train(config, tmp_path / f"alone{at}", loading=ALONE) for at, config in enumerate(nested)]
    one_by_one = sum(images)
    images.clear()
    outs = [tmp_path / f"head{at}" for at in range(3)]
    together = train_many(nested, outs, loading=ALONE)
    assert [card.sha256 for card in together] == [card.sha256 for card in alone]
    assert [card.train for card in together] == [card.train for card in alone]
    assert (passes(nested), sharing(nested)) == ((6, 3), [[0, 1, 2]])
    assert sum(images) < 0.7 * one_by_one
    images.clear()
    assert train_many(nested, outs, loading=ALONE) == together
    assert not images  # all were there
    with pytest.raises(UsageError, match="was trained with another lr"):
        train_many([replace(one, recipe=replace(APART, lr=1.0)) for one in nested], outs, loading=ALONE)


def test_a_grid_of_recipes_reads_one_stream(nested: list[TrainConfig], tmp_path: Path, images: list[int]) -> None:
    """Of other temperatures, batch sizes and kinds of head; another seed has a stream of its own."""
    plain = replace(nested[1], recipe=replace(APART, sets_apart=False))
    grid = [
        plain,
        replace(plain, recipe=replace(plain.recipe, temperature=0.2)),
        replace(plain, recipe=replace(plain.recipe, batch_size=15, steps=4)),
        replace(plain, head="linear"),
    ]
    alone = [train(config, tmp_path / f"alone{at}", loading=ALONE) for at, config in enumerate(grid)]
    one_by_one = sum(images)
    images.clear()
    together = train_many(grid, [tmp_path / f"head{at}" for at in range(4)], loading=ALONE)
    assert [card.sha256 for card in together] == [card.sha256 for card in alone]
    assert sum(images) == one_by_one / 4
    assert passes([*grid, replace(plain, seed=1)]) == (5, 2)


def test_a_stop_on_the_way(nested: list[TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train_many(nested, [tmp_path / f"whole{at}" for at in range(3)], loading=ALONE)
    update, steps = TrainState.update, []

    def interrupted(state: TrainState, *given):
        steps.append(1)
        if len(steps) == 8:
            raise KeyboardInterrupt
        return update(state, *given)

    monkeypatch.setattr(TrainState, "update", interrupted)
    outs = [tmp_path / f"head{at}" for at in range(3)]
    with pytest.raises(RunError, match=r"Stopped at step 7 of 18\. The same call goes on\."):
        train_many(nested, outs, loading=ALONE)
    monkeypatch.undo()
    found = train_many(nested, outs, loading=ALONE)
    assert [card.sha256 for card in found] == [card.sha256 for card in expected]
