"""What two sides differ in: by number, and by class."""

from collections.abc import Sequence

from pacl_bench.report.comparison import ClassDifference, Pair, sign_test
from pacl_bench.report.runs import grouped
from pacl_bench.report.tabular import Column, Group, Line, Table

FIRST, SECOND, DIFFERENCE = "first", "second", "difference"
AS_FRACTIONS = ("coherence",)  # evaluators whose numbers are told so


def differences(pairs: Sequence[Pair], names: tuple[str, str]) -> list[Table]:
    """A table for each evaluator: a line for each number, both sides and the second less the first."""
    return [
        _table({"evaluator": evaluator}, names, _by_dataset(of_evaluator), "Number", evaluator)
        for evaluator, of_evaluator in grouped(pairs, lambda pair: pair.run.evaluator).items()
    ]


def class_differences(pairs: Sequence[Pair], names: tuple[str, str]) -> list[Table]:
    """A table for each number that both sides have of each class, the class that gained most on top."""
    return [
        _table({"number": pair.told}, names, [_of_classes(pair)], "Class", pair.run.evaluator)
        for pair in pairs
        if pair.classes
    ]


def signs(pair: Pair) -> str:
    """ "15 of 20 classes higher, 4 lower (sign test p = 0.019)"."""
    values = [one.value for one in pair.classes]
    higher, lower = sum(value > 0 for value in values), sum(value < 0 for value in values)
    return f"{higher} of {len(values)} classes higher, {lower} lower (sign test p = {sign_test(values):.2g})"


def _table(choices: dict[str, str], names: tuple[str, str], groups: list[Group], first: str, evaluator: str) -> Table:
    columns = [Column(FIRST, names[0]), Column(SECOND, names[1]), Column(DIFFERENCE, "second less first")]
    percent = evaluator not in AS_FRACTIONS
    return Table(choices, columns, groups, first, percent, ranked=False, of_models=False)


def _of_classes(pair: Pair) -> Group:
    return Group("", list(map(_class_line, pair.classes)), signs(pair))


def _by_dataset(pairs: Sequence[Pair]) -> list[Group]:
    return [
        Group(dataset, [_line(pair) for pair in of_set])
        for dataset, of_set in grouped(pairs, lambda pair: pair.run.dataset).items()
    ]


def _line(pair: Pair) -> Line:
    cells = {FIRST: pair.first, SECOND: pair.second}
    if pair.difference is not None:
        cells[DIFFERENCE] = pair.difference
    verdict = f"{pair.verdict}: another {', '.join(pair.differs)}" if pair.differs else pair.verdict
    name = pair.told.removeprefix(f"{pair.run.dataset} · ")
    models = dict.fromkeys(number.run.model for number in (pair.one[0], pair.other[0]))
    return Line(name, " · ".join([verdict, *models]), cells)


def _class_line(one: ClassDifference) -> Line:
    return Line(one.name, "", {FIRST: one.first, SECOND: one.second, DIFFERENCE: one.difference})
