"""What long work shows while it runs: on stderr, so that stdout stays clean for tables and --json."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
console = Console(stderr=True, emoji=False)  # a path may hold :ok:, which is no emoji


def note(line: str) -> None:
    """One dim line: what is going on, and no result."""
    console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


def bar(*columns: str) -> Progress:
    """A progress display: description, bar, count, time left, then the task's own fields named in `columns`."""
    extra = [TextColumn(f"{{task.fields[{column}]}}") for column in columns]
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        *extra,
        console=console,
        transient=True,
        disable=not console.is_terminal,  # a log file is not filled with bars
    )


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar that goes away when they are done. `total` is needed where the items have no length."""
    with bar() as progress:
        yield from progress.track(items, total=total, description=description)
