"""The patch-token cache: encoded once, the same numbers ever after."""

import signal
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pacl_bench import load_encoder
from pacl_bench.caching import encoded_set as module
from pacl_bench.caching.encoded_set import EncodedSet, OnlineTokens
from pacl_bench.caching.texts import cached_texts
from pacl_bench.caching.token_file import CachedTokens
from pacl_bench.data import images as images_module
from pacl_bench.data.images import PhotoFiles
from pacl_bench.data.pair_readers import PairPhotos
from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.encoders import batched, load_every_block
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.open_clip import OpenClipVisionEncoder
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError, UsageError
from pacl_bench.image_sets import ImageSet
from pacl_bench.signals import stopped_as_by_ctrl_c
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study

WHOLE, SQUARE = View(whole=True), View(whole=False)


def kept(encoder: VisionEncoder, images: ImageSet, view: View) -> CachedTokens:
    """The tokens in the cache, where they are now if they were not."""
    tokens = EncodedSet(encoder, images, view).kept()
    assert tokens is not None
    return tokens


@pytest.fixture
def forward_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each forward pass had."""
    counted = []
    original = batched.encode_batch

    def counting(encoder, tensors, view):
        counted.append(len(tensors))
        return original(encoder, tensors, view)

    monkeypatch.setattr(batched, "encode_batch", counting)
    return counted


def test_the_cache_gives_what_the_encoder_gives(voc: Path, clip_spec: str, forward_passes: list[int]) -> None:
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    for index, features in EncodedSet(encoder, images, WHOLE).features():
        direct = encoder(encoder.preprocess.whole(images.image(index))[None])
        assert features.grid == direct.grid
        assert torch.equal(features.patch_tokens, direct.patch_tokens.half().float())
        assert features.cls_token is not None
        assert torch.equal(features.cls_token, direct.cls_token.half().float())
    assert sum(forward_passes) == 6
    again = [features for _, features in EncodedSet(encoder, images, WHOLE).features()]
    assert sum(forward_passes) == 6
    assert len(again) == 6


def test_every_block_comes_from_one_pass(voc: Path, clip_spec: str, forward_passes: list[int]) -> None:
    images = load_segmentation("voc20")
    first, last = load_every_block(f"{clip_spec}?block=all")
    assert (first.name, last.name) == ("small-clip block 0", "small-clip block 1")
    together = {encoder.block: kept(encoder, images, WHOLE) for encoder in (last, first)}
    assert sum(forward_passes) == 6
    for block, tokens in together.items():
        named = load_encoder(f"{clip_spec}?block={block}")
        assert named.fingerprint == first.fingerprint
        for index, features in EncodedSet(named, images, WHOLE).features():  # under the key of the block itself
            assert torch.equal(features.patch_tokens, tokens[index].patch_tokens)
            direct = named(named.preprocess.whole(images.image(index))[None])
            torch.testing.assert_close(features.patch_tokens, direct.patch_tokens, rtol=2e-3, atol=1e-3)
            torch.testing.assert_close(features.cls_token, direct.cls_token, rtol=2e-3, atol=1e-3)
    assert sum(forward_passes) == 6


def test_blocks_that_do_not_fit_together_are_encoded_one_by_one(
    voc: Path, clip_spec: str, forward_passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = load_every_block(f"{clip_spec}?block=all")
    images = load_segmentation("voc20")
    monkeypatch.setenv("PACL_CACHE_LIMIT", str(int(1.5 * EncodedSet(first, images, WHOLE).estimated_bytes)))
    for encoder in (first, last):
        kept(encoder, images, WHOLE)
    assert sum(forward_passes) == 12


def test_the_second_study_of_an_encoder_does_no_forward_pass(
    voc: Path, clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    original = OpenClipVisionEncoder.encode_blocks

    def counting(self, images, stride, grid, blocks):
        passes.append(blocks)
        return original(self, images, stride, grid, blocks)

    monkeypatch.setattr(OpenClipVisionEncoder, "encode_blocks", counting)
    every = [f"{clip_spec}?block=all"]
    run_study(Study("layers", "coherence", every, datasets=["voc20"]), tmp_path)
    assert passes
    assert {tuple(blocks) for blocks in passes} == {(0, 1)}
    passes.clear()
    run_study(Study("patches", "patches", every, datasets=["voc20", "voc21"]), tmp_path)
    run_study(Study("coherence", "coherence", [clip_spec], datasets=["voc20"]), tmp_path)
    assert passes == []


def test_numbers_do_not_depend_on_the_cache(
    voc: Path, clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    cached = [features for _, features in EncodedSet(encoder, images, WHOLE).features()]
    monkeypatch.setenv("PACL_CACHE_LIMIT", "0")
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "empty"))
    direct = [features for _, features in EncodedSet(encoder, images, WHOLE).features()]
    for one, other in zip(cached, direct, strict=True):
        torch.testing.assert_close(one.patch_tokens, other.patch_tokens, rtol=2e-3, atol=1e-4)
    monkeypatch.setenv("PACL_CACHE_LIMIT", "a lot")
    with pytest.raises(UsageError, match="PACL_CACHE_LIMIT=A LOT is no size"):
        next(EncodedSet(encoder, images, WHOLE).features())


def other_weights(encoder: VisionEncoder) -> None:
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[0] += 1


def other_preprocessing(**changes: Any) -> Callable[[VisionEncoder], None]:
    def change(encoder: VisionEncoder) -> None:
        encoder.preprocess = replace(encoder.preprocess, **changes)

    return change


@pytest.mark.parametrize(
    ("options", "view", "change"),
    [
        pytest.param("", WHOLE, other_weights, id="weights"),
        pytest.param("", WHOLE, VisionEncoder.half, id="dtype"),
        pytest.param("", WHOLE, other_preprocessing(mean=(0.5, 0.5, 0.5)), id="mean"),
        pytest.param("", WHOLE, other_preprocessing(std=(0.5, 0.5, 0.5)), id="std"),
        pytest.param("", WHOLE, other_preprocessing(interpolation="bilinear"), id="interpolation"),
        pytest.param("?size=80", WHOLE, None, id="size"),
        pytest.param("?block=0", WHOLE, None, id="block"),
        pytest.param("?tap=post-norm", WHOLE, None, id="tap"),
        pytest.param("", SQUARE, None, id="crop"),
        pytest.param("", View(whole=True, stride=8), None, id="stride"),
        pytest.param("", View(whole=True, short_side=96), None, id="short side"),
    ],
)
def test_anything_that_changes_tokens_changes_the_key(
    voc: Path, clip_spec: str, options: str, view: View, change: Callable[[VisionEncoder], None] | None
) -> None:
    images, encoder = load_segmentation("voc20"), load_encoder(clip_spec + options)
    if change is not None:
        encoder = deepcopy(encoder)  # a loaded model is shared
        change(encoder)
    assert EncodedSet(encoder, images, view).folder != EncodedSet(load_encoder(clip_spec), images, WHOLE).folder


def test_other_images_are_another_key(voc: Path, clip_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(clip_spec)

    def key() -> str:
        return EncodedSet(encoder, load_segmentation("voc20"), WHOLE).folder.name

    images = load_segmentation("voc20")
    keys = [key()]
    (voc / "ImageSets/Segmentation/val.txt").write_text("\n".join(images.ids[:3]))
    keys.append(key())
    (voc / "ImageSets/Segmentation/val.txt").write_text("\n".join(images.ids[2::-1]))
    keys.append(key())
    (voc / "JPEGImages" / f"{images.ids[0]}.jpg").write_bytes(b"another photo")
    keys.append(key())
    monkeypatch.setattr(module, "FORMAT", 0)
    keys.append(key())
    assert len(set(keys)) == 5


def test_the_files_of_a_set_are_looked_at_once(
    voc: Path, clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    original = images_module.lines_fingerprint
    monkeypatch.setattr(images_module, "lines_fingerprint", lambda lines: looked_at.append(1) or original(lines))
    run_study(Study("segment", "segment", [clip_spec], datasets=["voc20"]), tmp_path)
    run_study(Study("other", "patches", [clip_spec], datasets=["voc20"]), tmp_path)
    assert len(looked_at) == 2  # once a load


def test_a_set_whose_files_changed_between_two_loads_has_another_key(voc: Path, clip_spec: str) -> None:
    encoder, before = load_encoder(clip_spec), load_segmentation("voc20")
    key = EncodedSet(encoder, before, WHOLE).key
    (voc / "JPEGImages" / f"{before.ids[0]}.jpg").write_bytes(b"another photo")
    assert EncodedSet(encoder, before, WHOLE).key == key
    assert EncodedSet(encoder, load_segmentation("voc20"), WHOLE).key != key


def photos(folder: Path, *greys: int) -> PhotoFiles:
    """Images of one grey each: files of equal names and sizes, whatever the grey."""
    folder.mkdir(parents=True)
    files = [folder / "things" / f"{index}.bmp" for index in range(len(greys))]
    files[0].parent.mkdir()
    for file, grey in zip(files, greys, strict=True):
        Image.new("RGB", (64, 64), (grey, grey, grey)).save(file)
    return PhotoFiles("things", files)


def test_equal_names_and_sizes_are_not_yet_one_set(clip_spec: str, tmp_path: Path, forward_passes: list[int]) -> None:
    encoder = load_encoder(clip_spec)
    first, other = photos(tmp_path / "a", 0, 80), photos(tmp_path / "b", 0, 200)
    assert first.fingerprint == other.fingerprint
    tokens = [kept(encoder, images, WHOLE) for images in (first, other)]
    assert torch.equal(tokens[0][0].patch_tokens, tokens[1][0].patch_tokens)
    for images, of_images in zip((first, other), tokens, strict=True):
        direct = encoder(encoder.preprocess.whole(images.image(1))[None])
        assert torch.equal(of_images[1].patch_tokens, direct.patch_tokens.half().float())
    assert sum(forward_passes) == 4
    kept(encoder, photos(tmp_path / "copy", 0, 80), WHOLE)
    kept(encoder, other, WHOLE)
    assert sum(forward_passes) == 4


def test_of_pairs_more_than_a_sample_is_looked_at(clip_spec: str, tmp_path: Path) -> None:
    """A picture in the middle, replaced at equal size: patch tokens to train on are not those of the picture before."""
    encoder = load_encoder(clip_spec)
    before = photos(tmp_path / "a", *range(100))
    after = photos(tmp_path / "b", *range(51), 200, *range(52, 100))
    assert before.contents_sample == after.contents_sample
    keys = [EncodedSet(encoder, PairPhotos("things", images.files), WHOLE).key for images in (before, after, before)]
    assert keys[0] == keys[2] != keys[1]


def test_tokens_of_an_earlier_version_stay(
    clip_spec: str, tmp_path: Path, forward_passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did not look into the files."""
    encoder, images = load_encoder(clip_spec), photos(tmp_path / "a", 0, 80)
    with monkeypatch.context() as earlier:
        earlier.setattr(module, "contents_sample", lambda images: "")
        before = kept(encoder, images, WHOLE)
    assert kept(encoder, images, WHOLE).folder == before.folder
    assert sum(forward_passes) == 2


