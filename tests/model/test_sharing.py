"""A head's way to the hub and back, by the hub's own library against a stand-in server, and its model card."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hub_server import Repositories, serving

from pacl_bench import load_aligned, records
from pacl_bench.errors import RunError, UsageError
from pacl_bench.model.head_files import read_card
from pacl_bench.model.readme import readme
from pacl_bench.model.sharing import pull, push

FROZEN = Path(__file__).parents[1] / "frozen" / "v1"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repositories]:
    with serving() as (address, repositories):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_TOKEN", "hf_none")
        yield repositories


@pytest.fixture
def head(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FROZEN / "heads" / "trained", tmp_path / "heads" / "trained"))


def test_a_head_goes_to_the_hub_and_comes_back_the_same(hub: Repositories, head: Path, tmp_path: Path) -> None:
    (head / "notes.txt").write_text("mine alone")
    where = push(head, "me/trained", FROZEN)
    assert where.endswith("/me/trained")
    assert hub["me/trained"].keys() == {"head.json", "head.safetensors", "README.md"}
    out = tmp_path / "elsewhere" / "trained"
    pull("me/trained", out)
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "head.json", "head.safetensors"]
    assert (out / "head.safetensors").read_bytes() == (head / "head.safetensors").read_bytes()
    assert load_aligned(out).describe() == load_aligned(head).describe()
    with pytest.raises(UsageError, match="is there already"):
        pull("me/trained", out)


def test_a_model_card_that_is_there_is_not_written_over(hub: Repositories, head: Path) -> None:
    (head / "README.md").write_text("by hand")
    push(head, "me/trained", FROZEN, private=True)
    assert hub["me/trained"]["README.md"] == b"by hand"


def test_nothing_is_left_of_what_is_no_head(hub: Repositories, head: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "h"
    hub["me/other"] = {"README.md": b"a data set"}
    with pytest.raises(UsageError, match=r"me/other on the hub holds no head of pacl-bench \(head.json not found\)"):
        pull("me/other", out)
    push(head, "me/trained", FROZEN)
    damaged = bytearray(hub["me/trained"]["head.safetensors"])
    damaged[-1] ^= 1
    hub["me/trained"]["head.safetensors"] = bytes(damaged)
    with pytest.raises(UsageError, match=r"holds other weights than its head.json was written for"):
        pull("me/trained", out)
    with pytest.raises(RunError, match=r"me/gone: the hub at http://127.0.0.1.* refused"):
        pull("me/gone", out)
    with pytest.raises(UsageError, match="NAME/HEAD is wanted"):
        pull("no//name", out)
    assert list(out.parent.iterdir()) == []


def test_without_a_network_it_is_one_line(head: Path) -> None:
    with pytest.raises(RunError, match="refused or cannot be reached"):
        push(head, "me/trained", FROZEN)


def test_the_model_card_says_what_records_do() -> None:
    card = read_card(FROZEN / "heads" / "trained")
    text = readme(card, FROZEN)
    own = [
        record
        for record in records.read_all(FROZEN / "records")
        if (record.config["model"].get("head") or {}).get("sha256") == card.sha256
    ]
    rows = [row for record in own for row in record.measurements if not row.class_name]
    assert rows
    measured = text.partition("## Measured")[2]
    assert measured.count("\n| ") == len(rows) + 2
    for row in rows:
        assert f"| {row.protocol} | {row.metric} | {row.value:.4f} |" in measured
    assert f"| vision | `tiny-clip` | `{card.encoder.sha256}` |" in text
    assert "| steps done | 8 |" in text
    assert text.startswith("---\nlibrary_name: pacl-bench\n")
    assert "No records of it were at hand" in readme(card, Path("nowhere"))


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("clip-b16", ""),
        (
            "timm:vit@mine.pt",
            "`mine.pt` is looked for in `PACL_WEIGHTS`; name it as `--encoder` where it lies elsewhere.",
        ),
        (
            "transformers:clip",
            "`clip` is looked for in `PACL_WEIGHTS`; name it as `--encoder` where it lies elsewhere.",
        ),
        ("transformers:google/clip", ""),
        ("python:a.py:f", "`python:a.py:f` is code, which no card makes run: name it as `--encoder`."),
        ("dinotxt-l16?clone=c", "`dinotxt-l16?clone=c` is code, which no card makes run: name it as `--encoder`."),
    ],
)
def test_the_model_card_says_how_encoders_are_found(spec: str, line: str) -> None:
    card = read_card(FROZEN / "heads" / "trained")
    text = readme(replace(card, encoder=replace(card.encoder, spec=spec)), Path("nowhere"))
    use = text.partition("```sh\n")[2].partition("## Training")[0].partition("```\n")[2].strip()
    assert use == line
