"""Writes the tables in README.md and docs/ from declarations and records: `python docs/generate.py`.

Each stands between `<!-- table: NAME -->` and `<!-- end -->`. tests/test_docs.py fails where one differs from what this
file makes of it, so that no number in the words is older than its record.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import get_type_hints

from pacl_bench import records
from pacl_bench.records import Record

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = re.compile(r"(<!-- table: (?P<name>[\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
NONE = "dataset-miou, background=none"

Cells = Sequence[str]


def pipe_table(header: Cells, rows: Iterable[Cells]) -> str:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def numbers(folder: str, study: str, dataset: str, protocol: str, metric: str, variant: str = "default") -> dict:
    """The measurements over all classes that a folder of results holds, by the name of the model."""
    found = {}
    for record in read(folder):
        key = record.key
        if (key.study, key.dataset, key.variant) == (study, dataset, variant):
            chosen = [one for one in record.measurements if (one.protocol, one.metric) == (protocol, metric)]
            found |= {key.model: one for one in chosen if not one.class_name}  # noqa: B035  one is left: no class
    return found


_READ: dict[str, list[Record]] = {}


def read(folder: str) -> list[Record]:
    """The records of results/<folder>, read once."""
    if folder not in _READ:
        _READ[folder] = list(records.read_all(ROOT / "results" / folder / "records"))
    return _READ[folder]


def percent(value: float) -> str:
    """ "71.1"."""
    return f"{value * 100:.1f}"


def with_interval(one: records.Measurement) -> str:
    """ "40.1 [36.9, 43.2]"."""
    assert one.ci_low is not None
    assert one.ci_high is not None
    return f"{percent(one.value)} [{percent(one.ci_low)}, {percent(one.ci_high)}]"


def over_seeds(values: list[float]) -> str:
    """ "71.1 (68.9 to 73.8)": mean, lowest, highest."""
    return f"{percent(sum(values) / len(values))} ({percent(min(values))} to {percent(max(values))})"


def of_heads(found: dict[str, records.Measurement], encoder: str, pairs: str) -> str:
    """Over the seeds of the heads of an encoder and a training set."""
    name = f"pacl-{encoder}.{pairs}"
    values = [one.value for model, one in found.items() if model == name or model.startswith(f"{name}.seed")]
    return over_seeds(values)


WORLD_SETS = ("world-4k", "world-4k+world-5k", "world-1k+world-4k+world-5k")
QUICKSTART_ROWS = {  # what the README's table shows: study, data set, protocol, metric, variant
    "patch accuracy, things, `all-classes`": ("patches", "world-things", "all-classes", "patch_accuracy"),
    "patch accuracy, things and stuff, `all-classes`": ("patches", "world-scenes", "all-classes", "patch_accuracy"),
    f"`{NONE}`, world-things": ("segment", "world-things", NONE, "miou"),
    "the same at stride 4 instead of 8 (the stride trick)": ("segment", "world-things", NONE, "miou", "stride=4"),
    "whole images, one large thing (world-clean), top-1": ("classify", "world-clean", "zero-shot", "top1"),
    "how many things (world-counts), top-1": ("classify", "world-counts", "zero-shot", "top1"),
}


def quickstart_table() -> str:
    """The built-in world before alignment, with an untrained head, and after."""
    rows = []
    for told, chosen in QUICKSTART_ROWS.items():
        found = numbers("quickstart", *chosen)
        before, untrained = found["tiny-clip"], found["untrained-tiny-clip"]
        after = of_heads(found, "tiny-clip", WORLD_SETS[-1])
        rows.append((told, percent(before.chance or 0), percent(before.value), percent(untrained.value), after))
    return pipe_table(("tiny-clip on unseen scenes", "chance", "before alignment", "untrained head", "PACL head"), rows)


def world_ablation() -> str:
    """Table 3 on the built-in world."""
    found = numbers("quickstart", "ablate", "world-things", NONE, "miou")
    rows = [
        (pairs.replace("+", " + "), of_heads(found, "tiny-clip", pairs), of_heads(found, "tiny-dino", pairs))
        for pairs in WORLD_SETS
    ]
    return pipe_table(("training set", "tiny-clip", "tiny-dino + tiny-clip's text"), rows)


def world_baselines() -> str:
    """Attention variants on the built-in world."""
    found = numbers("", "baselines", "world-things", NONE, "miou")
    names = ("tiny-clip", "sclip", "clearclip", "naclip", "maskclip")
    return pipe_table(names, [[with_interval(found[name]) for name in names]])


PHOTO_ROWS = {
    "patch accuracy, `all-classes` (20)": ("patches", "voc20", "all-classes", "patch_accuracy"),
    "patch accuracy, `present-classes`": ("patches", "voc20", "present-classes", "patch_accuracy"),
    "the same, images of 2+ classes": ("patches", "voc20", "present-classes, images of 2+ classes", "patch_accuracy"),
    "patch accuracy, `binary`": ("patches", "voc20", "binary", "patch_accuracy"),
    f"voc20 `{NONE}`": ("segment", "voc20", NONE, "miou"),
    "voc21 `dataset-miou, background=class`": ("segment", "voc21", "dataset-miou, background=class", "miou"),
    "cifar10 top-1": ("classify", "cifar10", "zero-shot", "top1"),
    "caltech101 top-1": ("classify", "caltech101", "zero-shot", "top1"),
    "imagenet top-1 (one photo a class)": ("classify", "imagenet", "zero-shot", "top1"),
    "dtd top-1 (10 of 47 classes have images)": ("classify", "dtd", "zero-shot", "top1"),
}
PHOTO_HEADS = {
    "untrained": "untrained head",
    "pacl-vits14-scale1": "PACL head, `patch_scale` 1",
    "pacl-vits14": "PACL head, `patch_scale` 10",
}


def photos() -> str:
    """The weak real encoders, by head."""
    rows = []
    for told, chosen in PHOTO_ROWS.items():
        found = numbers("", *chosen)
        chance = percent(found["untrained"].chance or 0)
        rows.append((told, chance, *(with_interval(found[head]) for head in PHOTO_HEADS)))
    return pipe_table(("", "chance", *PHOTO_HEADS.values()), rows)


PROTOCOLS_VARIANT = "templates=paper7+simple,vocabulary=plain+synonyms,thresholds=0.1+0.2+0.3+0.5,entropies=1+1.5+2+2.5"
PROTOCOLS = ("class", "threshold=0.3", "threshold=0.5", "entropy=1.5,scale=40", "entropy=1,scale=40")


def photos_protocols() -> str:
    """One head under several treatments of background and two vocabularies."""

    def cell(background: str, vocabulary: str) -> str:
        protocol = f"dataset-miou, background={background}{vocabulary}"
        found = numbers("", "protocols", "voc21", protocol, "miou", PROTOCOLS_VARIANT)
        return with_interval(found["pacl-vits14"])

    synonyms = ", vocabulary=synonyms, names=best"
    rows = [(f"`{background}`", cell(background, ""), cell(background, synonyms)) for background in PROTOCOLS]
    return pipe_table(("background", "names plain", "names with synonyms"), rows)


COHERENT = {
    "pixels": "pixels",
    "crf-kernel": "CRF kernel",
    "random-b16": "random ViT-B/16",
    "random-s14": "random ViT-S/14",
    "vits14-saliency": "ViT-S/14, block 10",
    "pacl-vits14": "its PACL head",
}


def photos_coherence() -> str:
    """AUROC of each encoder, on its own patches and on one grid."""

    def cells(found: dict[str, records.Measurement]) -> list[str]:
        return [area(found[name]) if name in found else "" for name in COHERENT]

    own = numbers("", "coherence", "voc20", "pairs-across", "auroc")
    grid = numbers("", "coherence-grid", "voc20", "pairs-across, grid=14", "auroc", "grid=14")
    rows = [("own patches", *cells(own)), ("`--grid 14`", *cells(grid))]
    return pipe_table(("", *COHERENT.values()), rows)


def area(one: records.Measurement) -> str:
    """ "0.612 [0.588, 0.635]"."""
    return f"{one.value:.3f} [{one.ci_low:.3f}, {one.ci_high:.3f}]"


def data_sets() -> str:
    """Every declared set."""
    from pacl_bench.cli.catalog import data_table

    return f"{data_table()}\n"


def encoders() -> str:
    """Every short name."""
    from pacl_bench.cli import catalog

    rows = catalog.encoders()
    header = [name for name in rows[0] if name != "local"]
    return pipe_table(header, [[str(row[name]) for name in header] for row in rows])


ROOMS = {  # top to bottom: each may call those below it
    "cli": "the commands: parse, call one function",
    "studies": "what is measured on what: study files, the runner, ablate, quickstart, predictions, pictures",
    "report": "tables, figures and the page, from records; the published numbers",
    "bench": "what parts of the program cost on this machine",
    "evaluators": "one model x one data set -> numbers; settings, protocols",
    "training": "the loop, its batches, its state; the recipe",
    "model": "the head, the compatibility of the paper, the loss; heads on disk",
    "caching": "patch tokens and texts, encoded once and kept on disk",
    "data": "declarations and readers of data sets; names, templates; tools to check, fetch and prepare",
    "world": "the built-in world: scenes, captions, its two encoders and how they were made",
    "encoders": "the contract of an encoder, the table of names, one adapter a library",
    "metrics": "pure functions",
}
SMALL = {  # at the root, for everyone
    "errors": "UsageError and RunError: one line each",
    "files": "files that are whole or not there",
    "image_counts": "what each image adds to a record's numbers, in a file beside it",
    "image_sets": "what a set of images is to everything else",
    "paths": "where things live",
    "progress": "what long work shows",
    "provenance": "where a number comes from",
    "records": "one JSON a measurement; read back as a tidy table",
    "registry": "names, and the nearest one to a misspelt one",
}


def rooms() -> str:
    """The rooms, top to bottom, and the small modules."""
    rows = [(f"`{name}/`", what) for name, what in ROOMS.items()]
    return pipe_table(("room", "what is in it"), rows + [(f"`{name}.py`", what) for name, what in SMALL.items()])


BOX_WIDTH, BOX_HEIGHT, GAP, MARGIN = 820, 34, 10, 16  # of the picture, in pixels


def picture_of_rooms() -> str:
    """An SVG: a box a room, one below the other; arrows go down only."""
    height = MARGIN * 2 + len(ROOMS) * (BOX_HEIGHT + GAP)
    boxes = "".join(box(at, name, what) for at, (name, what) in enumerate(ROOMS.items()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{BOX_WIDTH + 2 * MARGIN + 60}" height="{height}" '
        'font-family="sans-serif" font-size="14">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="4" refY="7" markerWidth="8" markerHeight="8" orient="0">'
        '<path d="M0 0L8 0L4 8z" fill="#57606a"/></marker></defs>\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{boxes}'
        f'<path d="M{BOX_WIDTH + MARGIN + 30} {MARGIN}V{height - MARGIN - GAP}" stroke="#57606a" stroke-width="2" '
        'marker-end="url(#tip)"/>\n</svg>\n'
    )


def box(at: int, name: str, what: str) -> str:
    """One room of the picture."""
    top = MARGIN + at * (BOX_HEIGHT + GAP)
    middle = top + BOX_HEIGHT / 2 + 5
    return (
        f'<rect x="{MARGIN}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5" '
        'fill="#eaf2fb" stroke="#4a78b0"/>'
        f'<text x="{MARGIN + 12}" y="{middle}" font-weight="bold">{name}</text>'
        f'<text x="{MARGIN + 120}" y="{middle}" fill="#333">{what.replace("->", "→")}</text>\n'
    )


def coverage_table() -> str:
    """How often intervals hold the truth, simulated."""
    file = ROOT / "results" / "bench" / "coverage-2-threads-x86_64.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    header = ("number", "classes", "images", "rarest", "covered, %", "mean width, points")
    cells = [
        (
            row["number"],
            str(row["classes"]),
            str(row["images"]),
            f"{row['rarest']:g}",
            percent(row["covered"]),
            percent(row["width"]),
        )
        for row in rows
    ]
    return pipe_table(header, cells)


def protocols_table() -> str:
    """Other people's protocols."""
    from pacl_bench.cli import catalog

    rows = catalog.protocols()
    return pipe_table(list(rows[0]), [[str(value).replace("|", "/") for value in row.values()] for row in rows])


