"""The texts that stand for classes."""

from pathlib import Path

from pacl_bench.evaluators.prompts import prompt_sets


def test_two_class_files_of_one_name_are_two_protocols(tmp_path: Path) -> None:
    files = [tmp_path / peer / "cls_voc20.txt" for peer in ("sclip", "clearclip")]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"cat of {file.parent.name}")
    told = [prompt_set.suffix for prompt_set in prompt_sets("paper7", ",".join(map(str, files)), "best")]
    assert told[0] != told[1]
    assert all(suffix.startswith(", vocabulary=cls_voc20.txt#") for suffix in told)
    (of_peer,) = prompt_sets("tcl9", "sclip", "best")
    assert of_peer.suffix == ", vocabulary=sclip, names=best, templates=tcl9"
