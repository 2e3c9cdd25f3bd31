"""Zero-shot segmentation: each pixel gets the class whose text its patches fit best (PACL, Table 2).

One pass over the images scores many protocols, each named in the record:

- `dataset-miou`: all classes are candidates; one count over the set. The field's usual one.
- `present-miou`: the classes of the image are candidates; mIoU of each image, averaged over images.

each under every way to treat background that the set has:

- `background=none`: pixels of no class are ignored, and no candidate (voc20; voc21 without its background).
- `background=class`: background is a class like the others, with its name as the prompt (voc21).
- `background=threshold=x`: background is no candidate; a pixel is background where the probability of its best class
  is below x. Probabilities are the softmax over the other classes of scale * cosine, after upsampling.
- `background=entropy=x,scale=y`: the same, where the entropy of these probabilities is above x nats.

For the last two, `present-miou` asks whether ANY class of the set fits (the same pixels fall to the background as
under `dataset-miou`) and only then chooses among the classes of the image; in an image without background nothing
falls to it.

Somebody else's protocol (`--protocol sclip`) or a rule of its own (`--background candidate+threshold=0.1`) gives each
pixel one class, and is one number more: `dataset-miou, protocol=sclip`, or `protocol=sclip, but size=448`.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from pacl_bench import processes
from pacl_bench.caching.encoded_set import EncodedSet
from pacl_bench.encoders.base import PatchFeatures, VisionEncoder
from pacl_bench.encoders.batched import ahead
from pacl_bench.encoders.setup import Pixels, Setup
from pacl_bench.encoders.view import View
from pacl_bench.errors import RunError, UsageError
from pacl_bench.evaluators.base import Result
from pacl_bench.evaluators.patches import background_class
from pacl_bench.evaluators.predict import label_map, view_of
from pacl_bench.evaluators.presets import Chosen
from pacl_bench.evaluators.prompts import ClassTexts, class_texts, name_scores, prompts_suffix
from pacl_bench.evaluators.protocols import MapScorer, Rules, Scorer
from pacl_bench.evaluators.score_field import ScoreField, score_field
from pacl_bench.evaluators.settings import SegmentationSettings
from pacl_bench.evaluators.steps import Steps
from pacl_bench.image_sets import SegmentationImages
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.progress import console, note

PIXEL_ROUNDING = 1e-5  # of a mean or spread of pixels from 0 to 1

Keep = Callable[[int, UInt8[np.ndarray, "height width_px"]], None]  # takes an image's index and predicted map
Shown = Tensor | tuple[int, int]  # an image as the encoder saw it, or its height and width alone


@dataclass(frozen=True)
class Reading:
    """One protocol, and the words for the classes: how the images are encoded, and who counts what it makes of them."""

    model: AlignedModel  # its encoder is run as the protocol has it
    told: str  # what announcements call it
    steps: Steps
    texts: ClassTexts
    scorers: Sequence[Scorer | MapScorer]

    @property
    def view(self) -> View:
        """How the encoder is shown the images."""
        return view_of(self.steps)

    def field(
        self, features: PatchFeatures, shown: Tensor | tuple[int, int], label_size: tuple[int, int]
    ) -> ScoreField:
        """The scores of the pixels of one image; `shown` as for score_field."""
        scores = name_scores(self.model, features.patch_tokens, self.texts, features.grid)
        patch_size = self.model.vision.patch_size
        return score_field(scores, self.texts.class_of, self.steps, self.view, shown, patch_size, label_size)


def evaluate_segmentation(
    model: AlignedModel, images: SegmentationImages, settings: SegmentationSettings, keep: Keep | None = None
) -> Result:
    """Every protocol's mIoU, pixel and mean accuracy, and IoU of each class; and what the pass cost: tokens and
    milliseconds an image.

    Args:
        keep: gets each image's predicted map under the first protocol and prompt set: without a protocol, with
            background as a class, where there is one.
    """
    readings = [reading(model, images, settings, chosen) for chosen in settings.chosen(images)]
    passes = _passes(readings)
    _say_passes(passes, f"{images.name} with {model.name}")
    started, tokens, cached = time.monotonic(), 0, []
    for together in passes:
        encoded = EncodedSet(together[0].model.vision, images, together[0].view)
        cached.append(encoded.is_cached)
        label_maps = ahead(images.label_map, encoded.own)
        for (index, features), labels in zip(encoded.features(), label_maps, strict=True):
            shown = _shown(together, images, index, labels.shape)
            for one in together:
                field = one.field(features, shown, labels.shape)
                predicted = [scorer.score(field, labels, settings.boundary) for scorer in one.scorers]
                if keep is not None and one is readings[0]:
                    keep(index, predicted[0].astype(np.uint8))
            tokens += features.patch_tokens.shape[1]
    tokens = sum(processes.each(tokens))
    counting = [scorer for one in readings for scorer in one.scorers]
    for scorer in counting:
        scorer.gather()
    measured = [row for scorer in counting for row in scorer.measurements()]
    if not measured:
        raise RunError(f"{images.name} has no pixel with a label that counts.")
    per_image = {"tokens_per_image": tokens, "ms_per_image": 1000 * (time.monotonic() - started)}
    told = {name: round(value / len(images), 1) for name, value in per_image.items()}
    counts = {name: array for scorer in counting for name, array in scorer.counts().items()}
    return Result(measured, cost=told | {"tokens_from": "cache" if all(cached) else "encoder"}, counts=counts)


def encoded_sets(
    vision: VisionEncoder, images: SegmentationImages, settings: SegmentationSettings, bare: bool
) -> list[EncodedSet]:
    """What a measurement has its encoder encode: one set for each pass.

    Args:
        bare: whether the encoder is measured as it is; False: through a head.
    """
    every = [(encoder_as(vision, chosen, bare), view_of(chosen.steps)) for chosen in settings.chosen(images)]
    return list({_encoding(*one): EncodedSet(one[0], images, one[1]) for one in every}.values())


def reading(model: AlignedModel, images: SegmentationImages, settings: SegmentationSettings, chosen: Chosen) -> Reading:
    """A protocol of a model on a data set, ready to count."""
    _say_attention(model, chosen)
    run_as = replace(model, vision=encoder_as(model.vision, chosen, bare=model.head is None))
    texts = class_texts(model, images, chosen.steps)
    return Reading(run_as, chosen.told, chosen.steps, texts, scorers(images, settings, chosen))


def scorers(images: SegmentationImages, settings: SegmentationSettings, chosen: Chosen) -> Sequence[Scorer | MapScorer]:
    """Those that count a data set's images under a protocol; without one, under every way to treat background."""
    steps, background = chosen.steps, background_class(images)
    predict = partial(label_map, steps=steps, background=background or 0)
    if chosen.preset is not None:
        return [MapScorer(images.classnames, f"protocol={chosen.told}", predict)]
    suffix = prompts_suffix(steps)
    usual = Scorer(images.classnames, rules_for(images, settings, steps.scale), suffix, steps.softmax == "names")
    if settings.background is None and steps.area is None:
        return [usual]
    rule = f"background={steps.background}" + ("" if steps.area is None else f", area={steps.area:g}")
    return [usual, MapScorer(images.classnames, rule + suffix, predict)]


