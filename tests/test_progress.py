"""What long work says, in a terminal and where there is none."""

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from pacl_bench import progress


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed where there is no terminal."""
    printed = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=printed, width=200))
    return printed


def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress._PlainLines, "said", time.monotonic() - progress.EVERY)


def test_without_a_terminal_a_plain_line_now_and_then(said: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    long_ago(monkeypatch)
    with progress.stage("head 2 of 6: pacl-tiny-dino"), progress.bar("loss") as shown:
        task = shown.add_task("training", total=500, loss="")
        shown.update(task, advance=120, loss="loss 1.2")
        shown.update(task, advance=1)  # too early for another line
    assert said.getvalue() == "head 2 of 6: pacl-tiny-dino · training: 120 of 500, loss 1.2\n"


def test_short_work_says_nothing(said: io.StringIO, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress._PlainLines, "said", time.monotonic())
    assert list(progress.track(range(5), "counting")) == [0, 1, 2, 3, 4]
    assert said.getvalue() == ""


def test_each_of_several_is_a_stage(monkeypatch: pytest.MonkeyPatch):
    clock = iter([0.0, 60.0, 120.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    told = [list(progress._stages) for _ in progress.stages(["a", "b", "c"], "head")]
    assert told == [["head 1 of 3: a"], ["head 2 of 3: b, about 2 min left"], ["head 3 of 3: c, about 60 s left"]]
    assert progress._stages == []


def test_a_stage_that_fails_is_over():
    with pytest.raises(ValueError, match="no"), progress.stage("head 1 of 2: a"):
        raise ValueError("no")
    assert progress._stages == []


def test_a_terminal_shows_the_stage_above_the_bar(monkeypatch: pytest.MonkeyPatch):
    printed = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=printed, width=120, force_terminal=True))
    with progress.stage("head 2 of 6: pacl-tiny-dino"), progress.bar() as shown:
        shown.add_task("training", total=500, completed=120)
        shown.refresh()
    lines = printed.getvalue().replace("\r", "").split("\n")
    assert "head 2 of 6: pacl-tiny-dino" in lines[0]
    assert "training" in lines[1]
    assert "120/500" in lines[1]


@pytest.mark.parametrize(("seconds", "told"), [(12.4, "12 s"), (200.0, "3 min"), (9000.0, "2.5 h")])
def test_time_left_is_short(seconds: float, told: str):
    assert progress._left(seconds) == f"about {told} left"
