"""Why two numbers differ: every choice in which they do and, where records can tell, how much it moves the first."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pacl_bench import records as store
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.presets import PRESETS
from pacl_bench.registry import unknown_name
from pacl_bench.report.choices import TOGETHER, Choices, of_number, of_preset, of_published
from pacl_bench.report.compare import WIDTH_95, paired_error
from pacl_bench.report.comparison import find_side, headline_metrics, headline_numbers
from pacl_bench.report.published import every_published
from pacl_bench.report.reading import read_runs
from pacl_bench.report.runs import Number, Run
from pacl_bench.report.tabular import Cell

UNKNOWN = "?"


@dataclass(frozen=True)
class Differing:
    """A choice in which two numbers differ."""

    name: str
    first: str
    second: str
    moved: Cell | None = None  # how much higher the first number is with the second's choice; None where unknown
    by: str = ""  # the record that tells it


@dataclass(frozen=True)
class Explanation:
    """Two numbers, and what they differ in."""

    first: Number
    second: str  # what it is
    value: float | None  # of the second, where it has one
    difference: Cell | None  # second less first, with its paired interval; None where they are not comparable
    choices: list[Differing]

    @property
    def unknown(self) -> list[str]:
        """The choices that only one of the two tells."""
        return [one.name for one in self.choices if UNKNOWN in (one.first, one.second)]


def explain(first: str, second: str, results: Path, protocol: str = "", metric: str = "") -> Explanation:
    """What the second number was made with that the first was not.

    Args:
        first: a record: its file, or MODEL or MODEL/DATASET below `results`.
        second: another record, a printed method, or somebody's protocol by name.
        protocol, metric: which number of the first record; default the first that a summary tells.

    Raises:
        UsageError: a name that is not known, or that several records have.
    """
    one = _number(find_record(first, results), protocol, metric)
    others = read_runs(results / store.FOLDER) if (results / store.FOLDER).is_dir() else []
    told, value, choices, other = _second(second, one, results)
    difference = Cell.difference(Cell.of([other]), Cell.of([one])) if other else None
    mine = of_number(one)
    moves = _Moves(one, mine, others)
    found = [
        Differing(name, mine.get(name, UNKNOWN), choices.get(name, UNKNOWN))
        for name in dict.fromkeys([*mine, *choices])
        if not _same(mine.get(name), choices.get(name))
    ]
    found = [moves.told(differing, choices) for differing in found]
    found.sort(key=lambda differing: -abs(differing.moved.value) if differing.moved else 0.0)
    return Explanation(one, told, value, difference, found)


def find_record(text: str, results: Path, evaluator: str = "") -> Run:
    """The one record that a text names: a file, STUDY/MODEL/DATASET, MODEL/DATASET or MODEL.

    Args:
        evaluator: of the record that is meant, where several have the name.

    Raises:
        UsageError: there is none, or there are several.
    """
    below = results / store.FOLDER
    places = [Path(text), *(below / f"{text}{ending}" for ending in ("", ".json", ".default.json"))]
    there = next((place for place in places if place.suffix == ".json" and place.is_file()), None)
    if there is not None:
        return find_side(str(there), results).runs[0]
    if text.endswith(".json"):
        raise UsageError(f"{text}: no such record, here or below {below}.")
    model, _, rest = text.partition("/")
    runs = find_side(model, results).runs
    fitting = [run for run in runs if rest in ("", run.dataset, f"{run.dataset}.{run.variant}")]
    fitting = [run for run in fitting if run.evaluator == evaluator] or fitting
    if len(fitting) > 1:  # the default settings are meant, where there is one record of them
        fitting = [run for run in fitting if run.variant == "default"] or fitting
    if len(fitting) == 1:
        return fitting[0]
    files = ", ".join(run.file for run in fitting or runs)
    raise UsageError(f"{text}: {'no' if not fitting else 'more than one'} record is meant. Give one of {files}.")


def _number(run: Run, protocol: str, metric: str) -> Number:
    """One number of a record over all classes."""
    wanted = [metric] if metric else headline_metrics(run.evaluator)
    known = [Number(run, row) for row in run.record.measurements if not row.class_name]
    of_metric = [one for one in known if one.metric in wanted or not wanted]
    if not of_metric:
        raise UsageError(f"--metric: {unknown_name(metric, dict.fromkeys(one.metric for one in known), 'metric')}")
    of_protocol = [one for one in of_metric if protocol in ("", one.protocol)]
    if not of_protocol:
        raise UsageError(f"--protocol: {unknown_name(protocol, [one.protocol for one in of_metric], 'protocol')}")
    return of_protocol[0]


def _second(text: str, one: Number, results: Path) -> tuple[str, float | None, Choices, Number | None]:
    """What the second is, its value, its choices, and its number where it is a record's."""
    printed = [row for row in every_published() if row.method == text and row.metric == one.metric]
    on_set = [row for row in printed if row.dataset_name == one.run.dataset]
    if printed and not on_set:
        sets = ", ".join(dict.fromkeys(row.dataset_name for row in printed))
        raise UsageError(f"{text}: nothing is printed of it on {one.run.dataset}, but on {sets}.")
    if on_set:
        return f"{text}, printed ({on_set[0].source})", on_set[0].cell.value, of_published(on_set[0]), None
    if text in PRESETS:
        return f"the protocol {text}", None, of_preset(text, one.run.dataset), None
    run = _record_or_known(text, results, one.run.evaluator)
    there = [number for number in headline_numbers([run]) if number.protocol == one.protocol]
    number = next((found for found in there if found.metric == one.metric), None) or _number(run, "", "")
    return run.file, number.value, of_number(number), number