def encoder_as(vision: VisionEncoder, chosen: Chosen, bare: bool) -> VisionEncoder:
    """The encoder run as a protocol has it.

    Positional embeddings are the protocol's. Activation, epsilon and the scaling of pixels are so too where the encoder
    is the one that the protocol is for: bare, with the attention that the preset names. Another encoder keeps its own,
    and so does a head's, since the head was trained on what it gives.
    """
    pos = chosen.steps.pos
    if pos is not None and vision.pos not in (VisionEncoder.pos, pos):
        raise UsageError(f"{vision.name} has pos={vision.pos}, {chosen.told or '--pos'} wants {pos}: leave one out.")
    theirs = Setup() if chosen.preset is None else chosen.preset.setup
    if bare and theirs.attention == vision.attention:
        return vision.set_up(replace(theirs, pos=pos))
    # CLIP's own scaling with fewer digits is taken over, so that the protocols that have it share a pass
    own = Pixels(vision.preprocess.mean, vision.preprocess.std)
    pixels = theirs.pixels if theirs.pixels is not None and _nearly(theirs.pixels, own) else None
    return vision.set_up(Setup(pos=pos, pixels=pixels))


def _say_attention(model: AlignedModel, chosen: Chosen) -> None:
    wanted = None if chosen.preset is None else chosen.preset.setup.attention
    if model.head is None and wanted not in (None, model.vision.attention):
        note(f"{chosen.told} goes with attention={wanted}; {model.name} is measured with {model.vision.attention}")


def _nearly(one: Pixels, other: Pixels) -> bool:
    return bool(np.allclose([*one.mean, *one.std], [*other.mean, *other.std], rtol=0, atol=PIXEL_ROUNDING))


def _passes(readings: Sequence[Reading]) -> list[list[Reading]]:
    """Those that can share a pass through the encoder, together."""
    by_encoding: dict[tuple[str, View], list[Reading]] = {}
    for one in readings:
        by_encoding.setdefault(_encoding(one.model.vision, one.view), []).append(one)
    return list(by_encoding.values())


def _encoding(vision: VisionEncoder, view: View) -> tuple[str, View]:
    """What protocols that can share a pass through the encoder have in common."""
    return json.dumps(vision.settings, sort_keys=True), view


def _say_passes(passes: Sequence[Sequence[Reading]], title: str) -> None:
    if len(passes) > 1:
        told = " | ".join(", ".join(dict.fromkeys(one.told for one in together)) for together in passes)
        note(f"{title}: {len(passes)} passes, as protocols show the encoder other images: {told}")


def _shown(together: Sequence[Reading], images: SegmentationImages, index: int, label_size: tuple[int, ...]) -> Shown:
    """The image where a refinement is guided by it."""
    view, vision = together[0].view, together[0].model.vision
    if any(one.steps.refinement != "none" for one in together):
        return view.shown(vision, images.image(index))
    height, width = label_size
    return view.shape(vision, (height, width))


def rules_for(images: SegmentationImages, settings: SegmentationSettings, scale: float) -> Rules:
    """The ways to treat background that a set has; a line says so where more are asked for."""
    background = background_class(images)
    if background is not None:
        return Rules(background, settings.thresholds, settings.entropies, scale)
    if settings.thresholds or settings.entropies:
        line = (
            f"{images.name} has no background class: scored with background=none, not by --thresholds or --entropies."
        )
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    return Rules(None)
