"""What can be set in each evaluator: the one place where a setting's default, bounds and meaning are declared.

The options of the commands, the table [settings] of study files and `config.settings` of records are made from these
classes and checked by them, so a new setting is one line here:

    smooth: Annotated[int, Field(ge=0, description="What it does, as --help says it.")] = 0

It comes last in its class, and its default leaves the names of records as they are. What bounds cannot say is an
AfterValidator that raises a ValueError; it may look at the settings above it (pydantic's ValidationInfo.data). What
only the data set can tell is checked by `resolve`. No torch here.
"""

from dataclasses import asdict, fields
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from pacl_bench.data.vocabulary import (
    load_vocabulary,
    templates_for,
    vocabulary_label,
)
from pacl_bench.encoders.setup import MOST_PIXELS, Position, Remainder, Resize
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.presets import Chosen, chosen
from pacl_bench.evaluators.setting_checks import (
    all_told_apart,
    each_passes,
    exactly_one,
    file_name,
    numbers_told_apart,
    passes,
    require_protocol,
    require_templates,
    require_vocabulary,
)
from pacl_bench.evaluators.steps import (
    CANDIDATE,
    Fusion,
    Merged,
    Names,
    Refinement,
    Softmax,
    Steps,
    Upsampled,
    Upsampling,
    parse_background,
)
from pacl_bench.metrics import Scope
from pacl_bench.registry import listed, text_hash
from pacl_bench.validation.values import STRICT

STEGO = "stego"
FIRST_STEPS = ("templates", "vocabulary", "names", "scale", "size", "stride", "window", "overlap", "upsampling")

# Settings that several evaluators have
Purity = Annotated[float, Field(ge=0, le=1, description="Share of a patch's pixels that must have its label.")]
Size = Annotated[
    int | None,
    Field(ge=1, le=MOST_PIXELS, description="Short side of the images in pixels; default the encoder's own."),
]
Stride = Annotated[
    int | None,
    Field(
        ge=1,
        le=MOST_PIXELS,
        description="Of the patch convolution in pixels: the stride trick. The paper: 4; default the patch size.",
    ),
]
Templates = Annotated[
    str,
    AfterValidator(exactly_one),
    AfterValidator(each_passes(require_templates)),
    Field(description="Prompts: paper7, simple, openai80, a file; classify also: own."),
]


@dataclass(frozen=True, config=STRICT)
class Settings:
    """What changes the numbers of an evaluator; each has a subclass of its own with the fields."""

    def changed(self) -> dict[str, Any]:
        """The settings that do not stand at their default: a record is named by them."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) != one.default}

    def resolve(self, images: Any) -> dict[str, Any]:
        """What names in the settings stand for on a data set, for the record: a file may change and keep its name.

        Raises:
            UsageError: the settings do not fit the data set.
        """
        return {}

    def describe(self, images: Any) -> dict[str, Any]:
        """As a record of a data set holds them: all values, and what `resolve` says."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return plain | self.resolve(images)


@dataclass(frozen=True, config=STRICT)
class PatchSettings(Settings):
    """Of patch classification."""

    purity: Purity = 0.8
    templates: Templates = "paper7"
    size: Size = None

    def resolve(self, images: Any) -> dict[str, Any]:
        return {"templates_hash": templates_hash(self.templates, images)}


@dataclass(frozen=True, config=STRICT)
class CoherenceSettings(Settings):
    """Of semantic coherence."""

    scope: Annotated[Scope, Field(description="Pairs of patches of two images, of one, or both.")] = "across"
    purity: Purity = 0.8
    keep_background: Annotated[bool, Field(description="Count background as a class, where the set has one.")] = False
    size: Size = None
    grid: Annotated[
        int | None,
        Field(
            ge=1,
            le=1000,
            description="Cells along the short side, so that encoders of other patch sizes compare; default no cells "
            "but each encoder's own patches.",
        ),
    ] = None
    protocol: Annotated[
        Literal["pairs", "stego"],
        Field(description="All pairs of patches, or STEGO's pairs of points (average precision alone)."),
    ] = "pairs"

    def resolve(self, images: Any) -> dict[str, Any]:
        needless = set(self.changed()) - {"protocol", "size"}
        if self.protocol == STEGO and needless:
            told = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(needless))
            raise UsageError(f"--protocol stego: draws pairs of its own; leave out {told}.")
        return {}

    def describe(self, images: Any) -> dict[str, Any]:
        plain = super().describe(images)
        return plain if self.protocol == STEGO else {name: plain[name] for name in plain if name != "protocol"}


