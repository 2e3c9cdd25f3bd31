"""Training: what is learnt, what stays frozen, resuming, bad pairs, NaN."""

import json
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pacl_bench.encoders import load_encoder
from pacl_bench.encoders.base import TextEncoder
from pacl_bench.errors import RunError, UsageError
from pacl_bench.locks import claimed
from pacl_bench.model.aligned import AlignedModel, load_aligned
from pacl_bench.model.head_files import load_embedder, read_card
from pacl_bench.training import run as module
from pacl_bench.training import state as state_module
from pacl_bench.training.in_memory import shuffled
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import RECIPES, TrainConfig, learning_rate, make_recipe
from pacl_bench.training.state import TrainState

QUICK = replace(RECIPES["small"], batch_size=4, steps=6, warmup_steps=0)


@pytest.fixture
def config(clip_spec: str, pairs_csv: Path) -> TrainConfig:
    return TrainConfig(clip_spec, clip_spec, str(pairs_csv), QUICK)


def test_a_head_and_its_card(config: TrainConfig, tmp_path: Path) -> None:
    card = train(config, tmp_path / "head")
    assert card == read_card(tmp_path / "head")
    assert (card.name, card.width, card.dim, card.step, card.patch_scale) == ("head", 32, 24, 6, 10.0)
    assert (card.encoder.name, card.text.name) == ("small-clip", "small-clip")
    assert (card.train["images"], card.train["captions"], card.train["skipped"]) == (10, 10, 3)
    log = [json.loads(line) for line in (tmp_path / "head" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == list(range(6))
    assert all(entry["loss"] > 0 and entry["pairs_per_second"] > 0 for entry in log)
    model = load_aligned(tmp_path / "head")
    assert model.patch_embeddings(torch.randn(1, 5, 32)).shape == (1, 5, 24)


def test_bad_pairs_are_skipped_and_named(config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(config, tmp_path / "head")
    skipped = [json.loads(line) for line in (tmp_path / "head" / "skipped.jsonl").read_text().splitlines()]
    assert [skip["cause"] for skip in skipped] == ["empty caption", "missing image", "broken image"]
    assert "3.jpg" in skipped[2]["where"]
    assert "1 empty caption, 1 missing image, 1 broken image" in " ".join(capsys.readouterr().err.split())


def test_the_encoders_stay_as_they_were(config: TrainConfig, tmp_path: Path) -> None:
    before = load_encoder(config.encoder).fingerprint
    card = train(config, tmp_path / "head")
    assert card.encoder.sha256 == before == load_encoder(config.encoder).fingerprint


def test_an_encoder_left_open_is_an_error(
    config: TrainConfig, vit_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_encoder = load_encoder(f"vit=timm:vit_tiny_patch16_224@{vit_file}").requires_grad_(True)
    monkeypatch.setattr(module, "load_encoder", lambda name: open_encoder)
    with pytest.raises(RunError, match="vit is not frozen"):
        train(config, tmp_path / "head")


def test_the_same_config_gives_the_same_weights(config: TrainConfig, tmp_path: Path) -> None:
    first, second = train(config, tmp_path / "a"), train(config, tmp_path / "b")
    other = train(replace(config, seed=1), tmp_path / "c")
    assert first.sha256 == second.sha256 != other.sha256


@pytest.mark.parametrize("stop_at", [1, 4])
def test_a_resumed_run_ends_at_the_very_same_weights(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    expected = train(config, tmp_path / "whole")
    update = TrainState.update

    def interrupted(state: TrainState, *given):
        if state.step == stop_at:
            raise KeyboardInterrupt
        return update(state, *given)

    monkeypatch.setattr(TrainState, "update", interrupted)
    with pytest.raises(RunError, match=f"Stopped at step {stop_at} of 6"):
        train(config, tmp_path / "head", checkpoint_every="2")
    monkeypatch.undo()
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "another cache"))
    assert train(config, tmp_path / "head", resume=True).sha256 == expected.sha256
    steps = [json.loads(line)["step"] for line in (tmp_path / "head" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(6))
    weights, whole = (load_file(tmp_path / folder / "head.safetensors") for folder in ("head", "whole"))
    assert all(torch.equal(weights[name], whole[name]) for name in whole)


def test_only_texts_that_are_drawn_are_embedded(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short run embeds what its steps draw; a long one all texts, which later runs find; the weights are the same."""
    embedded: list[int] = []
    forward = TextEncoder.forward
    monkeypatch.setattr(TextEncoder, "forward", lambda self, texts: embedded.append(len(texts)) or forward(self, texts))
    short = train(config, tmp_path / "short")
    long = replace(config, recipe=replace(config.recipe, steps=20))
    train(long, tmp_path / "long")
    again = train(config, tmp_path / "again")
    drawn, everything = embedded
    assert drawn <= 6 * 4 < everything == 10 + 4 * 7  # captions, and dog, cat, number and grass in seven templates
    assert (short.step, again.step) == (6, 6)
    weights, others = (load_file(tmp_path / folder / "head.safetensors") for folder in ("short", "again"))
    for name, expected in weights.items():
        torch.testing.assert_close(others[name], expected, rtol=0, atol=1e-5)


def test_ctrl_c_waits_for_the_step_to_end(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(config, tmp_path / "whole")
    step = torch.optim.AdamW.step

    def pressed_amid_a_step(optimizer, *given):
        if optimizer.param_groups[0]["lr"] < 1e-3:  # the fourth step
            signal.raise_signal(signal.SIGINT)
        return step(optimizer, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", pressed_amid_a_step)
    with pytest.raises(RunError, match="Stopped at step 5 of 6"):
        train(config, tmp_path / "head")
    monkeypatch.undo()
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "cache"))
    assert train(config, tmp_path / "head", resume=True).sha256 == expected.sha256
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_folder_where_another_process_trains_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    with claimed(tmp_path / "head", "--out"), pytest.raises(UsageError, match="another run writes there"):
        train(config, tmp_path / "head")
    assert not (tmp_path / "head").exists()
    train(config, tmp_path / "head")


def test_resuming_another_run_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "head")
    with pytest.raises(UsageError, match="Add --resume to go on"):
        train(config, tmp_path / "head")
    with pytest.raises(UsageError, match="was trained with another lr"):
        train(replace(config, recipe=replace(QUICK, lr=1.0)), tmp_path / "head", resume=True)
    with pytest.raises(UsageError, match=r"checkpoint\.pt not found"):
        train(config, tmp_path / "nothing", resume=True)
    torch.save([1], tmp_path / "head" / "checkpoint.pt")
    with pytest.raises(UsageError, match=r"checkpoint\.pt is damaged"):
        train(config, tmp_path / "head", resume=True)


def test_a_nan_stops_with_the_last_good_state(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = state_module.info_nce
    calls = []

    def poisoned(*given):
        calls.append(1)
        return original(*given) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(state_module, "info_nce", poisoned)
    with pytest.raises(RunError, match="became nan at step 3"):
        train(config, tmp_path / "head")
    kept = torch.load(tmp_path / "head" / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 3
    assert all(bool(value.isfinite().all()) for value in kept["embedder"].values())
    monkeypatch.undo()
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "cache"))
    whole = train(config, tmp_path / "whole")
    assert train(config, tmp_path / "head", resume=True).sha256 == whole.sha256


def test_no_steps_give_the_untrained_head(config: TrainConfig, tmp_path: Path) -> None:
    untrained = train(replace(config, recipe=replace(QUICK, steps=0)), tmp_path / "untrained")
    assert untrained.step == 0
    assert untrained.sha256 != train(config, tmp_path / "trained").sha256


def test_online_training_is_the_same(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too large for the cache: images are encoded when they are needed. Half precision apart, nothing changes."""
    cached = train(config, tmp_path / "cached")
    monkeypatch.setenv("PACL_CACHE_LIMIT", "0")
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "empty"))
    online = train(config, tmp_path / "online")
    assert online.train == cached.train
    weights, other = (load_file(tmp_path / folder / "head.safetensors") for folder in ("cached", "online"))
    for name, value in weights.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0.02)


class ColourWords(TextEncoder):
    """A text encoder that counts three words."""

    name = spec = "colour-words"
    dim = 3

    def encode(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[float(colour in text) for colour in ("red", "green", "blue")] for text in texts])


def test_it_learns_what_is_where(clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos whose left or right half is red or green, captions that name the colours: patches learn their colour."""
    random = np.random.default_rng(0)
    rows = ["filepath,caption"]
    for number in range(64):
        photo = np.zeros((64, 64, 3), np.uint8)
        colours = random.choice(3, size=2)
        for half, channel in enumerate(colours):
            photo[:, 32 * half : 32 * half + 32, channel] = random.integers(128, 256, size=(64, 32))
        Image.fromarray(photo).save(tmp_path / f"{number}.png")
        words = [("red", "green", "blue")[channel] for channel in dict.fromkeys(colours)]
        rows.append(f"{number}.png,{' and '.join(words)}")
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    recipe = replace(QUICK, batch_size=32, steps=120, noun_share=0.0)
    monkeypatch.setattr(module, "load_text_encoder", lambda name: ColourWords().eval())
    card = train(TrainConfig(clip_spec, "colour-words", str(tmp_path / "pairs.csv"), recipe), tmp_path / "head")

    model = AlignedModel("head", load_encoder(clip_spec), ColourWords(), load_embedder(tmp_path / "head", card))
    photo = np.zeros((64, 64, 3), np.uint8)
    photo[:, :32, 0] = 200
    photo[:, 32:, 2] = 200
    features = model.vision(model.vision.preprocess(Image.fromarray(photo))[None])
    patches = torch.nn.functional.normalize(model.patch_embeddings(features.patch_tokens), dim=-1)
    classes = model.class_embeddings(["red", "green", "blue"], ["{}"])
    predicted = (patches[0] @ classes.T).argmax(-1).reshape(features.grid)
    assert (predicted[:, :2] == 0).float().mean() > 0.8
    assert (predicted[:, 2:] == 2).float().mean() > 0.8


def test_every_epoch_shows_every_image_once() -> None:
    for epoch in range(3):
        seen = [image for step in range(epoch * 3, epoch * 3 + 3) for image in shuffled([9], [1.0], 3, step, seed=7)]
        assert sorted(seen) == list(range(9))
    assert shuffled([9], [1.0], 3, 0, seed=7) != shuffled([9], [1.0], 3, 3, seed=7)
    assert len({image for step in range(2) for image in shuffled([9], [1.0], 4, step, seed=7)}) == 8


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    recipe = replace(QUICK, lr=1.0, warmup_steps=4)
    rates = [learning_rate(recipe, step, 104) for step in range(104)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[54] == pytest.approx(0.5)
    assert rates[-1] < 1e-3
    assert all(later <= earlier for earlier, later in pairwise(rates[3:]))


def test_recipes() -> None:
    paper = RECIPES["paper"]
    assert (paper.lr, paper.betas, paper.eps, paper.weight_decay) == (5e-4, (0.9, 0.98), 1e-6, 0.2)
    assert (paper.batch_size, paper.epochs, paper.patch_scale, paper.learn_temperature) == (4096, 10, 1.0, False)
    assert make_recipe("paper", {"steps": 5, "lr": None}) == replace(paper, steps=5, epochs=None)
    assert make_recipe("small", {"epochs": 2}).steps is None
    with pytest.raises(UsageError, match="Did you mean 'paper'"):
        make_recipe("papr", {})
    with pytest.raises(UsageError, match="Give one"):
        make_recipe("paper", {"steps": 5, "epochs": 5})
