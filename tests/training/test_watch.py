"""What is told and kept of a run while it lasts."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from quick_training import QUICK, log_of
from shard_samples import write_shards

from pacl_bench.data.pairs import load_pairs
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.errors import UsageError
from pacl_bench.model.compatibility import compatibility
from pacl_bench.model.head_files import load_embedder
from pacl_bench.model.loss import info_nce
from pacl_bench.training.batches import Drawing
from pacl_bench.training.encoded_stream import SharedStreams
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import Loading, TrainConfig, Watching
from pacl_bench.training.run import open_batches
from pacl_bench.training.skip_log import SkipLog


def test_the_loss_of_pairs_held_out(config: TrainConfig, clip_spec: str, tmp_path: Path) -> None:
    """Every third step, of the same pairs; the last is that of the head as it was written."""
    apart = write_shards(tmp_path / "apart", [12])
    plain = train(config, tmp_path / "plain")
    card = train(config, tmp_path / "head", watching=Watching(held_out=str(apart), held_out_every=3))
    assert card.sha256 == plain.sha256
    log = log_of(tmp_path / "head")
    assert [line["step"] for line in log if "held_out_loss" in line] == [2, 5]
    vision, text = load_encoder(clip_spec), load_text_encoder(clip_spec)
    streams = SharedStreams(vision, text, Loading(workers=0))
    batch = open_batches(
        streams, load_pairs(str(apart)), Drawing(4, QUICK.noun_share, 0), SkipLog(tmp_path / "log", 1.0, {}), {}
    ).batch(0)
    with torch.no_grad():
        embedded = load_embedder(tmp_path / "head", card)(batch.patch_tokens)
        phi = compatibility(embedded, batch.text_embeddings, card.patch_scale)
        loss = info_nce(phi, card.temperature, batch.same_text)
    assert log[-1]["held_out_loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_earlier_checkpoints_stay(config: TrainConfig, tmp_path: Path) -> None:
    """The last two of steps 2, 4 and 6; from an earlier one the run comes to the same weights."""
    whole = train(config, tmp_path / "head", checkpoint_every="2", watching=Watching(keep_checkpoints=2))
    names = [file.name for file in sorted((tmp_path / "head").glob("checkpoint*"))]
    assert names == ["checkpoint-00000004.pt", "checkpoint-00000006.pt", "checkpoint.pt"]
    (tmp_path / "again").mkdir()
    (tmp_path / "head" / names[0]).rename(tmp_path / "again" / "checkpoint.pt")
    assert train(config, tmp_path / "again", resume=True).sha256 == whole.sha256


def test_tensorboard_holds_the_log(config: TrainConfig, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(config, tmp_path / "head", watching=Watching(tensorboard=True))
    events = EventAccumulator(str(tmp_path / "head" / "tensorboard")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("loss")]
    assert found == [(line["step"], pytest.approx(line["loss"], rel=1e-6)) for line in log_of(tmp_path / "head")]


def records_of(content: bytes) -> Iterator[bytes]:
    """What W&B has written, behind 7 bytes of its own, as LevelDB's log: blocks of 32 KB, in which each piece of a
    record has a header of 7 bytes; its kind is 1 for a whole record, 2 for the first, 3 for others, 4 for the last.
    """
    at, record = 7, b""
    while at < len(content):
        if 2**15 - at % 2**15 < 7:  # no room for a header
            at += 2**15 - at % 2**15
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def test_weights_and_biases_hold_the_log(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the run is kept in a folder, whose one file holds its steps."""
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    train(config, tmp_path / "head", watching=Watching(wandb="pacl"))
    (file,) = (tmp_path / "head" / "wandb").glob("offline-run-*/*.wandb")
    found = []
    for content in records_of(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        items = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        found += [(items["_step"], items["loss"])] if items else []
    assert found == [(line["step"], pytest.approx(line["loss"], abs=1e-7)) for line in log_of(tmp_path / "head")]


@pytest.mark.parametrize(("package", "value"), [("tensorboard", True), ("wandb", "pacl")])
def test_a_package_that_is_missing_is_named(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, value: bool | str
) -> None:
    monkeypatch.setattr("pacl_bench.training.watch.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"^--{package} needs .*: pip install 'pacl-bench\[{package}\]'\.$"):
        train(config, tmp_path / "head", watching=Watching(**{package: value}))
