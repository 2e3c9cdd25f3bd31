"""A head on disk: its weights are those its card was written for, or it is not used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pacl_bench import load_aligned
from pacl_bench.encoders.base import state_sha256
from pacl_bench.errors import UsageError
from pacl_bench.model.embedder import make_head
from pacl_bench.model.head_files import CARD, WEIGHTS, FrozenPart, HeadCard, load_embedder, read_card, save_head

State = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return saved(tmp_path / "h", "residual")


def saved(folder: Path, kind: str) -> Path:
    """A head of 6 numbers to 4 of encoders that nobody need load."""
    head = make_head(kind, 6, 4)
    part = FrozenPart("clip-b16", "clip-b16", "e" * 64, {"block": 11})
    card = HeadCard(
        folder.name, part, part, 6, 4, 10.0, 0.07, 8, state_sha256(head), {"pairs": "cc3m"}, {"seconds": 1.0}, kind
    )
    save_head(folder, head, card)
    assert read_card(folder) == card
    return folder


def changed(folder: Path, change: Callable[[State], State]) -> None:
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)


def rewritten(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**content, **changes}))


def test_a_card_of_the_papers_head_is_as_it_was_before_there_were_kinds(folder: Path, tmp_path: Path) -> None:
    assert "kind" not in json.loads((folder / CARD).read_text())
    assert "kind" not in read_card(folder).describe()
    linear = saved(tmp_path / "linear", "linear")
    assert json.loads((linear / CARD).read_text())["kind"] == read_card(linear).describe()["kind"] == "linear"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda state: {name: -value for name, value in state.items()}, "holds other weights than its head.json"),
        (lambda state: {name: value * torch.nan for name, value in state.items()}, "holds NaN or infinite weights"),
        (lambda state: {**state, "skip.bias": state["skip.bias"] / 0}, "skip.bias holds NaN or infinite weights"),
        (lambda state: {name: value.to(torch.int8) for name, value in state.items()}, "is int8; a head has float32"),
        (lambda state: {name: value.half() for name, value in state.items()}, "holds other weights than its head.json"),
        (lambda state: {"hidden.weight": state["hidden.weight"]}, "does not fit this architecture: 5 missing"),
    ],
)
def test_other_weights_than_the_cards_are_refused(folder: Path, change: Callable[[State], State], line: str) -> None:
    changed(folder, change)
    with pytest.raises(UsageError, match=line) as told:
        load_embedder(folder, read_card(folder))
    assert str(folder / WEIGHTS) in str(told.value)
    assert "\n" not in str(told.value)


def test_double_precision_is_used_in_single_and_told(folder: Path, capsys: pytest.CaptureFixture) -> None:
    before = load_embedder(folder, read_card(folder)).state_dict()
    changed(folder, lambda state: {name: value.double() for name, value in state.items()})
    after = load_embedder(folder, read_card(folder)).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert "is in double precision; it is used in single precision" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"width": "6"}, "is not a head's card (width: Input should be a valid integer)"),
        ({"width": -1}, "width: Input should be greater than or equal to 1"),
        ({"dim": 10**12}, "dim: Input should be less than or equal to 16384"),
        ({"encoder": None}, "encoder: Input should be a valid dictionary"),
        ({"text": {"name": "x"}}, "text.spec: Field required"),
        ({"train": {}}, "train.pairs: Field required"),
        ({"patch_scale": True}, "patch_scale: Input should be a valid number"),
        ({"layers": 2}, "layers: Extra inputs are not permitted"),
        ({"schema": 3}, "was written by a newer pacl-bench (schema 3, this one reads up to 1): update."),
        ({"schema": "1"}, "it has no schema number"),
    ],
)
def test_what_is_wrong_in_a_card_is_told_in_one_line(folder: Path, changes: dict[str, Any], line: str) -> None:
    rewritten(folder, **changes)
    with pytest.raises(UsageError) as told:
        read_card(folder)
    assert line in str(told.value)
    assert str(told.value).startswith(str(folder / CARD))
    assert "\n" not in str(told.value)


def test_a_card_that_says_another_shape_or_kind(folder: Path) -> None:
    for changes, line in (
        ({"width": 7}, "of another shape"),
        ({"width": 6, "kind": "linear"}, "does not fit this architecture"),
        ({"kind": "liner"}, r"Unknown head 'liner'. Did you mean 'linear'\?"),
    ):
        rewritten(folder, **changes)
        with pytest.raises(UsageError, match=line):
            load_embedder(folder, read_card(folder))


def test_a_folder_may_be_named_by_text(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"clip-b16: no weights"):
        load_aligned(str(folder))
    with pytest.raises(UsageError, match=r"nothing holds no head \(head.json not found\)"):
        load_aligned(str(folder.with_name("nothing")))
