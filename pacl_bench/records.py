"""Records: one JSON a measurement, with everything that is needed to trust and repeat it. No torch here."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pacl_bench.errors import UsageError
from pacl_bench.files import json_bytes, replacing, safe_name
from pacl_bench.image_counts import DIGEST, Counts, counts_file, digest, packed, read_counts

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1  # of what is written; older ones are read, newer ones refused
FOLDER = "records"  # below that of --results
FILES = "[!.]*.json"  # in the folder of a model; what begins with a dot is half of one, which somebody writes or left
COLUMNS = [
    "study", "model", "dataset", "variant", "protocol", "metric", "class_name", "value", "ci_low", "ci_high", "chance",
    "n", "seed", "encoder", "text", "head", "device", "seconds", "tokens_per_image", "ms_per_image", "tokens_from",
    "peak_memory_mb", "commit", "created", "file",
]  # fmt: skip

# of segmentation, that records hold where they are given; somebody else's protocol tells its own by its name
STEPS = ("resize", "long_side", "remainder", "pos", "fusion", "upsampled", "refinement", "merged", "softmax")
FROM_PROVENANCE = COLUMNS[COLUMNS.index("device") : COLUMNS.index("file")]
MEASURED = COLUMNS[COLUMNS.index("protocol") : COLUMNS.index("seed")]  # differ between the numbers of a record


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


def write(folder: Path, record: Record, counts: Counts | None = None) -> Path:
    """Writes the record below `folder`, whole or not at all.

    Args:
        counts: by image, see `image_counts`; they go into a file beside it, whose sha256 is part of the provenance.

    Raises:
        ValueError: a number that is NaN or infinite (a class that is not there has no row), or anything else for which
            `read` would refuse it.
    """
    from pacl_bench.validation.schema import RecordShape  # pydantic takes longer to import than all else here
    from pacl_bench.validation.strict_json import require_shape

    for measurement in record.measurements:
        if not math.isfinite(measurement.value):
            raise ValueError(f"{record.key.path}: {measurement.metric} {measurement.class_name} is {measurement.value}")
    content = packed(counts) if counts else b""
    if content:
        record = replace(record, provenance=record.provenance | {DIGEST: digest(content)})
    require_shape(json.loads(json.dumps(asdict(record), allow_nan=False)), RecordShape)
    file = folder / record.key.path
    _write_both(file, {"schema": SCHEMA, **asdict(record)}, content)
    return file


def _write_both(file: Path, record: dict[str, Any], counts: bytes) -> None:
    """A record and its counts. Where that is broken off, there is the old record with its counts, or no record.

    A record that is there is not measured again, so it comes last: it must not be there without its counts.
    """
    with replacing(file) as temporary:
        temporary.write_bytes(json_bytes(record))
        if not counts:
            counts_file(file).unlink(missing_ok=True)
            return
        with replacing(counts_file(file)) as beside:
            beside.write_bytes(counts)
            file.unlink(missing_ok=True)  # the old one must not stand beside new counts


def counts_of(record: Record, file: Path) -> dict[str, Any]:
    """The counts by image of a record in `file`, an array "image 2 label" for each number; empty where there are none.

    Raises:
        UsageError: what lies beside the record is damaged, or belongs to another.
    """
    beside = counts_file(file)
    return read_counts(beside, record.provenance[DIGEST]) if DIGEST in record.provenance and beside.is_file() else {}


def read(file: Path) -> Record:
    """The record in a file; a UsageError names a file that is none, or that a newer version wrote."""
    from pacl_bench.validation.schema import RecordShape
    from pacl_bench.validation.strict_json import read_checked

    content = read_checked(file, RecordShape, SCHEMA, "a record")
    key = Key(**content.pop("key"))
    return Record(key, list(map(_measurement, content.pop("measurements"))), **content)


def read_all(folder: Path) -> Iterator[Record]:
    """Every record below a folder, in the order of their paths; other JSON files are left out."""
    return map(read, _files(folder))


def load(folder: Path | str) -> "pd.DataFrame":
    """Every number of every record below a folder, tidy: one row a number, columns COLUMNS.

    Other JSON files, such as a cache's or the card of a head, are left out.

    Raises:
        UsageError: the folder holds no record, or a damaged one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder. Commands write records below their --results, in {FOLDER}/.")
    files = _files(folder)
    if not files:
        other = next((f"; {file.relative_to(folder)} is not a record" for file in _json_files(folder)), "")
        raise UsageError(f"{folder} holds no records{other}. Commands write them below their --results, in {FOLDER}/.")
    return _table(files, folder)


def load_table(folder: Path) -> "pd.DataFrame":
    """As `load`, but where there is no record the table is empty."""
    return _table(_files(folder), folder)


def tidy_rows(record: Record, file: str = "") -> list[dict[str, Any]]:
    """One dict a number, with the columns COLUMNS."""
    shared = shared_columns(record.key, record.config, record.provenance, file)
    return [shared | {name: getattr(row, name) for name in MEASURED} for row in record.measurements]


def shared_columns(
    key: Key, config: Mapping[str, Any], provenance: Mapping[str, Any], file: str = ""
) -> dict[str, Any]:
    """Those of COLUMNS that are the same for all numbers of a record."""
    model = config.get("model", {})
    encoder, text, head = (model.get(part) or {} for part in ("encoder", "text", "head"))
    return {
        "study": key.study,
        "model": key.model,
        "dataset": key.dataset,
        "variant": key.variant,
        "seed": head.get("train", {}).get("seed", config.get("seed")),
        "encoder": encoder.get("name"),
        "text": text.get("name"),
        "head": head.get("sha256"),
        **{column: provenance.get(column) for column in FROM_PROVENANCE},
        "file": file,
    }


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
        "steps": {} if "protocol" in settings else {name: settings[name] for name in STEPS if name in settings},
    }


def block_name(encoder: str, block: int) -> str:
    """What one block of an encoder that is measured block by block is called."""
    return f"{encoder} block {block}"


def _measurement(row: dict[str, Any]) -> Measurement:
    """As it stands in JSON, where other programs write 1 for 1.0."""
    for name in ("value", "ci_low", "ci_high", "chance"):
        if type(row.get(name)) is int:
            row[name] = float(row[name])
    return Measurement(**row)


def _table(files: list[Path], folder: Path) -> "pd.DataFrame":
    import pandas as pd

    rows = [row for file in files for row in tidy_rows(read(file), str(file.relative_to(folder)))]
    return pd.DataFrame(rows, columns=COLUMNS)


def _files(folder: Path) -> list[Path]:
    return [file for file in _json_files(folder) if _is_ours(file, folder)]


def _json_files(folder: Path) -> Iterator[Path]:
    """In the order of the names of folders and files, not of whole paths; links to folders are not followed."""
    try:
        entries = sorted(os.scandir(folder), key=attrgetter("name"))
    except OSError:  # a folder that is not there, or that nobody may read, holds nothing
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _json_files(Path(entry.path))
        elif entry.name.endswith(".json") and not entry.name.startswith(".") and entry.is_file():
            yield Path(entry.path)


def _is_ours(file: Path, folder: Path) -> bool:
    """Whether a file is a record, be it a damaged one: it lies below records/, or has most keys of a record."""
    if folder.name == FOLDER or FOLDER in file.relative_to(folder).parts[:-1]:
        return True
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return '"schema"' in text and '"key"' in text  # the first two: it was cut short
    return isinstance(content, dict) and len(content.keys() & {entry.name for entry in fields(Record)}) > 2