def test_names_and_places_do_not_change_the_key(voc: Path, clip_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = EncodedSet(load_encoder(clip_spec), load_segmentation("voc20"), WHOLE).folder
    moved = voc.parents[1].rename(voc.parents[2] / "moved")
    monkeypatch.setenv("PACL_DATA", str(moved))
    renamed = load_encoder(f"renamed={clip_spec.partition('=')[2]}")
    assert EncodedSet(renamed, load_segmentation("voc20"), WHOLE).folder == before


def test_a_measurement_never_leaves_out_an_image_in_silence(voc: Path, clip_spec: str, monkeypatch) -> None:
    images = load_segmentation("voc20")
    (voc / "JPEGImages" / f"{images.ids[4]}.jpg").write_bytes(b"broken")
    for limit in ("0", "1GB"):
        monkeypatch.setenv("PACL_CACHE_LIMIT", limit)
        with pytest.raises(RunError, match=f"{images.ids[4]}.jpg"):
            list(EncodedSet(load_encoder(clip_spec), images, WHOLE).features())


def test_broken_images_keep_their_place(pairs_csv: Path, clip_spec: str) -> None:
    photos, encoder = load_pairs(str(pairs_csv))[0].photos, load_encoder(clip_spec)
    tokens = kept(encoder, photos, SQUARE)
    assert list(tokens.broken) == [3]
    direct = encoder(encoder.preprocess(photos.image(7))[None]).patch_tokens
    torch.testing.assert_close(tokens.batch([2, 7])[1:], direct, rtol=2e-3, atol=1e-4)
    online = OnlineTokens(EncodedSet(encoder, photos, SQUARE))
    assert online.broken == tokens.broken
    torch.testing.assert_close(online.batch([7, 2]), tokens.batch([7, 2]), rtol=2e-3, atol=1e-4)


def test_an_interrupted_encoding_is_gone_on_with(
    voc: Path, clip_spec: str, forward_passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    counting = batched.encode_batch

    def interrupted(*given):
        if sum(forward_passes) == 4:
            raise KeyboardInterrupt
        return counting(*given)

    monkeypatch.setattr(batched, "encode_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept(encoder, images, WHOLE)
    monkeypatch.setattr(batched, "encode_batch", counting)
    tokens = kept(encoder, images, WHOLE)
    assert sum(forward_passes) == 6
    for index in range(6):
        direct = encoder(encoder.preprocess.whole(images.image(index))[None])
        assert torch.equal(tokens[index].patch_tokens, direct.patch_tokens.half().float())


def test_a_stop_that_python_lost_is_heeded_before_the_next_image(voc: Path, clip_spec: str) -> None:
    encoded, seen = EncodedSet(load_encoder(clip_spec), load_segmentation("voc20"), WHOLE), []
    assert encoded.kept() is not None

    def measure() -> None:
        for index, _ in encoded.features():
            seen.append(index)
            with suppress(KeyboardInterrupt):  # as the callback of a weak reference would
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), stopped_as_by_ctrl_c():
        measure()
    assert seen == [0]


def test_blocks_of_which_one_had_more_before_an_interruption(
    voc: Path, clip_spec: str, forward_passes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders, images = load_every_block(clip_spec), load_segmentation("voc20")
    uninterrupted = [kept(encoder, images, WHOLE).tokens.tobytes() for encoder in encoders]
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pacl_bench.caching.token_file.COMMIT_SECONDS", 0)
    forward_passes.clear()
    counting = batched.encode_batch

    def interrupted(*given):
        if sum(forward_passes) == 4:
            raise KeyboardInterrupt
        return counting(*given)

    monkeypatch.setattr(batched, "encode_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kept(encoders[0], images, WHOLE)
    monkeypatch.setattr(batched, "encode_batch", counting)
    folder = EncodedSet(encoders[1], images, WHOLE).folder
    batches = folder.with_name(f".partial-{folder.name}") / "batches.jsonl"
    batches.write_text(batches.read_text().splitlines(keepends=True)[0])  # the second block had committed less
    assert [kept(encoder, images, WHOLE).tokens.tobytes() for encoder in encoders] == uninterrupted


def test_texts_are_embedded_once(clip_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pacl_bench import load_text_encoder

    encoder = load_text_encoder(clip_spec)
    first = cached_texts(encoder, ["a cat", "a dog"])
    torch.testing.assert_close(first, encoder(["a cat", "a dog"]))
    monkeypatch.setattr(type(encoder), "forward", None)
    assert torch.equal(cached_texts(encoder, ["a cat", "a dog"]), first)


def test_poolings_of_one_model_are_kept_apart() -> None:
    from pacl_bench.encoders.base import TextEncoder

    class Pooled(TextEncoder):
        dim = 2

        def __init__(self, pool: str):
            super().__init__()
            self.name, self.pool = "pooled", pool

        @property
        def settings(self) -> dict[str, object]:
            return {"pool": self.pool}

        def encode(self, texts: list[str]) -> torch.Tensor:
            return torch.eye(2)[[0 if self.pool == "mean" else 1] * len(texts)]

    assert cached_texts(Pooled("mean"), ["a"]).tolist() == [[1, 0]]
    assert cached_texts(Pooled("cls"), ["a"]).tolist() == [[0, 1]]
