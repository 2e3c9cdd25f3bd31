"""Where the time of a training step goes, from JPEG shards to the optimizer: reading, decoding, encoding, the head."""

import io
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import nn
from webdataset.writer import TarWriter

from pacl_bench.bench.memory import wait_for
from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.shard_pairs import RawPair, read_pairs
from pacl_bench.encoders.base import Preprocess
from pacl_bench.encoders.open_clip import OpenClipVisionEncoder
from pacl_bench.encoders.open_clip_text import OpenClipTextEncoder
from pacl_bench.encoders.open_clip_weights import untrained_clip
from pacl_bench.model.embedder import make_head
from pacl_bench.model.head_files import RESIDUAL
from pacl_bench.progress import track
from pacl_bench.training.batches import Batches, Drawing
from pacl_bench.training.encoded_stream import SharedStreams
from pacl_bench.training.recipe import RECIPES, Loading
from pacl_bench.training.run import open_batches
from pacl_bench.training.skip_log import SkipLog
from pacl_bench.training.state import TrainState
from pacl_bench.training.stream import LANES

ARCHITECTURE = "ViT-B-16"
PHOTO = (340, 256)  # width and height, as img2dataset leaves photos whose short side is 256
# words of captions, which the built-in text encoder knows too
COLOURS = ("blue", "green", "orange", "pink", "purple", "red", "white", "yellow")
THINGS = ("balloon", "basket", "cactus", "donut", "hedgehog", "kite", "ladybug", "leopard", "snake", "waffle", "zebra")


@dataclass(frozen=True)
class Part:
    """A part of a step."""

    part: str
    seconds: float  # of a step
    share: float  # of the whole step; what the loading processes do runs beside it


class _Calls:
    """Seconds that the calls of a module take."""

    def __init__(self, module: nn.Module, device: str):
        self.seconds, self._device = 0.0, device
        module.register_forward_pre_hook(self._begin)
        module.register_forward_hook(self._end)

    def _begin(self, *given: Any) -> None:
        wait_for(self._device)
        self._started = time.perf_counter()

    def _end(self, *given: Any) -> None:
        wait_for(self._device)
        self.seconds += time.perf_counter() - self._started


def training_costs(
    batch_size: int, steps: int, device: str, loading: Loading, bfloat16: bool = False, architecture: str = ARCHITECTURE
) -> list[Part]:
    """Of a CLIP of open_clip with random weights, on batches of photos of noise in JPEG.

    Encoders and head are measured in a run with its loading processes, which read and decode beside it; what a step
    takes beyond them is waiting for pairs. What the loading processes do for a batch is measured before, in one.

    Args:
        steps: that are measured, after one that does not count.
    """
    torch.manual_seed(0)
    clip = untrained_clip(architecture)
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    preprocess = Preprocess(clip.visual.image_size[0], clip.visual.patch_size[0], mean, std)
    vision = OpenClipVisionEncoder(architecture, clip.visual, preprocess).to(device)
    text = OpenClipTextEncoder(architecture, clip, open_clip.get_tokenizer(architecture)).to(device)
    state = TrainState(make_head(RESIDUAL, vision.width, text.dim).to(device), RECIPES["small"], {})
    with TemporaryDirectory() as folder:
        shards = Path(folder) / "photos"
        write_shards(shards, batch_size * (steps + 1))
        seconds = _loaded(shards, preprocess, batch_size)
        drawing = Drawing(batch_size, 0.0, 0, bfloat16=bfloat16)
        skipped = SkipLog(Path(folder) / "skipped.jsonl", 1.0, {})
        batches = open_batches(SharedStreams(vision, text, loading), load_pairs(str(shards)), drawing, skipped, {})
        try:
            trained = _trained(vision, text, state, batches, steps)
        finally:
            batches.close()
    whole = trained["whole step"]
    return [Part(name, taken, taken / whole) for name, taken in (seconds | trained).items()]


def _loaded(shards: Path, preprocess: Preprocess, batch_size: int) -> dict[str, float]:
    """Reading and decoding the pairs of a batch."""
    started = time.perf_counter()
    found = (pair for file in sorted(shards.glob("*.tar")) for pair in read_pairs(file))
    pairs = [pair for pair in islice(found, batch_size) if isinstance(pair, RawPair)]
    read = time.perf_counter()
    for pair in pairs:
        preprocess.square(pair.image())
    decoded = time.perf_counter()
    return {"reading, in one process": read - started, "decoding, in one process": decoded - read}


def _trained(vision: nn.Module, text: nn.Module, state: TrainState, batches: Batches, steps: int) -> dict[str, float]:
    """Seconds of a step, by what is done in them."""
    device = str(state.log_temperature.device)
    encoding, embedding, whole, head = _Calls(vision, device), _Calls(text, device), 0.0, 0.0
    for step in track(range(steps + 1), "measuring"):
        if step == 1:
            encoding.seconds = embedding.seconds = whole = head = 0.0
        started = time.perf_counter()
        batch = batches.batch(step)
        given = time.perf_counter()
        state.update(batch, 1e-3)
        wait_for(device)
        head += time.perf_counter() - given
        whole += time.perf_counter() - started
    parts = {"vision encoder": encoding.seconds, "text tower": embedding.seconds, "head, loss, optimizer": head}
    parts |= {"waiting for pairs": max(0.0, whole - sum(parts.values())), "whole step": whole}
    return {name: seconds / steps for name, seconds in parts.items()}


def caption(number: int) -> str:
    """One of 968: "a blue balloon beside a basket"."""
    rest, colour = divmod(number, len(COLOURS))
    first, second = (THINGS[at % len(THINGS)] for at in (rest, rest // len(THINGS)))
    return f"a {COLOURS[colour]} {first} beside a {second}"


def write_shards(folder: Path, pairs: int) -> None:
    """Photos of coarse noise with captions, in as many tars as there are lanes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for shard in range(LANES):
        with TarWriter(str(folder / f"{shard:05}.tar")) as tar:
            for number in range(shard, pairs, LANES):
                coarse = random.integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
                content = io.BytesIO()
                Image.fromarray(coarse).resize(PHOTO).save(content, "JPEG", quality=90)
                tar.write({"__key__": f"{number:09}", "jpg": content.getvalue(), "txt": caption(number)})
