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

from pacl_bench.records import Record
from pacl_bench.report.figures.style import COLUMN_WIDTH, STYLE, TEXT_WIDTH
from pacl_bench.report.rows import AFTER, BEFORE, UNTRAINED, Row, measured

COLOURS = "viridis"  # even steps to the eye, readable in grey and to the colour-blind
MOST_CLASSES = 30  # shown of a larger set: those whose patches are most often taken for another class


@dataclass(frozen=True)
class ConfusionPanel:
    """The confusion matrix of one model: rows by class, each the shares of what its patches were taken for."""

    title: str
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
        return ax


def confusion_panels(records: Sequence[Record]) -> list[list[ConfusionPanel]]:
    """A row of panels for each study, variant, data set and encoder: before alignment (else an untrained head) and the
    trained head of the highest accuracy; every class of the set is a candidate.
    """
    by_file = {str(record.key.path): record for record in records if "confusion" in record.curves}
    rows = [row for row in measured(records, "patches", "patch_accuracy") if row["file"] in by_file]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row["protocol"] == "all-classes":
            groups.setdefault(tuple(row[name] for name in ("study", "variant", "dataset", "encoder")), []).append(row)
    return [_panels([(row, by_file[row["file"]]) for row in _before_and_after(group)]) for group in groups.values()]


def confusion_figure(rows: Sequence[Sequence[ConfusionPanel]]) -> Figure:
    """The panels row by row, one scale of colours for all; a column wide where no row has two."""
    cols = max(len(panels) for panels in rows)
    width = TEXT_WIDTH if cols > 1 else COLUMN_WIDTH
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, 3.6 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), cols, squeeze=False)
        for panels, places in zip(rows, axes, strict=True):
            for panel, ax in zip(panels, places, strict=False):
                panel.draw(ax)
            for ax in places[len(panels) :]:
                ax.set_axis_off()
        scale = figure.colorbar(ScalarMappable(Normalize(0, 1), COLOURS), ax=axes, shrink=0.6 / len(rows), aspect=25)
        scale.set_label("share of the class's patches")
        scale.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _before_and_after(rows: Sequence[Row]) -> list[Row]:
    before = [row for method in (BEFORE, UNTRAINED) for row in rows if row["method"] == method][:1]
    after = sorted((row for row in rows if row["method"] == AFTER), key=lambda row: -row["value"])[:1]
    return before + after


def _panels(found: Sequence[tuple[Row, Record]]) -> list[ConfusionPanel]:
    """Of one data set; all show the same classes."""
    names = found[0][1].config["dataset"]["classnames"]
    counts = [_matrix(record, len(names)) for _, record in found]
    shown = _most_confused(np.sum(counts, axis=0), MOST_CLASSES) if len(names) > MOST_CLASSES else np.arange(len(names))
    panels = []
    for (row, _), matrix in zip(found, counts, strict=True):
        with np.errstate(invalid="ignore"):
            shares = matrix / matrix.sum(1, keepdims=True)
        method = row["method"] if row["method"] != AFTER else row["model"]
        title = f"{row['dataset']} · {row['encoder']}\n{method}: {100 * row['value']:.1f} %"
        panels.append(ConfusionPanel(title, [names[label] for label in shown], shares[np.ix_(shown, shown)]))
    return panels


def _matrix(record: Record, num_classes: int) -> Float[np.ndarray, "label predicted"]:
    """Patches by class and by what they were taken for."""
    cells = record.curves["confusion"]
    matrix = np.zeros((num_classes, num_classes))
    matrix[np.array(cells["label"], int), np.array(cells["predicted"], int)] = cells["patches"]
    return matrix


def _most_confused(matrix: Float[np.ndarray, "label predicted"], number: int) -> np.ndarray:
    """The classes with the most patches taken for another, in the order of the set."""
    wrong = matrix.sum(1) - matrix.diagonal()
    return np.sort(np.argsort(-wrong, kind="stable")[:number])
