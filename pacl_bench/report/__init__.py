"""The report: the paper's tables and figures from the records there are, measured beside published. No torch here."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from matplotlib.figure import Figure

from pacl_bench import records as store
from pacl_bench.files import write_text
from pacl_bench.records import Record
from pacl_bench.report import html
from pacl_bench.report.figures.bars import bar_figure, bar_panels
from pacl_bench.report.figures.confusion import confusion_figure, confusion_panels
from pacl_bench.report.figures.layers import layers_figure, layers_panels
from pacl_bench.report.figures.roc import roc_figure, roc_panels
from pacl_bench.report.figures.style import save
from pacl_bench.report.page import Picture, Section, page
from pacl_bench.report.provenance import images_used
from pacl_bench.report.tables import (
    ABLATION,
    compares_protocols,
    figure3_numbers,
    figure8_numbers,
    flat,
    layers_numbers,
    protocols_table,
    recall_table,
    table1,
    table2,
    table3,
)

FIGURE_FORMATS = (".png", ".pdf")
PICTURES = {  # title, what is to be seen, the command that draws it
    "figure2": (
        "Figure 2: alignment with a word",
        "Cosine similarity of each patch with the embedding of a word. Each model has colours of its own range.",
        "alignment PHOTO... --word cat --encoders clip-b16 --heads heads/pacl-clip-b16",
    ),
    "figure4": (
        "Figure 4: semantic coherence, seen",
        "Cosine similarity of the marked patch with all patches of the same and of another image; one row an encoder.",
        "similarity A B --point 0.5,0.4 --encoders clip-b16,dino-b16",
    ),
    "figure6": (
        "Figure 6: zero-shot segmentation, seen",
        "Image, label where there is one, and what each model predicts; all classes are candidates for every pixel.",
        'segmentation PHOTO... --classes "cat, sofa, lamp" --encoders clip-b16 --heads heads/pacl-clip-b16',
    ),
}
Panel = TypeVar("Panel")

__all__ = ["sections", "write_report"]


def write_report(results: Path) -> Path:
    """Writes report/ and tidy.csv below `results` from the records below `results`/records; returns report.md.

    Raises:
        UsageError: a file that is no record, or two numbers for one cell of a table. Nothing is written then.
    """
    folder = results / "records"
    records = list(store.read_all(folder))
    made = sections(records)
    curves, layers = roc_panels(records), layers_panels(records)
    bars, confusions = bar_panels(records), confusion_panels(records)
    write_text(results / "tidy.csv", store.load_table(folder).to_csv(index=False))
    report = results / "report"
    for name, section in made.items():
        write_text(report / f"{name}.csv", flat(section.table).to_csv(index=False))
    _write_figure(report / "figure3", curves, roc_figure)
    _write_figure(report / "layers", layers, layers_figure)
    _write_figure(report / "confusion", confusions, confusion_figure)
    _write_figure(report / "figure8", bars, bar_figure)
    text = page(records, [*made.values(), *_pictures(report)])
    write_text(report / "report.md", text)
    write_text(report / "report.html", html.page(text))
    return report / "report.md"


def _pictures(report: Path) -> list[Picture]:
    """The paper's pictures; those whose files lie in the folder of the report are shown."""
    return [
        Picture(
            title,
            text,
            f"pacl-bench show {command} --out {report / name}",
            name,
            not (report / f"{name}.png").is_file(),
        )
        for name, (title, text, command) in PICTURES.items()
    ]


def sections(records: Sequence[Record]) -> dict[str, Section]:
    """The tables and figures of the paper, by the name of their files."""
    ablation = [record for record in records if record.key.study == ABLATION]
    compared = [record for record in records if compares_protocols(record)]
    others = [record for record in records if record.key.study != ABLATION and not compares_protocols(record)]
    made = {
        "table1": Section(
            "Table 1: patch classification before and after alignment",
            "Patch accuracy, %. The slides name neither the data set, nor which patches and candidate classes count.",
            "pacl-bench patches --encoders clip-b16 --datasets voc20",
            table1(records),
            images_used(records, "patches"),
        ),
        "table2": Section(
            "Table 2: zero-shot segmentation",
            "mIoU, %, under the protocol named in the row. The paper's names: voc20 = PV-20, context59 = PC-59, "
            "coco_stuff171 = CS-171, ade150 = A-150.",
            "pacl-bench segment --encoders clip-b16 --datasets voc20",
            table2(records),
            images_used(others, "segment"),
        ),
        "protocols": Section(
            "Zero-shot segmentation by protocol",
            "mIoU, %, of the records that compare protocols: the same models, images and pass under each. No part of "
            "the paper.",
            "pacl-bench segment --heads heads/pacl-clip-b16 --datasets voc21 --thresholds 0.1,0.3,0.5",
            protocols_table(records),
            images_used(compared, "segment"),
        ),
        "table3": Section(
            "Table 3: training sets × encoders",
            "mIoU, %. Columns are vision encoder × text encoder. Measured rows come from the study `ablate` alone.",
            "pacl-bench ablate",
            table3(records),
            images_used(ablation, "segment"),
        ),
        "figure3": Section(
            "Figure 3: semantic coherence",
            "Is the cosine similarity of two patch tokens higher where they are of one class? The paper prints curves "
            "without numbers, in the order CLIP B/16, CLIP L/14, DINO B/16.",
            "pacl-bench coherence --encoders clip-b16,dino-b16 --datasets voc20",
            figure3_numbers(records),
            images_used(records, "coherence"),
            figure="figure3",
            decimals=3,
        ),
        "layers": Section(
            "Coherence by block",
            "AUROC of the tokens of each block of an encoder (0 is the first). No part of the paper.",
            "pacl-bench coherence --encoders clip-b16,dino-b16 --block all",
            layers_numbers(records),
            images_used(records, "coherence"),
            figure="layers",
            decimals=3,
        ),
        "confusion": Section(
            "Patches by class: recall, and what is taken for what",
            "Recall of each class, %, every class of the set being a candidate (`all-classes`), for each model. The "
            "picture shows, for each encoder, the model before alignment (else an untrained head) beside the trained "
            "head of the highest accuracy: rows are classes, each the shares of what its patches were taken for.",
            "pacl-bench patches --encoders clip-b16 --heads heads/pacl-clip-b16 --datasets voc20",
            recall_table(records),
            images_used(records, "patches"),
            figure="confusion" if any("confusion" in record.curves for record in records) else None,
        ),
        "figure8": Section(
            "Figure 8: zero-shot classification",
            "Top-1 accuracy and mean per-class recall, %. The paper prints bars for 12 data sets; neither the list nor "
            "a number is known, so nothing published stands beside.",
            "pacl-bench classify --encoders clip-b16 --datasets cifar10,caltech101,dtd",
            figure8_numbers(records),
            images_used(records, "classify"),
            figure="figure8",
        ),
    }
    if not compared:  # no part of the paper, so not missed
        del made["protocols"]
    return made


def _write_figure(stem: Path, panels: list[Panel], draw: Callable[[list[Panel]], Figure]) -> None:
    """PNG and PDF; with nothing to draw, those of an earlier report are taken away."""
    for ending in FIGURE_FORMATS:
        file = stem.with_suffix(ending)
        if panels:
            save(draw(panels), file)
        else:
            file.unlink(missing_ok=True)
