"""What the JSON of a record and of a head's card looks like. No torch here.

It grows: a new key has a default, so that the files of older versions are read. What every reader of records relies on
is checked here once, so that the report meets no surprise.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Count = Annotated[int, Field(ge=0)]
Side = Annotated[int, Field(ge=1, le=1 << 14)]  # of a matrix of weights; a damaged card must not ask for terabytes
Number = Annotated[float, Field(ge=-1e9, le=1e9)]  # beyond it a file is damaged, and figures have no axis for it
Axes = dict[str, list[Number]]


class Shape(BaseModel):
    """Types are taken as they stand: "0.5" and NaN are no numbers, 1.0 is no count.

    Keys that are not named here may hold anything that JSON can, but no NaN, and not hundreds of levels deep.
    """

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)  # type: ignore[reportIncompatibleVariableOverride]


class Whole(Shape):
    """As Shape, but every key is named."""

    model_config = ConfigDict(extra="forbid")


class KeyShape(Whole):
    study: str
    model: str
    dataset: str
    variant: str


class MeasurementShape(Whole):
    metric: str
    value: Number
    protocol: str
    n: Count
    class_name: str = ""
    ci_low: Number | None = None
    ci_high: Number | None = None
    chance: Number | None = None

    @model_validator(mode="after")
    def _has_a_whole_interval(self) -> "MeasurementShape":
        require_interval(self.ci_low, self.ci_high)
        return self


class EncoderShape(Shape):
    """A frozen encoder, with the settings that decide its tokens or embeddings."""

    name: str
    sha256: str
    block: int | None = None


class TrainingShape(Shape):
    """How a head was trained and on what."""

    pairs: str
    images: Count | None = None
    captions: Count | None = None
    seed: int | None = None
    batch_size: Count | None = None
    lr: Number | None = None


class HeadShape(Shape):
    sha256: str
    patch_scale: Number
    step: Count | None = None
    train: TrainingShape | None = None


class PredictionsShape(Shape):
    """Label PNGs that were made elsewhere."""

    name: str
    sha256: str


class ModelShape(Shape):
    encoder: EncoderShape | None = None
    text: EncoderShape | None = None
    head: HeadShape | None = None
    predictions: PredictionsShape | None = None


class DatasetShape(Shape):
    name: str | None = None
    images: Count | None = None
    official_images: Count | None = None
    fingerprint: str | None = None
    contents_sample: str | None = None
    classnames: list[str] | None = None


class ConfigShape(Shape):
    """All that changes the numbers, defaults filled in."""

    evaluator: str | None = None
    settings: dict[str, JsonValue] = {}
    model: ModelShape = Field(default_factory=ModelShape)
    dataset: DatasetShape = Field(default_factory=DatasetShape)
    seed: int | None = None


class ProvenanceShape(Shape):
    commit: str | None = None
    packages: dict[str, str] = {}
    python: str | None = None
    machine: str | None = None
    device: str | None = None
    seconds: Number | None = None
    peak_memory_mb: Number | None = None
    created: str | None = None
    tokens_per_image: Number | None = None
    ms_per_image: Number | None = None
    tokens_from: str | None = None


class RecordShape(Whole):
    """Schema 1."""

    key: KeyShape
    measurements: list[MeasurementShape]
    config: ConfigShape
    provenance: ProvenanceShape
    curves: dict[str, Axes] = {}

    @model_validator(mode="after")
    def _has_whole_curves(self) -> "RecordShape":
        require_curves(self.curves, self.config.dataset.classnames)
        return self


def require_interval(low: float | None, high: float | None) -> None:
    """A ValueError where one end of an interval is there and the other is not."""
    if (low is None) != (high is None):
        raise ValueError("an interval has two ends: ci_low and ci_high")


def require_curves(curves: dict[str, Axes], classnames: list[str] | None) -> None:
    """A ValueError for the first curve that figures could not draw."""
    for name, axes in curves.items():
        if len({len(points) for points in axes.values()}) > 1:
            raise ValueError(f"the axes of the curve {name!r} have different numbers of points")
        _require_axes(name, axes)
    if "confusion" in curves:
        _require_classes(curves["confusion"], classnames or [])


def _require_axes(name: str, axes: Axes) -> None:
    """The axes by which figures are drawn; a band has two edges."""
    wanted = {"roc": ["fpr", "tpr"], "pr": ["recall", "precision"], "confusion": ["label", "predicted", "patches"]}
    bands = [axis[: axis.rindex("_")] for axis in axes if axis.endswith(("_low", "_high"))]
    edges = [f"{axis}{edge}" for axis in bands for edge in ("_low", "_high")]
    missing = [axis for axis in [*wanted.get(name, []), *edges] if not axes.get(axis)]
    if missing:
        raise ValueError(f"the curve {name!r} has no points of {missing[0]!r}")


def _require_classes(cells: Axes, classnames: list[str]) -> None:
    labels = {*cells["label"], *cells["predicted"]}
    unknown = [label for label in labels if not (label.is_integer() and 0 <= label < len(classnames))]
    if unknown:
        raise ValueError(f"the curve 'confusion' has a class {unknown[0]:g}, the set has {len(classnames)} names")


class LossCurveShape(Whole):
    steps: list[Count]
    losses: list[Number]

    @model_validator(mode="after")
    def _has_a_loss_a_step(self) -> "LossCurveShape":
        if len(self.steps) != len(self.losses):
            raise ValueError("steps and losses differ in number")
        return self


class TrainingCurvesShape(Whole):
    """Schema 1 of the curves of a head's training."""

    head: str
    sha256: str
    pairs_per_second: Number
    loss: LossCurveShape
    held_out: LossCurveShape


class FrozenPartShape(Whole):
    name: str
    spec: str
    sha256: str
    settings: dict[str, JsonValue]


class CardShape(Whole):
    """Schema 1 of a head's card."""

    name: str
    encoder: FrozenPartShape
    text: FrozenPartShape
    width: Side
    dim: Side
    patch_scale: Number
    temperature: Number
    step: Count
    sha256: str
    train: TrainingShape
    provenance: ProvenanceShape
    kind: str = "residual"
