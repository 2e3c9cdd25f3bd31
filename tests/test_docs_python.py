"""Every block of docs/python.md runs, in order, on what earlier versions wrote."""

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
FROZEN = Path(__file__).parent / "frozen" / "v1"
EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def place(tmp_path: Path, voc: Path, pairs_csv: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the page speaks of: a head, records, a photo, a module, pairs, and two data roots."""
    place = tmp_path / "place"
    shutil.copytree(FROZEN / "heads" / "trained", place / "heads" / "pacl-clip-b16")
    shutil.copytree(FROZEN / "records", place / "results" / "records")
    shutil.copytree(pairs_csv.parent, place, dirs_exist_ok=True)
    pairs = (place / "pairs.csv").read_text()
    (place / "pairs.csv").write_text(re.sub(r"a dog and a cat number \d+", "a zebra and a kite", pairs))
    shutil.copy(EXAMPLES / "contrast.py", place)
    Image.new("RGB", (90, 60), "green").save(place / "photo.jpg")
    for name, count in (("a", 2), ("b", 3)):
        root = Path(shutil.copytree(voc, place / "data" / name / "VOCdevkit" / "VOC2012"))
        listing = root / "ImageSets" / "Segmentation" / "val.txt"
        listing.write_text("".join(listing.read_text().splitlines(keepends=True)[:count]))
    monkeypatch.chdir(place)
    return place


def test_the_blocks_run(place: Path, capsys: pytest.CaptureFixture) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 7
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["found"].scores.shape == (3, 60, 90)
    assert list(names["scores"].values()) == sorted(names["scores"].values(), reverse=True)
    assert names["similarity"].ndim == 3
    assert names["vectors"].norm().item() == pytest.approx(1)
    assert names["card"].encoder.spec == "python:contrast.py:Contrast"
    assert names["mine"].label_map.shape == (60, 90)
    assert names["label_map"].shape == (64, 96)
    assert names["wide"].loc["trained"].shape == (2, 1)
    assert names["axes"].lines
    assert "PACL head" in capsys.readouterr().out
    assert [len(names["first"]), len(names["second"])] == [2, 3]
    assert names["second"].image(2).size != (0, 0)  # the root it was opened in is in force no more
