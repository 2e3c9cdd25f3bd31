"""The sections of a report of two sides: numbers, classes, and the images that changed most."""

from collections import Counter
from collections.abc import Collection, Sequence

from pacl_bench.report.comparison import Pair
from pacl_bench.report.figures.moved import moved_figure
from pacl_bench.report.figures.style import Drawing
from pacl_bench.report.forms import slug
from pacl_bench.report.page import Made
from pacl_bench.report.sections import Section
from pacl_bench.report.tables.comparison import class_differences, differences

MOST_PICTURES = 6


def compared(pairs: Sequence[Pair], names: tuple[str, str], forms: Collection[str]) -> list[Made]:
    """What is known of the second side less the first, drawn in the forms given."""
    command = f"pacl-bench report --compare {names[0]} {names[1]}"
    told = "Intervals are of the difference, paired over images, 95 %; docs/protocols.md says how often they hold."
    numbers = Section("Numbers", told, command, headline=lambda tables: summary(pairs, names))
    classes = Section("Classes", "The class that gained most on top.", command)
    made = [
        Made("differences", numbers, differences(pairs, names)),
        Made("classes", classes, class_differences(pairs, names)),
    ]
    return [*(one for one in made if one.tables), *_pictures(pairs, command, forms)]


def summary(pairs: Sequence[Pair], names: tuple[str, str]) -> str:
    """ "pacl-clip less clip: of 24 numbers 20 are higher, 1 is lower, 3 are not told apart."."""
    counts = Counter(pair.verdict for pair in pairs)
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    return f"{names[1]} less {names[0]}, {len(pairs)} number{'s' * (len(pairs) > 1)}: {told}."


def first_of_each_set(pairs: Sequence[Pair]) -> list[Pair]:
    """One number of each evaluator and data set, where all would say nearly the same."""
    return list({(pair.run.evaluator, pair.run.dataset, pair.run.model): pair for pair in reversed(pairs)}.values())[
        ::-1
    ]


def _pictures(pairs: Sequence[Pair], command: str, forms: Collection[str]) -> list[Made]:
    made = []
    for pair in first_of_each_set(pairs):
        figure = moved_figure(pair) if len(made) < MOST_PICTURES else None
        if figure is not None:
            section = Section(f"Images: {pair.told}", "Those that gained most, then those that lost most; %.", command)
            name = slug(f"images {pair.run.evaluator} {pair.run.dataset} {pair.run.model}")
            made.append(Made(name, section, drawing=Drawing.of(figure, forms)))
    return made
