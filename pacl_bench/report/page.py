"""The words of the report, and the sections of its page in order."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from pacl_bench.records import Record
from pacl_bench.report import provenance
from pacl_bench.report.markdown import pipe_table, table_section
from pacl_bench.report.tables import MEASURED

HOW_TO_READ = """\
## How to read

A cell reads `value [low, high]`. Accuracies and mIoU are in percent, AUROC is between 0 and 1, and – is a gap: not
measured, not printed, or without meaning for the row.

- **Brackets** hold a 95 % interval over the images of the test set: a jackknife that leaves out one image after the
  other (patches and pixels of one image are not independent), for AUROC groups of images. It says nothing of what
  another training seed would give; each seed is a row of its own.
- **Chance** is what guessing scores on the same images: every candidate class equally likely for each patch, pixel or
  image; 0.5 for AUROC. It stands in the head of a column, or in each cell where it differs. **Majority class** is what
  always answering the candidate class scores that is most frequent in the set.
- **Before alignment** is the encoder as it comes, with its own projection. **Untrained head** is a PACL head of 0
  steps: random weights, the control. **PACL head** is a trained one. Nothing but a head is ever trained.
- **Patch protocols**: `all-classes`: every class of the set is a candidate. `present-classes`: the classes of the image
  are (`images of 2+ classes`: where that leaves a choice). `binary`: the patch's class against one other, the mean
  over the others. A patch counts if enough of its pixels (setting `purity`) have one label.
- **Segmentation protocols**: `dataset-miou`: all classes are candidates, one confusion matrix over the set; today's
  usual one. `present-miou`: the classes of the image are candidates, mIoU of each image, averaged over images; how one
  citing paper reads PACL. `background=none`: background is no candidate and its pixels do not count.
  `background=class`: it is a class like the others. `background=threshold=x` and `background=entropy=x,scale=y`: no
  candidate, but what falls to it are pixels whose best class has a probability below x, or whose entropy over the
  classes is above x nats, under the softmax of the scaled cosines. `boundary_blind_*` (in the records): without pixels
  near a boundary of labels (setting `boundary`). Different quantities: compare numbers of one protocol only.
- **Coherence pairs**: `pairs-across`: patches of two images. `pairs-within`: of one. `pairs-all`: both. `grid=G`: not
  of patches, but of the cells of one grid for all encoders, G along the short side of an image; tokens are brought to
  it bilinearly. Mean of classes: of a class, pairs of two of its patches against pairs of which one is of it; each
  class counts the same. Average precision: chance is the share of pairs that are of one class. Bands around curves are
  pointwise.
- **Published** numbers stand beside measured ones as printed. The slides do not state their protocol, and encoders,
  training data and test images differ: a reference, not a target that the measured rows reproduce or miss. Their source
  is in the csv file beside each table.
"""


@dataclass(frozen=True)
class Section:
    """A table or figure of the paper."""

    title: str
    text: str
    command: str  # fills it
    table: pd.DataFrame  # its numbers
    images: str  # how much of which data sets
    figure: str | None = None  # the name of its files, without ending
    decimals: int = 1

    @property
    def is_gap(self) -> bool:
        """Nothing was measured for it."""
        if "source" in self.table.index.names:
            return MEASURED not in self.table.index.get_level_values("source")
        return self.table.empty

    def markdown(self) -> str:
        parts = [f"## {self.title}"]
        if self.is_gap:
            parts.append(f"No record yet. Run: `{self.command}`")
        parts.append(f"{self.text} {'' if self.is_gap else self.images}")
        if self.figure and not self.is_gap:
            parts.append(f"![{self.title}]({self.figure}.png)\n\nFor print: [{self.figure}.pdf]({self.figure}.pdf)")
        if len(self.table):
            parts.append(table_section(self.table, self.decimals))
        return "\n\n".join(part.rstrip() for part in parts) + "\n"


@dataclass(frozen=True)
class Picture:
    """A figure of the paper that shows images: drawn by `pacl-bench show` into the folder of the report."""

    title: str
    text: str
    command: str
    figure: str  # the name of its files, without ending
    is_gap: bool

    def markdown(self) -> str:
        shown = f"![{self.title}]({self.figure}.png)\n\nFor print: [{self.figure}.pdf]({self.figure}.pdf)"
        body = f"No picture yet. Run: `{self.command}`" if self.is_gap else shown
        return f"## {self.title}\n\n{self.text}\n\n{body}\n"


def page(records: Sequence[Record], sections: Sequence[Section | Picture]) -> str:
    """The whole report."""
    filled = sum(not section.is_gap for section in sections)
    opening = (
        "# pacl-bench report\n\n"
        f"{len(records)} records fill {filled} of {len(sections)} tables and figures. "
        "Written by `pacl-bench report`; every number is in [tidy.csv](../tidy.csv).\n"
    )
    return "\n".join([opening, HOW_TO_READ, *(section.markdown() for section in sections), provenance_section(records)])


def provenance_section(records: Sequence[Record]) -> str:
    """Models, data, settings, code and machine behind the numbers."""
    if not records:
        return "## Provenance\n\nNo record yet.\n"
    created = sorted(record.provenance["created"][:10] for record in records if record.provenance.get("created"))
    lead = f"Measured {created[0]} to {created[-1]}.\n\n" if created else ""
    tables = {title: make(records) for title, make in provenance.SECTIONS.items()}
    body = [f"### {title}\n\n{pipe_table(_by_column(rows))}" for title, rows in tables.items() if rows]
    return f"## Provenance\n\n{lead}" + "\n".join(body)


def _by_column(rows: provenance.Rows) -> dict[str, list[str]]:
    return {name: [row[name] for row in rows] for name in rows[0]}
