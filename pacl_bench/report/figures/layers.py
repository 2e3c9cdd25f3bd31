"""Coherence block by block, as lines over an encoder's blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pacl_bench.report.figures.style import (
    CHANCE,
    COLUMN_WIDTH,
    LINES,
    MOST_PANELS,
    PALETTE,
    TEXT_WIDTH,
    as_written,
    draw_panels,
    label_ends,
    new_axes,
    new_figure,
    titled,
)
from pacl_bench.report.runs import Number, Run, blocks, grouped, numbers

HEIGHT = 2.2
MOST_LINES = 8


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
        """A line an encoder with its name at the end, its 95 % band, and the line of guessing."""
        ax = new_axes(COLUMN_WIDTH, HEIGHT) if ax is None else ax
        for at, line in enumerate(self.lines):
            style = {"color": self.colours[line.encoder], "ls": LINES[at % len(LINES)]}
            [drawn] = ax.plot(line.blocks, line.auroc, marker="os^D"[at % 4], ms=2.8, lw=1.1, **style)
            drawn.set_gid(line.encoder)
            low, high = np.array(line.ci).T
            ax.fill_between(line.blocks, low, high, color=style["color"], alpha=0.15, lw=0)
        ax.axhline(0.5, **CHANCE)
        ax.set(xlabel="Block (0 is the first)", ylabel="Coherence (AUROC)", title=self.title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = ax.get_ylim()
        ends = {
            line.encoder: (float(line.blocks[-1]), line.auroc[-1], self.colours[line.encoder]) for line in self.lines
        }
        label_ends(ax, ends, 0.07 * (high - low))
        return as_written(ax)


def layers_panels(runs: Sequence[Run]) -> list[LayersPanel]:
    """Coherence block by block: a panel for each study, variant, data set and kind of pairs."""
    found = numbers(runs, "coherence", "auroc")
    block_of = blocks(one.run for one in found)
    shown = [one for one in found if one.run.file in block_of]
    encoders = sorted({block_of[one.run.file][0] for one in shown})
    colours = {encoder: PALETTE[at % len(PALETTE)] for at, encoder in enumerate(encoders)}
    groups = titled(shown, ["dataset", "protocol", "study", "variant"])
    panels = [LayersPanel(title, _lines(group, block_of), colours) for title, group in groups.items()]
    return panels[:MOST_PANELS]


def layers_figure(panels: Sequence[LayersPanel]) -> Figure:
    """The panels two in a row; a single one is a column wide."""
    cols = min(2, len(panels))
    rows = -(-len(panels) // cols)
    width = COLUMN_WIDTH + 0.6 if cols == 1 else TEXT_WIDTH
    return draw_panels(new_figure(width, rows * HEIGHT), panels, cols)


def _lines(group: Sequence[Number], block_of: Mapping[str, tuple[str, int]]) -> list[BlockLine]:
    """The encoders whose best block is best."""
    by_encoder = grouped(group, lambda one: block_of[one.run.file][0])
    best = sorted(by_encoder, key=lambda encoder: -max(one.value for one in by_encoder[encoder]))
    return [_line(encoder, by_encoder[encoder], block_of) for encoder in sorted(best[:MOST_LINES])]


def _line(encoder: str, of_encoder: Sequence[Number], block_of: Mapping[str, tuple[str, int]]) -> BlockLine:
    its = sorted(of_encoder, key=lambda one: block_of[one.run.file][1])
    intervals = [(one.low, one.high) for one in its]
    return BlockLine(encoder, [block_of[one.run.file][1] for one in its], [one.value for one in its], intervals)
