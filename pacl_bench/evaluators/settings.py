"""What can be set in each evaluator: the one place where a setting's default, bounds and meaning are declared.

The options of the commands, the table [settings] of study files and `config.settings` of records are made from these
classes and checked by them, so a new setting is one line here:

    smooth: Annotated[int, Field(ge=0, description="What it does, as --help says it.")] = 0

It comes last in its class, and its default leaves the names of records as they are. What bounds cannot say is an
AfterValidator that raises a ValueError; it may look at the settings above it (pydantic's ValidationInfo.data). What
only the data set can tell is checked by `resolve`. No torch here.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from pacl_bench.data.vocabulary import (
    OWN,
    VOCABULARIES,
    load_templates,
    load_vocabulary,
    templates_for,
    vocabulary_file,
)
from pacl_bench.errors import UsageError
from pacl_bench.metrics import Scope
from pacl_bench.registry import listed, text_hash
from pacl_bench.validation.values import STRICT

Names = Literal["best", "mean"]
Upsampling = Literal["bilinear", "nearest"]
SCALE = 40.0  # of cosines before a softmax: what the field's training-free methods multiply CLIP's by
MOST_PIXELS = 10_000  # of a side of what an encoder is shown: beyond it memory ends before anything is measured


def _each(check: Callable[[str], object]) -> Callable[[str], str]:
    """A check of every name in a text, for pydantic: what the check says of a name is said of the setting."""

    def checked(text: str) -> str:
        try:
            for name in listed(text):
                check(name)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return text

    return checked


def _require_templates(name: str) -> None:
    if name != OWN:
        load_templates(name)


def _require_vocabulary(name: str) -> None:
    if name not in VOCABULARIES:
        vocabulary_file(name)


def _one(text: str) -> str:
    if len(listed(text)) != 1:
        raise ValueError("one is wanted.")
    return text


def _several(text: str) -> str:
    """Each is told apart by its name in a protocol, and a file by its own name there."""
    names = [Path(name).name for name in listed(text)]
    if not names:
        raise ValueError("at least one is wanted.")
    if len(set(names)) < len(names):
        raise ValueError("one of them stands there twice.")
    return text


def _told_apart(values: tuple[float, ...]) -> tuple[float, ...]:
    if len({f"{value:g}" for value in values}) < len(set(values)):
        raise ValueError("two of them are one in the six digits by which protocols are called.")
    return values


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
    AfterValidator(_one),
    AfterValidator(_each(_require_templates)),
    Field(description="Prompts: paper7, simple, openai80, a file; classify also: own."),
]


@dataclass(frozen=True, config=STRICT)
class Settings:
    """What changes the numbers of an evaluator; each has a subclass of its own with the fields."""

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


@dataclass(frozen=True, config=STRICT)
class SegmentationSettings(Settings):
    """Of zero-shot segmentation."""

    templates: Annotated[
        str,
        AfterValidator(_several),
        AfterValidator(_each(_require_templates)),
        Field(description="Prompt templates: paper7, simple, openai80 or files; several are scored in one pass."),
    ] = "paper7"
    vocabulary: Annotated[
        str,
        AfterValidator(_several),
        AfterValidator(_each(_require_vocabulary)),
        Field(description="Names of the classes: plain, synonyms or files (a line a class); several likewise."),
    ] = "plain"
    names: Annotated[
        Names, Field(description="Of several names of a class a patch takes the best score, or their mean.")
    ] = "best"
    thresholds: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1)], ...],
        AfterValidator(_told_apart),
        Field(strict=False, description="Background where the best class's probability is below: 0.1,0.2,0.3."),
    ] = ()
    entropies: Annotated[
        tuple[Annotated[float, Field(ge=0)], ...],
        AfterValidator(_told_apart),
        Field(strict=False, description="Background where the entropy over classes is above, in nats: 1.5."),
    ] = ()
    scale: Annotated[
        float, Field(gt=0, le=1_000_000, description="Of the cosines in the softmax these two are of.")
    ] = SCALE
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
            ge=1,
            le=MOST_PIXELS,
            description="Side of a sliding window in pixels of the resized image; default the whole image.",
        ),
    ] = None
    overlap: Annotated[float, Field(ge=0, lt=1, description="Share of a window that the next one covers too.")] = 0.5
    upsampling: Annotated[Upsampling, Field(description="From patches to pixels.")] = "bilinear"

    def resolve(self, images: Any) -> dict[str, Any]:
        return {
            "templates_hash": templates_hash(self.templates, images),
            "vocabulary_hash": vocabulary_hash(self.vocabulary, images),
        }


@dataclass(frozen=True, config=STRICT)
class ClassificationSettings(Settings):
    """Of zero-shot classification."""

    templates: Templates = "paper7"

    def resolve(self, images: Any) -> dict[str, Any]:
        return {"templates_hash": templates_hash(self.templates, images)}


def templates_hash(names: str, images: Any) -> str:
    """Of the prompt templates that names stand for on a data set, those of all names one after another."""
    return text_hash([template for name in listed(names) for template in templates_for(images, name)])


def vocabulary_hash(names: str, images: Any) -> str:
    """Of the names of classes that vocabularies hold for a data set, a line a class, one vocabulary after another."""
    vocabularies = [load_vocabulary(name, images.name, images.classnames) for name in listed(names)]
    return text_hash([", ".join(of_class) for vocabulary in vocabularies for of_class in vocabulary])
