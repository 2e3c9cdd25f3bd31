"""What the loop keeps, logs and checks beside the steps themselves; what a batch from memory or a stream holds."""

import time
from copy import deepcopy
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from quick_training import QUICK, log_of
from shard_samples import write_shards

from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.shards import Skipped
from pacl_bench.encoders import batched, load_encoder, load_text_encoder
from pacl_bench.encoders.base import Preprocess
from pacl_bench.errors import RunError
from pacl_bench.training import run as module
from pacl_bench.training import state as state_module
from pacl_bench.training.batches import Batches, Drawing
from pacl_bench.training.encoded_stream import SharedStreams
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import Loading, TrainConfig
from pacl_bench.training.run import open_batches
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.state import TrainState
from pacl_bench.training.stream import Stream
from pacl_bench.workers import Workers


def test_processes_decode_files_to_the_same_weights(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_processes = []
    monkeypatch.setattr(batched, "BATCH", 4)  # a process for each batch of the twelve images
    monkeypatch.setattr(batched, "Workers", lambda *given: by_processes.append(given) or Workers(*given))
    alone = train(config, tmp_path / "alone", loading=Loading(workers=0))
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "another cache"))
    assert not by_processes
    assert train(config, tmp_path / "by two", loading=Loading(workers=2)).sha256 == alone.sha256
    assert by_processes


def test_the_state_is_kept_every_so_many_steps(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, save = [], TrainState.save
    monkeypatch.setattr(TrainState, "save", lambda state, file: (kept.append(state.step), save(state, file))[1])
    train(config, tmp_path / "head", checkpoint_every="2")
    assert kept == [2, 4, 6, 6]  # and once more at the end


def test_the_state_is_kept_every_so_many_minutes(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a clock that goes on by four minutes at each look, of which a step takes one and saving takes one."""
    kept, now, save = [], count(0.0, 240.0), TrainState.save
    monkeypatch.setattr(TrainState, "save", lambda state, file: (kept.append(state.step), save(state, file))[1])
    monkeypatch.setattr(state_module, "time", SimpleNamespace(monotonic=lambda: next(now)))
    train(config, tmp_path / "head")
    assert kept == [3, 6, 6]  # after ten minutes at most, though 100 steps are not over
    kept.clear()
    train(config, tmp_path / "rarely", checkpoint_every="1h")
    assert kept == [6]


def test_pairs_per_second(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = TrainState.update

    def slow(state: TrainState, *given) -> float:
        time.sleep(0.1)
        return update(state, *given)

    monkeypatch.setattr(TrainState, "update", slow)
    started = time.monotonic()
    train(config, tmp_path / "head")
    elapsed = time.monotonic() - started
    rates = [line["pairs_per_second"] for line in log_of(tmp_path / "head")]
    assert 4 / elapsed <= min(rates) <= max(rates) <= 4 / 0.1


def test_the_card_holds_what_was_learnt(config: TrainConfig, tmp_path: Path) -> None:
    card = train(config, tmp_path / "head")
    assert card.temperature == pytest.approx(log_of(tmp_path / "head")[-1]["temperature"])
    assert card.temperature != pytest.approx(QUICK.temperature, rel=1e-4)
    assert card.patch_scale == QUICK.patch_scale == 10


def test_an_encoder_that_changes_meanwhile_is_found_out(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, update = deepcopy(load_encoder(config.encoder)), TrainState.update
    monkeypatch.setattr(module, "load_encoder", lambda name: encoder)

    def changing(state: TrainState, *given) -> float:
        with torch.no_grad():
            next(encoder.parameters()).add_(1e-3)
        return update(state, *given)

    monkeypatch.setattr(TrainState, "update", changing)
    with pytest.raises(RunError, match="small-clip is not frozen"):
        train(config, tmp_path / "head")
    assert not (tmp_path / "head" / "head.json").exists()


def test_as_many_as_may_fail_may_fail(tmp_path: Path) -> None:
    log = SkipLog(tmp_path / "skipped.jsonl", 0.1, {})
    log.add(100, [Skipped("broken image", f"{number}.jpg") for number in range(10)])
    with pytest.raises(RunError, match="11 of 101 pairs could not be used"):
        log.add(1, [Skipped("broken image", "10.jpg")])


def batches(spec: str, pairs: Path, size: int, file: Path) -> Batches:
    drawing, loading = Drawing(size, noun_share=0.0, seed=0), Loading(workers=0)
    vision, text = load_encoder(spec), load_text_encoder(spec)
    return open_batches(
        SharedStreams(vision, text, loading), load_pairs(str(pairs)), drawing, SkipLog(file, 1.0, {}), {}
    )


def test_pairs_of_one_text_are_known(pairs_csv: Path, clip_spec: str, tmp_path: Path) -> None:
    lines = pairs_csv.read_text().splitlines()
    shared = [line.partition(",")[0] + ",a dog" if number in (1, 2, 7) else line for number, line in enumerate(lines)]
    pairs_csv.write_text("\n".join(shared))
    source = batches(clip_spec, pairs_csv, 10, tmp_path / "skipped.jsonl")
    batch = source.batch(0)
    assert batch.same_text.shape == (10, 10)
    assert batch.same_text.sum() == 10 + 3 * 2  # each with itself, and three with two others
    first, second = batch.same_text.triu(1).nonzero()[0].tolist()
    assert torch.equal(batch.text_embeddings[first], batch.text_embeddings[second])


def test_a_stream_has_the_digits_of_the_cache(clip_spec: str, tmp_path: Path) -> None:
    source = batches(clip_spec, write_shards(tmp_path / "mine", [6]), 4, tmp_path / "skipped.jsonl")
    tokens = source.batch(0).patch_tokens
    assert tokens.dtype == torch.float32
    assert torch.equal(tokens, tokens.half().float())


def order(stream: Stream, epoch: int, pairs: int) -> list[str]:
    texts: list[str] = []
    for chunk in stream.chunks(epoch, 0, workers=0):
        texts += chunk.texts
        if len(texts) == pairs:
            return texts
    raise AssertionError("chunks have no end")


def test_each_epoch_has_an_order_of_its_own(tmp_path: Path) -> None:
    """Within a tar, whose pairs are shuffled, and among the tars, which are dealt out anew."""
    preprocess = Preprocess(16, 8, (0.0,) * 3, (1.0,) * 3)
    one = Stream(load_pairs(str(write_shards(tmp_path / "one", [40]))), preprocess, noun_share=0.0, seed=3)
    first, second = order(one, 0, 40), order(one, 1, 40)
    assert sorted(first) == sorted(second)
    assert first != second
    many = Stream(load_pairs(str(write_shards(tmp_path / "many", [1] * 30))), preprocess, noun_share=0.0, seed=3)
    assert sorted(map(str, many.parts(0))) == sorted(map(str, many.parts(1)))
    assert many.parts(0) != many.parts(1)
