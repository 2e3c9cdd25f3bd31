"""What the steps of a plan will take: images to encode, pairs, hours, gigabytes. Estimated from a probe of a minute.

An estimate counts what is most of the work: loading encoders, encoding images and texts, the steps of training, scoring
images, counting pairs of patches, drawing and writing. What is in the cache or recorded costs nothing.
`pacl-bench bench plan` sets estimates beside what then passes.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.data.captions import noun_prompts
from pacl_bench.data.pair_readers import Pairs
from pacl_bench.data.pairs import load_pairs
from pacl_bench.data.vocabulary import load_templates, templates_for
from pacl_bench.encoders import load_encoder, load_text_encoder
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.encoders.view import View
from pacl_bench.errors import UsageError
from pacl_bench.evaluators import find_evaluator
from pacl_bench.evaluators.segmentation import encoded_sets
from pacl_bench.evaluators.settings import ClassificationSettings, CoherenceSettings, SegmentationSettings
from pacl_bench.files import place_of
from pacl_bench.image_sets import ImageSet
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.embedder import make_head
from pacl_bench.records import Record
from pacl_bench.studies import probes
from pacl_bench.studies.plan import Plan, Setting
from pacl_bench.studies.runner import datasets_of, settings_of, study_cells
from pacl_bench.studies.steps import DrawStep, MeasureStep, ReportStep, Step, TrainStep
from pacl_bench.training.batches import TRAINING_VIEW, Sets
from pacl_bench.training.recipe import TrainConfig
from pacl_bench.training.side_by_side import images_shown

PROBE = 60.0  # seconds that all probes together may take
PROBED_PAIRS = 64
COPIES = 6  # of a head's weights on disk and on their way there: weights, checkpoint (with two moments) and its next
SCORING = 0.001  # seconds that an encoded image takes at least
DRAWN, BYTES_READ = 5e-5, 2e9  # seconds to draw a pair that is in memory; bytes of tokens read and checked a second
FINISHING = 0.3  # seconds to keep the state of a head, and to write it: an estimate, not probed
PICTURE, REPORT = 3.0, 15.0  # seconds to draw an image of a picture, and to write a report: estimates, not probed
TAGGED = 2000  # captions, of which the noun prompts are counted
RECORD = 2_000_000  # bytes, at most
Measured = TypeVar("Measured")


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
        self.rates: dict[Any, Any] = {}  # of what was probed
        self.load_seconds: dict[str, float] = {}  # of encoders
        self.vision = lru_cache(maxsize=2)(lambda name: self._loaded(name, load_encoder))
        self.text = lru_cache(maxsize=2)(lambda name: self._loaded(name, load_text_encoder))

    def _loaded(self, name: str, load: Callable[[str], Any]) -> Any:
        started = time.monotonic()
        found = load(name).to(self.device)
        self.load_seconds[name] = self.load_seconds.get(name, 0.0) + time.monotonic() - started
        return found

    def of(self, step: Step) -> Work:
        """What a step will take; a UsageError where weights are not there."""
        if step.is_done():
            return Work()
        if isinstance(step, TrainStep):
            return self._of_training(step)
        if isinstance(step, MeasureStep):
            return self._of_measuring(step)
        if isinstance(step, DrawStep):
            return Work(seconds=PICTURE * step.picture.images * len(step.picture.datasets))
        assert isinstance(step, ReportStep)
        return Work(seconds=REPORT)

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
                    self._count(work, vision, cell.dataset, settings, bare)
                    if isinstance(cell.model, AlignedModel):
                        self._count_prompts(work, cell.model.text, cell.dataset, settings)
        for encoder in step.encoders_to_come:
            for dataset in datasets_of(study, evaluator):
                self._count(work, self.vision(encoder), dataset, settings, bare=False)
        return work

    def _count(self, work: Work, vision: VisionEncoder, images: Any, settings: Any, bare: bool) -> None:
        """A measurement, whose tokens are encoded for the first that needs them."""
        work.measurements += 1
        work.kept_bytes += RECORD
        sets = passes(vision, images, settings, bare)
        for encoded in sets:
            self._encode(work, encoded)
            work.add(len(images), SCORING)
        if isinstance(settings, SegmentationSettings):
            for chosen in settings.chosen(images):
                known = (images.name, vision.patch_size, str(settings), str(chosen.steps))
                probe = partial(probes.segmenting_seconds, vision, images, settings, chosen)
                each = self._probed(("segment", *known), probe)
                work.add(len(images), each)
        if isinstance(settings, CoherenceSettings):
            self._count_pairs(work, sets[0], images, settings)

    def _count_pairs(self, work: Work, encoded: EncodedSet, images: Any, settings: CoherenceSettings) -> None:
        """Of the patches of all images that count, as many of each as of the first ones."""
        width = encoded.encoder.width
        labelled = self._probed(
            ("label", images.name, str(encoded.view.identity), width),
            lambda: probes.labelling(images, encoded, settings),
        )
        pairs = self._probed(("pairs", width), lambda: probes.pairs_seconds(width, self.device))
        if labelled is None or pairs is None:
            work.seconds = None
            return
        patches = len(images) * labelled[1]
        work.add(len(images), labelled[0])
        work.add(1, pairs[0] + pairs[1] * patches**2 / 2)

    def _count_prompts(self, work: Work, text: TextEncoder, images: Any, settings: Any) -> None:
        """The prompts of a data set's classes, which are embedded once."""
        if isinstance(settings, ClassificationSettings):
            templates = templates_for(images, settings.templates)
        else:
            templates = load_templates("paper7")  # another choice changes little
        known = f"{text.name} {images.name} {len(templates)}"
        if known not in self.encoded:
            self.encoded.add(known)
            work.add(len(images.classnames) * len(templates), self._text_seconds(text))

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
            work.add(together, self._image_seconds(self.vision(configs[0].encoder), probes.Photos(), TRAINING_VIEW))
        names = {name for config in configs for name in (config.encoder, config.text)}
        work.add(1, sum(self.load_seconds[name] for name in names))
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
            work.add(min(pairs, self._encode_files(work, vision, sets) or pairs), self._text_seconds(text))
            work.add(steps, self._step_seconds(vision, text, config, batch))
            tokens = EncodedSet(vision, probes.Photos(1), TRAINING_VIEW).estimated_bytes
            work.add(pairs, DRAWN + tokens / BYTES_READ)
            work.add(1, FINISHING)
        return pairs

    def _encode_files(self, work: Work, vision: VisionEncoder, sets: Sets) -> int:
        """Counts the images of pairs in files, which are encoded once; how many texts these have, 0 of a stream."""
        numbered = [pairs for pairs in sets if isinstance(pairs, Pairs)]
        if len(numbered) < len(sets):
            return 0
        for pairs in numbered:
            self._encode(work, EncodedSet(vision, pairs.photos, TRAINING_VIEW))
        return sum(map(number_of_texts, numbered))

    def _image_seconds(self, vision: VisionEncoder, images: ImageSet, view: View) -> float | None:
        known = vision.name, str(view.identity), images.name
        return self._probed(known, lambda: probes.image_seconds(vision, images, view))

    def _text_seconds(self, text: TextEncoder) -> float | None:
        return self._probed(("text", text.name), lambda: probes.text_seconds(text))

    def _step_seconds(self, vision: VisionEncoder, text: TextEncoder, config: TrainConfig, batch: int) -> float | None:
        """Of a step; of a large batch from two smaller ones: a part for each pair, and one for each two of them."""

        def seconds(pairs: int) -> float | None:
            known = "step", vision.name, text.dim, config.head, config.recipe.steps, pairs
            return self._probed(known, lambda: probes.step_seconds(vision, text, config, pairs))

        if batch <= 2 * PROBED_PAIRS:
            return seconds(batch)
        small, large = seconds(PROBED_PAIRS), seconds(2 * PROBED_PAIRS)
        if small is None or large is None:
            return None
        quadratic = max(0.0, (large - 2 * small) / (2 * PROBED_PAIRS**2))
        return batch * (max(0.0, small / PROBED_PAIRS - quadratic * PROBED_PAIRS) + quadratic * batch)

    def _probed(self, what: Any, probe: Callable[[], Measured]) -> Measured | None:
        """What a probe measures, once; None where the time for probes is over."""
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


def number_of_texts(pairs: Pairs) -> int:
    """The captions of a set, and the noun prompts made of them; of a large set from those of its first captions."""
    captions = list(dict.fromkeys(caption for of_image in pairs.captions for caption in of_image))
    tagged = captions[:TAGGED]
    prompts = {prompt for caption in tagged for prompt in noun_prompts(caption)}
    return len(captions) + round(len(prompts) * len(captions) / max(1, len(tagged)))


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
