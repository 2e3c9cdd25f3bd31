"""The cache as a managed thing: bounded, shared by processes, gone on with after an interruption."""

import json
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

from pacl_bench import load_encoder, load_text_encoder
from pacl_bench.caching import disk
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.caching.texts import cached_texts
from pacl_bench.caching.token_file import CachedTokens
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.view import View
from pacl_bench.errors import UsageError
from pacl_bench.image_sets import ImageSet
from pacl_bench.paths import cache_root

WHOLE, DENSE, SQUARE = View(whole=True), View(whole=True, stride=8), View(whole=False)

# What a process of its own runs; it says what it does through the pipe `told`, and goes on when it is told to.
ENCODE = """
import os
os.environ.update(environment)
import open_clip
open_clip.add_model_config(configs)
from pacl_bench import load_encoder
from pacl_bench.caching import disk, encoded_set, token_file
from pacl_bench.encoders import batched
from pacl_bench.encoders.view import View
from pacl_bench.data.segmentation import load_segmentation
from pacl_bench.errors import RunError

def step_by_step(encoder, tensors, view, original=batched.encode_batch):
    told.send(f"pass {len(tensors)}")
    if stepwise:
        told.recv()
    yield from original(encoder, tensors, view)

batched.encode_batch = step_by_step
encoded_set.note = disk.note = lambda line: told.send(f"note {line}")
token_file.COMMIT_SECONDS = 0
if largest_file:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
try:
    tokens = encoded_set.EncodedSet(load_encoder(spec), load_segmentation("voc20"), View(whole=True)).kept()
except RunError as error:
    told.send(f"failed {error}")
else:
    told.send("done")
    told.recv()  # the tokens stay open until then
    told.send(float(tokens.tokens.astype("float64").sum()))
"""
# children of a process that has torch imported and nothing else done
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["open_clip", "pacl_bench.caching.encoded_set", "pacl_bench.encoders.open_clip"])


class Encoding:
    """A process that encodes voc20 and then holds the tokens open."""

    def __init__(self, spec: str, stepwise: bool = False, largest_file: int = 0):
        self.pipe, told = processes.Pipe()
        names = {
            "environment": {name: value for name, value in os.environ.items() if name.startswith("PACL_")},
            "configs": Path(__file__).parents[1] / "open_clip_configs",
            "spec": spec,
            "stepwise": stepwise,
            "largest_file": largest_file,
            "told": told,
        }
        self.process = processes.Process(target=exec, args=(ENCODE, names), daemon=True)
        self.process.start()
        told.close()

    def until(self, word: str) -> list[str]:
        """What it says, up to what begins with `word`."""
        said = [""]
        while not said[-1].startswith(word):
            assert self.pipe.poll(60), f"no {word!r} after {said}"
            said.append(self.pipe.recv())
        return said[1:]

    def go_on(self) -> None:
        self.pipe.send("go on")

    def sum_of_tokens(self) -> float:
        self.go_on()
        found = self.pipe.recv()
        self.process.join(60)
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.join(60)


def kept(encoder: VisionEncoder, images: ImageSet, view: View) -> CachedTokens:
    """The tokens in the cache, where they are now if they were not."""
    tokens = EncodedSet(encoder, images, view).kept()
    assert tokens is not None
    return tokens


def fits(encoder: VisionEncoder, images: ImageSet, view: View) -> bool:
    encoded = EncodedSet(encoder, images, view)
    return disk.fits(encoded.key, encoded.estimated_bytes)


def passes(said: list[str]) -> list[str]:
    return [line for line in said if line.startswith("pass")]


@pytest.fixture
def more_images(voc: Path) -> int:
    """Images of one shape among those of odd ones: batches of 1, 3 and more; one is broken."""
    ids = (voc / "ImageSets/Segmentation/val.txt").read_text().split()
    listed = [ids[0], ids[1]]
    for number in range(3):
        for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            copy = voc / folder / f"2008_{number:06}.{suffix}"
            copy.write_bytes((voc / folder / f"{ids[2]}.{suffix}").read_bytes())
        listed.append(f"2008_{number:06}")
    listed += ids[3:]
    (voc / "JPEGImages" / f"{ids[4]}.jpg").write_bytes(b"broken")
    (voc / "ImageSets/Segmentation/val.txt").write_text("\n".join(listed))
    return len(listed)


