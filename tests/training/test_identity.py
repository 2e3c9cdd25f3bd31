"""What decides the weights: a run goes on only where all of it is the same, and what came later had its default."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from shard_samples import write_shards

from pacl_bench.errors import RunError, UsageError
from pacl_bench.model.head_files import read_card
from pacl_bench.training.identity import CONTENTS, changed, head_identity
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import RECIPES, Loading, Recipe, TrainConfig
from pacl_bench.training.state import RESUME_STATE, TrainState, saved_identity


@dataclass(frozen=True)
class Later(Recipe):
    """A recipe of a later version: with one more setting."""

    rounds: int = 3


@pytest.fixture
def config(clip_spec: str, pairs_csv: Path) -> TrainConfig:
    recipe = replace(RECIPES["small"], batch_size=4, steps=3, warmup_steps=0)
    return TrainConfig(clip_spec, clip_spec, str(pairs_csv), recipe)


@pytest.fixture
def stopped(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that was stopped after two of its three steps."""
    update = TrainState.update

    def stop(state: TrainState, *given):
        if state.step == 2:
            raise KeyboardInterrupt
        return update(state, *given)

    with monkeypatch.context() as patched:
        patched.setattr(TrainState, "update", stop)
        with pytest.raises(RunError, match="Stopped at step 2 of 3"):
            train(config, tmp_path / "h")
    return tmp_path / "h"


def later(config: TrainConfig, **changes: object) -> TrainConfig:
    return replace(config, recipe=Later(**{**vars(config.recipe), **changes}))


def test_a_setting_of_the_recipe_that_came_later_had_its_default(config: TrainConfig, stopped: Path) -> None:
    with pytest.raises(UsageError, match=r"was trained with another rounds\. Choose another --out"):
        train(later(config, rounds=4), stopped, resume=True)
    assert train(later(config), stopped, resume=True).step == 3


def test_a_setting_that_we_do_not_know_is_a_difference(config: TrainConfig, stopped: Path) -> None:
    state = torch.load(stopped / RESUME_STATE, weights_only=True)
    state["identity"] = json.dumps({**json.loads(state["identity"]), "rounds": 3})
    torch.save(state, stopped / RESUME_STATE)
    with pytest.raises(UsageError, match="was trained with another rounds"):
        train(config, stopped, resume=True)
    assert train(later(config), stopped, resume=True).step == 3


def test_a_head_and_its_checkpoint_are_of_one_run(config: TrainConfig, tmp_path: Path) -> None:
    for kind in ("residual", "linear"):
        card = train(replace(config, head=kind), tmp_path / kind)
        identity = saved_identity(tmp_path / kind / RESUME_STATE)
        assert changed(head_identity(card), identity, config.recipe) == []
        assert identity.get("head") == (None if kind == "residual" else "linear")  # as before there were kinds
        assert changed(head_identity(card), {**identity, "lr": 1.0}, config.recipe) == ["lr"]


def test_a_run_of_another_kind_of_head_is_not_gone_on_with(config: TrainConfig, stopped: Path) -> None:
    with pytest.raises(UsageError, match=r"was trained with another head\. Choose another --out"):
        train(replace(config, head="linear"), stopped, resume=True)


def test_damage_within_a_checkpoint_or_log_is_told_or_mended(
    config: TrainConfig, stopped: Path, tmp_path: Path
) -> None:
    whole = torch.load(stopped / RESUME_STATE, weights_only=True)
    for part in whole.keys() - {"position"}:
        for damaged in ({name: value for name, value in whole.items() if name != part}, {**whole, part: [1]}):
            torch.save(damaged, stopped / RESUME_STATE)
            with pytest.raises(UsageError, match=r"checkpoint\.pt is damaged\. Move .* away and start anew"):
                train(config, stopped, resume=True)
    torch.save(whole, stopped / RESUME_STATE)
    log = (stopped / "log.jsonl").read_bytes()
    for torn in (bytes(300) + b"}\n", b'{"step": "x"}\n', b"{}\n", b"[1]\n", b"\xff}\n"):
        folder = tmp_path / "copy"
        shutil.copytree(stopped, folder)
        (folder / "log.jsonl").write_bytes(log + torn)
        train(config, folder, resume=True)
        steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
        assert steps == [0, 1, 2]
        shutil.rmtree(folder)


def test_fewer_pairs_than_a_batch_are_told(config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train(replace(config, recipe=replace(config.recipe, batch_size=4096)), tmp_path / "h")
    card = read_card(tmp_path / "h")
    assert (card.train["batch_size"], card.train["batch_size_used"], card.train["images"]) == (4096, 10, 10)
    assert "batches of 10 pairs, not 4,096: there are no more" in capsys.readouterr().err
    assert "batch_size_used" not in train(config, tmp_path / "enough").train


def replace_picture(file: Path) -> None:
    """Another picture of as many bytes: behind the end of a JPEG zeros change nothing."""
    before, made = file.read_bytes(), BytesIO()
    Image.new("RGB", (40, 40), "red").save(made, "JPEG")
    file.write_bytes(made.getvalue().ljust(len(before), b"\0"))
    assert file.stat().st_size == len(before)


def replace_caption(file: Path) -> None:
    file.write_text(file.read_text().replace("a dog and a cat number 11", "a cat and a dog number 11"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda file: replace_picture(file.with_name("11.jpg")), r"another pairs_contents\. Choose another --out"),
        (replace_caption, r"another pairs\. Choose another --out"),
    ],
)
def test_a_picture_or_caption_replaced_at_equal_size_is_another_run(
    config: TrainConfig, stopped: Path, change: Callable[[Path], None], told: str
) -> None:
    change(Path(config.pairs))
    with pytest.raises(UsageError, match=told):
        train(config, stopped, resume=True)


def test_a_caption_in_a_shard_replaced_at_equal_length_is_another_run(config: TrainConfig, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", [12])
    config = replace(config, pairs=str(shards))
    train(config, tmp_path / "h", loading=Loading(workers=0))
    tar = shards / "00000.tar"
    tar.write_bytes(tar.read_bytes().replace(b"shards 0 7", b"shards 0 8"))
    with pytest.raises(UsageError, match="another pairs_contents"):
        train(config, tmp_path / "h", resume=True, loading=Loading(workers=0))


def test_a_checkpoint_of_a_version_that_did_not_look_into_files_goes_on(config: TrainConfig, stopped: Path) -> None:
    state = torch.load(stopped / RESUME_STATE, weights_only=True)
    identity = json.loads(state["identity"])
    assert identity.pop(CONTENTS)
    torch.save({**state, "identity": json.dumps(identity)}, stopped / RESUME_STATE)
    card = train(config, stopped, resume=True)
    assert card.step == 3
    earlier = replace(card, train={name: value for name, value in card.train.items() if name != CONTENTS})
    assert changed(head_identity(earlier), saved_identity(stopped / RESUME_STATE), config.recipe) == []
