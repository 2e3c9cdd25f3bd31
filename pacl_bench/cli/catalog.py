"""What `pacl-bench list` prints: one row a name, and whether it is found on this machine."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pacl_bench.encoders
from pacl_bench.data.catalog import DECLARED, outside
from pacl_bench.data.classification import CLASSIFICATION_SETS
from pacl_bench.data.declaration import Declaration
from pacl_bench.data.outside_sets import OutsideSet
from pacl_bench.data.pairs import PAIR_SOURCES
from pacl_bench.data.segmentation import SEGMENTATION_SETS
from pacl_bench.data.tools.downloads import DOWNLOADS
from pacl_bench.encoders.request import ENTRY_POINTS
from pacl_bench.encoders.table import ENCODERS, LIBRARIES, EncoderEntry
from pacl_bench.evaluators.presets import PRESETS, told_step
from pacl_bench.evaluators.steps import changed_steps
from pacl_bench.paths import weights_root
from pacl_bench.registry import entry_points, package_of
from pacl_bench.studies.experiment import shipped_studies
from pacl_bench.world import WORLD_CLASSIFICATION, WORLD_PAIRS, WORLD_SEGMENTATION

Rows = list[dict[str, Any]]
CHECKED = Path(pacl_bench.encoders.__file__).with_name("checked.csv")


def encoders() -> Rows:
    """The table ENCODERS, and what installed packages add.

    "checked": on its library's own architecture with random weights it gave what the library does
    (tests/samples/official.py). "local": it has a file under PACL_WEIGHTS or needs none; the others are downloaded
    where they can be.
    """
    checked = checked_encoders()
    return [
        {
            "name": name,
            "what": entry.note,
            "loads as": _loads_as(entry),
            "patch": entry.patch,
            "size": entry.size,
            "text space": "yes" if entry.text else "no",
            "licence": entry.licence,
            "checked": checked.get(entry.weights or name, ""),
            "local": "no" if LIBRARIES[entry.library].needs_file and not _has_file(name, entry) else "yes",
        }
        for name, entry in ENCODERS.items()
    ] + [
        {"name": name, "what": f"of the package {package_of(point)}", "loads as": f"python:{point.value}",
         "patch": None, "size": None, "text space": "", "licence": "", "checked": "", "local": "yes"}
        for name, point in entry_points(ENTRY_POINTS, ENCODERS).items()
    ]  # fmt: skip


def checked_encoders() -> dict[str, str]:
    """What passed in the table that tests/samples/official.py wrote: "yes", or how many of the blocks were run."""
    with CHECKED.open(newline="", encoding="utf-8") as handle:
        passed = [row for row in csv.DictReader(handle) if row["passed"] == "True"]
    return {row["name"]: f"{row['blocks']} blocks" if " of " in row["blocks"] else "yes" for row in passed}


def _loads_as(entry: EncoderEntry) -> str:
    tag = f"/{entry.tag}" if entry.tag else ""
    attention = f"?attention={entry.attention}" if entry.attention != "clip" else ""
    return f"{entry.library}:{entry.model}{tag}{attention}"


def _has_file(name: str, entry: EncoderEntry) -> bool:
    root = weights_root()
    return root is not None and any(root.glob(f"{entry.weights or name}.*"))


def datasets() -> Rows:
    """Segmentation and classification sets."""
    declared = {"segmentation": SEGMENTATION_SETS, "classification": CLASSIFICATION_SETS}
    sets = [
        _row(entry.name, kind, entry.title, entry.num_images, len(entry.classnames), entry.found())
        for kind, entries in declared.items()
        for entry in entries.values()
    ]
    drawn = {"segmentation": WORLD_SEGMENTATION, "classification": WORLD_CLASSIFICATION}
    world = [
        _row(name, kind, entry.why, len(entry), len(entry.classnames), "built in")
        for kind, entries in drawn.items()
        for name, entry in entries.items()
    ]
    return sets + world + [_outside_row(entry) for entry in outside().values() if entry.kind != "pairs"]


def pairs() -> Rows:
    """Training sets that have a name; any csv file with the columns filepath and caption is one too."""
    return (
        [
            {"name": entry.name, "what": entry.title, "found": str(entry.found() or "no"), "source": entry.source}
            for entry in PAIR_SOURCES.values()
        ]
        + [
            {
                "name": name,
                "what": entry.why,
                "found": "built in",
                "source": f"{len(entry):,} scenes of the built-in world",
            }
            for name, entry in WORLD_PAIRS.items()
        ]
        + [
            {"name": name, "what": entry.title, "found": _found(entry), "source": entry.source}
            for name, entry in outside().items()
            if entry.kind == "pairs"
        ]
    )


def data_table() -> str:
    """README's table of all declared sets, as markdown."""
    rows = [
        (
            f"`{name}`", kind, f"{entry.num_images:,}", _classes(entry),
            f"`pacl-bench data fetch {name}`" if name in DOWNLOADS else f"by hand: `pacl-bench data where {name}`",
            entry.space, entry.licence, "yes" if entry.read_here else "no",
        )
        for kind, entries in DECLARED.items()
        for name, entry in entries.items()
    ]  # fmt: skip
    header = ("set", "for", "images", "classes", "get it", "space", "licence", "read on real files here")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows))


def _classes(entry: Declaration) -> str:
    """How many; of pairs there are none."""
    classnames = getattr(entry, "classnames", ())
    return f"{len(classnames):,}" if classnames else ""


def studies() -> Rows:
    """The shipped study files, with the sentence that says what each is."""
    return [
        {"name": name, "what": file.read_text(encoding="utf-8").splitlines()[1].lstrip("# "), "file": str(file)}
        for name, file in shipped_studies().items()
    ]


def protocols() -> Rows:
    """What segment takes for --protocol: the steps that differ from the defaults, and what differs on which sets."""
    return [
        {
            "name": name,
            "what": preset.title,
            "attention": preset.setup.attention or "",
            "steps": _listed_steps(changed_steps(preset.steps)),
            "on single sets": "; ".join(f"{dataset}: {_listed_steps(steps)}" for dataset, steps in preset.on.items()),
            "source": preset.source,
        }
        for name, preset in PRESETS.items()
    ]


def _listed_steps(steps: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={told_step(name, value)}" for name, value in steps.items())


def _outside_row(entry: OutsideSet) -> dict[str, Any]:
    return _row(entry.name, entry.kind, entry.title, entry.num_images, len(entry.classnames), _found(entry))


def _found(entry: OutsideSet) -> str:
    return str(entry.found() or "no") if entry.folders else "in its package"


def _row(name: str, kind: str, what: str, images: int, classes: int, found: object) -> dict[str, Any]:
    return {"name": name, "kind": kind, "what": what, "images": images, "classes": classes, "found": str(found or "no")}
