"""From an experiment to its steps: everything that it needs is looked for before the first of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pacl_bench.data.pair_names import name_and_weight, split_sum
from pacl_bench.data.pairs import load_pairs
from pacl_bench.errors import UsageError
from pacl_bench.evaluators import find_evaluator
from pacl_bench.model.head_files import read_card
from pacl_bench.studies.experiment import Experiment
from pacl_bench.studies.heads import Cell, cells, require_known_names, trained_before, wanted_heads
from pacl_bench.studies.runner import datasets_of, require_known_encoders
from pacl_bench.studies.steps import DrawStep, MeasureStep, ReportStep, Step, TrainStep
from pacl_bench.studies.study import Rerun
from pacl_bench.training.recipe import Loading
from pacl_bench.training.side_by_side import sharing


@dataclass(frozen=True)
class Setting:
    """Where an experiment leaves its heads and records, and how it is run."""

    heads: Path  # holds a folder for each head
    results: Path  # holds records/ and report/
    rerun: Rerun = "missing"
    device: str = "cpu"
    loading: Loading | None = None


@dataclass(frozen=True)
class Stage:
    """Steps of one kind. None of them needs another one of the same stage."""

    title: str
    steps: list[Step]
    seconds: list[float | None] = field(default_factory=list)  # that each is expected to take, once that is known


@dataclass(frozen=True)
class Plan:
    """What an experiment comes to, stage after stage."""

    name: str
    stages: list[Stage]

    @property
    def steps(self) -> Iterator[Step]:
        return (step for stage in self.stages for step in stage.steps)


def make_plan(experiment: Experiment, setting: Setting) -> Plan:
    """The steps of an experiment; those that are done already are among them.

    Raises:
        UsageError: a name is not known; data, weights or a head are not there; settings do not fit a data set.
    """
    trained = _trained(experiment, setting)
    folders = {name: [_folder(one) for one in heads] for name, heads in trained.items()}
    fresh = list({one.folder: one for heads in trained.values() for one in heads if isinstance(one, Cell)}.values())
    encoder_of = {cell.folder: cell.config.encoder for cell in fresh}

    def of(names: list[str]) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(folder for name in names for folder in folders[name]))

    measure = [
        MeasureStep(part, study, of(study.trained), encoder_of, setting.results, setting.rerun, setting.device)
        for part, studies in experiment.measure.items()
        for study in studies
    ]
    draw = [
        DrawStep(part, picture, of(picture.trained), setting.results / "report", setting.device)
        for part, picture in experiment.picture.items()
    ]
    stages = [
        Stage("training heads", [*_training(fresh, setting)]),
        Stage("measuring", [*measure]),
        Stage("drawing", [*draw] if setting.rerun != "never" else []),
        Stage("writing the report", [ReportStep(setting.results)] if experiment.report else []),
    ]
    return Plan(experiment.name, [stage for stage in stages if stage.steps])


def _training(heads: list[Cell], setting: Setting) -> Iterator[TrainStep]:
    """A step for each head, or for those that share a pass over their pairs."""
    for together in sharing([cell.config for cell in heads]):
        yield TrainStep(tuple(heads[number] for number in together), setting.device, setting.loading)


def _trained(experiment: Experiment, setting: Setting) -> dict[str, list[Cell] | list[Path]]:
    """The heads of each table [train.NAME]: to be trained, or where nothing is measured those there are."""
    wanted = {name: wanted_heads(heads) for name, heads in experiment.train.items()}
    if setting.rerun == "never":
        return {name: trained_before(heads, setting.heads) for name, heads in wanted.items()}
    _require_names(experiment)
    every = [one for heads in wanted.values() for one in heads]
    require_known_names(every)
    _require_data(experiment, [one.pairs for one in every])
    found = iter(list(cells(every, setting.heads)))
    return {name: [next(found) for _ in heads] for name, heads in wanted.items()}


def _require_names(experiment: Experiment) -> None:
    """A name that is misspelt is told before data is looked for and weights are read."""
    users = [*(study for studies in experiment.measure.values() for study in studies), *experiment.picture.values()]
    for user in users:
        require_known_encoders(user.encoders)
        for folder in user.heads:
            read_card(Path(folder))


def _require_data(experiment: Experiment, pairs: list[str]) -> None:
    """A UsageError that tells of the first set that is not there, and names the others; then whether settings fit."""
    studies = [study for studies in experiment.measure.values() for study in studies]
    parts = [name_and_weight(part)[0] for names in pairs for part in split_sum(names)]
    looks: dict[str, Callable[[], object]] = {name: partial(load_pairs, name) for name in parts}
    named = [(study.evaluator, name) for study in studies for name in study.datasets]
    named += [("segment", name) for picture in experiment.picture.values() for name in picture.datasets]
    looks |= {name: partial(find_evaluator(evaluator).load_sets, [name]) for evaluator, name in named}
    problems: dict[str, str] = {}
    for name, look in looks.items():
        try:
            look()
        except UsageError as error:
            problems[name] = str(error)
    if problems:
        first, *others = problems
        raise UsageError(problems[first] + (f" Nor can these be had: {', '.join(others)}." if others else ""))
    for study in studies:
        datasets_of(study, find_evaluator(study.evaluator))


def _folder(head: Cell | Path) -> Path:
    return head.folder if isinstance(head, Cell) else head
