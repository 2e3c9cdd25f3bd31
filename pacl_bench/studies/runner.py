"""From a study to records: its cells, what is recorded already, one evaluator call for each that is not."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from pacl_bench import records
from pacl_bench.data.vocabulary import text_hash
from pacl_bench.encoders import load_encoder, load_every_block
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.spec import parse_spec
from pacl_bench.encoders.table import ENCODERS
from pacl_bench.errors import NoTextSpace, UsageError
from pacl_bench.evaluators import find_evaluator
from pacl_bench.evaluators.base import Evaluator
from pacl_bench.evaluators.settings import Settings
from pacl_bench.model.aligned import AlignedModel, load_aligned, load_before
from pacl_bench.model.head_files import read_card
from pacl_bench.progress import console
from pacl_bench.provenance import Stopwatch
from pacl_bench.records import Key, Record
from pacl_bench.registry import lookup
from pacl_bench.studies.study import Rerun, Study
from pacl_bench.validation import made

LONGEST_VARIANT = 160  # characters; with the data set's name it is a file's name, and these end at 255


class Candidate:
    """A model of a study, loaded when it is first needed."""

    def __init__(self, name: str, load: Callable[[], VisionEncoder | AlignedModel]):
        self.name = name
        self.model = cache(load)


def run_study(
    study: Study,
    results: Path,
    rerun: Rerun = "missing",
    device: str = "cpu",
    evaluator: Evaluator | None = None,
) -> list[Record]:
    """Measures every cell that is not recorded, writes its record at once, and returns the records of all cells.

    Args:
        results: the folder that holds records/.
        rerun: `missing` measures what has no record, or one of other settings, weights or data; `always` everything;
            `never` nothing: the cells without a record are left out.
        evaluator: what measures, where it is not what the study's evaluator is called in the table.

    Raises:
        UsageError: before anything is measured, where a name, file or setting is wrong.
    """
    evaluator = evaluator or find_evaluator(study.evaluator)
    settings = made(evaluator.settings, study.settings, lambda name, value: f"setting {name} = {value}")
    _require_names(study)
    datasets = _datasets(evaluator, study, settings)
    candidates = list(_candidates(study, evaluator, device))
    _refuse_equal_names(candidates, study)
    found = []
    for candidate in candidates:
        for dataset in datasets:
            key = Key(study.name, candidate.name, dataset.name, variant(settings))
            record = _read(results, key)
            if rerun != "never" and (model := _load(candidate, study)) is not None:
                config = _config(study.evaluator, model, dataset, settings)
                if record is None or rerun == "always" or record.config != config:
                    record = _measure(key, evaluator, model, dataset, settings, config, device)
                    records.write(results / "records", record)
            found += [record] if record is not None else []
    return found


def _require_names(study: Study) -> None:
    """A name that is missing or misspelt is told before data is looked for and weights are read."""
    if not study.encoders and not study.heads:
        raise UsageError("Nothing to measure: give --encoders or --heads.")
    if not study.datasets:
        raise UsageError("Nothing to measure on: give --datasets.")
    require_known_encoders(study.encoders)
    for folder in study.heads:
        read_card(Path(folder))


def require_known_encoders(names: list[str]) -> None:
    """A UsageError with the nearest known name for an encoder that no table has; nothing is loaded."""
    for spec in map(parse_spec, names):
        if not spec.library:
            lookup(ENCODERS, spec.model, "encoder")


def _datasets(evaluator: Evaluator, study: Study, settings: Settings) -> list[Any]:
    """The study's data sets; a UsageError where two would overwrite each other's records, or settings do not fit."""
    datasets = evaluator.load_sets(study.datasets)
    names = [dataset.name for dataset in datasets]
    equal = next((name for name in names if names.count(name) > 1), None)
    if equal is not None:
        raise UsageError(f"Two data sets are called {equal!r}. Give one of them in a study of its own (--study NAME).")
    for dataset in datasets:
        settings.resolve(dataset)
    return datasets


def variant(settings: Settings) -> str:
    """What differs from the defaults, as it stands in the name of the record: "purity=0.5,size=448" or "default"."""
    changed = {
        setting.name: getattr(settings, setting.name)
        for setting in fields(settings)
        if getattr(settings, setting.name) != setting.default
    }
    told = ",".join(f"{name}={_as_named(value)}" for name, value in changed.items()) or "default"
    if len(told) <= LONGEST_VARIANT:
        return told
    return f"{told[: LONGEST_VARIANT - 9]}-{text_hash([told])[:8]}"


def _as_named(value: Any) -> str:
    """A setting's value in the name of a record: several are joined by "+"."""
    if isinstance(value, tuple):
        return "+".join(map(_as_named, value))
    return f"{value:g}" if isinstance(value, float) else str(value).replace(",", "+")


