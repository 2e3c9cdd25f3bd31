"""The names classes go by."""

import re
from pathlib import Path

import pytest

from pacl_bench.data import vocabulary
from pacl_bench.data.segmentation import SEGMENTATION_SETS
from pacl_bench.data.text_lines import is_comment, lines_of, printable
from pacl_bench.data.vocabulary import PEERS, has_names, load_templates, load_vocabulary, vocabulary_label
from pacl_bench.errors import UsageError

CLASSES = ["cat", "sofa", "tv monitor"]


def test_plain_and_synonyms() -> None:
    assert load_vocabulary("plain", "mine", CLASSES) == [["cat"], ["sofa"], ["tv monitor"]]
    names = load_vocabulary("synonyms", "voc20", SEGMENTATION_SETS["voc20"].classnames)
    assert names[3] == ["boat", "ship"]
    assert names[19][:2] == ["tv monitor", "television monitor"]


def test_a_file_of_the_user(tmp_path: Path) -> None:
    """Separated by commas or, as in ADE20K's objectInfo150.csv, by semicolons; the plain name need not be there."""
    file = tmp_path / "names.txt"
    file.write_text("# mine\nkitty, cat , cat\nsofa;couch;lounge\nscreen,\n\n")
    assert load_vocabulary(str(file), "voc20", CLASSES) == [["kitty", "cat"], ["sofa", "couch", "lounge"], ["screen"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cat\nsofa\n", "names.txt has 2 lines of names for 3 classes"),
        ("cat\nsofa\ntv\nlamp", "names.txt has 4 lines of names for 3 classes"),
        ("cat\n\ntv", "names.txt, line 2: no name for 'sofa'"),
        ("cat\n,;\ntv", "names.txt, line 2: no name for 'sofa'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(UsageError, match=said):
        load_vocabulary(str(tmp_path / "names.txt"), "voc20", CLASSES)


def test_no_such_vocabulary() -> None:
    with pytest.raises(UsageError, match=r"Did you mean 'synonyms'.*Or give a file with one line a class"):
        load_vocabulary("synonym", "voc20", CLASSES)
    with pytest.raises(UsageError, match=r"No synonyms are known for mine .for ade150, .*Give a file"):
        load_vocabulary("synonyms", "mine", CLASSES)


def test_only_an_end_of_line_ends_a_line(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("# mine\n#1 cat,a\u2028b\nsofa\x85\x0c\x1cbed\n$x$", encoding="utf-8-sig")
    vocabulary = load_vocabulary(str(file), "voc20", CLASSES)
    assert vocabulary == [["#1 cat", "a\u2028b"], ["sofa\x85\x0c\x1cbed"], ["$x$"]]
    file.write_text("# mine\n#{}\na {c}\u2028photo\n", encoding="utf-8")
    assert load_templates(str(file)) == ["#{}", "a {}\u2028photo"]


def test_lines() -> None:
    assert [lines_of(text) for text in ("", "\n", "a", "a\n", "a\n\n", "\na")] == [
        [], [""], ["a"], ["a"], ["a", ""], ["", "a"],
    ]  # fmt: skip
    assert [is_comment(line) for line in ("# a", "#", "# ", "#a", "a # b", "##")] == [True] * 3 + [False] * 3
    assert printable("é a\n\u2028\udce9\x00") == "é a\\n\\u2028\\udce9\\x00"


def test_a_name_of_two_classes_stands_in_both_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "twice.txt").write_text("# mine\ncat, tv\nsofa\ntv")
    for _ in range(2):
        assert load_vocabulary(str(tmp_path / "twice.txt"), "mine", CLASSES) == [["cat", "tv"], ["sofa"], ["tv"]]
    warning = capsys.readouterr().err
    assert "twice.txt: 'tv' stands in lines 2 and 4; pixels of it go to line 2." in warning
    assert warning.count("warning") == 1


def test_class_files_of_peers_are_read_as_they_are(tmp_path: Path) -> None:
    """SCLIP's and NACLIP's are split at a comma and a blank, ClearCLIP's at a comma; none ends with a new line."""
    for text in ("cat, kitty in a hat \nsofa\ntv monitor", "cat,kitty in a hat\nsofa\ntv monitor"):
        (tmp_path / "cls_mine.txt").write_text(text)
        names = load_vocabulary(str(tmp_path / "cls_mine.txt"), "mine", CLASSES)
        assert names == [["cat", "kitty in a hat"], ["sofa"], ["tv monitor"]]


def words(*names: str) -> list[str]:
    return re.findall("[a-z]+", " ".join(names))


@pytest.mark.parametrize("peer", PEERS)
def test_names_of_peers_fit_the_classes_of_their_sets(peer: str) -> None:
    """Theirs are in the order of ours: where they are not other words altogether, they are nearly the same."""
    sets = [name for name in SEGMENTATION_SETS if has_names(peer, name)]
    assert "ade150" in sets
    for name in sets:
        classnames = SEGMENTATION_SETS[name].classnames
        names = load_vocabulary(peer, name, classnames)
        alike = [set(words(ours)) & set(words(*theirs)) for ours, theirs in zip(classnames, names, strict=True)]
        assert sum(map(bool, alike)) > 0.8 * len(classnames)
    with pytest.raises(UsageError, match=f"{peer} has no names for mine .for ade150.*--vocabulary plain"):
        load_vocabulary(peer, "mine", CLASSES)


def test_sclips_names_have_the_numbers_it_tells(capsys: pytest.CaptureFixture[str]) -> None:
    vocabulary._warn.cache_clear()
    sets = {"voc20": 30, "voc21": 56, "context60": 60, "coco_object": 113}
    for name, number in sets.items():
        names = load_vocabulary("sclip", name, SEGMENTATION_SETS[name].classnames)
        assert sum(map(len, names)) == number
    assert "'bed' stands in lines 2 and 62" in capsys.readouterr().err  # background's, and the thing


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    labels = set()
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "cls.txt").write_text(f"cat{number}")
        labels.add(vocabulary_label(str(tmp_path / str(number) / "cls.txt")))
    assert len(labels) == 2
    assert all(label.startswith("cls.txt#") and len(label) == 16 for label in labels)
    assert vocabulary_label("sclip") == "sclip"
