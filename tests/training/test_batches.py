"""Training from shards: resuming amid an epoch, what is skipped, when it stops; weights of sets in memory."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import webdataset
from safetensors.torch import load_file
from shard_samples import jpeg, write_shards, write_tar

from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.shards import ShardSet, Skipped
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.encoders.open_clip import OpenClipVisionEncoder
from pacl_bench.errors import RunError, UsageError
from pacl_bench.training.batches import Drawing
from pacl_bench.training.encoded_stream import SharedStreams
from pacl_bench.training.in_memory import shuffled
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import RECIPES, Loading, TrainConfig
from pacl_bench.training.run import open_batches
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.state import TrainState
from pacl_bench.training.stream import repeats

QUICK = replace(RECIPES["small"], batch_size=10, steps=8, warmup_steps=0)
IN_PROCESS = Loading(workers=0)


@pytest.fixture
def config(clip_spec: str, tmp_path: Path) -> TrainConfig:
    """50 pairs in three tars, one image of them broken: 8 steps of 10 end in the second epoch."""
    folder = write_shards(tmp_path / "mine", [25, 18, 6])
    write_tar(folder / "00003.tar", [{"jpg": b"no image", "txt": "broken"}])
    (folder / "00003_stats.json").write_text('{"successes": 1}')
    return TrainConfig(clip_spec, clip_spec, str(folder), QUICK)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    update = TrainState.update

    def interrupted(state: TrainState, *given):
        if state.step == step:
            raise KeyboardInterrupt
        return update(state, *given)

    monkeypatch.setattr(TrainState, "update", interrupted)


@pytest.mark.parametrize("stopped", [2, 6])
def test_a_resumed_run_ends_at_the_very_same_weights(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: int
) -> None:
    """Stopped amid the first or the second epoch, with workers or without."""
    whole = train(config, tmp_path / "whole", loading=IN_PROCESS)
    stop_at(stopped, monkeypatch)
    with pytest.raises(RunError, match=f"Stopped at step {stopped} of 8"):
        train(config, tmp_path / "head", checkpoint_every="3", loading=Loading(workers=2))
    monkeypatch.undo()
    card = train(config, tmp_path / "head", resume=True, loading=IN_PROCESS)
    assert card.sha256 == whole.sha256
    assert card.train == whole.train
    weights, expected = (load_file(tmp_path / folder / "head.safetensors") for folder in ("head", "whole"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    skipped = [json.loads(line) for line in (tmp_path / "head" / "skipped.jsonl").read_text().splitlines()]
    assert [(skip["cause"], "00003.tar/000030000" in skip["where"]) for skip in skipped] == [("broken image", True)]


def test_the_card_of_a_head_from_shards(config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    card = train(config, tmp_path / "head", loading=IN_PROCESS)
    told = {key: card.train[key] for key in ("pairs", "images", "captions", "skipped", "skipped_by_cause")}
    assert told == {
        "pairs": "mine",
        "images": 50,
        "captions": 50,
        "skipped": 1,
        "skipped_by_cause": {"broken image": 1},
    }
    assert "skipped 1 broken image (first broken image: " in " ".join(capsys.readouterr().err.split())
    log = [json.loads(line) for line in (tmp_path / "head" / "log.jsonl").read_text().splitlines()]
    assert len({line["loss"] for line in log}) == 8
    with (Path(config.pairs) / "00002.tar").open("ab") as tar:
        tar.write(bytes(512))
    with pytest.raises(UsageError, match="another pairs"):
        train(config, tmp_path / "head", resume=True, loading=IN_PROCESS)


def test_epochs_need_the_number_of_pairs(config: TrainConfig, tmp_path: Path) -> None:
    two = replace(config, recipe=replace(QUICK, steps=None, epochs=2))
    assert train(two, tmp_path / "counted", loading=IN_PROCESS).step == 10
    (Path(config.pairs) / "00001_stats.json").unlink()
    with pytest.raises(UsageError, match=r"how many pairs an epoch has is not known.*Give --steps"):
        train(two, tmp_path / "head", loading=IN_PROCESS)
    with pytest.raises(UsageError, match="weights need the number of pairs of mine"):
        train(
            replace(config, pairs=f"{config.pairs}:1+{Path(config.pairs) / '00000.tar'}:1"),
            tmp_path / "head",
            loading=IN_PROCESS,
        )


def test_too_many_failures_stop_the_training(config: TrainConfig, tmp_path: Path) -> None:
    bad = [{"jpg": b"404" if number % 3 else jpeg(number), "txt": f"pair {number}"} for number in range(120)]
    (tmp_path / "bad").mkdir()
    file = write_tar(tmp_path / "bad" / "00000.tar", bad)
    config = replace(config, pairs=str(file), recipe=replace(QUICK, steps=5))
    with pytest.raises(RunError, match=r"\(67%, more than --max-skipped 0.1\): \d+ broken image \(first .*00000\.tar/"):
        train(config, tmp_path / "head", loading=IN_PROCESS)
    listed = (tmp_path / "head" / "skipped.jsonl").read_text().splitlines()
    card = train(config, tmp_path / "head", resume=True, loading=Loading(0, max_skipped=0.7))
    assert card.step == 5
    assert set(listed) <= set((tmp_path / "head" / "skipped.jsonl").read_text().splitlines())
    assert card.train["skipped"] == 80


def test_shards_without_a_usable_pair(config: TrainConfig, tmp_path: Path) -> None:
    file = write_tar(tmp_path / "bad" / "00000.tar", [{"jpg": b"404", "txt": "pair"}] * 5)
    with pytest.raises(RunError, match="No pair of 00000 can be used: 5 broken image"):
        train(replace(config, pairs=str(file)), tmp_path / "head", loading=IN_PROCESS)


def test_failures_are_listed_once_and_a_share_needs_enough_to_judge(tmp_path: Path) -> None:
    log = SkipLog(tmp_path / "skipped.jsonl", 0.1, {})
    broken = Skipped("broken image", "a.jpg")
    log.add(50, [broken, Skipped("empty caption", "b.csv:3")])
    log.add(49, [broken] * 8)
    state = log.state
    assert log.describe() == {"skipped": 2, "skipped_by_cause": {"broken image": 1, "empty caption": 1}}
    with pytest.raises(RunError, match=r"11 of 100 pairs could not be used \(11%"):
        log.add(1, [Skipped("absurd size", "c.jpg")])
    resumed = SkipLog(tmp_path / "skipped.jsonl", 0.1, state)
    assert (resumed.state, len(resumed.file.read_text().splitlines())) == (state, 2)


def test_a_damaged_list_of_failures_is_gone_on_with(tmp_path: Path) -> None:
    log = SkipLog(tmp_path / "skipped.jsonl", 1.0, {})
    log.add(3, [Skipped("broken image", "a.jpg"), Skipped("empty caption", "é.csv:3")])
    state = log.state
    with log.file.open("ab") as file:
        file.write(b'{"cause": "torn\n[]\n\xff\n')
    resumed = SkipLog(log.file, 1.0, {**state, "listed": 5})
    assert resumed.causes == {"broken image": 1, "empty caption": 1}


def test_one_pair_is_too_few(config: TrainConfig, pairs_csv: Path, tmp_path: Path) -> None:
    """A contrastive step over one pair has the loss 0 and would train nothing, without a word."""
    one = pairs_csv.with_name("one.csv")
    one.write_text("\n".join(pairs_csv.read_text().splitlines()[:2]))
    with pytest.raises(UsageError, match=r"one: a single usable image; .* two at least are needed"):
        train(replace(config, pairs=str(one)), tmp_path / "head", loading=IN_PROCESS)
    single = write_shards(tmp_path / "single", [1])
    with pytest.raises(UsageError, match=r"single: 1 pairs by its _stats\.json; .* two at least"):
        train(replace(config, pairs=str(single)), tmp_path / "head", loading=IN_PROCESS)
    (single / "00000_stats.json").unlink()
    with pytest.raises(RunError, match=r"A single pair of single can be used; .* two at least"):
        train(replace(config, pairs=str(single)), tmp_path / "head", loading=IN_PROCESS)


def test_a_set_smaller_than_the_batch_is_one_batch(config: TrainConfig, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "few", [2, 3])
    card = train(
        replace(config, pairs=str(folder), recipe=replace(QUICK, batch_size=64, steps=2)),
        tmp_path / "head",
        loading=IN_PROCESS,
    )
    assert (card.step, card.train["images"]) == (2, 5)


def test_weights_of_sets_in_memory() -> None:
    """A quarter of the epoch from 90 images, three quarters from 30: of the first each third, of the others three."""
    times = repeats([ShardSet("a", [], 0.25), ShardSet("b", [], 0.75)], [90, 30])
    epochs = [
        [image for step in range(12) for image in shuffled([90, 30], times, 10, 12 * epoch + step, seed=5)]
        for epoch in range(2)
    ]
    for epoch in epochs:
        counts = Counter(epoch)
        assert [counts[image] for image in range(90, 120)] == [3] * 30
        assert sorted(counts[image] for image in range(90)) == [0] * 60 + [1] * 30
    assert set(epochs[0]) != set(epochs[1])


def test_an_epoch_that_rounding_makes_smaller_than_a_batch(pairs_csv: Path, clip_spec: str, tmp_path: Path) -> None:
    """Half of 5 images from 2 and half from 3: each half is rounded to 2, and 96 are wanted a step."""
    lines = pairs_csv.read_text().splitlines()
    parts = [pairs_csv.with_name("two.csv"), pairs_csv.with_name("three.csv")]
    for file, rows in zip(parts, (lines[7:9], lines[9:12]), strict=True):
        file.write_text("\n".join([lines[0], *rows]) + "\n")
    config = TrainConfig(clip_spec, clip_spec, "+".join(f"{file}:1" for file in parts), replace(QUICK, batch_size=96))
    assert train(config, tmp_path / "head").step == QUICK.steps


def test_weights_reach_the_training_and_the_card(pairs_csv: Path, clip_spec: str, tmp_path: Path) -> None:
    other = pairs_csv.with_name("more+1:2.csv")
    other.write_text(pairs_csv.read_text())
    recipe = replace(QUICK, batch_size=4, steps=3)
    plain, weighted = (
        train(TrainConfig(clip_spec, clip_spec, names, recipe), tmp_path / head)
        for head, names in (("plain", f"{pairs_csv}+{other}"), ("weighted", f"{pairs_csv}:0.9+{other}:0.1"))
    )
    assert (plain.train["pairs"], weighted.train["pairs"]) == ("pairs+more+1:2", "pairs:0.9+more+1:2:0.1")
    assert plain.sha256 != weighted.sha256
    assert plain.train["pairs_fingerprint"] != weighted.train["pairs_fingerprint"]


def test_streamed_tokens_are_those_of_the_files(clip_spec: str, tmp_path: Path) -> None:
    """The same photos as files and in a tar: the same patch tokens, the same texts."""
    vision, text = load_encoder(clip_spec), load_text_encoder(clip_spec)
    folder = write_shards(tmp_path / "mine", [12])
    rows = ["filepath,caption"]
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
        rows.append(f"{number}.jpg,mine 0 {number}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    drawing = Drawing(batch_size=12, noun_share=0.0, seed=0)
    batches = [
        open_batches(
            SharedStreams(vision, text, Loading(1)),
            load_pairs(str(names)),
            drawing,
            SkipLog(tmp_path / "log", 1.0, {}),
            {},
        ).batch(0)
        for names in (tmp_path / "pairs.csv", folder)
    ]
    order = [  # the texts say which photo is which
        int((one @ batches[0].text_embeddings.T).argmax()) for one in batches[1].text_embeddings
    ]
    assert sorted(order) == list(range(12))
    torch.testing.assert_close(batches[1].patch_tokens, batches[0].patch_tokens[order], rtol=0, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_with_workers(tmp_path: Path, number: signal.Signals) -> None:
    """As from a keyboard or a batch system, all processes get it: one line, no process left, and it goes on."""
    ran = training_with_workers(tmp_path)
    os.killpg(ran.pid, number)
    _, errors = ran.communicate(timeout=180)
    assert ran.returncode == 1
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].endswith(f"Go on with --resume --out {tmp_path / 'head'}.")
    with pytest.raises(ProcessLookupError):
        os.killpg(ran.pid, 0)


def test_a_worker_that_is_killed_ends_training_between_two_steps(tmp_path: Path) -> None:
    """As where a machine has too little memory: one line, and the checkpoint is of the last step."""
    ran = training_with_workers(tmp_path)
    (worker, *_) = Path(f"/proc/{ran.pid}/task/{ran.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    _, errors = ran.communicate(timeout=180)
    assert (ran.returncode, "Traceback" in errors) == (1, False)
    assert "pacl-bench: Loading pairs failed: DataLoader worker" in errors.splitlines()[-1]
    kept = torch.load(tmp_path / "head" / "checkpoint.pt", weights_only=True)["step"]
    assert kept == (tmp_path / "head" / "log.jsonl").read_text().count("\n")


def training_with_workers(tmp_path: Path) -> subprocess.Popen:
    """A training that would go on for hours, in its own group of processes, after its first steps."""
    out = tmp_path / "head"
    command = [sys.executable, "-m", "pacl_bench.cli", "train", "--encoder", "tiny-clip", "--text", "tiny-clip"]
    command += ["--pairs", str(words(tmp_path)), "--out", str(out), "--workers", "2", "--batch-size", "8"]
    ran = subprocess.Popen(
        [*command, "--steps", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = out / "log.jsonl"
    waited = time.monotonic()
    while not (log.is_file() and log.read_text().count("\n") > 3):
        assert ran.poll() is None, ran.communicate()
        assert time.monotonic() - waited < 180
        time.sleep(0.1)
    return ran


def words(tmp_path: Path) -> Path:
    """Shards whose captions the built-in text encoder knows."""
    (tmp_path / "words").mkdir()
    samples = [{"jpg": jpeg(number, (64, 64)), "txt": "a zebra on the grass"} for number in range(40)]
    for shard in range(3):
        write_tar(tmp_path / "words" / f"{shard:05}.tar", samples)
    return tmp_path / "words"


@pytest.mark.shared
def test_real_photos_in_shards(shared_data: Path, clip_spec: str, tmp_path: Path) -> None:
    (pairs,) = load_pairs("flickr8k")
    for shard in range(3):
        with webdataset.TarWriter(str(tmp_path / f"{shard:05}.tar")) as tar:
            for index in range(20 * shard, 20 * shard + 20):
                photo = pairs.photos.files[index]
                tar.write({"__key__": photo.stem, "jpg": photo.read_bytes(), "txt": pairs.captions[index][0]})
    recipe = replace(RECIPES["small"], batch_size=20, steps=5, warmup_steps=0)
    card = train(TrainConfig(clip_spec, clip_spec, str(tmp_path), recipe), tmp_path / "head", loading=Loading(2))
    assert (card.step, card.train["images"], card.train["skipped"]) == (5, None, 0)


def test_images_of_several_chunks_share_a_pass(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of tars with 25, 18 and 6 images; the loss is what it is of a pass for each chunk, up to rounding."""
    passes: list[int] = []
    encode = OpenClipVisionEncoder.encode_blocks

    def counting(self: OpenClipVisionEncoder, images: torch.Tensor, *given):
        passes.append(len(images))
        return encode(self, images, *given)

    monkeypatch.setattr(OpenClipVisionEncoder, "encode_blocks", counting)
    train(config, tmp_path / "plain", loading=IN_PROCESS)
    assert max(passes) == 25
    passes.clear()
    train(config, tmp_path / "head", loading=Loading(0, encoder_batch=64))
    assert 32 < max(passes) <= 64
    assert losses(tmp_path / "head") == pytest.approx(losses(tmp_path / "plain"), abs=1e-3)


def test_bfloat16_stands_in_the_card(config: TrainConfig, pairs_csv: Path, tmp_path: Path) -> None:
    plain = train(config, tmp_path / "plain", loading=IN_PROCESS)
    half = replace(config, recipe=replace(QUICK, bfloat16=True))
    card = train(half, tmp_path / "head", loading=IN_PROCESS)
    assert card.train == plain.train | {"bfloat16": True}
    assert card.sha256 != plain.sha256
    assert losses(tmp_path / "head") == pytest.approx(losses(tmp_path / "plain"), abs=0.05)
    with pytest.raises(UsageError, match="--bfloat16 is for shards"):
        train(replace(half, pairs=str(pairs_csv)), tmp_path / "files")


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]