def _candidates(study: Study, evaluator: Evaluator, device: str) -> Iterator[Candidate]:
    @cache
    def encoder(spec: str) -> VisionEncoder:
        return load_encoder(spec).to(device)

    by_name = {parse_spec(spec).name: spec for spec in study.encoders if not _every_block(spec)}
    for spec in study.encoders:
        name = parse_spec(spec).name
        if _every_block(spec):
            for one in load_every_block(spec):
                model = load_before if evaluator.needs_text else (lambda encoder: encoder)
                yield Candidate(one.name, lambda one=one, model=model: model(one.to(device)).to(device))
            continue
        if evaluator.needs_text:
            yield Candidate(name, lambda spec=spec: load_before(encoder(spec)).to(device))
        else:
            yield Candidate(name, lambda spec=spec: encoder(spec))
    for folder in map(Path, study.heads):
        card = read_card(folder)
        spec = by_name.get(card.encoder.name, card.encoder.loadable)
        yield Candidate(card.name, lambda folder=folder, spec=spec: load_aligned(folder, encoder(spec)).to(device))


def _every_block(spec: str) -> bool:
    return parse_spec(spec).options.get("block") == "all"


def _refuse_equal_names(candidates: list[Candidate], study: Study) -> None:
    """Two models of one name would overwrite each other's records."""
    paths = [Key(study.name, candidate.name, "").path for candidate in candidates]
    for candidate, path in zip(candidates, paths, strict=True):
        if paths.count(path) > 1:
            raise UsageError(
                f"Two models are called {candidate.name!r}. Name them apart: ALIAS=ENCODER, or rename a head."
            )


def _load(candidate: Candidate, study: Study) -> VisionEncoder | AlignedModel | None:
    """The model; None for an encoder that has no text space, where heads are measured beside it."""
    try:
        return candidate.model()
    except NoTextSpace as error:
        if not study.heads:
            raise
        console.print(f"{error} It is measured through --heads alone.", style="dim", markup=False)
        return None


def _read(results: Path, key: Key) -> Record | None:
    file = results / "records" / key.path
    return records.read(file) if file.is_file() else None


def _config(evaluator: str, model: VisionEncoder | AlignedModel, dataset: Any, settings: Settings) -> dict[str, Any]:
    """All that changes the numbers; a record of another config is measured again."""
    return {
        "evaluator": evaluator,
        "settings": settings.describe(dataset),
        "model": model.describe(),
        "dataset": describe_dataset(dataset),
        "seed": 0,  # of the bootstrap; nothing else is drawn
    }


def describe_dataset(dataset: Any) -> dict[str, Any]:
    """What a record says of the data it was measured on."""
    return {
        "name": dataset.name,
        "images": len(dataset),
        "official_images": dataset.official_images,
        "fingerprint": dataset.fingerprint,
        "classnames": dataset.classnames,
        "classnames_hash": text_hash(dataset.classnames),
    }


def _measure(
    key: Key,
    evaluator: Evaluator,
    model: VisionEncoder | AlignedModel,
    dataset: Any,
    settings: Settings,
    config: dict[str, Any],
    device: str,
) -> Record:
    stopwatch = Stopwatch()
    result = evaluator.evaluate(model, dataset, settings)
    return Record(key, result.measurements, config, stopwatch.provenance(device) | result.cost, result.curves)
