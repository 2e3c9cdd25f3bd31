"""SECTIONS: the tables and figures of a report, by the name of their files. No torch here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from pacl_bench.registry import loaded_entry_points
from pacl_bench.report.figures.confusion import confusion_figure, confusion_panels
from pacl_bench.report.figures.dots import dots_figure, dots_panels
from pacl_bench.report.figures.layers import layers_figure, layers_panels
from pacl_bench.report.figures.noise import noise_figure, noise_panels
from pacl_bench.report.figures.roc import roc_figure, roc_panels
from pacl_bench.report.figures.sizes import sizes_figure, sizes_panels
from pacl_bench.report.figures.training import training_figure, training_panels
from pacl_bench.report.headlines import best_sentence, gain_sentence
from pacl_bench.report.runs import Run
from pacl_bench.report.tables.ablation import table3
from pacl_bench.report.tables.classification import classification
from pacl_bench.report.tables.coherence import coherence, layers
from pacl_bench.report.tables.noise import noise
from pacl_bench.report.tables.patches import recall_tables, table1
from pacl_bench.report.tables.segmentation import protocols, table2
from pacl_bench.report.tabular import Table

OUTSIDE = "pacl_bench.sections"  # the group of entry points by which other packages add sections


class Plot(NamedTuple):
    """How a figure is made: what stands in each of its panels, and the figure of them all."""

    panels: Callable[[Sequence[Run]], list[Any]]
    draw: Callable[[list[Any]], Figure]


@dataclass(frozen=True)
class Section:
    """A table or figure of the report."""

    title: str
    text: str  # Markdown: what it shows
    command: str  # fills it
    tables: Callable[[Sequence[Run]], list[Table]] = lambda runs: []
    plot: Plot | None = None
    headline: Callable[[Sequence[Table]], str] = lambda tables: ""  # a sentence for the top of the report
    of_paper: bool = True  # else it is left out where nothing fills it
    picture: bool = False  # drawn by `pacl-bench show` from images into the folder of the report


SECTIONS: dict[str, Section] = {
    "table1": Section(
        "Table 1: patch classification before and after alignment",
        "Patch accuracy, %. The slides name neither the data set, nor which patches and candidate classes count.",
        "pacl-bench patches --encoders clip-b16 --datasets voc20",
        table1,
        headline=gain_sentence,
    ),
    "table2": Section(
        "Table 2: zero-shot segmentation",
        "mIoU, %, under the protocol chosen. Numbers of two protocols never share a column, and no difference is "
        "formed to a number of unknown protocol.",
        "pacl-bench segment --encoders clip-b16 --datasets voc20",
        table2,
        headline=partial(best_sentence, metric="mIoU"),
    ),
    "protocols": Section(
        "Zero-shot segmentation by protocol",
        "mIoU, %, of the records that compare protocols: the same models, images and pass under each. No part of the "
        "paper.",
        "pacl-bench segment --heads heads/pacl-clip-b16 --datasets voc21 --thresholds 0.1,0.3,0.5",
        protocols,
        of_paper=False,
    ),
    "table3": Section(
        "Table 3: training sets × encoders",
        "mIoU, %. Columns are vision encoder × text encoder. Measured numbers come from the study `ablate` alone.",
        "pacl-bench ablate",
        table3,
        Plot(sizes_panels, sizes_figure),
    ),
    "figure3": Section(
        "Figure 3: semantic coherence",
        "Is the cosine similarity of two patch tokens higher where they are of one class? The paper prints curves "
        "without numbers, in the order CLIP B/16, CLIP L/14, DINO B/16.",
        "pacl-bench coherence --encoders clip-b16,dino-b16 --datasets voc20",
        coherence,
        Plot(roc_panels, roc_figure),
        headline=partial(best_sentence, metric="AUROC"),
    ),
    "layers": Section(
        "Coherence by block",
        "AUROC of the tokens of each block of an encoder (0 is the first). No part of the paper.",
        "pacl-bench coherence --encoders clip-b16,dino-b16 --block all",
        layers,
        Plot(layers_panels, layers_figure),
        of_paper=False,
    ),
    "confusion": Section(
        "Patches by class: recall, and what is taken for what",
        "Recall of each class, %, every class of the set being a candidate (`all-classes`), for each model. The figure "
        "shows, for each encoder, the model before alignment (else an untrained head) beside the trained head of the "
        "highest accuracy: rows are classes, each the shares of what its patches were taken for.",
        "pacl-bench patches --encoders clip-b16 --heads heads/pacl-clip-b16 --datasets voc20",
        recall_tables,
        Plot(confusion_panels, confusion_figure),
        of_paper=False,
    ),
    "figure8": Section(
        "Figure 8: zero-shot classification",
        "Accuracy, %: from before (o) to after alignment (*), the largest gain on top. The paper prints bars for 12 "
        "data sets; neither the list nor a number is known, so nothing published stands beside.",
        "pacl-bench classify --encoders clip-b16 --datasets cifar10,caltech101,dtd",
        classification,
        Plot(dots_panels, dots_figure),
        headline=partial(best_sentence, metric="top-1 accuracy"),
    ),
    "noise": Section(
        "What is left when images drown in noise",
        "Each number again with a share of noise in every pixel. At 100 % nothing of an image is left: a number that "
        "does not fall to the line of guessing was none of what the image shows. No part of the paper.",
        "pacl-bench quickstart --noise 0,0.25,0.5,1",
        noise,
        Plot(noise_panels, noise_figure),
        of_paper=False,
    ),
    "training": Section(
        "Training: loss by step",
        "InfoNCE in nats of the batches that heads were trained on, each point the mean of the steps since the one "
        "before, and of pairs held out (`--held-out`). From the logs of the heads that were measured, as far as "
        "`training/` in the folder of results holds them. No part of the paper.",
        "pacl-bench train --encoder clip-b16 --text clip-b16 --pairs flickr8k",
        plot=Plot(training_panels, training_figure),
        of_paper=False,
    ),
    "figure2": Section(
        "Figure 2: alignment with a word",
        "Cosine similarity of each patch with the embedding of a word. Each model has colours of its own range.",
        "pacl-bench show alignment PHOTO... --word cat --encoders clip-b16 --heads heads/pacl-clip-b16 "
        "--out results/report/figure2",
        picture=True,
    ),
    "figure4": Section(
        "Figure 4: semantic coherence, seen",
        "Cosine similarity of the marked patch with all patches of the same and of another image; one row an encoder.",
        "pacl-bench show similarity A B --point 0.5,0.4 --encoders clip-b16,dino-b16 --out results/report/figure4",
        picture=True,
    ),
    "figure6": Section(
        "Figure 6: zero-shot segmentation, seen",
        "Image, label where there is one, and what each model predicts; all classes are candidates for every pixel.",
        'pacl-bench show segmentation PHOTO... --classes "cat, sofa, lamp" --encoders clip-b16 '
        "--heads heads/pacl-clip-b16 --out results/report/figure6",
        picture=True,
    ),
    "gallery": Section(
        "Gallery: best, median and worst image",
        "By the image's own mIoU under the record of each head: image, label, prediction. Pixels without a label do "
        "not count. No part of the paper.",
        "pacl-bench show gallery --heads heads/pacl-clip-b16 --dataset voc20 --out results/report/gallery",
        of_paper=False,
        picture=True,
    ),
}


@cache
def all_sections() -> dict[str, Section]:
    """SECTIONS, and those of other packages: entry points of the group `pacl_bench.sections`, each a Section."""
    return SECTIONS | loaded_entry_points(OUTSIDE, SECTIONS)
