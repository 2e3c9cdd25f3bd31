"""From a study to records: its cells, what is recorded already, one evaluator call for each that is not."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pacl_bench import records
from pacl_bench.configs import defaults_of, differences
from pacl_bench.data.vocabulary import OWN, load_templates, load_vocabulary, templates_for, text_hash
from pacl_bench.encoders import load_encoder, load_every_block
from pacl_bench.encoders.base import TextEncoder, VisionEncoder
from pacl_bench.encoders.spec import parse_spec
from pacl_bench.errors import NoTextSpace, RunError, UsageError
from pacl_bench.evaluators import EVALUATORS
from pacl_bench.evaluators.base import Evaluator, Result
from pacl_bench.evaluators.segmentation import Keep
from pacl_bench.model.aligned import AlignedModel, load_aligned, load_before
from pacl_bench.model.head_files import RESIDUAL, HeadCard, read_card
from pacl_bench.progress import console, note
from pacl_bench.provenance import Stopwatch
from pacl_bench.records import Key, Record
from pacl_bench.registry import listed, lookup, unknown_name
from pacl_bench.studies.keys import own_key
from pacl_bench.studies.study import Study
from pacl_bench.training.recipe import Recipe

Rerun = Literal["missing", "always", "never"]
LONGEST_VARIANT = 160  # characters; with the data set's name it is a file's name, and these end at 255


class Candidate:
    """A model of a study, loaded when it is first needed. What a head is its card says before that."""

    def __init__(self, name: str, load: Callable[[], VisionEncoder | AlignedModel], card: HeadCard | None = None):
        self.name, self.card = name, card
        self.model = cache(lambda: _finite(load()))


def run_study(
    study: Study,
    results: Path,
    rerun: Rerun = "missing",
    device: str = "cpu",
    keep: Callable[[str, Any], Keep] | None = None,
) -> list[Record]:
    """Measures every cell that is not recorded, writes its record at once, and returns the records of all cells.

    Args:
        results: the folder that holds records/.
        rerun: `missing` measures what has no record, or one of other settings, weights or data; `always` everything;
            `never` nothing: the cells without a record are left out.
        keep: for the evaluator `segment`: from a model's name and a data set to what takes each predicted map. What has
            a record is then measured again.

    Raises:
        UsageError: before anything is measured, where a name, file or setting is wrong.
    """
    evaluator = lookup(EVALUATORS, study.evaluator, "evaluator")
    settings = make_settings(evaluator, study.settings)
    datasets = _datasets(evaluator, study, settings)
    rerun = "always" if keep else rerun
    found: dict[Key, Record] = {}
    for candidate in _candidates(study, evaluator, device):
        for dataset, declared in datasets:
            model = _load(candidate, study) if rerun != "never" else None
            described, data = _describe(candidate, model), describe_dataset(dataset)
            plain = Key(study.name, candidate.name, dataset.name, variant(settings))
            key = own_key(results / records.FOLDER, plain, described, data, declared)
            record = _read(results, key)
            if model is not None and described is not None:
                config = _config(study.evaluator, described, data, _settings_config(settings, dataset))
                if record is None or rerun == "always" or not _is_current(record, config, settings, dataset):
                    evaluate = evaluator.evaluate
                    if keep is not None:
                        evaluate = partial(evaluate, keep=keep(key.model, dataset))
                    record = _measure(key, evaluate, model, dataset, settings, config, device)
                    _write(results, record, plain)
            if record is not None:
                found[key] = record
    return list(found.values())


def make_settings(evaluator: Evaluator, given: dict[str, Any]) -> Any:
    """The evaluator's settings with defaults filled in; a UsageError for one it does not have."""
    known = [setting.name for setting in fields(evaluator.settings)]
    for name in given:
        if name not in known:
            raise UsageError(unknown_name(name, known, "setting"))
    hints = get_type_hints(evaluator.settings)
    for name, value in given.items():
        if not _fits(value, hints[name]):
            raise UsageError(f"setting {name}: {value!r} is not what it takes ({_said(hints[name])}).")
    settings = evaluator.settings(**{name: _frozen(value, hints[name]) for name, value in given.items()})
    if "templates" in known:
        for name in listed(settings.templates):
            if name != OWN:
                load_templates(name)
    return settings


