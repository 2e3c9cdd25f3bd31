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
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from pacl_bench.bench.memory import peak_mb
from pacl_bench.encoders.base import PatchFeatures, Preprocess
from pacl_bench.encoders.open_clip import OpenClipVisionEncoder
from pacl_bench.encoders.open_clip_weights import untrained_clip
from pacl_bench.encoders.view import View
from pacl_bench.evaluators.protocols import Rules, Scorer, read_pixels
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


def _parts(case: Case) -> dict[str, Callable[[], object]]:
    """Each part as a function of nothing; what one gives the next is made beforehand."""
    encoder, view = random_clip_b16(), View(whole=True, short_side=case.size, stride=case.stride)
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 256, (case.height, case.width, 3), dtype=np.uint8))
    pixels = encoder.preprocess.whole(photo, case.size)[None]
    features: PatchFeatures = encoder(pixels, case.stride)
    classes = normalize(torch.randn(case.classes, encoder.projection_dim or 0), dim=-1)
    # fields of equal size, a band of ignored pixels above
    fields = np.sort(random.choice(case.classes, min(PRESENT, case.classes), replace=False))
    label_map = np.repeat(np.resize(fields, case.width)[None], case.height, 0).astype(np.uint8)
    label_map = np.sort(label_map, axis=1)
    label_map[: case.height // 20] = IGNORE_LABEL
    names = [str(label) for label in range(case.classes)]

    def scores() -> Float[Tensor, "label row col"]:
        return patch_similarity(encoder.project(features.patch_tokens), classes)[0].unflatten(-1, features.grid)

    def read(given: Tensor, rules: Rules) -> Any:
        shown, shape = view.shape(encoder, (case.height, case.width)), (case.height, case.width)
        field = score_field(given, torch.arange(case.classes), Steps(), view, shown, encoder.patch_size, shape)
        return read_pixels(field, case.classes, fields.tolist(), rules)

    def after(rules: Rules) -> None:
        Scorer(names, rules).add(read(scores(), rules), label_map, boundary=5)

    def naive() -> None:
        shape = (case.height, case.width)
        logits = interpolate(scores()[None], shape, mode="bilinear", align_corners=False)[0]
        present = torch.from_numpy(fields)
        for predicted in (logits.argmax(0), present[logits[present].argmax(0)]):
            confusion_matrix(predicted, torch.from_numpy(label_map), case.classes, IGNORE_LABEL)

    scored, plain = scores(), Rules(None)
    reading = read(scored, plain)
    noise = torch.randn(scored.shape)
    return {
        "encoder": partial(encoder, pixels, case.stride),
        "all after it": partial(after, plain),
        "- scores of patches": scores,
        "- upsampling, best classes": partial(read, scored, plain),
        "- the same where every patch is noise": partial(read, noise, plain),
        "- counting": lambda: Scorer(names, plain).add(reading, label_map, boundary=5),
        f"all after it, with {len(SWEEP)} thresholds and an entropy": partial(after, Rules(0, SWEEP, (1.5,), SCALE)),
        "the naive way: all logits at full size": naive,
    }


def random_clip_b16() -> OpenClipVisionEncoder:
    """The vision tower of CLIP's ViT-B/16 with weights that nobody trained: as slow as the real one."""
    torch.manual_seed(0)
    clip = untrained_clip("ViT-B-16-quickgelu")
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    return OpenClipVisionEncoder("clip-b16", clip.visual, Preprocess(224, 16, mean, std))
