"""Records as tables tell them: a Run is one record, a Number one of its measurements. No torch here."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pacl_bench import records as store
from pacl_bench.data.catalog import BUILT_IN, DECLARED
from pacl_bench.errors import UsageError
from pacl_bench.records import Measurement, Record, block_name

USUAL = {  # settings of a recipe that most heads share, and tables do not tell
    "temperature": 0.07, "noun_share": 0.5, "betas": [0.9, 0.98], "eps": 1e-6, "weight_decay": 0.2,
    "same_text_is_negative": False,
}  # fmt: skip
GAP = "–"  # what is not there, is not known, or has no meaning for a line
BEFORE, UNTRAINED, AFTER = "before alignment", "untrained head", "PACL head"
ELSEWHERE = "predictions made elsewhere"
METHODS = (BEFORE, UNTRAINED, AFTER, ELSEWHERE)
BENCHMARKS, WORLD, OWN = "benchmarks", "built-in world", "own data sets"

Curves = Mapping[str, Mapping[str, Sequence[float] | np.ndarray]]
Group = TypeVar("Group", bound=Hashable)
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Run:
    """One record, and what tables say of its model, data and settings."""

    record: Record
    counts: Path | None = None  # the file of its counts by image, where there is one
    arrays: Curves | None = None  # the record's curves, where it was read without
    read_from: str = ""  # the record's file below the folder of records, where it was read from one
    training: Path | None = None  # the curves of its head's training, where the folder of results has them

    @property
    def curves(self) -> Curves:
        """Name of a curve -> axis -> points."""
        return self.record.curves if self.arrays is None else self.arrays

    @cached_property
    def _model(self) -> dict[str, Any]:
        return self.record.config.get("model", {})

    @cached_property
    def head(self) -> dict[str, Any] | None:
        """As the record's configuration holds it; None for a model without one."""
        return self._model.get("head")

    @cached_property
    def vision(self) -> dict[str, Any]:
        """The vision encoder, as the record's configuration holds it."""
        return self._model.get("encoder") or {}

    @property
    def study(self) -> str:
        return self.record.key.study

    @property
    def model(self) -> str:
        return self.record.key.model

    @property
    def dataset(self) -> str:
        return self.record.key.dataset

    @property
    def variant(self) -> str:
        return self.record.key.variant

    @cached_property
    def evaluator(self) -> str:
        return self.record.config.get("evaluator", GAP)

    @cached_property
    def file(self) -> str:
        """The record's file, or the one it would be written to, below the folder of records."""
        return self.read_from or str(self.record.key.path)

    @cached_property
    def encoder(self) -> str:
        return self.vision.get("name", GAP)

    @cached_property
    def attention(self) -> str:
        """What stands in the encoder's last block in place of its own attention; empty where nothing does."""
        attention = self.vision.get("attention") or ""
        return "" if attention == "clip" else attention

    @cached_property
    def text(self) -> str:
        return (self._model.get("text") or {}).get("name", GAP)

    @cached_property
    def method(self) -> str:
        """One of METHODS."""
        return ELSEWHERE if "predictions" in self._model else method(self.head)

    @property
    def train(self) -> dict[str, Any]:
        """How the head was trained; empty where nothing was."""
        return (self.head or {}).get("train") or {} if self.method == AFTER else {}

    @property
    def training_set(self) -> str:
        return training_set(self.head)

    @property
    def recipe(self) -> str:
        return recipe(self.head)

    @cached_property
    def seed(self) -> str:
        """Of the head's weights; the record's own seed is the bootstrap's."""
        return str(((self.head or {}).get("train") or {}).get("seed", GAP))

    @property
    def images(self) -> int | None:
        """How many images of the set were used."""
        return self.record.config.get("dataset", {}).get("images")

    @cached_property
    def is_part(self) -> bool:
        """Only a part of the official set was used."""
        official = self.record.config.get("dataset", {}).get("official_images")
        return bool(self.images and official and self.images < official)

    @cached_property
    def asked(self) -> dict[str, Any]:
        """What another run must share to be compared with this one."""
        return store.what_was_asked(self.record)

    @cached_property
    def made_of(self) -> tuple[str, ...]:
        """The same for models that differ in the seed of their training alone."""
        told, says_how = _made_of(_Held(self._model))
        # a head that does not say how it was trained, and predictions, are told apart by their names
        return self.encoder, self.text, self.method, told, "" if says_how else self.model