def only_folder() -> Path:
    (folder,) = (cache_root() / "tokens").iterdir()
    return folder


def test_a_killed_encoding_is_gone_on_with(
    more_images: int, clip_spec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "uninterrupted"))
    whole = Encoding(clip_spec)
    all_passes = passes(whole.until("done"))
    whole.sum_of_tokens()
    expected = only_folder()
    assert all_passes == ["pass 1", "pass 1", "pass 3", "pass 1", "pass 1"]

    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "killed"))
    killed = Encoding(clip_spec, stepwise=True)
    for _ in range(3):
        killed.until("pass")
        killed.go_on()
    killed.until("pass")
    killed.kill()  # in the middle of the fourth forward pass
    partial = only_folder()
    assert partial.name == f".partial-{expected.name}"
    lines = (partial / "batches.jsonl").read_text().splitlines()
    assert [json.loads(line)["images"] for line in lines] == [1, 1, 3]
    # what a machine that lost its power may leave besides
    with (partial / "batches.jsonl").open("a") as torn:
        torn.write('{"images": 1, "gr')
    with (partial / "tokens.f16").open("ab") as torn:
        torn.write(b"half an image")
    (entry,) = disk.entries()
    assert (entry.kind, entry.in_use) == ("unfinished", False)

    resumed = Encoding(clip_spec)
    said = resumed.until("done")
    resumed.sum_of_tokens()
    assert passes(said) == all_passes[3:]
    assert "note 5 of 8 images were encoded before; going on from there" in said
    assert only_folder().name == expected.name
    for name in ("tokens.f16", "index.json"):
        assert (only_folder() / name).read_bytes() == (expected / name).read_bytes()
    assert sorted(file.name for file in only_folder().iterdir()) == ["about.json", "index.json", "tokens.f16"]


def test_two_processes_encode_a_set_once(voc: Path, clip_spec: str) -> None:
    first = Encoding(clip_spec, stepwise=True)
    first.until("pass")
    second = Encoding(clip_spec)
    second.until("note another process is encoding voc20 with small-clip; waiting for it")
    for _ in range(5):
        first.go_on()
        first.until("pass")
    first.go_on()
    first.until("done")
    assert second.until("done") == ["done"]
    assert first.sum_of_tokens() == second.sum_of_tokens()


