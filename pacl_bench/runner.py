"""From a study to records: its cells, what is recorded already, one evaluator call for each that is not."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pacl_bench import records
from pacl_bench.data.vocabulary import load_templates, text_hash
from pacl_bench.encoders import load_encoder
from pacl_bench.encoders.base import VisionEncoder
from pacl_bench.encoders.spec import parse_spec
from pacl_bench.errors import NoTextSpace, UsageError
from pacl_bench.evaluators import EVALUATORS, Evaluator
from pacl_bench.model.aligned import AlignedModel, load_aligned, load_before
from pacl_bench.model.checkpoint import read_card
from pacl_bench.progress import console
from pacl_bench.provenance import Stopwatch
from pacl_bench.records import Key, Record
from pacl_bench.registry import lookup, unknown_name
from pacl_bench.study import Study

Rerun = Literal["missing", "always", "never"]


@dataclass(frozen=True)
class Candidate:
    """A model of a study, loaded only if one of its cells is to be measured."""

    name: str
    head_sha256: str | None
    load: Callable[[], VisionEncoder | AlignedModel]


def run_study(study: Study, results: Path, rerun: Rerun = "missing", device: str = "cpu") -> list[Record]:
    """Measures every cell that is not recorded, writes its record at once, and returns the records of all cells.

    Args:
        results: the folder that holds records/.
        rerun: `missing` measures what has no record, or one of other settings, weights or data; `always` everything;
            `never` nothing: the cells without a record are left out.

    Raises:
        UsageError: before anything is measured, where a name, file or setting is wrong.
    """
    evaluator = lookup(EVALUATORS, study.evaluator, "evaluator")
    settings = make_settings(evaluator, study.settings)
    datasets = [evaluator.load_dataset(name) for name in study.datasets]
    candidates = list(_candidates(study, evaluator, device))
    found = []
    for candidate in candidates:
        for dataset in datasets:
            key = Key(study.name, candidate.name, dataset.name, variant(settings))
            existing = _read(results, key)
            stale = existing is None or _outdated(existing, candidate, dataset, settings)
            if existing is not None and (rerun == "never" or (rerun == "missing" and not stale)):
                found.append(existing)
            elif rerun != "never" and (model := _load(candidate, study)) is not None:
                found.append(_measure(key, study.evaluator, model, dataset, settings, device))
                records.write(results / "records", found[-1])
    return found


def make_settings(evaluator: Evaluator, given: dict[str, Any]) -> Any:
    """The evaluator's settings with defaults filled in; a UsageError for one it does not have."""
    known = [setting.name for setting in fields(evaluator.settings)]
    for name in given:
        if name not in known:
            raise UsageError(unknown_name(name, known, "setting"))
    settings = evaluator.settings(**given)
    if "templates" in known:
        load_templates(settings.templates)
    return settings


def variant(settings: Any) -> str:
    """What differs from the defaults, as it stands in the name of the record: "purity=0.5,size=448" or "default"."""
    changed = {
        setting.name: getattr(settings, setting.name)
        for setting in fields(settings)
        if getattr(settings, setting.name) != setting.default
    }
    return ",".join(f"{name}={value}" for name, value in changed.items()) or "default"


def _candidates(study: Study, evaluator: Evaluator, device: str) -> Iterator[Candidate]:
    @cache
    def encoder(spec: str) -> VisionEncoder:
        return load_encoder(spec).to(device)

    if not study.encoders and not study.heads:
        raise UsageError("Nothing to measure: give --encoders or --heads.")
    by_name = {parse_spec(spec).name: spec for spec in study.encoders}
    for name, spec in by_name.items():
        if evaluator.needs_text:
            yield Candidate(name, None, lambda spec=spec: load_before(encoder(spec)).to(device))
        else:
            yield Candidate(name, None, lambda spec=spec: encoder(spec))
    for folder in map(Path, study.heads):
        card = read_card(folder)
        spec = by_name.get(card.encoder.name, card.encoder.loadable)
        yield Candidate(
            card.name, card.sha256, lambda folder=folder, spec=spec: load_aligned(folder, encoder(spec)).to(device)
        )


def _load(candidate: Candidate, study: Study) -> VisionEncoder | AlignedModel | None:
    """The model; None for an encoder that has no text space, where heads are measured beside it."""
    try:
        return candidate.load()
    except NoTextSpace as error:
        if not study.heads:
            raise
        console.print(f"[dim]{error} It is measured through --heads alone.[/dim]")
        return None


def _read(results: Path, key: Key) -> Record | None:
    file = results / "records" / key.path
    return records.read(file) if file.is_file() else None


def _outdated(record: Record, candidate: Candidate, dataset: Any, settings: Any) -> bool:
    """Whether a record is of other settings, another head or other data than are at hand."""
    head = record.config["model"]["head"]
    return (
        record.config["settings"] != _settings_config(settings)
        or (head["sha256"] if head else None) != candidate.head_sha256
        or record.config["dataset"]["fingerprint"] != dataset.fingerprint
    )


def _measure(
    key: Key, evaluator: str, model: VisionEncoder | AlignedModel, dataset: Any, settings: Any, device: str
) -> Record:
    stopwatch = Stopwatch()
    result = EVALUATORS[evaluator].evaluate(model, dataset, settings)
    config = {
        "evaluator": evaluator,
        "settings": _settings_config(settings),
        "model": model.describe(),
        "dataset": {
            "name": dataset.name,
            "images": len(dataset),
            "official_images": dataset.official_images,
            "fingerprint": dataset.fingerprint,
            "classnames": dataset.classnames,
            "classnames_hash": text_hash(dataset.classnames),
        },
        "seed": 0,  # of the bootstrap; nothing else is drawn
    }
    return Record(key, result.measurements, config, stopwatch.provenance(device), result.curves)


def _settings_config(settings: Any) -> dict[str, Any]:
    """The settings as a record holds them, with what the templates' name stands for."""
    config = asdict(settings)
    if "templates" in config:
        config["templates_hash"] = text_hash(load_templates(settings.templates))
    return config
