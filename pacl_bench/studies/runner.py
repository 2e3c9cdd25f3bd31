"""From a study to records: its cells, what is recorded already, one evaluator call for each that is not."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pacl_bench import processes, records
from pacl_bench.data.catalog import is_declared
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.encoders.request import requested
from pacl_bench.errors import RunError, UsageError
from pacl_bench.evaluators import find_evaluator
from pacl_bench.evaluators.base import Evaluator
from pacl_bench.evaluators.settings import Settings
from pacl_bench.files import WriteError, place_of, require_writable
from pacl_bench.image_counts import Counts
from pacl_bench.image_sets import contents_sample
from pacl_bench.model.aligned import AlignedModel
from pacl_bench.model.head_files import RESIDUAL, read_card
from pacl_bench.progress import note, stage
from pacl_bench.provenance import Stopwatch
from pacl_bench.records import Key, Record
from pacl_bench.registry import text_hash
from pacl_bench.studies.candidates import Candidates, Model
from pacl_bench.studies.keys import SAMPLE, own_key
from pacl_bench.studies.study import Rerun, Study
from pacl_bench.training.curves import keep_curves
from pacl_bench.training.recipe import Recipe
from pacl_bench.validation.configs import defaults_of, differences
from pacl_bench.validation.values import made

LONGEST_VARIANT = 160  # characters; with the data set's name it is a file's name, and these end at 255
Failed = Callable[[Key, Exception], None]


@dataclass(frozen=True)
class StudyCell:
    """One measurement of a study: a model on a data set, and what is recorded of it."""

    key: Key
    plain: Key  # the key by names alone
    model: Model | None  # None: not loaded
    dataset: Any
    record: Record | None
    config: dict[str, Any]  # all that changes the numbers; empty where the model is not loaded
    is_current: bool  # whether the record is of this configuration


def run_study(
    study: Study,
    results: Path,
    rerun: Rerun = "missing",
    device: str = "cpu",
    evaluator: Evaluator | None = None,
    failed: Failed | None = None,
) -> list[Record]:
    """Measures every cell that is not recorded, writes its record at once, and returns the records of all cells.

    Args:
        results: the folder that holds records/.
        rerun: `missing` measures what has no record, or one of other settings, weights or data; `always` everything;
            `never` nothing: the cells without a record are left out.
        evaluator: what measures, where it is not what the study's evaluator is called in the table.
        failed: is told of a cell that cannot be measured, and the others go on; without it the first one ends the run.

    Raises:
        UsageError: before anything is measured, where a name, file or setting is wrong. WriteError: before a cell is
            measured, where its record could not be written.
    """
    if rerun != "never":
        place_of(results, "--results")
    if rerun == "always" or (rerun == "missing" and not (results / records.FOLDER).is_dir()):
        require_writable(results / records.FOLDER, "--results")  # something will be measured: told before models load
    with processes.joined():
        return _run_cells(study, results, rerun, device, evaluator or find_evaluator(study.evaluator), failed)


def _run_cells(
    study: Study, results: Path, rerun: Rerun, device: str, evaluator: Evaluator, failed: Failed | None
) -> list[Record]:
    settings = settings_of(study, evaluator)
    found: dict[Key, Record] = {}
    measured = False
    for cell in study_cells(study, results, rerun, device, evaluator):
        record = cell.record
        if cell.model is not None and (rerun == "always" or not cell.is_current):
            try:
                if processes.is_first():
                    require_writable((results / records.FOLDER / cell.key.path).parent, "--results")
                with stage(f"{cell.key.model}, {cell.key.dataset}"):
                    record, counts = _measure(cell, evaluator, settings, device)
                record, measured = _write(results, record, counts, cell.plain), True
            except Exception as error:
                if failed is None or processes.world_size() > 1:  # what fails in one process alone ends all
                    raise
                failed(cell.key, error)
                continue
        if record is not None:
            found[cell.key] = record
    if rerun != "never" and processes.is_first():
        # where nothing was measured they may still be missing, since a run was killed here, or the disk be read-only
        with nullcontext() if measured else suppress(WriteError):
            for folder in study.heads:
                keep_curves(Path(folder), results)
    return list(found.values())


def study_cells(
    study: Study,
    results: Path,
    rerun: Rerun = "missing",
    device: str = "cpu",
    evaluator: Evaluator | None = None,
) -> Iterator[StudyCell]:
    """The cells of a study, model by model; with `never` no model is loaded, and only those recorded are given."""
    evaluator = evaluator or find_evaluator(study.evaluator)
    settings = settings_of(study, evaluator)
    _require_names(study)
    datasets = datasets_of(study, evaluator)
    candidates = Candidates(study, evaluator.needs_text, device)
    for candidate in candidates:
        for dataset in datasets:
            model = candidates.load(candidate) if rerun != "never" else None
            described, data = candidate.describe(model), describe_dataset(dataset)
            plain = Key(study.name, candidate.name, dataset.name, variant(settings))
            key = own_key(results / records.FOLDER, plain, described, data, is_declared(dataset.name))
            record = _read(results, key)
            if model is None or described is None:
                if record is not None:
                    yield StudyCell(key, plain, None, dataset, record, {}, False)
                continue
            config = _config(study.evaluator, described, data, settings.describe(dataset))
            current = record is not None and _is_current(record, config, settings, dataset)
            yield StudyCell(key, plain, model, dataset, record, config, current)


def settings_of(study: Study, evaluator: Evaluator) -> Settings:
    """What is set in a study, and the defaults of the rest."""
    return made(evaluator.settings, study.settings, lambda name, value: f"setting {name} = {value}")


def _require_names(study: Study) -> None:
    """A name that is missing or misspelt is told before data is looked for and weights are read."""
    if not study.encoders and not study.heads:
        raise UsageError("Nothing to measure: give --encoders or --heads.")
    if (study.encoder or study.text) and not study.heads:
        raise UsageError("--encoder and --text are of --heads. What is measured as it is stands in --encoders.")
    if not study.datasets:
        raise UsageError("Nothing to measure on: give --datasets.")
    require_known_encoders(study.encoders)
    for folder in study.heads:
        read_card(Path(folder))


def require_known_encoders(names: list[str]) -> None:
    """A UsageError with the nearest known name for an encoder that no table has; nothing is loaded."""
    for name in names:
        requested(name)


def datasets_of(study: Study, evaluator: Evaluator) -> list[Any]:
    """The study's data sets; a UsageError where settings do not fit one of them."""
    settings, datasets = settings_of(study, evaluator), evaluator.load_sets(study.datasets)
    for dataset in datasets:
        settings.resolve(dataset)
    return datasets


