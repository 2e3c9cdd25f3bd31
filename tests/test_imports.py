"""The rooms' graph: arrows go down the list and never up, and what must start without torch does."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pacl_bench

PACKAGE = Path(__file__).parents[1] / "pacl_bench"
ROOMS = [
    "cli", "bench", "studies", "report", "evaluators", "training", "model", "caching", "data", "world", "encoders",
    "metrics",
]  # fmt: skip
ROOT = [
    "validation",
    "cores",
    "errors",
    "files",
    "image_counts",
    "image_sets",
    "locks",
    "partial_files",
    "paths",
    "processes",
    "progress",
    "provenance",
    "records",
    "registry",
    "signals",
    "workers",
]  # everyone's
EXCEPTIONS: dict[tuple[str, str], str] = {}
WITHOUT_TORCH = [
    "pacl_bench",
    "pacl_bench.cli",
    "pacl_bench.records",
    "pacl_bench.report",
    "pacl_bench.cli.catalog",
    "pacl_bench.caching.disk",
    "pacl_bench.evaluators.settings",
    "pacl_bench.evaluators.sets",
    "pacl_bench.studies.study",
    "pacl_bench.training.recipe",
]

WITHOUT_SCIKIT_LEARN = ["pacl_bench.evaluators.coherence", "pacl_bench.studies.orchestra", "pacl_bench.training.loop"]


def room(module: str) -> str:
    """The room, or module of the root, that pacl_bench.ROOM.x.y lies in."""
    return [*module.split("."), ""][1]


def imported(file: Path) -> Iterator[str]:
    """Modules of the package that a file imports, in functions and for type checking too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            names = [f"{node.module}.{name}" for name in names]
        yield from (name for name in names if name.startswith("pacl_bench."))


def test_arrows_go_down_the_list() -> None:
    """Then there is no circle either. The package's own __init__ names what users import, and stands above all."""
    files = [file for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE or file.stem in ROOT]
    arrows = {
        (file.relative_to(PACKAGE).parts[0].removesuffix(".py"), room(name))
        for file in files
        for name in imported(file)
    }
    place = {name: at for at, name in enumerate([*ROOMS, *ROOT])}
    assert {name for arrow in arrows for name in arrow} <= {*place, "__version__"}
    up = {(here, there) for here, there in arrows if here in ROOMS and place.get(there, 99) < place[here]}
    up |= {(here, there) for here, there in arrows if here in ROOT and there in ROOMS}
    assert up == set(EXCEPTIONS)


@pytest.mark.parametrize(
    ("library", "modules"), [("torch", WITHOUT_TORCH), ("sklearn", WITHOUT_SCIKIT_LEARN)], ids=["torch", "sklearn"]
)
def test_these_start_without(library: str, modules: list[str]) -> None:
    """In one process: the first that imports the library is named."""
    code = f"""
import importlib, sys
for module in {modules}:
    importlib.import_module(module)
    assert {library!r} not in sys.modules, module
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr == ""


def test_every_public_name_is_there() -> None:
    assert dir(pacl_bench) == sorted([*pacl_bench.__all__, "__version__"])
    assert sorted([*pacl_bench._HOMES, *pacl_bench._ROOMS]) == sorted(pacl_bench.__all__)
    for name in pacl_bench.__all__:
        assert getattr(pacl_bench, name).__name__.removeprefix("pacl_bench.") == name
    assert pacl_bench.metrics.segmentation.miou is pacl_bench.miou
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = pacl_bench.nothing
