"""Coherence block by block, as lines over an encoder's blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pacl_bench.records import Record
from pacl_bench.report.figures.style import (
    COLUMN_WIDTH,
    LEGEND,
    LINES,
    PALETTE,
    STYLE,
    TEXT_WIDTH,
    VANILLA,
    grouped,
    new_axes,
    new_figure,
)
from pacl_bench.report.rows import Row, every_block, measured

LAYERS_HEIGHT = 2.4


@dataclass(frozen=True)
class BlockLine:
    """AUROC of one encoder at each of its blocks, the first first."""

    encoder: str
    blocks: list[int]
    auroc: list[float]
    ci: list[tuple[float, float]]  # 95 %; NaN where unknown


@dataclass(frozen=True)
class LayersPanel:
    """Coherence block by block: the encoders of one data set and kind of pairs."""

    title: str
    lines: list[BlockLine]
    colours: Mapping[str, str]  # of each encoder

    def draw(self, ax: Axes | None = None) -> Axes:
        """A line an encoder, its 95 % band, and the line of guessing."""
        ax = new_axes(COLUMN_WIDTH, LAYERS_HEIGHT) if ax is None else ax
        for at, line in enumerate(self.lines):
            style = {"color": self.colours[line.encoder], "ls": LINES[at % len(LINES)]}
            ax.plot(line.blocks, line.auroc, marker="os^D"[at % 4], ms=2.8, lw=1.1, label=line.encoder, **style)
            low, high = np.array(line.ci).T
            ax.fill_between(line.blocks, low, high, color=style["color"], alpha=0.15, lw=0)
        ax.axhline(0.5, color=VANILLA, ls=(0, (2, 2)), lw=0.8, label="chance", zorder=1)
        ax.set(xlabel="Block (0 is the first)", ylabel="Coherence (AUROC)", title=self.title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="best", **LEGEND)
        return ax


def layers_panels(records: Sequence[Record]) -> list[LayersPanel]:
    """Coherence block by block: a panel for each study, variant, data set and kind of pairs."""
    blocks = every_block(records)
    rows = [row for row in measured(records, "coherence", "auroc") if row["file"] in blocks]
    rows = [{**row, "of": blocks[row["file"]][0], "block": blocks[row["file"]][1]} for row in rows]
    colours = {encoder: PALETTE[at % len(PALETTE)] for at, encoder in enumerate(sorted({row["of"] for row in rows}))}
    groups = grouped(rows, ["dataset", "protocol", "study", "variant"])
    return [LayersPanel(title, _block_lines(group), colours) for title, group in groups.items()]


def _block_lines(rows: Sequence[Row]) -> list[BlockLine]:
    lines = []
    for encoder in sorted({row["of"] for row in rows}):
        its = sorted((row for row in rows if row["of"] == encoder), key=lambda row: row["block"])
        intervals = [(row["ci_low"], row["ci_high"]) for row in its]
        lines.append(BlockLine(encoder, [row["block"] for row in its], [row["value"] for row in its], intervals))
    return lines


def layers_figure(panels: Sequence[LayersPanel]) -> Figure:
    """The panels two in a row; a single one is a column wide."""
    cols = min(2, len(panels))
    rows = -(-len(panels) // cols)
    figure = new_figure(COLUMN_WIDTH if cols == 1 else TEXT_WIDTH, rows * LAYERS_HEIGHT)
    with matplotlib.rc_context(STYLE):
        for at, panel in enumerate(panels, start=1):
            panel.draw(figure.add_subplot(rows, cols, at))
    return figure
