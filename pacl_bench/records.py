"""Records: one JSON a measurement, with everything that is needed to trust and repeat it. No torch here."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacl_bench.errors import UsageError
from pacl_bench.files import safe_name, write_json

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
COLUMNS = [
    "study", "model", "dataset", "variant", "protocol", "metric", "class_name", "value", "ci_low", "ci_high", "chance",
    "n", "seed", "encoder", "text", "head", "device", "seconds", "tokens_per_image", "ms_per_image", "tokens_from",
    "peak_memory_mb", "commit", "created", "file",
]  # fmt: skip

FROM_PROVENANCE = COLUMNS[COLUMNS.index("device") : COLUMNS.index("file")]


@dataclass(frozen=True)
class Measurement:
    """One number. A fraction in [0, 1] for every metric that is a share or an area."""

    metric: str
    value: float
    protocol: str
    n: int  # what was counted: images, patches, pairs; the protocol says which
    class_name: str = ""  # empty: over all classes
    ci_low: float | None = None  # 95 % interval
    ci_high: float | None = None
    chance: float | None = None  # what guessing scores


@dataclass(frozen=True)
class Key:
    """Which measurement a record is of. It is also the record's path."""

    study: str
    model: str
    dataset: str
    variant: str = "default"

    @property
    def path(self) -> Path:
        """Below the folder of records."""
        study, model, dataset, variant = map(safe_name, (self.study, self.model, self.dataset, self.variant))
        return Path(study, model, f"{dataset}.{variant}.json")


@dataclass(frozen=True)
class Record:
    """A measurement of one model on one data set: its numbers, its complete configuration, where it came from."""

    key: Key
    measurements: list[Measurement]
    config: dict[str, Any]  # all that changes the numbers, defaults filled in
    provenance: dict[str, Any]
    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # name -> axis -> points


def write(folder: Path, record: Record) -> Path:
    """Writes the record below `folder`, whole or not at all.

    Raises:
        ValueError: a number that is NaN or infinite: a class that is not there has no row.
    """
    for measurement in record.measurements:
        if not math.isfinite(measurement.value):
            raise ValueError(f"{record.key.path}: {measurement.metric} {measurement.class_name} is {measurement.value}")
    file = folder / record.key.path
    write_json(file, {"schema": SCHEMA, **asdict(record)})
    return file


def read(file: Path) -> Record:
    """The record in a file; a UsageError names a file that is none."""
    try:
        content = json.loads(file.read_text())
        if content.pop("schema") != SCHEMA:
            raise UsageError(f"{file} was written by another version of pacl-bench; move it away and measure again.")
        key = Key(**content.pop("key"))
        return Record(key, [Measurement(**row) for row in content.pop("measurements")], **content)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is not a record ({error}); move it away or mend it.") from None


def read_all(folder: Path) -> Iterator[Record]:
    """Every record below a folder, in the order of their paths."""
    return map(read, _files(folder))


def load(folder: Path | str) -> "pd.DataFrame":
    """Every number of every record below a folder, tidy: one row a number, columns COLUMNS."""
    import pandas as pd

    rows = [row for file in _files(Path(folder)) for row in tidy_rows(read(file), str(file.relative_to(folder)))]
    return pd.DataFrame(rows, columns=COLUMNS)


def tidy_rows(record: Record, file: str = "") -> list[dict[str, Any]]:
    """One dict a number, with the columns COLUMNS."""
    model, provenance = record.config.get("model", {}), record.provenance
    encoder, text, head = (model.get(part) or {} for part in ("encoder", "text", "head"))
    shared = {
        **asdict(record.key),
        "seed": head.get("train", {}).get("seed", record.config.get("seed")),
        "encoder": encoder.get("name"),
        "text": text.get("name"),
        "head": head.get("sha256"),
        **{column: provenance.get(column) for column in FROM_PROVENANCE},
        "file": file,
    }
    return [{**shared, **asdict(measurement)} for measurement in record.measurements]


def files(folder: Path) -> list[Path]:
    """Those of every record below a folder, in the order of their paths."""
    return _files(folder)


def comparable(one: Record, other: Record) -> list[str]:
    """The fields in which two records differ so that their numbers must not be compared; none where they may be.

    Models may differ in everything; what is asked of them may not: protocol, data set, images, class names, prompts,
    and the geometry of the images.
    """
    asked, of_other = what_was_asked(one), what_was_asked(other)
    shared = {row.protocol for row in one.measurements} & {row.protocol for row in other.measurements}
    return [field for field in asked if asked[field] != of_other[field]] + ["protocol"] * (not shared)


def what_was_asked(record: Record) -> dict[str, Any]:
    """All but the model and the protocol that decides what a record's numbers mean, by the name of the field.

    What records of earlier versions do not say is what those versions did: the set's own names for the classes,
    the whole image at the encoder's own size and stride.
    """
    dataset, settings = record.config.get("dataset", {}), record.config.get("settings", {})
    return {
        "evaluator": record.config.get("evaluator"),
        "data set": record.key.dataset,
        "fingerprint": dataset.get("fingerprint"),
        "images": dataset.get("images"),
        "class names": dataset.get("classnames_hash"),
        "templates": settings.get("templates_hash"),
        "vocabulary": settings.get("vocabulary_hash", dataset.get("classnames_hash")),
        "size": settings.get("size"),
        "stride": settings.get("stride"),
        "window": settings.get("window"),
        "overlap": settings.get("overlap") if settings.get("window") else None,
        "upsampling": settings.get("upsampling", "bilinear"),
        "purity": settings.get("purity"),
    }


def block_name(encoder: str, block: int) -> str:
    """What one block of an encoder that is measured block by block is called."""
    return f"{encoder} block {block}"


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.json") if not file.name.startswith("."))