@dataclass(frozen=True, slots=True)
class Number:
    """One measurement of a run: a fraction in [0, 1]; what is not known of it is NaN."""

    run: Run
    measurement: Measurement

    @property
    def value(self) -> float:
        return self.measurement.value

    @property
    def low(self) -> float:
        return _or_nan(self.measurement.ci_low)

    @property
    def high(self) -> float:
        return _or_nan(self.measurement.ci_high)

    @property
    def chance(self) -> float:
        return _or_nan(self.measurement.chance)

    @property
    def n(self) -> int:
        return self.measurement.n

    @property
    def metric(self) -> str:
        return self.measurement.metric

    @property
    def protocol(self) -> str:
        return self.measurement.protocol

    @property
    def class_name(self) -> str:
        return self.measurement.class_name


class Runs(list[Run]):
    """Runs whose numbers are looked through once, however many tables are made of them."""

    @cached_property
    def numbers(self) -> dict[tuple[str, str, bool], list[Number]]:
        """By evaluator, metric, and whether they are of a class."""
        found: defaultdict[tuple[str, str, bool], list[Number]] = defaultdict(list)
        for run in self:
            for measurement in run.record.measurements:
                kind = run.evaluator, measurement.metric, bool(measurement.class_name)
                found[kind].append(Number(run, measurement))
        return dict(found)


def in_place(runs: Iterable[Run]) -> Runs:
    """Sorted as the paper's tables are: by study, variant, data set, encoder, method and training set."""
    return Runs(sorted(runs, key=_place))


def numbers(runs: Iterable[Run], evaluator: str, metric: str | None = None, of_classes: bool = False) -> list[Number]:
    """Every number of an evaluator's runs, over all classes or of each, in the order of the runs; of one metric, or of
    one metric after another.
    """
    runs = runs if isinstance(runs, Runs) else Runs(runs)
    return [
        number
        for (its_evaluator, its_metric, is_of_class), found in runs.numbers.items()
        if its_evaluator == evaluator and metric in (None, its_metric) and is_of_class == of_classes
        for number in found
    ]


def grouped(items: Iterable[Item], group: Callable[[Item], Group]) -> dict[Group, list[Item]]:
    """The items by what `group` says of each, in the order in which they come."""
    groups: defaultdict[Group, list[Item]] = defaultdict(list)
    for item in items:
        groups[group(item)].append(item)
    return dict(groups)


@cache
def family(dataset: str) -> str:
    """Where a data set comes from: one that is declared, one of the built-in world, or the user's own."""
    if any(dataset in names for names in BUILT_IN.values()):
        return WORLD
    return BENCHMARKS if any(dataset in entries for entries in DECLARED.values()) else OWN


def method(head: dict[str, Any] | None) -> str:
    """One of METHODS. A head of 0 steps holds random weights and is never passed off as a trained one."""
    if head is None:
        return BEFORE
    return UNTRAINED if head.get("step") == 0 else AFTER


def training_set(head: dict[str, Any] | None) -> str:
    """What the head was trained on: "flickr8k + voc_tags (1,638 images)"."""
    if method(head) != AFTER or head is None or "train" not in head:
        return GAP
    pairs = head["train"]["pairs"].replace("+", " + ")
    images = head["train"].get("images")
    return pairs if images is None else f"{pairs} ({images:,} images)"


