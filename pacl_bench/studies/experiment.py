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
LIKE = "like"  # the table that one takes from what it does not say itself
OF_A_SELECTION = ("from", "only")
Made = TypeVar("Made")


def _told(meaning: str) -> Any:
    """What a key means, as docs/studies.md says it."""
    return Field(description=meaning)


@dataclass(frozen=True, config=STRICT)
class Heads:
    """Heads to train: one for each combination of the lists in it."""

    encoders: Annotated[Names, _told("Vision encoders, as for `--encoders`.")]
    pairs: Annotated[Names, _told("Training sets; each may be a sum of sets: `cc12m+yfcc15m`.")]
    texts: Annotated[Names, _told("Text encoders; none: the encoder's own, `clip-b16` for those without.")] = field(
        default_factory=list
    )
    recipe: Annotated[Name, _told("`paper` or `small`.")] = "paper"
    change: Annotated[dict[str, Any], _told("Single values of the recipe that are others: `{ steps = 400 }`.")] = field(
        default_factory=dict
    )
    grid: Annotated[
        dict[str, list[Any]],
        _told("Values to try, each with each: settings of the recipe, `head`, and the encoder's `block`, `tap` ..."),
    ] = field(default_factory=dict)
    seeds: Annotated[list[Seed], _told("None: those of `--seeds`, else 0.")] = field(default_factory=list)
    head: Annotated[Name, _told("Kind of head: `residual` or `linear`.")] = RESIDUAL
    name: Annotated[str, _told("What the head is called, where it is a single one.")] = ""


@dataclass(frozen=True, config=STRICT)
class Picture:
    """A picture of what models see in images of a segmentation set: Figures 2, 4 and 6, and the gallery."""

    kind: Annotated[
        Literal["alignment", "similarity", "segmentation", "gallery"],
        _told("`alignment` with a word (Figure 2), `similarity` with a patch (4), `segmentation` (6), `gallery`."),
    ]
    datasets: Annotated[Names, _told("Segmentation sets that the images are of.")]
    showing: Annotated[str, _told("A class: the first images that show it large; without one the first images.")] = ""
    images: Annotated[int, Field(ge=1, le=100), _told("How many of each data set.")] = 3
    encoders: Annotated[Names, _told("Shown before alignment.")] = field(default_factory=list)
    heads: Annotated[Names, _told("Folders of trained heads.")] = field(default_factory=list)
    trained: Annotated[Names, _told("Tables `[train.NAME]`, whose heads are shown.")] = field(default_factory=list)
    stride: Annotated[Stride, _told("Of a segmentation.")] = None


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
    tables = {kind: _tables(file, content, kind) for kind in TABLES}
    train = {name: _heads(file, name, given) for name, (given, *_) in tables["train"].items()}
    measure = {
        name: [_study(file, {"name": one.get("evaluator"), **one}, f"measure.{name}.") for one in given]
        for name, given in tables["measure"].items()
    }
    picture = {name: _picture(file, name, given) for name, (given, *_) in tables["picture"].items()}
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


def _tables(file: Path, content: Mapping[str, Any], kind: str) -> dict[str, list[dict[str, Any]]]:
    """The tables [KIND.NAME] of a file, by name; of measurements there may be several [[measure.NAME]]."""
    given = content.get(kind, {})
    if not isinstance(given, dict):
        raise UsageError(f"{file}: {kind} = {given!r}: should be tables [{kind}.NAME].")
    tables = {
        name: value if kind == "measure" and isinstance(value, list) else [value] for name, value in given.items()
    }
    for name, values in tables.items():
        if not values or not all(isinstance(value, dict) for value in values):
            raise UsageError(f"{file}: {kind}.{name} = {given[name]!r}: should be a table [{kind}.{name}].")
    return {name: [_filled(file, kind, name, one, tables) for one in values] for name, values in tables.items()}


def _filled(
    file: Path, kind: str, name: str, table: dict[str, Any], tables: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    """A table with the keys of the one that it is like, where it does not have them itself."""
    if LIKE not in table:
        return table
    like = table[LIKE]
    others = {other: values[0] for other, values in tables.items() if LIKE not in values[0]}
    if like not in others:
        raise UsageError(
            f"{file}: {kind}.{name}.{LIKE} = {like!r}: {unknown_name(str(like), others, 'table to be like')}"
        )
    return {**others[like], **{key: value for key, value in table.items() if key != LIKE}}


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
    if not picture.showing and picture.kind not in ("segmentation", "gallery"):
        raise UsageError(f"{file}: picture.{name}: 'showing' is missing: the class whose images are drawn.")
    return picture


def _written(file: Path, where: str) -> Written:
    return lambda name, value: f"{file}: {where}{name} = {value}"


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(file))
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, and lists within lists
        raise UsageError(f"{file}: {error}.") from None
