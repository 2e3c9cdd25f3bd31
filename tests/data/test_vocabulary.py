"""The names classes go by."""

from pathlib import Path

import pytest

from pacl_bench.data.text_lines import is_comment, lines_of, printable
from pacl_bench.data.vocabulary import load_templates, load_vocabulary
from pacl_bench.errors import UsageError

CLASSES = ["cat", "sofa", "tv monitor"]


def test_plain_and_synonyms() -> None:
    from pacl_bench.data.segmentation import SEGMENTATION_SETS

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
        ("# mine\ncat, tv\nsofa\ntv", "names.txt: 'tv' stands in lines 2 and 4, for two classes"),
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