def variant(settings: Settings) -> str:
    """What differs from the defaults, as it stands in the name of the record: "purity=0.5,size=448" or "default"."""
    changed = settings.changed()
    told = ",".join(f"{name}={_as_named(value)}" for name, value in changed.items()) or "default"
    if len(told) <= LONGEST_VARIANT:
        return told
    return f"{told[: LONGEST_VARIANT - 9]}-{text_hash([told])[:8]}"


def _as_named(value: Any) -> str:
    """A setting's value in the name of a record: several are joined by "+"."""
    if isinstance(value, tuple):
        return "+".join(map(_as_named, value))
    return f"{value:g}" if isinstance(value, float) else str(value).replace(",", "+")


def _read(results: Path, key: Key) -> Record | None:
    file = results / records.FOLDER / key.path
    if not file.is_file():
        return None
    record = records.read(file)
    if record.key.path != key.path:
        raise UsageError(f"{file} is the record of {record.key.path}, which was copied here. Move it away.")
    return record


def _write(results: Path, record: Record, counts: Counts, plain: Key) -> Record:
    """Returns the record as it is read back: it names its counts then."""
    if record.key != plain:
        note(f"recorded as {record.key.path}: another model or data set was measured under the name of {plain.path}")
    file, problem = results / records.FOLDER / record.key.path, ""
    if processes.is_first():
        try:
            records.write(results / records.FOLDER, record, counts)
        except ValueError as error:  # a NaN
            problem = f"{error}; nothing is recorded."
    problem = processes.agreed(problem)  # and nobody reads the file before it is there
    if problem:
        raise RunError(problem)
    return records.read(file)


def _config(evaluator: str, model: dict[str, Any], dataset: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """All that changes the numbers; a record of another config is measured again."""
    return {
        "evaluator": evaluator,
        "settings": settings,
        "model": model,
        "dataset": dataset,
        "seed": 0,  # nothing is drawn; records made while intervals came from a bootstrap hold its seed
    }


def _is_current(record: Record, config: dict[str, Any], settings: Settings, dataset: Any) -> bool:
    """Whether a record is of this configuration: what an earlier version did not know yet had today's default.

    A record without a sample of the data's contents may be of any.
    """
    head = {"kind": RESIDUAL, "train": defaults_of(Recipe)}
    model = {"encoder": defaults_of(VisionEncoder), "text": defaults_of(TextEncoder), "head": head}
    data = {SAMPLE: config["dataset"].get(SAMPLE)}
    defaults = {"settings": type(settings)().describe(dataset), "model": model, "dataset": data}
    return not differences(record.config, config, defaults)


def describe_dataset(dataset: Any) -> dict[str, Any]:
    """What a record says of the data it was measured on."""
    sample = contents_sample(dataset)
    return {
        "name": dataset.name,
        "images": len(dataset),
        "official_images": dataset.official_images,
        "fingerprint": dataset.fingerprint,
        "classnames": dataset.classnames,
        "classnames_hash": text_hash(dataset.classnames),
        **({SAMPLE: sample} if sample else {}),
    }


def _measure(cell: StudyCell, evaluator: Evaluator, settings: Settings, device: str) -> tuple[Record, Counts]:
    stopwatch, model = Stopwatch(), cell.model
    if isinstance(model, AlignedModel):
        model = replace(model, name=cell.key.model)  # of two heads of one name each writes under its own
    result = evaluator.evaluate(model, cell.dataset, settings)
    provenance = stopwatch.provenance(device) | result.cost
    return Record(cell.key, result.measurements, cell.config, provenance, result.curves), result.counts
