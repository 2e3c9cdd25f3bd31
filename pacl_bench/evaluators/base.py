"""What every evaluator is and returns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pacl_bench.records import Measurement


@dataclass(frozen=True)
class Result:
    """What an evaluator found: numbers, and curves where there are some (name -> axis -> points)."""

    measurements: list[Measurement]
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)  # what the pass took, for the provenance


@dataclass(frozen=True)
class Evaluator:
    """One of the four studies."""

    settings: type  # its dataclass of settings
    datasets: tuple[str, ...]  # the sets it can be run on
    load_dataset: Callable[[str], Any]
    evaluate: Callable[..., Result]  # of model, data set, settings; "segment" takes `keep` too
    needs_text: bool  # measures an aligned model; else a bare vision encoder will do
    expand: Callable[[Iterable[str]], list[str]] = list  # puts the members in place of the name of a group