def departures_table() -> str:
    """What single departures from SCLIP's protocol cost, from results/departures.csv."""
    with (ROOT / "results" / "departures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    told = [row["departure"] or f"none: {row['protocol']}" for row in rows]
    cells = [
        (f"{row['data set']} ({row['images']})", departure, f"{row['miou']} ({row['change']})")
        for row, departure in zip(rows, told, strict=True)
    ]
    return pipe_table(("data set (images)", "departure", "mIoU"), cells)


def keys_of(kind: str) -> str:
    """The keys of a table of study files."""
    from pydantic.fields import FieldInfo

    from pacl_bench.studies.experiment import Heads, Picture
    from pacl_bench.studies.study import Study

    declared = {"train": Heads, "measure": Study, "picture": Picture}[kind]
    told = {
        key: FieldInfo.from_annotation(annotation).description or ""
        for key, annotation in get_type_hints(declared, include_extras=True).items()
    }
    rows = [(f"`{key}`", meaning) for key, meaning in told.items()]
    return pipe_table(
        ("key", "what it is"), [*rows, ("`like`", "A table of the same kind to take the other keys from.")]
    )


def shipped() -> str:
    """The study files that come with the package."""
    from pacl_bench.cli.catalog import studies

    return pipe_table(("study", "what it is"), [(f"`{row['name']}`", row["what"]) for row in studies()])


UNKNOWNS = {  # what is varied: what stands behind the base head's name or in place of it
    "sharpness of the softmax over patches": {
        "1": ".patch_scale=1", "3": ".patch_scale=3", "10": "", "30": ".patch_scale=30", "100": ".patch_scale=100",
    },
    "temperature": {
        "0.01": ".temperature=0.01.learn_temperature=False", "0.03": ".temperature=0.03.learn_temperature=False",
        "0.07": ".learn_temperature=False", "0.2": ".temperature=0.2.learn_temperature=False", "learnt from 0.07": "",
    },
    "share of nouns among the texts": {"0": ".noun_share=0", "0.5": "", "1": ".noun_share=1"},
    "kind of head": {"residual": "", "linear": ".head=linear"},
    "tokens before or after the last norm": {"after": "", "before": "-tap=pre-norm"},
    "block": {"0": "-block=0", "1": "-block=1", "2": "-block=2", "3 (the last)": ""},
    "pairs": {"1,000": "1k", "4,000": "", "9,000": "4k+world-5k", "10,000": "1k+world-4k+world-5k"},
}  # fmt: skip


def unknowns_table() -> str:
    """What each setting that the paper leaves open matters in the built-in world: mean, lowest, highest of seeds."""
    found = numbers("unknowns", "ablate", "world-things", NONE, "miou")
    rows = [
        (what, "; ".join(f"{value}: {_over_unknown_seeds(found, what, mark)}" for value, mark in values.items()))
        for what, values in UNKNOWNS.items()
    ]
    return pipe_table(("what is left open", f"value: mIoU (`{NONE}`, world-things), mean (lowest to highest)"), rows)


def _over_unknown_seeds(found: dict[str, records.Measurement], what: str, mark: str) -> str:
    pairs = f"world-{mark}" if what == "pairs" and mark else "world-4k"
    encoder = f"tiny-clip{mark}" if mark.startswith("-") else "tiny-clip"
    changes = mark if mark.startswith(".") else ""
    names = [f"pacl-{encoder}.{pairs}{seed}{changes}" for seed in ("", ".seed1", ".seed2")]
    return over_seeds([found[name].value for name in names])


TABLES: dict[str, Callable[[], str]] = {
    "unknowns": unknowns_table,
    "keys of train": partial(keys_of, "train"),
    "keys of measure": partial(keys_of, "measure"),
    "keys of picture": partial(keys_of, "picture"),
    "studies": shipped,
    "quickstart": quickstart_table,
    "world ablation": world_ablation,
    "world baselines": world_baselines,
    "photos": photos,
    "photos protocols": photos_protocols,
    "photos coherence": photos_coherence,
    "data sets": data_sets,
    "encoders": encoders,
    "rooms": rooms,
    "coverage": coverage_table,
    "protocols": protocols_table,
    "departures": departures_table,
}


def written(text: str) -> str:
    """A page with its tables made anew."""
    return MARKED.sub(lambda found: f"{found[1]}{TABLES[found['name']]()}{found[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "docs" / "rooms.svg").write_text(picture_of_rooms(), encoding="utf-8")
