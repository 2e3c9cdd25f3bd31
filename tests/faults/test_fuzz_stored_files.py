"""Studies, weights, checkpoints, logs and caches that are damaged: refused in one line, or what was written is read.

The examples are the same in every run: 20 a test here, and as many as one likes with PACL_FUZZ_EXAMPLES.
"""

import json
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np
import pytest
import torch
from fuzzing import damaged, fuzzed, or_one_line
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from pacl_bench import load_encoder, load_text_encoder
from pacl_bench.caching import disk
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.caching.texts import cached_texts
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.encoders.base import state_sha256
from pacl_bench.encoders.view import View
from pacl_bench.encoders.weights_files import read_state_dict
from pacl_bench.model.embedder import VisionEmbedder
from pacl_bench.model.head_files import FrozenPart, HeadCard, load_embedder, save_head
from pacl_bench.studies.experiment import Experiment, load_experiment, shipped_studies
from pacl_bench.training.recipe import RECIPES
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.state import TrainState
from pacl_bench.training.watch import Log

TEXTS = ["a zebra on the grass", "a donut", "a kite in the sky"]
STUDIES = [file.read_bytes() for file in shipped_studies().values()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for one example after the other."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def embedder() -> VisionEmbedder:
    torch.manual_seed(0)
    return VisionEmbedder(4, 3)


@pytest.fixture(scope="module")
def state(embedder: VisionEmbedder) -> TrainState:
    return TrainState(embedder, RECIPES["small"], {"seed": 1})


@fuzzed
@given(content=st.sampled_from(STUDIES).flatmap(damaged))
def test_a_damaged_study(place: Path, content: bytes) -> None:
    (place / "study.toml").write_bytes(content)
    experiment = or_one_line(lambda: load_experiment(place / "study.toml"))
    assert experiment is None or isinstance(experiment, Experiment)


@fuzzed
@given(data=st.data())
def test_damaged_weights_of_a_head_are_never_taken_for_it(
    place: Path, embedder: VisionEmbedder, data: st.DataObject
) -> None:
    part = FrozenPart("a", "a", "0" * 64, {})
    card = HeadCard("head", part, part, 4, 3, 1.0, 0.07, 1, state_sha256(embedder), {}, {})
    save_head(place, embedder, card)
    file = place / "head.safetensors"
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    found = or_one_line(lambda: load_embedder(place, card))
    assert found is None or state_sha256(found) == card.sha256


@fuzzed
@given(data=st.data(), pickled=st.booleans())
def test_a_damaged_checkpoint_of_an_encoder(
    place: Path, embedder: VisionEmbedder, data: st.DataObject, pickled: bool
) -> None:
    file = place / "weights.bin"
    torch.save(embedder.state_dict(), file) if pickled else file.write_bytes(save(dict(embedder.state_dict())))
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    weights = or_one_line(lambda: read_state_dict(file))
    assert weights is None or all(isinstance(weight, torch.Tensor) for weight in weights.values())


@fuzzed
@given(data=st.data())
def test_a_damaged_resume_state_is_refused_or_what_was_saved(
    place: Path, embedder: VisionEmbedder, state: TrainState, data: st.DataObject
) -> None:
    file = place / "checkpoint.pt"
    state.save(file)
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    other = TrainState(VisionEmbedder(4, 3), RECIPES["small"], {"seed": 1})
    if or_one_line(lambda: (other.load(file), True)[1]):
        assert state_sha256(other.embedder) == state_sha256(embedder)
        assert (other.step, other.temperature) == (state.step, state.temperature)


@fuzzed
@given(data=st.data())
def test_damaged_logs_are_gone_on_with(place: Path, data: st.DataObject) -> None:
    log, skipped = place / "log.jsonl", place / "skipped.jsonl"
    log.write_bytes(data.draw(damaged(b"".join(b'{"step": %d, "loss": 1.5}\n' % step for step in range(5)))))
    lines = (b'{"cause": "broken image", "where": "%d.jpg"}\n' % number for number in range(5))
    skipped.write_bytes(data.draw(damaged(b"".join(lines))))
    Log(log, 5).write(step=5, loss=1.0)
    assert json.loads(log.read_text().splitlines()[-1]) == {"step": 5, "loss": 1.0}
    kept = SkipLog(skipped, 1.0, {"seen": 9, "failed": 5, "listed": 5})
    assert kept.summary()
    assert len(kept.listed) <= 5


@fuzzed
@given(data=st.data(), name=st.sampled_from([".npy", ".json"]))
def test_damaged_texts_of_the_cache_are_embedded_again(place: Path, data: st.DataObject, name: str) -> None:
    with pytest.MonkeyPatch.context() as own:
        own.setenv("PACL_CACHE", str(place / "texts"))
        encoder = load_text_encoder("tiny-clip")
        expected = cached_texts(encoder, TEXTS)
        (file,) = (disk.cache_root() / "texts").glob(f"*{name}")
        whole = file.read_bytes()
        file.write_bytes(data.draw(damaged(whole)))
        found = cached_texts(encoder, TEXTS)
        assert torch.equal(found, expected)
        file.write_bytes(whole)


@fuzzed
@given(data=st.data(), name=st.sampled_from(["tokens.f16", "index.json", "about.json"]))
def test_damaged_tokens_of_the_cache_are_encoded_again(place: Path, data: st.DataObject, name: str) -> None:
    with pytest.MonkeyPatch.context() as own:
        own.setenv("PACL_CACHE", str(place / "tokens"))
        encoded = EncodedSet(load_encoder("tiny-clip"), load_segmentation(f"folder:{images(place)}"), View(whole=True))
        whole = place / "whole"
        if not whole.is_dir():
            encoded.kept()
            copytree(encoded.folder, whole)
        rmtree(encoded.folder)
        copytree(whole, encoded.folder)
        expected = [features.patch_tokens for _, features in encoded.features()]
        file = encoded.folder / name
        file.write_bytes(data.draw(damaged(file.read_bytes())))
        found = or_one_line(lambda: [features.patch_tokens for _, features in encoded.features()])
        if found is not None:
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-3)


def images(place: Path) -> Path:
    """A segmentation set of two images, made once."""
    folder = place / "set"
    if not folder.is_dir():
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        for number in range(2):
            pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
            Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / "masks" / f"{number}.png")
        (folder / "names.txt").write_text("zebra\ndonut\n")
    return folder
