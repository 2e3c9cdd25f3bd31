"""Which classes' patches are taken for which: confusion matrices before and after alignment, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from pacl_bench.report.figures.style import COLUMN_WIDTH, MOST_PANELS, STYLE, TEXT_WIDTH, as_written
from pacl_bench.report.lines import names_apart
from pacl_bench.report.runs import AFTER, BEFORE, UNTRAINED, Number, Run, grouped, numbers

COLOURS = "viridis"  # even steps to the eye, readable in grey and to the colour-blind
MOST_CLASSES = 30  # shown of a larger set: those whose patches are most often taken for another class


@dataclass(frozen=True)
class ConfusionPanel:
    """The confusion matrix of one model: rows by class, each the shares of what its patches were taken for."""

    title: str
    row: str  # panels of one row stand side by side
    classnames: list[str]
    shares: Float[np.ndarray, "label predicted"]  # NaN for a class without patches

    def draw(self, ax: Axes) -> Axes:
        """The matrix as a heat map; classes without patches are left white."""
        import seaborn  # it brings pyplot, which no other figure needs

        seaborn.heatmap(
            self.shares,
            ax=ax,
            cmap=COLOURS,
            vmin=0,
            vmax=1,
            square=True,
            cbar=False,
            xticklabels=self.classnames,
            yticklabels=self.classnames,
            rasterized=True,
        )
        ax.tick_params(length=0, labelsize=5.5, pad=1)
        ax.set_title(self.title)
        ax.set(xlabel="predicted", ylabel="class of the patch")
        return as_written(ax)


def confusion_panels(runs: Sequence[Run]) -> list[ConfusionPanel]:
    """For each study, variant, data set and encoder the model before alignment (else an untrained head) and the trained
    head of the highest accuracy; every class of the set is a candidate.
    """
    shown = [
        one
        for one in numbers(runs, "patches", "patch_accuracy")
        if one.protocol == "all-classes" and "confusion" in one.run.curves
    ]
    groups = grouped(shown, lambda one: (one.run.study, one.run.variant, one.run.dataset, one.run.encoder))
    rows = [_panels(_before_and_after(group)) for group in list(groups.values())[: MOST_PANELS // 2]]
    return [panel for panels in rows for panel in panels]


def confusion_figure(panels: Sequence[ConfusionPanel]) -> Figure:
    """A row for each encoder of which there are two, below them the others, two in a row; one scale of colours for all.

    A column wide where there is one alone.
    """
    rows = _rows(panels)
    cols = max(map(len, rows))
    width = TEXT_WIDTH if cols > 1 else COLUMN_WIDTH
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, 3.6 * len(rows)), layout="constrained")
        places = figure.add_gridspec(len(rows), cols)
        axes = [
            panel.draw(figure.add_subplot(places[at, col if len(row) == cols else slice(cols)]))
            for at, row in enumerate(rows)
            for col, panel in enumerate(row)
        ]
        colours = ScalarMappable(Normalize(0, 1), COLOURS)
        scale = figure.colorbar(colours, ax=axes, location="top", shrink=0.6 / cols, aspect=25, anchor=(0, 0), pad=0.01)
        scale.set_label("share of the class's patches")
        scale.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _rows(panels: Sequence[ConfusionPanel]) -> list[list[ConfusionPanel]]:
    """Which stand side by side. Of an odd number without a neighbour the last has a row of its own, and its middle."""
    by_encoder = grouped(panels, lambda panel: panel.row).values()
    alone = [panel for row in by_encoder if len(row) == 1 for panel in row]
    return [row for row in by_encoder if len(row) > 1] + [alone[at : at + 2] for at in range(0, len(alone), 2)]


def _before_and_after(group: Sequence[Number]) -> list[Number]:
    before = [one for method in (BEFORE, UNTRAINED) for one in group if one.run.method == method][:1]
    after = sorted((one for one in group if one.run.method == AFTER), key=lambda one: -one.value)[:1]
    return before + after


def _panels(found: Sequence[Number]) -> list[ConfusionPanel]:
    """Of one data set and encoder; all show the same classes."""
    runs = [one.run for one in found]
    told = names_apart(runs, [run.method for run in runs])
    names = runs[0].record.config["dataset"]["classnames"]
    counts = [_matrix(run, len(names)) for run in runs]
    shown = _most_confused(np.sum(counts, axis=0), MOST_CLASSES) if len(names) > MOST_CLASSES else np.arange(len(names))
    return [
        ConfusionPanel(
            f"{one.run.dataset} · {one.run.encoder}\n{model}: {100 * one.value:.1f} %",
            " ".join((one.run.study, one.run.variant, one.run.dataset, one.run.encoder)),
            [names[label] for label in shown],
            _shares(matrix)[np.ix_(shown, shown)],
        )
        for one, model, matrix in zip(found, told, counts, strict=True)
    ]


def _shares(matrix: Float[np.ndarray, "label predicted"]) -> Float[np.ndarray, "label predicted"]:
    with np.errstate(invalid="ignore"):
        return matrix / matrix.sum(1, keepdims=True)


def _matrix(run: Run, num_classes: int) -> Float[np.ndarray, "label predicted"]:
    """Patches by class and by what they were taken for."""
    cells = run.curves["confusion"]
    matrix = np.zeros((num_classes, num_classes))
    matrix[np.array(cells["label"], int), np.array(cells["predicted"], int)] = cells["patches"]
    return matrix


def _most_confused(matrix: Float[np.ndarray, "label predicted"], number: int) -> np.ndarray:
    """The classes with the most patches taken for another, in the order of the set."""
    wrong = matrix.sum(1) - matrix.diagonal()
    return np.sort(np.argsort(-wrong, kind="stable")[:number])
