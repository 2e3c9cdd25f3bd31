"""From numbers to the lines of a table: the seeds of a model in one cell, its variants below it. No torch here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pacl_bench.data.catalog import BUILT_IN, DECLARED
from pacl_bench.report.again import measure_like
from pacl_bench.report.runs import (
    AFTER,
    BEFORE,
    BENCHMARKS,
    ELSEWHERE,
    GAP,
    METHODS,
    OWN,
    UNTRAINED,
    WORLD,
    Number,
    Run,
    family,
    grouped,
    require_one_a_seed,
)
from pacl_bench.report.tabular import Cell, Column, Group, Line, Table

PAPERS, ALL_MODELS = "the paper's layout", "all models"
DEFAULT = "default"  # the variant of no changed setting
FAMILIES = [BENCHMARKS, WORLD, OWN]
TELL_APART = (["model"], ["study"], ["study", "model"])  # tried in turn, until no seed of a model has two numbers
# of a head, what lines do not tell: the same for all, told otherwise, or without meaning for a reader
OF_PAIRS = {"pairs", "images", "captions", "pairs_fingerprint", "pairs_contents", "skipped"}
NOT_TOLD = {"sha256", "train", "seed", "step", *OF_PAIRS}


def of_dataset(number: Number) -> str:
    return number.run.dataset


def of_protocol(number: Number) -> str:
    return number.protocol


def models_by_dataset(
    numbers: Sequence[Number],
    protocol: Callable[[Number], str] = of_protocol,
    groups: Callable[[Sequence[Number]], list[Group]] | None = None,
    **given: Any,
) -> list[Table]:
    """All models: a table for each family of data sets and protocol; a line for each model, a column for each data set.

    Args:
        protocol: what the number is chosen by, where the name of its protocol is not enough.
        groups: of lines; default those of `by_encoder`.
        given: for Table.
    """
    tables = []
    for (sets, told), of_table in grouped(numbers, lambda one: (family(of_dataset(one)), protocol(one))).items():
        choices = {"view": ALL_MODELS, "data": sets, "protocol": told}
        columns = [Column(name) for name in in_order(map(of_dataset, of_table))]
        tables.append(Table(choices, columns, (groups or by_encoder)(of_table), **given))
    return sorted(tables, key=lambda table: FAMILIES.index(table.choices["data"]))


def by_encoder(numbers: Sequence[Number], most: int | None = None) -> list[Group]:
    """The lines of models, in a group for each encoder; methods that only change its attention stand beside it.

    Args:
        most: groups that are made, where not all are wanted.
    """
    # the encoder as it comes, by its weights
    plain = {one.run.vision.get("sha256"): one.run.encoder for one in numbers if not one.run.attention}

    def encoder(number: Number) -> str:
        run = number.run
        if run.method == ELSEWHERE:
            return ELSEWHERE
        return plain.get(run.vision.get("sha256"), run.encoder) if run.attention else run.encoder

    groups = list(grouped(numbers, encoder).items())[:most]
    return [Group(title, model_lines(of_encoder)) for title, of_encoder in groups]


def model_lines(
    numbers: Sequence[Number],
    column: Callable[[Number], str] = of_dataset,
    name: Callable[[Run], str] | None = None,
    is_control: Callable[[Run], bool] | None = None,
    tells_encoder: bool = False,
) -> list[Line]:
    """A line for each model; the seeds of a model are one cell, other settings fold below the default ones.

    Args:
        name: of a line; default the method.
        is_control: default untrained heads, and encoders before alignment where a trained head stands beside.
        tells_encoder: the second line of the head names the encoder; needless in a group of one encoder.
    """
    name, is_control = name or line_name, is_control or controls(numbers)
    alike = grouped(numbers, lambda one: one.run.made_of).values()
    models = sorted((of_model for same in alike for of_model in _apart(same, column)), key=_place)
    firsts = [of_model[0].run for of_model in models]
    details = tell_apart(firsts, [name(run) for run in firsts], tells_encoder)
    return [
        _line(of_model, column, name(run), detail, is_control(run))
        for of_model, run, detail in zip(models, firsts, details, strict=True)
    ]


def cells(numbers: Iterable[Number], column: Callable[[Number], str] = of_dataset) -> dict[str, Cell]:
    """The cells of one line, by column: the numbers of one column are those of the seeds of one model.

    Raises:
        UsageError: two numbers of one seed. They are never averaged.
    """
    made = {}
    for name, of_cell in grouped(numbers, column).items():
        if len(of_cell) > 1:
            require_one_a_seed(of_cell)
            of_cell.sort(key=lambda one: _by_number(one.run.seed))
        made[name] = Cell.of(of_cell)
    return made


def controls(numbers: Iterable[Number]) -> Callable[[Run], bool]:
    """Which runs are there to be compared with: untrained heads, and encoders before alignment that have a head."""
    aligned = {one.run.encoder for one in numbers if one.run.method == AFTER}
    return lambda run: run.method == UNTRAINED or (run.method == BEFORE and run.encoder in aligned)


def tell_apart(runs: Sequence[Run], names: Sequence[str], tells_encoder: bool = False) -> list[str]:
    """For each run the few words that tell it from the others of its name: its training set's size, what differs."""
    told: list[tuple[str, ...]] = [
        (name, run.encoder if tells_encoder else "", _size(run)) for name, run in zip(names, runs, strict=True)
    ]
    for tell in _tells(runs):
        if len(set(told)) == len(told):
            break
        for same in grouped(range(len(runs)), lambda at: told[at]).values():
            if len({tell(runs[at]) for at in same}) > 1:
                for at in same:
                    told[at] += (tell(runs[at]),)
    return [" · ".join(filter(None, parts)) for _, *parts in told]


