"""A user's own code: a function from a file or module, and a hash over all that its author may change in it.

What is hashed is the file and every module that it imports, directly or not, from its own folder (of a package: from
the folder that holds the package). Libraries are not: records state their versions.
"""

import ast
import hashlib
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec, resolve_name, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pacl_bench.errors import UsageError, one_line
from pacl_bench.registry import unknown_name

THE_FILE = ""  # the name of what is no module but a file
Sources = dict[str, Path]  # module -> its file


class OwnFunction(NamedTuple):
    """Something that a file or module defines, imported."""

    value: Any
    source: str  # sha256 over its code
    files: frozenset[str]  # that hold this code


class _Place(NamedTuple):
    """Where code lies."""

    file: Path
    module: str  # THE_FILE where it is named as FILE.py
    folder: Path  # in which its imports are looked for first


class _Imported(NamedTuple):
    module: ModuleType
    source: str


_imported: dict[_Place, _Imported] = {}  # of this process
_helpers: set[str] = set()  # modules that were imported from such folders


def import_function(place: str, name: str) -> OwnFunction:
    """What is called `name` in a file (FILE.py) or module (package.module).

    Within one process, code is imported anew where it or a module that it imports from its folder has changed.

    Raises:
        UsageError: no such file or module, it does not import, or it has nothing of this name.
    """
    asked = f"python:{place}:{name}"
    found = _found(asked, place)
    sources = _sources(asked, found)
    files = frozenset(map(str, sources.values()))
    known = _imported.get(found)
    source = _sha256(sources)
    if known is None or known.source != source:
        _forget(asked, sources, changed=known is not None)
        with first_on_path(found.folder), one_line(f"{asked} does not import", files):
            known = _imported[found] = _Imported(_import(found), source)
    if not hasattr(known.module, name):
        public = [found for found, value in vars(known.module).items() if callable(value) and not found.startswith("_")]
        raise UsageError(f"{asked}: {unknown_name(name, public, f'function of {place}')}")
    return OwnFunction(getattr(known.module, name), source, files)


def _found(asked: str, place: str) -> _Place:
    if place.endswith(".py") or "/" in place:
        file = Path(place).expanduser().resolve()
        if not file.is_file():
            raise UsageError(f"{asked}: the file {place} does not exist.")
        return _Place(file, THE_FILE, file.parent)
    with one_line(f"{asked} does not import"):
        spec = find_spec(place)
    if spec is None or not (spec.origin or "").endswith(".py"):
        raise UsageError(f"{asked}: there is no module {place!r}. A file is named with its ending: {place}.py.")
    file = Path(spec.origin or "").resolve()
    return _Place(file, place, file.parents[place.count(".") + (file.name == "__init__.py")])


def _import(place: _Place) -> ModuleType:
    if place.module != THE_FILE:
        return importlib.import_module(place.module)
    # under a name that no import statement can hold, so that a file timm.py does not stand for the library
    spec = spec_from_file_location(f"python:{place.file}", place.file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _forget(asked: str, sources: Sources, changed: bool) -> None:
    """Makes room for modules that are imported anew: what has changed, or was another folder's under the same name."""
    for name, file in sources.items():
        loaded = sys.modules.get(name)
        same = getattr(loaded, "__file__", None) == str(file)
        if loaded is not None and not same and name not in _helpers:
            raise UsageError(f"{asked}: {file} has the name of another module, {loaded}. Rename the file.")
        if changed or not same:
            sys.modules.pop(name, None)
    _helpers.update(sources)


@contextmanager
def first_on_path(folder: Path) -> Iterator[None]:
    """Within the block imports are looked for in the folder first, and none of them leaves a compiled file.

    Python takes a compiled file for that of its source where size and second of the last change are equal.
    """
    writes_none = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = writes_none


def _sources(asked: str, place: _Place) -> Sources:
    """The modules whose code counts, found in the text of import statements; those that are never run count too."""
    waiting = [(place.module, place.file), *_files_of(place.module.rpartition(".")[0], place.folder)]
    sources: Sources = {}
    while waiting:
        module, file = waiting.pop()
        if module in sources:
            continue
        sources[module] = file
        with one_line(f"{asked} does not import", frozenset([str(file)])):
            tree = ast.parse(file.read_bytes(), file.name)
        for imported in _imports(tree, module, file):
            if _is_own(imported, place):
                waiting += _files_of(imported, place.folder)
    return sources


def _is_own(module: str, place: _Place) -> bool:
    """Whether a module in the folder is of the same author; in a folder of installed packages only the same package."""
    package = module.partition(".")[0]
    if any(place.folder.glob("*.dist-info")):
        return package == place.module.partition(".")[0]
    return package != "pacl_bench"  # which lies there in a checkout


def _imports(tree: ast.Module, module: str, file: Path) -> Iterator[str]:
    """The modules that import statements anywhere in a module may mean; not all of them need exist."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level <= package.count(".") + bool(package):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _files_of(module: str, folder: Path) -> list[tuple[str, Path]]:
    """The module and the packages it is in, those of them that are files below the folder."""
    parts = module.split(".") if module else []
    found = []
    for depth in range(1, len(parts) + 1):
        base = folder.joinpath(*parts[:depth])
        candidates = (base / "__init__.py", base.with_name(f"{base.name}.py"))
        found += [(".".join(parts[:depth]), file) for file in candidates if file.is_file()][:1]
    return found


def _sha256(sources: Sources) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(sources.items()):
        content = file.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
