"""What segmentation costs beside the encoder: upsampling, the best class of each pixel, counting."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import open_clip
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from pacl_bench.bench.memory import peak_mb
from pacl_bench.encoders.base import PatchFeatures, Preprocess
from pacl_bench.encoders.open_clip import OpenClipVisionEncoder
from pacl_bench.encoders.open_clip_weights import untrained_clip
from pacl_bench.encoders.view import View
from pacl_bench.evaluators.protocols import PixelReading, Rules, Scorer, read_pixels
from pacl_bench.evaluators.score_field import score_field
from pacl_bench.evaluators.steps import SCALE, Steps
from pacl_bench.image_sets import IGNORE_LABEL
from pacl_bench.metrics.segmentation import confusion_matrix
from pacl_bench.model.compatibility import patch_similarity
from pacl_bench.progress import track

PRESENT = 6  # classes in the picture
SWEEP = tuple(round(at / 10, 1) for at in range(1, 10))  # thresholds


@dataclass(frozen=True)
class Case:
    """One image and what is asked of it."""

    classes: int = 171
    height: int = 480
    width: int = 640
    size: int | None = None  # short side the encoder sees; None is 224
    stride: int = 16


def bench_segmentation(case: Case, repeats: int = 5) -> list[dict[str, Any]]:
    """Time and memory of each part for clip-b16 with random weights, and of the naive way beside it in the same run.

    All parts are run in turn, `repeats` times after a first time that does not count; times are medians. Memory is
    what a part held at once beyond what was held before it; None where the system does not tell (other than Linux).
    """
    with torch.no_grad():
        parts = _parts(case)
        times: dict[str, list[float]] = {name: [] for name in parts}
        for _ in track(range(repeats + 1), "measuring"):
            for name, part in parts.items():
                started = time.perf_counter()
                part()
                times[name].append(time.perf_counter() - started)
        memory = {name: peak_mb(part) for name, part in parts.items()}
    medians = {name: statistics.median(taken[1:]) for name, taken in times.items()}
    return [
        {
            "part": name,
            "ms": round(1000 * taken, 1),
            "of the encoder's time": f"{taken / medians['encoder']:.1%}",
            "peak MB": memory[name],
        }
        for name, taken in medians.items()
    ]


class _Image:
    """An image of noise on its way through segmentation: what a part needs of the ones before it is made beforehand."""

    def __init__(self, case: Case):
        self.case, self.shape = case, (case.height, case.width)
        self.encoder, self.view = random_clip_b16(), View(whole=True, short_side=case.size, stride=case.stride)
        random = np.random.default_rng(0)
        photo = Image.fromarray(random.integers(0, 256, (*self.shape, 3), dtype=np.uint8))
        self.pixels = self.encoder.preprocess.whole(photo, case.size)[None]
        self.features = self.encode()
        self.classes = normalize(torch.randn(case.classes, self.encoder.projection_dim or 0), dim=-1)
        self.present = np.sort(random.choice(case.classes, min(PRESENT, case.classes), replace=False))
        self.label_map = _fields(self.present, self.shape)

    def encode(self) -> PatchFeatures:
        return self.encoder(self.pixels, self.case.stride)

    def scores(self) -> Float[Tensor, "label row col"]:
        patch_embeddings = self.encoder.project(self.features.patch_tokens)
        return patch_similarity(patch_embeddings, self.classes)[0].unflatten(-1, self.features.grid)

    def read(self, scores: Float[Tensor, "label row col"], rules: Rules) -> PixelReading:
        shown, labels = self.view.shape(self.encoder, self.shape), torch.arange(self.case.classes)
        field = score_field(scores, labels, Steps(), self.view, shown, self.encoder.patch_size, self.shape)
        return read_pixels(field, self.case.classes, self.present.tolist(), rules)

    def count(self, reading: PixelReading, rules: Rules) -> None:
        names = [str(label) for label in range(self.case.classes)]
        Scorer(names, rules).add(reading, self.label_map, boundary=5)

    def after(self, rules: Rules) -> None:
        self.count(self.read(self.scores(), rules), rules)

    def naive(self) -> None:
        """As most code does it."""
        logits = interpolate(self.scores()[None], self.shape, mode="bilinear", align_corners=False)[0]
        present, truth = torch.from_numpy(self.present), torch.from_numpy(self.label_map)
        for predicted in (logits.argmax(0), present[logits[present].argmax(0)]):
            confusion_matrix(predicted, truth, self.case.classes, IGNORE_LABEL)


def _parts(case: Case) -> dict[str, Callable[[], object]]:
    """Each part as a function of nothing."""
    image, plain, sweep = _Image(case), Rules(None), Rules(0, SWEEP, (1.5,), SCALE)
    scores = image.scores()
    reading, noise = image.read(scores, plain), torch.randn(scores.shape)
    return {
        "encoder": image.encode,
        "all after it": partial(image.after, plain),
        "- scores of patches": image.scores,
        "- upsampling, best classes": partial(image.read, scores, plain),
        "- the same where every patch is noise": partial(image.read, noise, plain),
        "- counting": partial(image.count, reading, plain),
        f"all after it, with {len(SWEEP)} thresholds and an entropy": partial(image.after, sweep),
        "the naive way: all logits at full size": image.naive,
    }


def _fields(labels: Int[np.ndarray, " present"], shape: tuple[int, int]) -> UInt8[np.ndarray, "height width_px"]:
    """A label map of upright fields of equal size, with a band of ignored pixels above."""
    height, width = shape
    label_map = np.repeat(np.sort(np.resize(labels, width))[None], height, 0).astype(np.uint8)
    label_map[: height // 20] = IGNORE_LABEL
    return label_map


def random_clip_b16() -> OpenClipVisionEncoder:
    """The vision tower of CLIP's ViT-B/16 with weights that nobody trained: as slow as the real one."""
    torch.manual_seed(0)
    clip = untrained_clip("ViT-B-16-quickgelu")
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return OpenClipVisionEncoder("clip-b16", clip.visual, Preprocess(224, 16, mean, std))