def names_apart(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Each name with the words that tell its run from the others: "PACL head, 10,000 images"."""
    return [", ".join(filter(None, told)) for told in zip(names, tell_apart(runs, names), strict=True)]


def _tells(runs: Sequence[Run]) -> Iterator[Callable[[Run], str]]:
    """What may tell models apart, the most telling first."""
    yield _training_set
    yield from map(_trained_with, _fields(runs))
    yield from (_text, _weights, _model, _study)


def in_order(datasets: Iterable[str]) -> list[str]:
    """Each data set once, in the order in which they are declared; others behind, by name."""
    declared = [name for table in (*DECLARED.values(), *BUILT_IN.values()) for name in table]
    place = {name: at for at, name in enumerate(declared)}
    return sorted(dict.fromkeys(datasets), key=lambda name: (place.get(name, len(place)), name))


def _line(
    of_model: Sequence[Number], column: Callable[[Number], str], name: str, detail: str, is_control: bool
) -> Line:
    by_variant = grouped(of_model, lambda one: one.run.variant)
    main = DEFAULT if DEFAULT in by_variant else next(iter(by_variant))

    def made(variant: str, detail: str, variants: Sequence[Line] = ()) -> Line:
        of_variant = by_variant[variant]
        command = measure_like(of_variant[0].run) if column is of_dataset else ""
        return Line(name, detail, cells(of_variant, column), is_control, tuple(variants), command)

    others = [made(variant, variant) for variant in by_variant if variant != main]
    return made(main, detail if main == DEFAULT else " · ".join(filter(None, [detail, main])), others)


def _apart(same: Sequence[Number], column: Callable[[Number], str]) -> list[list[Number]]:
    """Models that differ in the seed alone, told apart by name or study where two of them have one seed."""
    if _one_a_seed(same, column):
        return [list(same)]
    for names in TELL_APART:
        models = list(grouped(same, lambda one: tuple(getattr(one.run, name) for name in names)).values())  # noqa: B023
        if all(_one_a_seed(of_model, column) for of_model in models):
            return models
    return [list(same)]  # `cells` names the two records


def _one_a_seed(of_model: Sequence[Number], column: Callable[[Number], str]) -> bool:
    places = [(column(one), one.run.variant, one.run.seed) for one in of_model]
    return len(set(places)) == len(places)


def _place(of_model: Sequence[Number]) -> tuple[str, int, int]:
    """By encoder, before alignment, untrained, then by the size of the training set."""
    run = of_model[0].run
    return run.encoder, METHODS.index(run.method), run.train.get("images") or 0


def line_name(run: Run) -> str:
    """What a model's line is called beside the lines of others with its encoder: its method."""
    if run.method == ELSEWHERE:
        return run.model
    if run.attention:
        return run.encoder
    kind = (run.head or {}).get("kind", "residual")
    return run.method if kind == "residual" else f"{run.method} ({kind})"


def _size(run: Run) -> str:
    images = run.train.get("images")
    return f"{images:,} images" if images else ""


def _training_set(run: Run) -> str:
    return run.train.get("pairs", "").replace("+", " + ")


def _text(run: Run) -> str:
    return f"text {run.text}"


def _weights(run: Run) -> str:
    return f"weights {(run.vision.get('sha256') or GAP)[:8]}"


def _model(run: Run) -> str:
    return run.model


def _study(run: Run) -> str:
    return f"study {run.study}"


def _fields(runs: Sequence[Run]) -> list[str]:
    """What heads say of their training, each field once."""
    return [name for name in dict.fromkeys(name for run in runs for name in _trained(run)) if name not in NOT_TOLD]


def _trained(run: Run) -> dict[str, Any]:
    return {**(run.head or {}), **run.train, "steps": (run.head or {}).get("step")} if run.head else {}


def _trained_with(name: str) -> Callable[[Run], str]:
    def tell(run: Run) -> str:
        value = _trained(run).get(name)
        return "" if value is None else f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"

    return tell


def _by_number(seed: str) -> tuple[int, str]:
    return len(seed), seed
