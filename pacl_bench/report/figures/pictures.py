"""Figures 2, 4 and 6: rows of images with maps over them. Arrays in, a matplotlib figure out. No torch here."""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, hsv_to_rgb, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pacl_bench.report.figures.style import LEGEND, PALETTE, STYLE, TEXT_WIDTH, as_written, legend_columns, save

COLOURS_OF_HEAT = "viridis"  # even steps to the eye, readable in grey and to the colour-blind
LETTER = 0.065  # inches, at most on average in a title of 7 pt
OVERLAY = 0.62  # how much a map covers the image
MIDDLE = 0.5  # of the brightness of an image


@dataclass(frozen=True)
class PhotoPanel:
    """One image, and at most one map over it."""

    image: UInt8[np.ndarray, "height width_px channel"]
    title: str = ""
    heat: Float[np.ndarray, "height width_px"] | None = None  # cosine similarity
    heat_range: tuple[float, float] = (0.0, 1.0)  # of the colours; the same where maps are to be compared
    predicted_map: Int[np.ndarray, "height width_px"] | None = None  # class indices; outside the classes: nothing
    marker: tuple[float, float] | None = None  # (x, y) as fractions of the sides

    def draw(self, ax: Axes, colours: Float[np.ndarray, "label channel"]) -> Axes:
        """The image in grey under a map, in colour without."""
        plain = self.heat is None and self.predicted_map is None
        ax.imshow(self.image if plain else _grey(self.image))
        if self.heat is not None:
            low, high = self.heat_range
            ax.imshow(self.heat, cmap=COLOURS_OF_HEAT, vmin=low, vmax=high, alpha=OVERLAY)
        if self.predicted_map is not None:
            ax.imshow(_painted(self.predicted_map, colours))
        if self.marker is not None:
            height, width = self.image.shape[:2]
            at = self.marker[0] * width - 0.5, self.marker[1] * height - 0.5
            ax.plot(*at, marker="X", markersize=7, color="yellow", markeredgecolor="black", markeredgewidth=0.7)
        ax.set_title(self.title, loc="center")
        ax.set(xticks=[], yticks=[])  # to make some that are not seen takes longer than all else
        ax.set_axis_off()
        return as_written(ax)


