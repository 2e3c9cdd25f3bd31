"""Every block of docs/python.md runs, in order, on what earlier versions wrote."""

import re
import shutil
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
FROZEN = Path(__file__).parent / "frozen" / "v1"


def test_the_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    shutil.copytree(FROZEN / "heads" / "trained", tmp_path / "heads" / "pacl-clip-b16")
    shutil.copytree(FROZEN / "records", tmp_path / "results" / "records")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 5
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["classes"].shape == (2, 64)
    assert names["similarity"].shape == (1, 1, 8 * 12)
    assert names["label_map"].shape == (64, 96)
    assert names["table"].loc["trained"].shape == (2, 1)
    assert "trained" in capsys.readouterr().out
