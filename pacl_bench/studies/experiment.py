"""Study files: TOML that says which heads are trained, what is measured, which pictures are drawn.

docs/studies.md explains the format by examples. The shipped files are in studies/. No torch here.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from pacl_bench.errors import UsageError
from pacl_bench.evaluators import EVALUATORS, find_evaluator
from pacl_bench.evaluators.settings import Stride
from pacl_bench.files import read_text
from pacl_bench.model.head_files import RESIDUAL
from pacl_bench.registry import unknown_name
from pacl_bench.studies.study import Name, Names, Study
from pacl_bench.training.recipe import Recipe, Seed, make_recipe
from pacl_bench.validation.values import STRICT, Written, as_option, made

HEAD = "head"  # what `grid` may vary besides the recipe: the kind of head, and options of the encoder
OF_ENCODER = ("block", "tap", "size", "attention", "pos")
TABLES = ("train", "measure", "picture")  # of a file that holds an experiment
OF_A_SELECTION = ("from", "only")
Made = TypeVar("Made")


@dataclass(frozen=True, config=STRICT)
class Heads:
    """Heads to train: one for each combination of the lists in it."""

    encoders: Names
    pairs: Names  # each a set or a sum of sets: cc12m+yfcc15m
    texts: Names = field(default_factory=list)  # text encoders; none: the encoder's own
    recipe: Name = "paper"
    change: dict[str, Any] = field(default_factory=dict)  # single values of the recipe that are others
    grid: dict[str, list[Any]] = field(default_factory=dict)  # values to try: of the recipe, `head`, `block`, `tap` ...
    seeds: list[Seed] = field(default_factory=list)  # none: those that are asked for with the command, or 0
    head: Name = RESIDUAL  # kind of head
    name: str = ""  # what the head is called, where it is a single one


@dataclass(frozen=True, config=STRICT)
class Picture:
    """A picture of what models see in images of a segmentation set: Figures 2, 4 and 6."""

    kind: Literal["alignment", "similarity", "segmentation"]
    datasets: Names
    showing: str = ""  # a class: the first images that show it large; none: the first images
    images: Annotated[int, Field(ge=1, le=100)] = 3  # of each data set
    encoders: Names = field(default_factory=list)
    heads: Names = field(default_factory=list)
    trained: Names = field(default_factory=list)
    stride: Stride = None


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """What a study file holds. The names of measurements and pictures are what --only selects."""

    name: Name
    train: dict[str, Heads] = field(default_factory=dict)
    measure: dict[str, list[Study]] = field(default_factory=dict)
    picture: dict[str, Picture] = field(default_factory=dict)
    report: bool = True  # whether a report is written at the end

    def only(self, names: Iterable[str], written: str = "--only") -> "Experiment":
        """The parts of these names, and the heads that they need; a UsageError for a name that it does not have."""
        names, known = list(names), [*self.measure, *self.picture]
        for name in names:
            if name not in known:
                raise UsageError(f"{written}: {unknown_name(name, known, f'part of {self.name}')}")
        measure = {name: studies for name, studies in self.measure.items() if name in names}
        picture = {name: drawn for name, drawn in self.picture.items() if name in names}
        users = [*(study for studies in measure.values() for study in studies), *picture.values()]
        needed = {name for user in users for name in user.trained}
        train = {name: heads for name, heads in self.train.items() if name in needed}
        return replace(self, train=train, measure=measure, picture=picture)

    def with_seeds(self, seeds: list[int]) -> "Experiment":
        """With these seeds for the heads whose table names none."""
        train = {name: replace(heads, seeds=heads.seeds or seeds) for name, heads in self.train.items()}
        return replace(self, train=train)


def studies_folder() -> Path:
    """Where the shipped studies are: in the package when installed as a wheel, beside it in a checkout."""
    shipped = Path(__file__).parent / "files"
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "studies"


def shipped_studies() -> dict[str, Path]:
    """Study files by name."""
    return {file.stem: file for file in sorted(studies_folder().glob("*.toml"))}


def load_experiment(file: Path) -> Experiment:
    """What a study file holds, or a shipped one by its name; a UsageError names the file and key that are wrong."""
    file = shipped_studies().get(str(file), file)
    if not file.is_file():
        raise UsageError(f"{unknown_name(str(file), shipped_studies(), 'study')} Or give a TOML file.")
    content = _read(file)
    if "from" in content:
        return _selection(file, content)
    if not content.keys() & {*TABLES, "report"}:
        study = _study(file, content, "")
        return Experiment(study.name, measure={study.name: [study]}, report=False)
    return _experiment(file, content)


def load_study(file: Path) -> Study:
    """The one measurement of a file that holds no more; a UsageError as above."""
    studies = [study for studies in load_experiment(file).measure.values() for study in studies]
    if len(studies) != 1:
        raise UsageError(f"{file} holds {len(studies)} measurements, not one. Run it with `pacl-bench run {file}`.")
    return studies[0]


def _selection(file: Path, content: dict[str, Any]) -> Experiment:
    """Parts of another file, which is a shipped one or lies beside this one."""
    for key in content:
        if key not in OF_A_SELECTION:
            raise UsageError(f"{file}: {key}: {unknown_name(key, OF_A_SELECTION, 'key')}")
    whole, only = content["from"], content.get("only")
    if not isinstance(whole, str) or not isinstance(only, list) or not all(isinstance(name, str) for name in only):
        raise UsageError(f'{file}: write from = "paper", and only = ["table1"] with the parts that are wanted of it.')
    beside = file.parent / whole
    return load_experiment(beside if beside.is_file() else Path(whole)).only(only, f"{file}: only")


def _experiment(file: Path, content: dict[str, Any]) -> Experiment:
    for table in TABLES:
        for name, value in _table(file, content, table).items():
            if table != "measure" and not isinstance(value, dict):
                raise UsageError(f"{file}: {table}.{name} = {value!r}: should be a table [{table}.{name}].")
    train = {name: _heads(file, name, given) for name, given in content.get("train", {}).items()}
    measure = {name: _studies(file, name, given) for name, given in content.get("measure", {}).items()}
    picture = {name: _picture(file, name, given) for name, given in content.get("picture", {}).items()}
    told = {"name": file.stem, **content, "train": train, "measure": measure, "picture": picture}
    experiment = made(Experiment, told, lambda name, value: f"{file}: {name} = {value}")
    if not measure and not picture:
        raise UsageError(f"{file}: nothing to measure: it has no table [measure.NAME] or [picture.NAME].")
    for part, user in _users(experiment):
        for name in user.trained:
            if name not in train:
                raise UsageError(f"{file}: {part}.trained = {name!r}: {unknown_name(name, train, 'table of heads')}")
    return experiment


def _users(experiment: Experiment) -> Iterable[tuple[str, Study | Picture]]:
    """What may use trained heads, with the name of its table."""
    yield from ((f"measure.{name}", study) for name, studies in experiment.measure.items() for study in studies)
    yield from ((f"picture.{name}", picture) for name, picture in experiment.picture.items())


def _table(file: Path, content: Mapping[str, Any], name: str) -> dict[str, Any]:
    given = content.get(name, {})
    if not isinstance(given, dict):
        raise UsageError(f"{file}: {name} = {given!r}: should be tables [{name}.NAME].")
    return given


def _studies(file: Path, name: str, given: Any) -> list[Study]:
    """Those of a table [measure.NAME], or of several [[measure.NAME]]."""
    tables = given if isinstance(given, list) else [given]
    if not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{file}: measure.{name} = {given!r}: should be a table [measure.{name}].")
    return [_study(file, {"name": table.get("evaluator"), **table}, f"measure.{name}.") for table in tables]


def _study(file: Path, content: dict[str, Any], where: str) -> Study:
    """One measurement.

    Args:
        where: stands before its keys: "measure.table1."
    """
    if "evaluator" not in content:
        raise UsageError(f"{file}: the key '{where}evaluator' is missing ({', '.join(EVALUATORS)}).")
    written = _written(file, where)
    study = made(Study, {"name": file.stem, **content}, written)
    try:
        evaluator = find_evaluator(study.evaluator)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    made(evaluator.settings, study.settings, _written(file, f"{where}settings."))
    if not study.encoders and not study.heads and not study.trained:
        raise UsageError(f"{file}: nothing to measure: the keys '{where}encoders' and '{where}heads' name none.")
    if not study.datasets:
        raise UsageError(f"{file}: nothing to measure on: the key '{where}datasets' names none.")
    return study


def _heads(file: Path, name: str, given: dict[str, Any]) -> Heads:
    where = f"train.{name}."
    heads = made(Heads, given, _written(file, where))
    if not heads.encoders or not heads.pairs:
        raise UsageError(f"{file}: nothing to train: '{where}encoders' and '{where}pairs' must name some.")
    require_recipes(heads, f"{file}: {where}")
    if heads.name and (heads.grid or max(map(len, (heads.encoders, heads.pairs, heads.texts))) > 1):
        raise UsageError(
            f"{file}: {where}name = {heads.name!r}: goes with one encoder, text and training set, no grid."
        )
    return heads


def require_recipes(heads: Heads, where: str) -> None:
    """A UsageError for a value of `change` or `grid` that no recipe has.

    Args:
        where: stands before the key: "mine.toml: train.heads."
    """
    base = _recipe(heads, {}, lambda name, value: f"{where}change.{name} = {value}", f"{where}recipe: ")
    known = [*base.describe(), HEAD, *OF_ENCODER]
    for key, values in heads.grid.items():
        if key not in known:
            raise UsageError(f"{where}grid.{key}: {unknown_name(key, known, 'setting of a recipe')}")
        if not values:
            raise UsageError(f"{where}grid.{key} = []: at least one value is wanted.")
        for value in values if key in base.describe() else []:
            _recipe(heads, {key: value}, lambda name, value: f"{where}grid.{name} = {value}")


def recipe_of(heads: Heads, values: Mapping[str, Any], written: Written = as_option) -> Recipe:
    """The recipe of the heads with these values of `grid`; one of steps and epochs replaces both of `change`."""
    length = {"steps", "epochs"}
    change = {key: value for key, value in heads.change.items() if not (key in length and length & values.keys())}
    return make_recipe(heads.recipe, {**change, **values}, written)


def _recipe(heads: Heads, changes: Mapping[str, Any], written: Written, where: str = "") -> Recipe:
    try:
        return recipe_of(heads, changes, written)
    except UsageError as error:
        unknown_recipe = str(error).startswith("Unknown recipe")
        raise UsageError(f"{where}{error}" if unknown_recipe else str(error)) from None


def _picture(file: Path, name: str, given: dict[str, Any]) -> Picture:
    picture = made(Picture, given, _written(file, f"picture.{name}."))
    if not (picture.encoders or picture.heads or picture.trained) or not picture.datasets:
        raise UsageError(f"{file}: picture.{name}: give datasets, and encoders, heads or trained.")
    if not picture.showing and picture.kind != "segmentation":
        raise UsageError(f"{file}: picture.{name}: 'showing' is missing: the class whose images are drawn.")
    return picture


def _written(file: Path, where: str) -> Written:
    return lambda name, value: f"{file}: {where}{name} = {value}"


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(file))
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, and lists within lists
        raise UsageError(f"{file}: {error}.") from None