def picture_figure(rows: list[list[PhotoPanel]], classnames: list[str] | None = None) -> Figure:
    """The panels row by row, with a legend of the classes that occur, or a colour bar for each range of heat."""
    used = classes_used(rows, len(classnames or []))
    colours = np.zeros((len(classnames or []), 3))
    colours[used] = class_colours(len(used))  # the fewer classes, the further apart their colours
    cols = max(map(len, rows))
    with matplotlib.rc_context(STYLE):
        legend_cols = legend_columns([classnames[label] for label in used] if classnames else [], TEXT_WIDTH)
        legend = 0.3 + 0.15 * (len(used) // legend_cols) if used else 0
        scales = 0.35 if any(len(_ranges(panels)) > 1 for panels in rows) else 0
        figure = Figure(figsize=(TEXT_WIDTH, _height(rows, cols) + legend + scales))
        figure.set_layout_engine("constrained")
        axes = figure.subplots(len(rows), cols, squeeze=False)
        for at, panels in enumerate(rows):
            for ax, panel in zip(axes[at], panels, strict=False):
                panel.draw(ax, colours)
                ax.set_title(_wrapped(panel.title, TEXT_WIDTH * 0.92 / cols), loc="center")
            for ax in axes[at][len(panels) :]:
                ax.set_axis_off()
        _draw_scales(figure, axes, rows)
        if used and classnames:
            handles = [Patch(color=tuple(_over_grey(colours[label])), label=classnames[label]) for label in used]
            figure.legend(handles=handles, loc="outside lower center", ncols=legend_cols, **LEGEND)
    return figure


def save_picture(rows: list[list[PhotoPanel]], stem: Path, classnames: list[str] | None = None) -> list[Path]:
    """Writes the picture as PNG and PDF; returns the files."""
    files = [stem.with_name(stem.name + ending) for ending in (".png", ".pdf")]
    figure = picture_figure(rows, classnames)
    for file in files:
        save(figure, file)
    return files


def class_colours(number: int) -> Float[np.ndarray, "label channel"]:
    """Few are those of all figures, told apart with every common kind of colour blindness; more go around the circle of
    hues, neighbours in the list told apart by brightness too.
    """
    if number <= len(PALETTE):
        return np.array([to_rgb(colour) for colour in PALETTE[:number]]).reshape(-1, 3)
    hues = (np.arange(number) * 0.618034) % 1  # the golden section: no two close for any number of classes
    values = np.where(np.arange(number) % 2, 0.75, 1.0)
    return hsv_to_rgb(np.stack([hues, np.full(number, 0.75), values], axis=1))


def classes_used(rows: list[list[PhotoPanel]], number: int) -> list[int]:
    """Class indices that occur in any map, in order."""
    maps = [panel.predicted_map for panels in rows for panel in panels if panel.predicted_map is not None]
    seen = np.unique(np.concatenate([map_.ravel() for map_ in maps])) if maps else []
    return [int(label) for label in seen if 0 <= label < number]


def _draw_scales(figure: Figure, axes: np.ndarray, rows: list[list[PhotoPanel]]) -> None:
    """A colour bar at the end of each row whose maps have one range; else below each column whose maps have."""
    by_row = [_ranges(panels) for panels in rows]
    if all(len(ranges) <= 1 for ranges in by_row):
        for of_row, ranges in zip(axes, by_row, strict=True):
            for heat_range in ranges:
                _draw_scale(figure, list(of_row), heat_range, "right")
        return
    for at, of_col in enumerate(axes.T):
        ranges = _ranges([panels[at] for panels in rows if at < len(panels)])
        if len(ranges) == 1:
            _draw_scale(figure, list(of_col), ranges.pop(), "bottom")


def _draw_scale(figure: Figure, axes: list[Axes], heat_range: tuple[float, float], side: str) -> None:
    scale = ScalarMappable(Normalize(*heat_range), COLOURS_OF_HEAT)
    bar = figure.colorbar(scale, ax=axes, location=side, shrink=0.85, aspect=18, pad=0.01)
    bar.set_label("cosine similarity")
    bar.outline.set_visible(False)  # type: ignore[operator]


def _ranges(panels: list[PhotoPanel]) -> set[tuple[float, float]]:
    return {panel.heat_range for panel in panels if panel.heat is not None}


def _height(rows: list[list[PhotoPanel]], cols: int) -> float:
    """In inches, so that images keep their shape at the width of the text."""
    tallest = [max(panel.image.shape[0] / panel.image.shape[1] for panel in panels) for panels in rows]
    return sum(share * TEXT_WIDTH * 0.92 / cols + 0.22 for share in tallest)


def _wrapped(title: str, width: float) -> str:
    """The title in lines no wider than `width` inches: names of models can be long, and have no spaces."""
    letters = max(8, int(width / LETTER))
    return "\n".join(wrap for line in title.split("\n") for wrap in textwrap.wrap(line, letters) or [""])


def _grey(image: UInt8[np.ndarray, "height width_px channel"]) -> UInt8[np.ndarray, "height width_px channel"]:
    grey = image @ np.array([0.299, 0.587, 0.114])
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def _over_grey(colour: Float[np.ndarray, " channel"]) -> Float[np.ndarray, " channel"]:
    """A class's colour as its tint looks over an image of middling brightness: what the legend shows."""
    return OVERLAY * colour + (1 - OVERLAY) * MIDDLE


def _painted(
    predicted_map: Int[np.ndarray, "height width_px"], colours: Float[np.ndarray, "label channel"]
) -> Float[np.ndarray, "height width_px rgba"]:
    """The classes in their colours, see-through where nothing is predicted."""
    there = (predicted_map >= 0) & (predicted_map < len(colours))
    painted = np.zeros((*predicted_map.shape, 4))
    painted[there, :3] = colours[predicted_map[there]]
    painted[there, 3] = OVERLAY
    return painted
