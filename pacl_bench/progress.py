"""What long work shows while it runs: on stderr, so that stdout stays clean for tables and --json.

A terminal shows two lines that change, "head 2 of 6: pacl-tiny-dino, about 3 min left" above "training ━━━ 120/500".
Where there is none, as in the log of a job, the same is said in a plain line every 30 seconds.

    for head in stages(heads, "head", lambda head: head.name):  # which of several pieces of work it is
        for batch in track(batches, "training"):  # how far that one is
            ...
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from pacl_bench.signals import stop_if_asked

Item = TypeVar("Item")
console = Console(stderr=True, emoji=False)  # a path may hold :ok:, which is no emoji
EVERY = 30.0  # seconds from one plain line to the next
_stages: list[str] = []  # what is worked on, from the whole to its parts


def note(line: str) -> None:
    """One dim line: what is going on, and no result."""
    console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def stage(told: str) -> Iterator[None]:
    """What is worked on within the block; every bar within says so before what it says itself."""
    stop_if_asked()
    _stages.append(told)
    try:
        yield
    finally:
        _stages.pop()


def stages(items: Sequence[Item], what: str, name: Callable[[Item], str] = str) -> Iterator[Item]:
    """The items one after the other, each a stage of its own: "head 2 of 6: pacl-tiny-dino, about 3 min left".

    Args:
        what: one item is: "head". name: tells an item from the others.
    """
    started = time.monotonic()
    for done, item in enumerate(items):
        told = f"{what} {done + 1} of {len(items)}: {name(item)}"
        if done:
            told += f", {_left((time.monotonic() - started) / done * (len(items) - done))}"
        with stage(told):
            yield item


def bar(*columns: str) -> Progress:
    """A progress display: description, bar, count, time left, then the task's own fields named in `columns`."""
    extra = [TextColumn(f"{{task.fields[{column}]}}") for column in columns]
    shown = [TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeRemainingColumn()]
    kind = _BelowStages if console.is_terminal else _PlainLines
    return kind(*shown, *extra, console=console, transient=True, disable=not console.is_terminal)


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar that goes away when they are done. `total` is needed where the items have no length."""
    with bar() as progress:
        for item in progress.track(items, total=total, description=description):
            stop_if_asked()
            yield item


class _BelowStages(Progress):
    """The bars, below a line with the stages that are under way."""

    def get_renderables(self) -> Iterator[RenderableType]:
        if _stages:
            yield Text(" · ".join(_stages), style="bold", overflow="ellipsis", no_wrap=True)
        yield from super().get_renderables()


class _PlainLines(Progress):
    """A display that draws nothing, and says now and then how far its tasks are."""

    said = time.monotonic()  # the last line of all displays: of many short tasks some are told

    def update(self, task_id: TaskID, *given: Any, **changed: Any) -> None:
        super().update(task_id, *given, **changed)
        self._say_now_and_then(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._say_now_and_then(task_id)

    def _say_now_and_then(self, task_id: TaskID) -> None:
        now = time.monotonic()
        if now - _PlainLines.said >= EVERY:
            _PlainLines.said = now
            note(_told(self.tasks[self.task_ids.index(task_id)]))


def _told(task: Task) -> str:
    """ "head 2 of 6: pacl-tiny-dino · training: 120 of 500, about 12 s left, loss 1.2, 310 pairs/s"."""
    counted = f"{task.completed:,.0f}" if task.total is None else f"{task.completed:,.0f} of {task.total:,.0f}"
    left = f", {_left(float(task.time_remaining))}" if task.time_remaining is not None and not task.finished else ""
    fields = "".join(f", {value}" for value in task.fields.values() if value)
    return " · ".join([*_stages, f"{task.description}: {counted}{left}{fields}"])


def _left(seconds: float | int) -> str:
    """ "about 40 s left", "about 3 min left", "about 2.5 h left"."""
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"