def _record_or_known(text: str, results: Path, evaluator: str) -> Run:
    """A record; a UsageError with the nearest of all that may be named where there is none of that name."""
    models = {path.name for path in (results / store.FOLDER).glob("*/*") if path.is_dir()}
    if not {"/", "."} & set(text) and text not in models:
        known = [*PRESETS, *dict.fromkeys(row.method for row in every_published()), *sorted(models)]
        raise UsageError(unknown_name(text, known, "record, printed method or protocol"))
    return find_record(text, results, evaluator)


def _same(one: str | None, other: str | None) -> bool:
    """A printed encoder has no sha256 behind its name: the names are enough then."""
    if one is None or other is None or ("(" in one) == ("(" in other):
        return one == other
    return one.partition(" (")[0] == other.partition(" (")[0]


class _Moves:
    """What other numbers say of one: those that differ from it in a single choice."""

    def __init__(self, one: Number, mine: Choices, runs: Sequence[Run]):
        self.one, self.mine = one, mine
        same_data = [run for run in runs if run.dataset == one.run.dataset and run.evaluator == one.run.evaluator]
        self.others = [(number, of_number(number)) for number in self._numbers([one.run, *same_data])]

    def _numbers(self, runs: Iterable[Run]) -> Iterator[Number]:
        for run in runs:
            for row in run.record.measurements:
                if row.metric == self.one.metric and not row.class_name:
                    yield Number(run, row)

    def told(self, differing: Differing, choices: Choices) -> Differing:
        """With how much the second's choice moves the first number, where a number tells it."""
        if UNKNOWN in (differing.first, differing.second):
            return differing
        changed = next((group for group in TOGETHER if differing.name in group), (differing.name,))
        wanted = {name: value for name, value in self.mine.items() if name not in changed}
        wanted |= {name: choices[name] for name in changed if name in choices}
        for number, its in self.others:
            if its == wanted:
                return replace(differing, moved=_moved(self.one, number), by=number.run.file)
        return differing


def _moved(one: Number, other: Number) -> Cell:
    """Other less one, though they answer different questions: both saw the same images."""
    value, error = other.value - one.value, paired_error([other], [one])
    reach = float("nan") if error is None else WIDTH_95 * error
    return Cell(value, value - reach, value + reach, numbers=(other, one), kind="difference")
