"""What the steps of a plan will take: images to encode, pairs, hours, gigabytes. Estimated from a probe of a minute.

An estimate counts what is most of the work: encoding images and texts, and the steps of training. What is in the cache
or recorded costs nothing.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.data.pair_readers import Pairs
from pacl_bench.data.pairs import load_pairs
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.encoders.view import View
from pacl_bench.errors import UsageError
from pacl_bench.evaluators import find_evaluator
from pacl_bench.evaluators.segmentation import encoded_sets
from pacl_bench.evaluators.settings import ClassificationSettings, SegmentationSettings
from pacl_bench.files import place_of
from pacl_bench.image_sets import BrokenImage, ImageSet
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.compatibility import compatibility
from pacl_bench.model.embedder import make_head
from pacl_bench.model.loss import info_nce
from pacl_bench.records import Record
from pacl_bench.studies.plan import Plan, Setting
from pacl_bench.studies.runner import datasets_of, settings_of, study_cells
from pacl_bench.studies.steps import MeasureStep, Step, TrainStep
from pacl_bench.training.batches import TRAINING_VIEW, Sets
from pacl_bench.training.recipe import TrainConfig
from pacl_bench.training.side_by_side import images_shown

PROBE = 60.0  # seconds that all probes together may take
PROBED_IMAGES, PROBED_TEXTS, PROBED_PAIRS = 4, 16, 32
COPIES = 6  # of a head's weights on disk and on their way there: weights, checkpoint (with two moments) and its next
SCORING = 0.003  # seconds that an encoded image takes at least
RECORD = 2_000_000  # bytes, at most


@dataclass
class Work:
    """What a step will take. `seconds` is None where the probe did not come to it."""

    images: int = 0  # to encode
    images_saved: int = 0  # that are not encoded again, since heads are trained side by side
    encoder_passes: int = 0  # over sets of images
    pairs: int = 0  # shown in training, over all passes
    passes: float = 0.0  # over the training set
    seconds: float | None = 0.0
    token_bytes: int = 0  # of patch tokens, kept in the cache where they fit
    kept_bytes: int = 0  # of heads and records
    measurements: int = 0  # to make
    records: list[Record] = field(default_factory=list)  # those there are

    def add(self, count: int, seconds_each: float | None) -> None:
        if count:
            known = self.seconds is not None and seconds_each is not None
            self.seconds = self.seconds + count * seconds_each if known else None  # type: ignore[operator]


class Survey:
    """Looks at steps one after the other: what an earlier one encodes is there for the later ones."""

    def __init__(self, device: str = "cpu", seconds: float = PROBE):
        self.device, self.until = device, time.monotonic() + seconds
        self.encoded: set[str] = set()  # keys of what is or will be in the cache
        self.rates: dict[Any, float] = {}  # seconds, of what was probed
        self.vision = lru_cache(maxsize=2)(lambda name: load_encoder(name).to(device))
        self.text = lru_cache(maxsize=2)(lambda name: load_text_encoder(name).to(device))

    def of(self, step: Step) -> Work:
        """What a step will take; a UsageError where weights are not there."""
        if isinstance(step, TrainStep):
            return Work() if step.is_done() else self._of_training(step)
        return self._of_measuring(step) if isinstance(step, MeasureStep) else Work()

    def _of_measuring(self, step: MeasureStep) -> Work:
        work, study = Work(), step.ready_study
        evaluator = find_evaluator(study.evaluator)
        settings = settings_of(study, evaluator)
        if study.encoders or study.heads:
            for cell in study_cells(study, step.results, step.rerun, step.device, evaluator):
                if cell.record is not None and (cell.is_current or cell.model is None) and step.rerun != "always":
                    work.records.append(cell.record)
                elif cell.model is not None:
                    vision = cell.model.vision if isinstance(cell.model, AlignedModel) else cell.model
                    bare = not isinstance(cell.model, AlignedModel) or cell.model.head is None
                    self._count(work, passes(vision, cell.dataset, settings, bare))
        for encoder in step.encoders_to_come:
            for dataset in datasets_of(study, evaluator):
                self._count(work, passes(self.vision(encoder), dataset, settings, bare=False))
        return work

    def _count(self, work: Work, sets: list[EncodedSet]) -> None:
        """A measurement of these tokens, which are encoded for the first that needs them."""
        work.measurements += 1
        work.kept_bytes += RECORD
        for encoded in sets:
            self._encode(work, encoded)
            work.add(len(encoded.images), SCORING)

    def _encode(self, work: Work, encoded: EncodedSet) -> None:
        if encoded.key in self.encoded or encoded.is_cached:
            return
        siblings = encoded.encoder.siblings or (encoded.encoder,)
        self.encoded |= {EncodedSet(one, encoded.images, encoded.view).key for one in siblings}
        work.images += len(encoded.images)
        work.encoder_passes += 1
        work.token_bytes += encoded.estimated_bytes * len(siblings)
        work.add(len(encoded.images), self._image_seconds(encoded.encoder, encoded.images, encoded.view))

    def _of_training(self, step: TrainStep) -> Work:
        work, configs = Work(), [cell.config for cell in step.to_train]
        shown = [self._head(work, config) for config in configs]
        alone, together = images_shown(configs, shown)  # a stream of shards is encoded anew in each pass
        work.images, work.images_saved = work.images + together, alone - together
        if together:
            work.add(together, self._image_seconds(self.vision(configs[0].encoder), None, TRAINING_VIEW))
        return work

    def _head(self, work: Work, config: TrainConfig) -> int:
        """Counts what one head takes, without the images of a stream; the pairs that it is shown."""
        recipe, vision, text = config.recipe, self.vision(config.encoder), self.text(config.text)
        sets = load_pairs(config.pairs)
        total = sum(pairs.num_pairs or 0 for pairs in sets)
        batch = min(recipe.batch_size, total) if total else recipe.batch_size
        steps = recipe.steps if recipe.steps is not None else (recipe.epochs or 0) * (total // max(1, batch))
        pairs = steps * batch
        work.pairs += pairs
        work.passes += pairs / total if total else 0.0
        head = make_head(config.head, vision.width, text.dim)
        work.kept_bytes += COPIES * 4 * sum(weight.numel() for weight in head.parameters())
        if pairs:
            texts = min(pairs, self._encode_files(work, vision, sets) or pairs)
            work.add(texts, self._probed(("text", text.name), lambda: _text_seconds(text)))
            linear, quadratic = self._step_seconds(vision, text, config.head)
            work.add(pairs, linear)
            work.add(pairs, None if quadratic is None else quadratic * batch)
        return pairs

    def _encode_files(self, work: Work, vision: VisionEncoder, sets: Sets) -> int:
        """Counts the images of pairs in files, which are encoded once; how many captions these have, 0 of a stream."""
        numbered = [pairs for pairs in sets if isinstance(pairs, Pairs)]
        if len(numbered) < len(sets):
            return 0
        for pairs in numbered:
            self._encode(work, EncodedSet(vision, pairs.photos, TRAINING_VIEW))
        return sum(len(captions) for pairs in numbered for captions in pairs.captions)

    def _image_seconds(self, vision: VisionEncoder, images: ImageSet | None, view: View) -> float | None:
        kind = "photo" if images is None else images.name
        return self._probed((vision.name, str(view.identity), kind), lambda: _image_seconds(vision, images, view))

    def _step_seconds(self, vision: VisionEncoder, text: TextEncoder, head: str) -> tuple[float | None, float | None]:
        """Of a pair in a step: a part of its own, and one for each other pair of the batch."""

        def seconds(batch: int) -> float | None:
            return self._probed(
                ("step", vision.name, text.dim, head, batch), lambda: _step_seconds(vision, text, head, batch)
            )

        small, large = seconds(PROBED_PAIRS), seconds(2 * PROBED_PAIRS)
        if small is None or large is None:
            return None, None
        quadratic = max(0.0, (large - 2 * small) / (2 * PROBED_PAIRS**2))
        return max(0.0, small / PROBED_PAIRS - quadratic * PROBED_PAIRS), quadratic

    def _probed(self, what: Any, probe: Callable[[], float]) -> float | None:
        """Seconds, measured once; None where the time for probes is over."""
        if what not in self.rates:
            if time.monotonic() > self.until:
                return None
            self.rates[what] = probe()
        return self.rates[what]


def passes(vision: VisionEncoder, images: Any, settings: Any, bare: bool) -> list[EncodedSet]:
    """What a measurement has the encoder encode, as far as its settings say it in the usual words.

    Args:
        bare: whether the encoder is measured as it is; False: through a head.
    """
    if isinstance(settings, SegmentationSettings):
        return encoded_sets(vision, images, settings, bare)
    whole = not isinstance(settings, ClassificationSettings)
    return [EncodedSet(vision, images, View(whole, getattr(settings, "size", None)))]


def require_space(heads: int, records: int, setting: Setting) -> None:
    """A UsageError where a disk has no room for heads and records. Tokens need none: those that do not fit are made
    again whenever they are needed.

    Args:
        heads: bytes below `setting.heads`. records: bytes below `setting.results`.
    """
    for place, needed in _needed_by_disk(heads, records, setting).items():
        free = shutil.disk_usage(place).free
        if needed > free:
            raise UsageError(
                f"{place}: {needed / 1e9:.1f} GB are needed for heads and records, {free / 1e9:.1f} GB are free. "
                "Make room, or give another --results and --out."
            )


def _needed_by_disk(heads: int, records: int, setting: Setting) -> dict[Path, int]:
    """Bytes for a folder on each disk that heads or records go to: what goes to the same disk is counted together."""
    places = place_of(setting.heads, "--out"), place_of(setting.results, "--results")
    if _disk(places[0]) == _disk(places[1]):
        return {places[1]: heads + records}
    return dict(zip(places, (heads, records), strict=True))


def _disk(place: Path) -> int:
    return place.stat().st_dev


def survey(plan: Plan, setting: Setting) -> dict[str, list[Work]]:
    """What the steps of each stage will take, in their order."""
    look, kept = Survey(setting.device), {True: 0, False: 0}
    works = {stage.title: [look.of(step) for step in stage.steps] for stage in plan.stages}
    for step, work in zip(plan.steps, chain.from_iterable(works.values()), strict=True):
        kept[isinstance(step, TrainStep)] += work.kept_bytes
    require_space(kept[True], kept[False], setting)
    return works


def _image_seconds(vision: VisionEncoder, images: ImageSet | None, view: View) -> float:
    """Of one image among several, with its decoding."""
    number = PROBED_IMAGES if images is None else min(PROBED_IMAGES, len(images))
    photo = Image.new("RGB", (256, 256))

    def tensor(index: int) -> torch.Tensor | None:
        try:
            return view.shown(vision, photo) if images is None else view.tensor(vision, images, index)
        except BrokenImage:
            return None

    def encode(index: int) -> float:
        started, shown = time.monotonic(), tensor(index)
        if shown is not None:
            vision(shown[None].to(vision.device), view.stride).patch_tokens.sum().item()
        return time.monotonic() - started

    first = encode(0)  # which warms up
    return min([first] + [encode(index) for index in range(1, number) if first < PROBE / 6])


def _text_seconds(text: TextEncoder) -> float:
    started = time.monotonic()
    text(["a photo of the large."] * PROBED_TEXTS)
    return (time.monotonic() - started) / PROBED_TEXTS


def _step_seconds(vision: VisionEncoder, text: TextEncoder, kind: str, batch: int) -> float:
    """Of a step of training without its encoding, on random tokens."""
    side = vision.image_size // vision.patch_size
    head = make_head(kind, vision.width, text.dim).to(vision.device)
    tokens = torch.randn(batch, side * side, vision.width, device=vision.device)
    texts = torch.randn(batch, text.dim, device=vision.device)
    seconds = []
    for _ in range(2):
        started = time.monotonic()
        info_nce(compatibility(head(tokens), texts), torch.tensor(0.07, device=vision.device)).backward()
        seconds.append(time.monotonic() - started)
    return min(seconds)
