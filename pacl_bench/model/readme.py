"""The model card of a head: what it is, how it was trained, and what was measured with it. No torch here."""

from collections.abc import Iterator
from pathlib import Path

from pacl_bench import records
from pacl_bench.encoders.own_code import names_code
from pacl_bench.encoders.spec import parse_spec
from pacl_bench.files import write_text
from pacl_bench.model.head_files import FrozenPart, HeadCard, read_card

README = "README.md"
HEADER = """---
library_name: pacl-bench
pipeline_tag: zero-shot-image-classification
tags:
- pacl
- vision-language
- zero-shot-segmentation
---
"""
UNTOLD = ("pairs_fingerprint", "pairs_contents", "skipped_by_cause")  # of the training: nothing that a reader can use


def write_readme(folder: Path, results: Path) -> Path:
    """Writes the model card of the head in `folder` beside it, with what the records below `results` say of it."""
    write_text(folder / README, readme(read_card(folder), results))
    return folder / README


def readme(card: HeadCard, results: Path) -> str:
    """The model card, as Markdown with the hub's header."""
    about = (
        f"A head of pacl-bench (PACL, CVPR 2023). It takes patch tokens of {card.encoder.name}, {card.width} wide, to "
        f"the text space of {card.text.name}, {card.dim} wide. Both stay as they are and are not part of it."
    )
    return "\n".join(
        [
            f"{HEADER}\n# {card.name}\n\n{about}\n",
            _table(("part", "named", "sha256 of its weights"), _parts(card)),
            _use(card),
            "## Training\n",
            _table(("setting", "value"), _training(card)),
            "## Measured\n",
            _measured(card, results),
        ]
    )


def _parts(card: HeadCard) -> list[tuple[str, ...]]:
    def row(name: str, part: FrozenPart) -> tuple[str, ...]:
        return name, f"`{part.spec}`", f"`{part.sha256}`"

    return [row("vision", card.encoder), row("text", card.text), ("head", f"`{card.kind}`", f"`{card.sha256}`")]


def _use(card: HeadCard) -> str:
    """The command, and how encoders are found whose weights no library has."""
    command = f"## Use\n\n```sh\npacl-bench segment --heads {card.name} --datasets voc20\n```\n"
    return "\n".join(filter(None, [command, _place("encoder", card.encoder), _place("text", card.text)]))


def _place(option: str, part: FrozenPart) -> str:
    spec = parse_spec(part.spec)
    if names_code(spec):
        return f"`{part.spec}` is code, which no card makes run: name it as `--{option}`.\n"
    folder = spec.model if spec.library == "transformers" and "/" not in spec.model else ""
    own = spec.file.name if spec.file else folder
    return f"`{own}` is looked for in `PACL_WEIGHTS`; name it as `--{option}` where it lies elsewhere.\n" if own else ""


def _training(card: HeadCard) -> list[tuple[str, ...]]:
    told = {"steps done": card.step, "temperature": round(card.temperature, 5), "patch scale": card.patch_scale}
    told |= {name: value for name, value in card.train.items() if name not in UNTOLD}
    return [(name, str(value)) for name, value in told.items()]


def _measured(card: HeadCard, results: Path) -> str:
    rows = list(_rows(card, results))
    if not rows:
        return "No records of it were at hand.\n"
    return _table(("data set", "variant", "protocol", "metric", "value", "95 % interval", "n"), rows)


def _rows(card: HeadCard, results: Path) -> Iterator[tuple[str, ...]]:
    """The numbers over whole data sets that records of this head hold."""
    for record in records.read_all(results / records.FOLDER):
        head = record.config.get("model", {}).get("head") or {}
        if head.get("sha256") != card.sha256:
            continue
        for row in (one for one in record.measurements if not one.class_name):
            known = row.ci_low is not None and row.ci_high is not None
            interval = f"{row.ci_low:.4f} to {row.ci_high:.4f}" if known else ""
            yield (
                record.key.dataset,
                record.key.variant,
                row.protocol,
                row.metric,
                f"{row.value:.4f}",
                interval,
                str(row.n),
            )


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines) + "\n"
