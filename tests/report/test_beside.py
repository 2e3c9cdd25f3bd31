"""What a second process makes is the same, and an error there is told here."""

import os

import pytest

from pacl_bench.report import beside as module
from pacl_bench.report.beside import beside


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


@pytest.mark.parametrize("number", [1, 2])
def test_of_few_it_is_made_here_and_of_many_in_a_second_process(number: int) -> None:
    with beside(lambda: (os.getpid(), b"x" * (1 << 20)), number) as made:  # more than a pipe holds
        process, content = made()
    assert len(content) == 1 << 20
    assert (process == os.getpid()) == (number == 1)


def test_what_fails_there_fails_here() -> None:
    def divide() -> float:
        return 1 / 0

    with beside(divide, 2) as made, pytest.raises(ZeroDivisionError):
        made()


def test_an_error_meanwhile_ends_the_second_process() -> None:
    with pytest.raises(KeyError), beside(lambda: os.read(os.pipe()[0], 1), 2):
        raise KeyError
