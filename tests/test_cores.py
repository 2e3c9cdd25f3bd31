"""Who gets the cores: torch and what loads beside it, never more than there are."""

from pathlib import Path

import pytest
import torch

from pacl_bench import cores
from pacl_bench.cores import Loaders


@pytest.fixture
def of_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Makes it seem that the machine has so many cores, all of which torch takes."""
    monkeypatch.setattr(cores, "CGROUP", tmp_path)
    before = torch.get_num_threads()

    def seem(number: int) -> None:
        monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(number)), raising=False)
        torch.set_num_threads(number)

    yield seem
    torch.set_num_threads(before)


@pytest.mark.parametrize(("number", "loading", "left"), [(2, 0, 2), (2, 1, 1), (2, 5, 1), (4, 1, 3), (16, 12, 4)])
def test_torch_gets_what_the_loaders_leave(of_machine, number: int, loading: int, left: int) -> None:
    of_machine(number)
    with cores.divided(loading):
        assert torch.get_num_threads() == left
    assert torch.get_num_threads() == number


def test_blocks_that_overlap_are_counted_together(of_machine) -> None:
    """As of two generators, of which the first is at its end before the second."""
    of_machine(8)
    first, second = cores.divided(1), cores.divided(2)
    with first:
        second.__enter__()
        assert torch.get_num_threads() == 5
    assert torch.get_num_threads() == 6
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == 8


def test_what_the_user_gave_torch_stays(of_machine) -> None:
    of_machine(8)
    torch.set_num_threads(3)
    with cores.divided(4):
        assert torch.get_num_threads() == 3


def test_a_cpu_gives_one_core_away_and_a_gpu_is_fed_by_all(of_machine) -> None:
    found = {}
    for number in (1, 2, 4, 16):
        of_machine(number)
        found[number] = cores.loaders(on_cpu=True), cores.loaders(on_cpu=False)
    assert found == {
        1: (Loaders(), Loaders(processes=1)),
        2: (Loaders(), Loaders(processes=1)),
        4: (Loaders(threads=1), Loaders(processes=3)),
        16: (Loaders(threads=1), Loaders(processes=12)),
    }
    assert cores.loaders(on_cpu=True, asked=3) == Loaders(processes=3)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 1),
        ({"cpu.max": "600000 100000\n"}, 6),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_a_container_has_its_share(of_machine, tmp_path: Path, files: dict[str, str], expected: int) -> None:
    of_machine(8)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert cores.cores() == expected


def test_threads_give_what_one_gives_and_keep_the_modes_of_the_one_that_asks(of_machine) -> None:
    of_machine(2)
    with torch.inference_mode():
        kept = torch.zeros(3)
        with cores.threads() as by:
            assert list(by(lambda place: kept[place].add_(place).item(), range(3))) == [0, 1, 2]
    with torch.no_grad(), cores.threads() as by:
        assert not any(by(lambda _: torch.is_grad_enabled(), range(3)))
    with cores.threads() as by:
        assert all(by(lambda _: torch.is_grad_enabled() and torch.get_num_threads() == 1, range(3)))
    assert torch.get_num_threads() == 2