@dataclass(frozen=True, config=STRICT)
class SegmentationSettings(Settings):
    """Of zero-shot segmentation.

    What is not given (None) is as the protocol has it; without one, as it is in `Steps`, which has each by the same
    name. A record without a protocol holds the steps that were there before there were protocols in any case, the
    others where they are given: records of earlier versions stay what they are.
    """

    templates: Annotated[
        str | None,
        AfterValidator(all_told_apart(file_name)),
        AfterValidator(each_passes(require_templates)),
        Field(
            description="Prompt templates: paper7 (the default), simple, openai80, maskclip85, tcl9 or files; several "
            "are scored in one pass."
        ),
    ] = None
    vocabulary: Annotated[
        str | None,
        AfterValidator(all_told_apart(vocabulary_label)),
        AfterValidator(each_passes(require_vocabulary)),
        Field(
            description="Names of the classes: plain (the default), synonyms, sclip, clearclip, maskclip, tipsv2, "
            "dinotxt or files (a line a class); several likewise."
        ),
    ] = None
    names: Annotated[
        Names | None,
        Field(description="Of several names of a class a patch takes the best score (the default), or their mean."),
    ] = None
    thresholds: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1)], ...],
        AfterValidator(numbers_told_apart),
        Field(strict=False, description="Background where the best class's probability is below: 0.1,0.2,0.3."),
    ] = ()
    entropies: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...],
        AfterValidator(numbers_told_apart),
        Field(strict=False, description="Background where the entropy over classes is above, in nats: 1.5."),
    ] = ()
    scale: Annotated[
        float | None,
        Field(gt=0, le=1_000_000, description="Of the cosines in the softmax these two are of; default 40."),
    ] = None
    boundary: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="Pixels this near to another label do not count for the boundary-blind numbers.",
        ),
    ] = 5
    size: Size = None
    stride: Stride = None
    window: Annotated[
        int | None,
        Field(
            ge=0,
            le=MOST_PIXELS,
            description="Side of a sliding window in pixels of the resized image; 0, the default, is the whole image.",
        ),
    ] = None
    overlap: Annotated[
        float | None, Field(ge=0, lt=1, description="Share of a window that the next one covers too; default 0.5.")
    ] = None
    upsampling: Annotated[
        Upsampling | None, Field(description="From patches to pixels: bilinear (the default) or nearest.")
    ] = None
    protocol: Annotated[
        str | None,
        AfterValidator(all_told_apart(str)),
        AfterValidator(each_passes(require_protocol)),
        Field(
            description="Somebody else's: sclip, naclip, clearclip, maskclip ... (pacl-bench list protocols), with all "
            "its steps; options beside it take the place of its own. Several: sclip,naclip."
        ),
    ] = None
    resize: Annotated[
        Resize | None,
        Field(
            description="To sides of whole patches (patch-multiple, the default), as mmcv does it (mmseg), or the "
            "short side alone, Pillow's bicubic (pillow)."
        ),
    ] = None
    long_side: Annotated[
        int | None, Field(ge=1, le=MOST_PIXELS, description="What the long side may not exceed, for --resize mmseg.")
    ] = None
    remainder: Annotated[
        Remainder | None, Field(description="What becomes of pixels that fill no whole patch; default none are over.")
    ] = None
    pos: Annotated[
        Position | None,
        Field(description="How positional embeddings come to another grid; default the encoder's own way."),
    ] = None
    fusion: Annotated[
        Fusion | None, Field(description="What is averaged where windows overlap: scores (the default).")
    ] = None
    upsampled: Annotated[
        Upsampled | None,
        Field(description="From patches to the label map at once (the default), or by way of the resized image."),
    ] = None
    refinement: Annotated[
        Refinement | None, Field(description="Of the scores along the edges of the image; default none.")
    ] = None
    merged: Annotated[
        Merged | None, Field(description="Where several names become one class: at patches (the default) or pixels.")
    ] = None
    softmax: Annotated[
        Softmax | None, Field(description="Over classes (the default), or over all names before they are merged.")
    ] = None
    area: Annotated[
        float | None,
        Field(ge=0, lt=1, description="Share of the foreground that a class must exceed to stay a candidate."),
    ] = None
    background: Annotated[
        str | None,
        AfterValidator(passes(parse_background)),
        Field(
            description="A rule beside the usual ones: candidate+threshold=0.1 (a class like the others, and where the "
            "best probability is below), candidate, threshold=0.1, entropy=1.5."
        ),
    ] = None

    def chosen(self, images: Any) -> list[Chosen]:
        """Every protocol on a data set, with each vocabulary and set of templates that is given.

        Raises:
            UsageError: options that do not fit each other or the data set.
        """
        texts = {name: listed(text) for name in ("vocabulary", "templates") if (text := getattr(self, name))}
        every = [dict(zip(texts, one, strict=True)) for one in product(*texts.values())]
        protocols = listed(self.protocol or "") or [""]
        found = [chosen(name, images.name, self._steps() | one) for name in protocols for one in every]
        for one in found:
            self._require_fit(one.steps, images)
        return found

    def changed(self) -> dict[str, Any]:
        """As of all settings; without a protocol, a step that is given as it is by default is not changed."""
        changed = super().changed()
        if self.protocol is not None:
            return changed
        default, given = vars(Steps()), self._steps()
        return {name: value for name, value in changed.items() if name not in default or given[name] != default[name]}

    def resolve(self, images: Any) -> dict[str, Any]:
        found = self.chosen(images)
        if self.protocol is not None:
            return {"steps": {one.told: one.describe() | _hashes(one.steps, images) for one in found}}
        templates, vocabulary = self.templates or Steps.templates, self.vocabulary or Steps.vocabulary
        return {
            "templates_hash": templates_hash(templates, images),
            "vocabulary_hash": vocabulary_hash(vocabulary, images),
        }

    def describe(self, images: Any) -> dict[str, Any]:
        plain = super().describe(images)
        if self.protocol is not None:
            return {name: value for name, value in plain.items() if value is not None}
        steps = {name: getattr(Steps, name) for name in FIRST_STEPS} | self._steps()
        return {name: steps.get(name, value) for name, value in plain.items() if value is not None or name in steps}

    def _steps(self) -> dict[str, Any]:
        """The steps that are given; of a window or an area, 0 is none."""
        given = {name: value for name in vars(Steps()) if (value := getattr(self, name)) is not None}
        return given | {name: None for name in ("window", "area") if given.get(name) == 0}

    def _require_fit(self, steps: Steps, images: Any) -> None:
        if self.protocol is not None and (self.thresholds or self.entropies):
            raise UsageError(
                "--protocol: has a rule of its own for background; give --background candidate+threshold=0.1 in place "
                "of --thresholds and --entropies."
            )
        if steps.fusion == "probabilities" and (self.thresholds or self.entropies):
            raise UsageError("--fusion probabilities: knows no thresholds of background; --fusion scores does.")
        if "background" not in images.classnames and (steps.background != CANDIDATE or steps.area is not None):
            raise UsageError(f"{images.name} has no background class: leave out --background and --area.")


@dataclass(frozen=True, config=STRICT)
class ClassificationSettings(Settings):
    """Of zero-shot classification."""

    templates: Templates = "paper7"

    def resolve(self, images: Any) -> dict[str, Any]:
        return {"templates_hash": templates_hash(self.templates, images)}


def _hashes(steps: Steps, images: Any) -> dict[str, str]:
    return {
        "templates_hash": templates_hash(steps.templates, images),
        "vocabulary_hash": vocabulary_hash(steps.vocabulary, images),
    }


def templates_hash(names: str, images: Any) -> str:
    """Of the prompt templates that names stand for on a data set, those of all names one after another."""
    return text_hash([template for name in listed(names) for template in templates_for(images, name)])


def vocabulary_hash(names: str, images: Any) -> str:
    """Of the names of classes that vocabularies hold for a data set, a line a class, one vocabulary after another."""
    vocabularies = [load_vocabulary(name, images.name, images.classnames) for name in listed(names)]
    return text_hash([", ".join(of_class) for vocabulary in vocabularies for of_class in vocabulary])
