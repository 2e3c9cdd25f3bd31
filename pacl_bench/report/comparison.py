"""Two sides, each a folder of records or a model, number by number: on which data, classes and images they differ."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pacl_bench import records as store
from pacl_bench.errors import UsageError
from pacl_bench.evaluators import EVALUATORS
from pacl_bench.files import safe_name
from pacl_bench.image_counts import DIGEST, counts_file, counts_name
from pacl_bench.registry import listed, unknown_name
from pacl_bench.report.compare import WIDTH_95, class_influences, counts_of, differing
from pacl_bench.report.runs import Number, Run, grouped
from pacl_bench.report.tabular import Cell

HIGHER, LOWER, EVEN, UNSURE, NOT_COMPARABLE = (
    "higher", "lower", "not told apart", "no interval: no counts by image", "not comparable",
)  # fmt: skip


class Side(NamedTuple):
    """What is compared with another."""

    name: str
    runs: list[Run]
    is_folder: bool


class ClassDifference(NamedTuple):
    """The number of one class on both sides; `error` is that of the difference, NaN where it is not known."""

    name: str
    first: Cell
    second: Cell
    error: float

    @property
    def value(self) -> float:
        return self.second.value - self.first.value

    @property
    def difference(self) -> Cell:
        """Second less first, with the paired interval over images."""
        reach = WIDTH_95 * self.error
        numbers = (*self.second.numbers, *self.first.numbers)
        return Cell(self.value, self.value - reach, self.value + reach, numbers=numbers, kind="difference")


class MovedImage(NamedTuple):
    """An image, by its place in the set from 0, and what it alone would give on both sides."""

    place: int
    first: float
    second: float

    @property
    def value(self) -> float:
        return self.second - self.first


@dataclass(frozen=True, eq=False)
class Pair:
    """One number on both sides: the same metric and protocol on the same data, of one model or of its seeds."""

    one: list[Number]
    other: list[Number]

    @property
    def run(self) -> Run:
        """A run of the first side."""
        return self.one[0].run

    @property
    def told(self) -> str:
        """ "voc20 · miou · dataset-miou, background=none"; the variant where it is none of the default settings."""
        number = self.one[0]
        variant = [] if self.run.variant == "default" else [self.run.variant]
        return " · ".join([self.run.dataset, number.metric, number.protocol, *variant])

    @property
    def differs(self) -> list[str]:
        """The fields that keep the two from being compared."""
        return differing(self.one[0], self.other[0])

    @cached_property
    def first(self) -> Cell:
        return Cell.of(self.one)

    @cached_property
    def second(self) -> Cell:
        return Cell.of(self.other)

    @cached_property
    def difference(self) -> Cell | None:
        """Second less first, with the paired interval over images; None where they are not comparable."""
        return Cell.difference(self.second, self.first)

    @property
    def verdict(self) -> str:
        """What the second side is, beside the first."""
        difference = self.difference
        if difference is None:
            return NOT_COMPARABLE
        if math.isnan(difference.low):
            return UNSURE
        return EVEN if difference.low <= 0 <= difference.high else HIGHER if difference.value > 0 else LOWER

    @cached_property
    def classes(self) -> list[ClassDifference]:
        """The classes that both sides have a number of, the one that gained most first."""
        if self.difference is None:
            return []
        first, second = _by_class(self.one), _by_class(self.other)
        errors = self._class_errors()
        found = [
            ClassDifference(name, first[name], second[name], errors.get(name, math.nan))
            for name in first
            if name in second
        ]
        return sorted(found, key=lambda one: -one.value)

    def _class_errors(self) -> dict[str, float]:
        sides = [[class_influences(one.run, one.protocol) for one in numbers] for numbers in (self.one, self.other)]
        if any(influences is None for side in sides for influences in side):
            return {}
        moved = np.mean(sides[1], axis=0) - np.mean(sides[0], axis=0)  # type: ignore[arg-type]
        names = self.run.record.config["dataset"]["classnames"]
        return dict(zip(names, np.sqrt((moved**2).sum(0)).tolist(), strict=True))

    @cached_property
    def images(self) -> list[MovedImage]:
        """Every image that counts, the one whose own number changed most first; empty without counts by image."""
        first, second = _own(self.one), _own(self.other)
        if self.difference is None or first is None or second is None:
            return []
        images = [
            MovedImage(place, *both) for place, both in enumerate(zip(first.tolist(), second.tolist(), strict=True))
        ]
        return sorted((image for image in images if not math.isnan(image.value)), key=lambda image: -abs(image.value))


def own_numbers(number: Number) -> Float[np.ndarray, " image"] | None:
    """What each image alone would give: the mean over the classes in it. NaN for one that does not count."""
    counts = counts_of(number.run).get(counts_name(number.metric, number.protocol))
    if counts is None:
        return None
    found, there = counts.astype(float).swapaxes(0, 1)
    counted = there > 0
    shares = np.divide(found, there, out=np.zeros_like(found), where=counted)
    with np.errstate(invalid="ignore"):
        return shares.sum(1) / counted.sum(1)


def sign_test(differences: Sequence[float]) -> float:
    """The chance that as many of these have one sign, or more, if both signs were as likely (two-sided)."""
    signs = [value > 0 for value in differences if value != 0]
    fewer = min(sum(signs), len(signs) - sum(signs))
    return min(1.0, 2 * sum(math.comb(len(signs), k) for k in range(fewer + 1)) / 2 ** len(signs))


def find_side(text: str, results: Path) -> Side:
    """The side that a text names.

    Args:
        text: a folder of results or of records; the file of a record; or a model below `results`, or several, comma
            separated: the seeds of one.

    Raises:
        UsageError: it is none of these.
    """
    place = Path(text)
    if place.is_dir():
        folder = place / store.FOLDER if (place / store.FOLDER).is_dir() else place
        files = store.files(folder)
        if not files:
            raise UsageError(f"{place}: no record is below this folder.")
        return Side(str(place), [_whole_run(file, folder) for file in files], is_folder=True)
    folder = results / store.FOLDER
    if place.suffix == ".json" and place.is_file():
        return Side(str(place), [_whole_run(place, Path())], is_folder=False)
    files = [file for name in listed(text) for file in _files_of(name, folder)]
    return Side(text, [_whole_run(file, folder) for file in files], is_folder=False)


def pairs(one: Side, other: Side) -> list[Pair]:
    """The numbers that both sides have, each beside the other's: those that a summary tells, of all protocols.

    Records of two folders belong together by their names. Models are compared on the same data, study and settings, or
    where they share none, whatever the study is called.

    Raises:
        UsageError: the two have no number in common.
    """
    kinds: list[Callable[[Number], Hashable]] = [_of_study, _of_anywhere]
    for kind in [_of_record, *kinds] if one.is_folder and other.is_folder else kinds:
        first, second = (grouped(headline_numbers(side.runs), kind) for side in (one, other))
        found = [Pair(first[key], second[key]) for key in first if key in second]
        if found and all(_one_a_model(numbers) for pair in found for numbers in (pair.one, pair.other)):
            return found
    raise UsageError(f"{one.name} and {other.name} have no number in common: {_told(one)}; {_told(other)}.")


def headline_numbers(runs: Sequence[Run]) -> list[Number]:
    """The numbers over all classes that a short summary tells."""
    return [
        Number(run, row)
        for run in runs
        for row in run.record.measurements
        if not row.class_name and row.metric in (headline_metrics(run.evaluator) or [row.metric])
    ]


def headline_metrics(evaluator: str) -> tuple[str, ...]:
    """Those that a short summary tells; empty: all."""
    return EVALUATORS[evaluator].headline if evaluator in EVALUATORS else ()


def _of_record(number: Number) -> Hashable:
    return number.run.model, _of_study(number)


def _of_study(number: Number) -> Hashable:
    return number.run.study, _of_anywhere(number)


def _of_anywhere(number: Number) -> Hashable:
    run = number.run
    return run.evaluator, run.dataset, run.variant, number.metric, number.protocol


def _one_a_model(numbers: Sequence[Number]) -> bool:
    """Whether these can be the seeds of one model: none is there twice."""
    models = [number.run.model for number in numbers]
    return len(set(models)) == len(models)


def _files_of(model: str, folder: Path) -> list[Path]:
    files = sorted(folder.glob(f"*/{safe_name(model)}/{store.FILES}"))
    if not files:
        known = sorted({path.name for path in folder.glob("*/*") if path.is_dir()})
        if not known:
            raise UsageError(f"{model} is no folder, and {folder} holds no records of any model.")
        raise UsageError(f"{unknown_name(model, known, 'model or folder')} Models are those below {folder}.")
    return files


def _whole_run(file: Path, folder: Path) -> Run:
    """With the numbers of every class."""
    record, counts = store.read(file), counts_file(file)
    there = counts if DIGEST in record.provenance and counts.is_file() else None
    return Run(record, there, read_from=str(file.relative_to(folder) if file.is_relative_to(folder) else file))


def _by_class(numbers: Sequence[Number]) -> dict[str, Cell]:
    """The number of each class under the protocol; the seeds of a class are one cell."""
    of_classes = [
        Number(one.run, row)
        for one in numbers
        for row in one.run.record.measurements
        if row.class_name and row.protocol == one.protocol
    ]
    return {name: Cell.of(of_class) for name, of_class in grouped(of_classes, lambda one: one.class_name).items()}


def _own(numbers: Sequence[Number]) -> Float[np.ndarray, " image"] | None:
    """The number of each image alone, the mean over seeds; None where images are not counted one by one."""
    found = [own for number in numbers if (own := own_numbers(number)) is not None and len(own) == number.run.images]
    return np.mean(found, axis=0) if len(found) == len(numbers) else None


def _told(side: Side) -> str:
    """ "pacl-vits14 has segment on voc20, voc21"."""
    sets = grouped(side.runs, lambda run: run.evaluator)
    told = (f"{name} on {', '.join(dict.fromkeys(run.dataset for run in runs))}" for name, runs in sets.items())
    return f"{side.name} has {'; '.join(told)}"
