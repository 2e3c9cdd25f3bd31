"""The texts that stand for classes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pacl_bench.errors import UsageError
from pacl_bench.evaluators.prompts import prompts_suffix
from pacl_bench.evaluators.settings import SegmentationSettings
from pacl_bench.evaluators.steps import Steps
from pacl_bench.validation.values import as_option, made


def test_two_class_files_of_one_name_are_two_protocols(tmp_path: Path) -> None:
    files = [tmp_path / peer / "cls_voc20.txt" for peer in ("sclip", "clearclip")]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"cat of {file.parent.name}")
    given = {"vocabulary": ",".join(map(str, files))}
    cats = SimpleNamespace(name="cats", classnames=["cat"])
    settings = made(SegmentationSettings, given, as_option)
    told = [prompts_suffix(one.steps) for one in settings.chosen(cats)]
    assert told[0] != told[1]
    assert all(suffix.startswith(", vocabulary=cls_voc20.txt#") for suffix in told)
    named = [one.told for one in made(SegmentationSettings, {**given, "protocol": "sclip"}, as_option).chosen(cats)]
    assert len(set(named)) == 2
    assert all(one.startswith("sclip, but vocabulary=cls_voc20.txt#") for one in named)
    files[1].write_text("cat of sclip")
    with pytest.raises(UsageError, match="one of them stands there twice"):
        made(SegmentationSettings, given, as_option)
    of_peer = prompts_suffix(Steps(templates="tcl9", vocabulary="sclip"))
    assert of_peer == ", vocabulary=sclip, names=best, templates=tcl9"