def _datasets(evaluator: Evaluator, study: Study, settings: Any) -> list[tuple[Any, bool]]:
    """The study's data sets, and whether each is one of our tables."""
    if not study.datasets:
        raise UsageError("Nothing to measure on: give --datasets.")
    datasets = [(evaluator.load_dataset(name), name in evaluator.datasets) for name in evaluator.expand(study.datasets)]
    for dataset, _ in datasets:
        _settings_config(settings, dataset)
    return datasets


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: whole numbers pass as fractions, True is no number."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if get_args(hint):
        return any(_fits(value, part) for part in get_args(hint))
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _frozen(value: Any, hint: Any) -> Any:
    """A list as the tuple of what a setting takes."""
    return tuple(map(get_args(hint)[0], value)) if get_origin(hint) is tuple else value


def _said(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list of {_said(get_args(hint)[0])}"
    choices = get_args(hint)
    return " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices) if choices else hint.__name__


def variant(settings: Any) -> str:
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

    if not study.encoders and not study.heads:
        raise UsageError("Nothing to measure: give --encoders or --heads.")
    names = [parse_spec(spec).name for spec in study.encoders]
    by_name = {
        name: spec
        for name, spec in zip(names, study.encoders, strict=True)
        if not _every_block(spec) and names.count(name) == 1
    }
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
        load = lambda folder=folder, spec=spec: load_aligned(folder, encoder(spec)).to(device)  # noqa: E731
        yield Candidate(card.name, load, card)


def _every_block(spec: str) -> bool:
    return parse_spec(spec).options.get("block") == "all"


def _load(candidate: Candidate, study: Study) -> VisionEncoder | AlignedModel | None:
    """The model; None for an encoder that has no text space, where heads are measured beside it."""
    try:
        return candidate.model()
    except NoTextSpace as error:
        if not study.heads:
            raise
        console.print(f"{error} It is measured through --heads alone.", style="dim", markup=False)
        return None


def _finite(model: VisionEncoder | AlignedModel) -> VisionEncoder | AlignedModel:
    """The model; a UsageError where weights of it are NaN: what they say would be recorded as a number."""
    parts = (model.vision, model.text, model.head) if isinstance(model, AlignedModel) else (model,)
    for name, weight in chain.from_iterable(part.named_parameters() for part in parts if part is not None):
        if not bool(weight.isfinite().all()):
            raise UsageError(f"{model.name}: {name} holds NaN or infinite weights. Nothing is measured with them.")
    return model


def _describe(candidate: Candidate, model: VisionEncoder | AlignedModel | None) -> dict[str, Any] | None:
    """What a record says of the model; None for an encoder that is not loaded."""
    if model is not None:
        return model.describe()
    return candidate.card.describe_model() if candidate.card is not None else None


def _read(results: Path, key: Key) -> Record | None:
    file = results / records.FOLDER / key.path
    return records.read(file) if file.is_file() else None


def _write(results: Path, record: Record, plain: Key) -> None:
    if record.key != plain:
        note(f"recorded as {record.key.path}: another model or data set was measured under the name of {plain.path}")
    try:
        records.write(results / records.FOLDER, record)
    except ValueError as error:  # a NaN
        raise RunError(f"{error}; nothing is recorded.") from None


def _config(evaluator: str, model: dict[str, Any], dataset: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """All that changes the numbers; a record of another config is measured again."""
    return {
        "evaluator": evaluator,
        "settings": settings,
        "model": model,
        "dataset": dataset,
        "seed": 0,  # of the bootstrap; nothing else is drawn
    }


def _is_current(record: Record, config: dict[str, Any], settings: Any, dataset: Any) -> bool:
    """Whether a record is of this configuration: what an earlier version did not know yet had today's default."""
    head = {"kind": RESIDUAL, "train": defaults_of(Recipe)}
    model = {"encoder": defaults_of(VisionEncoder), "text": defaults_of(TextEncoder), "head": head}
    defaults = {"settings": _settings_config(type(settings)(), dataset), "model": model}
    return not differences(record.config, config, defaults)


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
    evaluate: Callable[..., Result],
    model: VisionEncoder | AlignedModel,
    dataset: Any,
    settings: Any,
    config: dict[str, Any],
    device: str,
) -> Record:
    stopwatch = Stopwatch()
    result = evaluate(model, dataset, settings)
    return Record(key, result.measurements, config, stopwatch.provenance(device) | result.cost, result.curves)


def _settings_config(settings: Any, dataset: Any) -> dict[str, Any]:
    """The settings as a record holds them, with what the names of templates and vocabularies stand for on this set."""
    config = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}
    if "templates" in config:
        templates = [one for name in listed(settings.templates) for one in templates_for(dataset, name)]
        config["templates_hash"] = text_hash(templates)
    if "vocabulary" in config:
        names = [load_vocabulary(one, dataset.name, dataset.classnames) for one in listed(settings.vocabulary)]
        config["vocabulary_hash"] = text_hash([", ".join(of_class) for of_set in names for of_class in of_set])
    return config
