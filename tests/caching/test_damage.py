"""What is damaged in the cache without a change of length: found when it is read, and made anew."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pacl_bench import load_encoder, load_text_encoder
from pacl_bench.caching import disk
from pacl_bench.caching import texts as texts_module
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.caching.texts import cached_texts
from pacl_bench.caching.token_file import CachedTokens, DamagedTokens, TokenWriter
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError

WHOLE = View(whole=True)


@pytest.fixture
def encoded(voc: Path, clip_spec: str) -> EncodedSet:
    """A set that is in the cache."""
    encoded = EncodedSet(load_encoder(clip_spec), load_segmentation("voc20"), WHOLE)
    encoded.kept()
    return encoded


def tokens(encoded: EncodedSet) -> list[torch.Tensor]:
    return [features.patch_tokens for _, features in encoded.features()]


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("place", [0.0, 0.5, 0.999])
def test_one_bit_of_the_tokens(encoded: EncodedSet, place: float, capfd) -> None:
    expected = tokens(encoded)
    file = encoded.folder / "tokens.f16"
    flip(file, int(place * file.stat().st_size))
    found = tokens(encoded)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-4)
    assert "are damaged; encoding again from there on" in capfd.readouterr().err
    assert all(torch.equal(one, other) for one, other in zip(tokens(encoded), expected, strict=True))
    assert "are damaged; encoding them again" in capfd.readouterr().err
    tokens(encoded)
    assert capfd.readouterr().err == ""


def test_training_stops_and_the_next_run_encodes_anew(encoded: EncodedSet) -> None:
    flip(encoded.folder / "tokens.f16", -1)
    source = encoded.tokens()
    source.batch([0])
    for _ in range(2):  # asked for twice, it is not given after all
        with pytest.raises(RunError, match=r"patch tokens of image 5 are damaged. Give the same command again"):
            source.batch([5])
    encoded.tokens().batch([5])


def test_a_layout_that_contradicts_the_tokens(encoded: EncodedSet) -> None:
    """Rows and columns changed places: the length is the same."""
    file = encoded.folder / "index.json"
    index = json.loads(file.read_text())
    at = next(number for number, (rows, cols) in enumerate(index["grids"]) if rows != cols)
    index["grids"][at] = index["grids"][at][::-1]
    file.write_text(json.dumps(index))
    kept = encoded.kept()
    assert kept is not None
    with pytest.raises(DamagedTokens, match=f"image {at} "):
        kept[at]


@pytest.mark.parametrize("broken", [{"3": "no image"}, {"x": ""}, {"6": ""}])
def test_an_index_that_contradicts_itself(encoded: EncodedSet, broken: dict[str, str]) -> None:
    file = encoded.folder / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"broken": broken}))
    assert len(tokens(encoded)) == 6


def test_sets_of_older_versions_have_no_checksums(encoded: EncodedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    file = encoded.folder / "index.json"
    index = json.loads(file.read_text())
    del index["checksums"]
    file.write_text(json.dumps(index))
    flip(encoded.folder / "tokens.f16", 0)
    monkeypatch.setattr(type(encoded.encoder), "forward", None)
    assert len(tokens(encoded)) == 6


def whole(folder: Path, images: int) -> CachedTokens:
    with TokenWriter(folder, 4) as writer:
        for number in range(writer.images, images):
            writer.add((1, 2), True, [np.full((3, 4), number, np.float32)])
    writer.finish()
    return CachedTokens(folder.with_name(folder.name.removeprefix(".partial-")), images)


@pytest.mark.parametrize("damage", ["tokens", "grid", "line", "images"])
def test_what_an_interrupted_run_left_is_checked(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / ".partial-set"
    folder.mkdir()
    with TokenWriter(folder, 4) as writer:
        for number in range(3):
            writer.add((1, 2), True, [np.full((3, 4), number, np.float32)])
    lines = (folder / "batches.jsonl").read_text().splitlines()
    if damage == "tokens":
        flip(folder / "tokens.f16", 30)
    elif damage == "grid":
        lines[1] = lines[1].replace("[1, 2]", "[2, 1]")
    elif damage == "line":
        lines[1] = lines[1].replace('"images"', "'images'")
    else:
        lines[1] = lines[1].replace('"images": 1', '"images":-1')
    (folder / "batches.jsonl").write_text("\n".join(lines) + "\n")
    with TokenWriter(folder, 4) as resumed:
        assert resumed.images == 1
    kept = whole(folder, 4)
    assert [int(kept[number].patch_tokens[0, 0, 0]) for number in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("place", [-1, -300])
def test_one_bit_of_text_embeddings(clip_spec: str, place: int, capfd) -> None:
    encoder, texts = load_text_encoder(clip_spec), ["a cat", "a dog", "a cow", "a bird"]
    expected = cached_texts(encoder, texts)
    (entry,) = disk.entries()
    flip(entry.path, place)
    assert torch.equal(cached_texts(encoder, texts), expected)
    assert "is damaged; encoding 4 texts" in capfd.readouterr().err
    assert torch.equal(cached_texts(encoder, texts), expected)
    assert capfd.readouterr().err == ""


def test_text_embeddings_of_another_kind_of_number(clip_spec: str, capfd) -> None:
    encoder, texts = load_text_encoder(clip_spec), ["a cat", "a dog"]
    expected = cached_texts(encoder, texts)
    (entry,) = disk.entries()
    content = entry.path.read_bytes()
    entry.path.write_bytes(content.replace(b"<f4", b"<i4"))
    assert torch.equal(cached_texts(encoder, texts), expected)
    assert "is damaged" in capfd.readouterr().err


@pytest.mark.parametrize("seed", range(4))
def test_any_byte_of_any_file(encoded: EncodedSet, clip_spec: str, tmp_path: Path, seed: int) -> None:
    """Tokens and texts stay what they were, whatever is damaged: found out, or of no importance."""
    random, text, words = np.random.default_rng(seed), load_text_encoder(clip_spec), ["a cat", "a dog"]
    expected, embedded = tokens(encoded), cached_texts(text, words)
    shutil.copytree(disk.cache_root(), tmp_path / "sound")
    for _ in range(10):
        shutil.rmtree(disk.cache_root())
        shutil.copytree(tmp_path / "sound", disk.cache_root())
        files = sorted(file for file in disk.cache_root().rglob("*.*") if file.suffix != ".lock")
        file = files[random.integers(len(files))]
        content = np.frombuffer(file.read_bytes(), np.uint8).copy()
        content[random.integers(len(content))] = random.integers(256)
        file.write_bytes(content.tobytes())
        for one, other in zip(tokens(encoded), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-4)
        torch.testing.assert_close(cached_texts(text, words), embedded)


@pytest.mark.parametrize("about", ['{"encoder": "x", "bytes": "many"}', '{"encoder": "x", "view": 3}', "[" * 100_000])
def test_a_damaged_description(encoded: EncodedSet, about: str, capfd) -> None:
    (encoded.folder / "about.json").write_text(about)
    (entry,) = disk.entries()
    assert (entry.encoder, entry.about) == ("unknown", {})
    assert len(tokens(encoded)) == 6


def test_texts_with_line_breaks_are_not_taken_for_several(clip_spec: str) -> None:
    """And lists without them keep the key that earlier versions gave them."""
    encoder = load_text_encoder(clip_spec)
    lists = [["a cat", "a dog"], ["a cat\na dog"], ["a cat", "a", "dog"], ["a cat\na", "dog"], ["a cat", "a\ndog"]]
    assert len({texts_module._key(encoder, texts) for texts in lists}) == len(lists)
    parts = [encoder.fingerprint, json.dumps(encoder.settings), "a cat", "a dog"]
    assert texts_module._key(encoder, lists[0]) == hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    assert torch.equal(cached_texts(encoder, lists[1]), encoder(lists[1]))
