"""What is kept of a head's log: its course in few points, whole, once, and of that head alone."""

import json
from pathlib import Path

import pytest

from pacl_bench.errors import UsageError
from pacl_bench.files import write_json
from pacl_bench.model.head_files import CARD, FrozenPart, HeadCard
from pacl_bench.partial_files import PARTIAL
from pacl_bench.training.curves import FOLDER, LossCurve, curves_files, keep_curves, of_head, read_curves

PART = FrozenPart("tiny", "tiny", "0" * 64, {})


def write_card(folder: Path, step: int) -> HeadCard:
    train = {"pairs": "world-1k", "images": 1000, "seed": 0}
    card = HeadCard("head", PART, PART, 16, 16, 1.0, 0.07, step, "0123456789abcdef" * 4, train, {})
    write_json(folder / CARD, {"schema": 1, **card.content()})
    return card


def logged(head: Path, steps: int, **more: float) -> None:
    """A log whose loss is the number of the step; every fourth line has one of pairs held out, 100 less."""
    lines = [{"step": step, "loss": step, "pairs_per_second": 50.0} for step in range(steps)]
    lines = [line | ({"held_out_loss": line["step"] - 100} if line["step"] % 4 == 3 else {}) for line in lines]
    (head / "log.jsonl").write_text("".join(f"{json.dumps(line | more)}\n" for line in lines))


def kept(head: Path, results: Path) -> Path:
    keep_curves(head, results)
    [file] = curves_files(results).values()
    return file


def test_every_step_of_a_short_log_is_kept(tmp_path: Path) -> None:
    card = write_card(tmp_path / "head", step=8)
    logged(tmp_path / "head", 8)
    file = kept(tmp_path / "head", tmp_path / "results")
    assert curves_files(tmp_path / "results") == {of_head(card.sha256): file}
    assert file.name == f"head.{card.sha256[:12]}.json"
    curves = read_curves(file)
    assert curves.loss == LossCurve([1, 2, 3, 4, 5, 6, 7, 8], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    assert curves.held_out == LossCurve([4, 8], [-97.0, -93.0])
    assert curves.pairs_per_second == 50.0


def test_a_long_log_becomes_a_hundred_means(tmp_path: Path) -> None:
    write_card(tmp_path / "head", step=1000)
    logged(tmp_path / "head", 1000)
    loss = read_curves(kept(tmp_path / "head", tmp_path)).loss
    assert loss.steps == list(range(10, 1001, 10))
    assert loss.losses == [step - 5.5 for step in loss.steps]  # of 0 to 9 the mean is 4.5


@pytest.mark.parametrize("steps", [0, 7, 9])
def test_a_log_of_another_training_is_not_kept(tmp_path: Path, steps: int) -> None:
    """As where a head is trained again into its folder, and the card is of the one before."""
    write_card(tmp_path / "head", step=8)
    if steps:
        logged(tmp_path / "head", steps)
    keep_curves(tmp_path / "head", tmp_path)
    assert curves_files(tmp_path) == {}


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    write_card(tmp_path / "head", step=8)
    logged(tmp_path / "head", 8)
    with (tmp_path / "head" / "log.jsonl").open("a") as log:
        log.write('{"step": 8, "lo')
    assert len(read_curves(kept(tmp_path / "head", tmp_path)).loss.steps) == 8


def test_half_of_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / f"{PARTIAL}0123456789ab.json").touch()
    assert curves_files(tmp_path) == {}


def test_what_is_kept_stays(tmp_path: Path) -> None:
    write_card(tmp_path / "head", step=8)
    logged(tmp_path / "head", 8)
    before = kept(tmp_path / "head", tmp_path).read_text()
    logged(tmp_path / "head", 8, loss=1.0)
    assert kept(tmp_path / "head", tmp_path).read_text() == before


def test_damaged_curves_are_named(tmp_path: Path) -> None:
    file = tmp_path / "head.0123.json"
    file.write_text('{"schema": 1, "head": "x"}')
    with pytest.raises(UsageError, match=r"head\.0123\.json is not the curves of a training"):
        read_curves(file)