def test_what_a_process_reads_is_not_removed(voc: Path, clip_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Encoding(clip_spec)
    reader.until("done")
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    (held,) = disk.entries()
    assert held.in_use
    monkeypatch.setenv("PACL_CACHE_LIMIT", str(held.bytes + 100))
    assert not fits(encoder, images, SQUARE)
    assert len(list(EncodedSet(encoder, images, SQUARE).features())) == 6  # measured all the same
    assert disk.clear() == ([], [held])
    expected = np.fromfile(held.path / "tokens.f16", np.float16).astype(np.float64).sum()
    assert reader.sum_of_tokens() == expected
    assert fits(encoder, images, SQUARE)
    kept(encoder, images, SQUARE)
    assert [entry.about["view"]["whole"] for entry in disk.entries()] == [False]


def test_tokens_in_memory_outlive_their_file(voc: Path, clip_spec: str) -> None:
    """Somebody may delete the folder by hand."""
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    tokens = kept(encoder, images, WHOLE)
    before = tokens[5].patch_tokens
    for file in only_folder().iterdir():
        file.unlink()
    only_folder().rmdir()
    assert (tokens[5].patch_tokens == before).all()


def test_the_least_recently_used_goes_first(voc: Path, clip_spec: str, monkeypatch, capfd) -> None:
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    cached_texts(load_text_encoder(clip_spec), ["a cat", "a dog"])
    for age, view in ((30, WHOLE), (20, SQUARE), (10, View(whole=False, stride=12))):
        kept(encoder, images, view)
        newest = max(disk.entries(), key=lambda entry: entry.used)
        aged = time.time() - age
        for path in (newest.path, *newest.path.iterdir()):
            os.utime(path, (aged, aged))
    os.utime(disk.entries()[-1].path, (1, 1))  # the texts: oldest of all
    kept(encoder, images, WHOLE)  # and so used most recently
    assert [entry.kind for entry in disk.entries()] == ["texts", "tokens", "tokens", "tokens"]
    total = sum(entry.bytes for entry in disk.entries())
    monkeypatch.setenv("PACL_CACHE_LIMIT", str(total))
    capfd.readouterr()
    kept(encoder, images, View(whole=False, stride=14))
    held = [(entry.about["view"]["whole"], entry.about["view"]["stride"]) for entry in disk.entries()]
    assert held == [(False, 12), (True, 16), (False, 14)]
    assert sum(entry.bytes for entry in disk.entries()) <= total
    err = capfd.readouterr().err
    assert "made room in the cache: removed" in err
    assert f"encoding voc20 with small-clip: about 6.5 kB of patch tokens into {cache_root()} (limit" in err


def test_a_claim_counts_before_it_is_written(voc: Path, clip_spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that encode different sets do not both take the last room."""
    other = Encoding(clip_spec, stepwise=True)
    other.until("pass")
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    (claimed,) = disk.entries()
    assert claimed.bytes < 1000 < claimed.claimed
    monkeypatch.setenv("PACL_CACHE_LIMIT", str(claimed.claimed + 1000))
    assert not fits(encoder, images, SQUARE)
    assert not disk.remove(claimed)
    other.kill()
    assert fits(encoder, images, SQUARE)
    assert disk.remove(disk.entries()[0])


@pytest.mark.parametrize(
    "damage", ["torn index", "foreign index", "no index", "short tokens", "long tokens", "no tokens"]
)
def test_a_damaged_set_is_encoded_again(voc: Path, clip_spec: str, damage: str, capfd) -> None:
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    expected = [features.patch_tokens for _, features in EncodedSet(encoder, images, WHOLE).features()]
    index, tokens = only_folder() / "index.json", only_folder() / "tokens.f16"
    if damage == "torn index":
        index.write_text(index.read_text()[:40])
    elif damage == "foreign index":
        index.write_text("[]")
    elif damage == "no index":
        index.unlink()
    elif damage == "short tokens":
        os.truncate(tokens, tokens.stat().st_size - 2)
    elif damage == "long tokens":
        tokens.write_bytes(tokens.read_bytes() + b"00")
    else:
        tokens.unlink()
    again = [features.patch_tokens for _, features in EncodedSet(encoder, images, WHOLE).features()]
    assert all((one == other).all() for one, other in zip(expected, again, strict=True))
    assert "the cached patch tokens of voc20 with small-clip are damaged; encoding them again" in capfd.readouterr().err
    list(EncodedSet(encoder, images, WHOLE).features())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array"])
def test_damaged_texts_are_embedded_again(clip_spec: str, content: bytes, capfd) -> None:
    encoder = load_text_encoder(clip_spec)
    expected = cached_texts(encoder, ["a cat", "a dog"])
    (entry,) = disk.entries()
    entry.path.write_bytes(content)
    assert (cached_texts(encoder, ["a cat", "a dog"]) == expected).all()
    assert "is damaged" in capfd.readouterr().err
    assert (np.load(entry.path) == expected.numpy()).all()


def test_a_full_disk_is_one_line_and_loses_nothing(voc: Path, clip_spec: str) -> None:
    encoding = Encoding(clip_spec, largest_file=4000)
    failed = encoding.until("failed")[-1]
    assert "encoding voc20 with small-clip: File too large. What is encoded is kept." in failed
    assert only_folder().name.startswith(".partial-")
    resumed = Encoding(clip_spec)
    assert 1 <= len(passes(resumed.until("done"))) < 6
    resumed.sum_of_tokens()


def test_what_dead_processes_left_is_swept_away(voc: Path, clip_spec: str) -> None:
    stale, fresh, foreign = (cache_root() / "tokens" / name for name in (".partial-k2j4", ".partial-w8x3", ".mine"))
    for folder in (stale, fresh, foreign):
        folder.mkdir(parents=True)
        (folder / "tokens.f16").write_bytes(b"0")
    for folder in (stale, foreign):
        os.utime(folder, (1, 1))
    kept(load_encoder(clip_spec), load_segmentation("voc20"), WHOLE)
    assert [folder.exists() for folder in (stale, fresh, foreign)] == [False, True, True]


def test_info_and_clear(pacl, voc: Path, clip_spec: str) -> None:
    assert pacl("cache", "info")[:2] == (0, f"{cache_root()}: 0 bytes of 20.0 GB (PACL_CACHE_LIMIT)\n")
    images = load_segmentation("voc20")
    kept(load_encoder(clip_spec), images, DENSE)
    kept(load_encoder(f"other={clip_spec.partition('=')[2]}?block=0"), images, SQUARE)
    cached_texts(load_text_encoder(clip_spec), ["a cat", "a dog"])
    _, out, _ = pacl("cache", "info")
    assert "small-clip  voc20     whole, 64 px, stride 8, block 1, tap pre-norm" in " ".join(out.split(" "))
    assert "square, 64 px, stride 16, block 0" in out
    assert "2 texts" in out
    code, out, _ = pacl("cache", "info", "--json")
    found = json.loads(out)
    assert (code, found["folder"], found["limit_bytes"]) == (0, str(cache_root()), 20 * 10**9)
    assert [row["encoder"] for row in found["entries"]] == ["small-clip", "other", "small-clip"]
    assert found["bytes"] == sum(row["bytes"] for row in found["entries"])

    code, _, err = pacl("cache", "clear", "--encoder", "smal-clip")
    assert (code, "Unknown encoder 'smal-clip'. Did you mean 'small-clip'?" in err) == (2, True)
    assert len(disk.entries()) == 3
    code, out, _ = pacl("cache", "clear", "--encoder", "small-clip")
    assert "(sets of patch tokens: 1, lists of texts: 1)" in out
    assert [entry.encoder for entry in disk.entries()] == ["other"]
    code, out, _ = pacl("cache", "clear", "--dataset", "voc20")
    assert code == 0
    assert disk.entries() == []


def test_only_its_own_files_are_touched(pacl, voc: Path, clip_spec: str) -> None:
    """PACL_CACHE may point to a folder that holds other things."""
    kept(load_encoder(clip_spec), load_segmentation("voc20"), WHOLE)
    own = only_folder()
    mine = [
        cache_root() / "notes.txt",
        cache_root() / "tokens" / "notes.txt",
        cache_root() / "tokens" / ("a" * 32) / "thesis.tex",
        cache_root() / "texts" / "my.npy",
    ]
    for file in mine:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
    linked = cache_root() / "tokens" / ("b" * 32)
    linked.symlink_to(voc, target_is_directory=True)
    assert pacl("cache", "clear")[0] == 0
    assert not own.exists()
    assert linked.is_dir()
    assert [file.read_text() for file in mine] == ["mine"] * 4


@pytest.mark.parametrize(
    "about", [None, '{"encoder": 3, "view": {"x": 1}}', '{"encoder": "unknown", "view": {"x": 1}}']
)
def test_sets_of_another_version_have_no_names(pacl, voc: Path, clip_spec: str, about: str | None) -> None:
    encoder, images = load_encoder(clip_spec), load_segmentation("voc20")
    kept(encoder, images, WHOLE)
    (only_folder() / "about.json").unlink()
    if about is not None:
        (only_folder() / "about.json").write_text(about)
    assert len(list(EncodedSet(encoder, images, WHOLE).features())) == 6
    _, out, _ = pacl("cache", "info")
    assert "unknown" in out
    assert only_folder().name in out
    assert pacl("cache", "clear", "--encoder", "unknown")[0] == 0
    assert disk.entries() == []


@pytest.mark.parametrize("text", ["", "-5", "-1GB", "nan", "1e400", "20 bytes and more", "GB"])
def test_a_limit_that_is_no_size_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACL_CACHE_LIMIT", text)
    with pytest.raises(UsageError, match="is no size; write it like 20GB"):
        disk.cache_limit()