def recipe(head: dict[str, Any] | None) -> str:
    """How the head was trained: "400 steps, batch 96, lr 0.002, patch_scale 10"."""
    if method(head) != AFTER or head is None:
        return GAP
    train = head.get("train", {})
    told = [f"{head['step']:,} steps"] if "step" in head else []
    told += [f"{short} {train[name]:g}" for name, short in (("batch_size", "batch"), ("lr", "lr")) if name in train]
    return ", ".join([*told, f"patch_scale {head['patch_scale']:g}", *_unusual(head, train)])


def _unusual(head: dict[str, Any], train: dict[str, Any]) -> list[str]:
    """What few heads differ in: two of one table may differ in nothing else."""
    told = [] if train.get("learn_temperature", True) else [f"fixed temperature {train['temperature']:g}"]
    usual = {key: value for key, value in USUAL.items() if not (told and key == "temperature")}
    told += [f"{key} {train[key]}" for key, value in usual.items() if train.get(key, value) != value]
    return told + ([f"{head['kind']} head"] if "kind" in head else [])


def blocks(runs: Iterable[Run]) -> dict[str, tuple[str, int]]:
    """(encoder, block) of the runs of encoders that were measured block by block, by file."""
    found = {}
    for run in runs:
        block = run.vision.get("block")
        base = run.model.removesuffix(block_name("", block)) if block is not None else run.model
        if base != run.model:
            found[run.file] = base, block
    return found


def without_inner_blocks(of_runs: Iterable[Number]) -> list[Number]:
    """The numbers with one block of an encoder that was measured block by block: as it comes, else the last.

    Which one that is, each figure's own numbers say: those of one study, variant and data set.
    """
    of_runs = list(of_runs)
    block_of = blocks(number.run for number in of_runs)
    as_it_comes = {(number.run.model, *_figure_of(number)) for number in of_runs}
    last: dict[tuple[str, ...], int] = {}
    for number in of_runs:
        if number.run.file in block_of:
            encoder, block = block_of[number.run.file]
            its = (encoder, *_figure_of(number))
            last[its] = max(last.get(its, 0), block)

    def stands(number: Number) -> bool:
        if number.run.file not in block_of:
            return True
        encoder, block = block_of[number.run.file]
        its = (encoder, *_figure_of(number))
        return block == last[its] and its not in as_it_comes

    return list(filter(stands, of_runs))


def require_one_a_seed(of_cell: Sequence[Number]) -> None:
    """Raises a UsageError that names the records where two numbers of one cell have one seed: none is averaged away."""
    seen: dict[str, Number] = {}
    for number in of_cell:
        first = seen.setdefault(number.run.seed, number)
        if first is not number:
            raise UsageError(
                f"Two numbers for one cell of a table ({number.run.dataset}, {number.metric}, {number.protocol}): "
                f"{first.run.file} and {number.run.file} below records/. Move one of these records away."
            )


class _Held:
    """A part of a configuration, known again as the very same object: records of one model share theirs."""

    def __init__(self, part: dict[str, Any]):
        self.part = part

    def __hash__(self) -> int:
        return id(self.part)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.part is other.part


@lru_cache(maxsize=1 << 16)
def _made_of(model: _Held) -> tuple[str, bool]:
    """All that decides a model's numbers but the seed of its training, and whether that is known."""
    head = model.part.get("head") or {}
    train = {name: value for name, value in (head.get("train") or {}).items() if name != "seed"}
    rest = {name: value for name, value in head.items() if name not in ("sha256", "train")}
    told = json.dumps([model.part.get("encoder"), model.part.get("text"), rest, train], sort_keys=True)
    return told, "predictions" not in model.part and (not head or bool(train))


def _figure_of(number: Number) -> tuple[str, ...]:
    return number.run.study, number.run.variant, number.run.dataset


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _place(run: Run) -> tuple[Any, ...]:
    return (
        run.study,
        run.variant,
        run.dataset,
        run.encoder,
        METHODS.index(run.method),
        run.training_set,
        run.model,
        run.seed,
        run.file,
    )
