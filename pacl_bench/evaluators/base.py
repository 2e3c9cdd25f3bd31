"""What every evaluator is and returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import Any

from pacl_bench.evaluators.settings import Settings
from pacl_bench.image_counts import Counts
from pacl_bench.records import Measurement


@dataclass(frozen=True)
class Result:
    """What an evaluator found: numbers, and curves where there are some (name -> axis -> points).

    With `counts` by image (see `image_counts`) models can be compared on the same images; the most important first.
    """

    measurements: list[Measurement]
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)  # what the pass took, for the provenance
    counts: Counts = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluator:
    """A kind of measurement of one model on one data set.

    `settings` is a pydantic dataclass, a subclass of Settings. `evaluate` gets a model, a data set and an instance of
    `settings`: an AlignedModel where `needs_text` is true, else a bare VisionEncoder or, of a head, an AlignedModel.
    """

    settings: type[Settings]
    load_sets: Callable[[Sequence[str]], list[Any]]  # from the names in a study to data sets
    evaluate: Callable[[Any, Any, Any], Result]
    needs_text: bool = True
    headline: tuple[str, ...] = ()  # the metrics that a short summary tells; none: all


def deferred(function: str) -> Callable[..., Any]:
    """The function at "package.module:function", imported when it is called: a table of such needs no torch."""

    def call(*given: Any) -> Any:
        return resolve_name(function)(*given)

    return call
