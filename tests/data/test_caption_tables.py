"""Tables of captions as they are found in the world: read in the one way they can be read, or told."""

from pathlib import Path

import pytest
from PIL import Image

from pacl_bench.data.caption_tables import Row, read_caption_table
from pacl_bench.data.pairs import load_pairs
from pacl_bench.errors import UsageError


def read(file: Path, content: str | bytes) -> tuple[dict[str, str], dict[int, str]]:
    """Image -> caption, and line -> what is wrong with it."""
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    rows = list(read_caption_table(file))
    return (
        {row.filepath: row.caption for row in rows if not row.problem},
        {row.line: row.problem for row in rows if row.problem},
    )


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("filepath,caption\na.jpg,a cat\n", {"a.jpg": "a cat"}),
        ("\ufefffilepath,caption\r\na.jpg,a cat\r\n\r\nb.jpg,a dog", {"a.jpg": "a cat", "b.jpg": "a dog"}),
        ("\n FilePath , CAPTION \na.jpg , a cat\n", {"a.jpg": "a cat"}),
        ('"caption","id","filepath"\n"a cat, red",1,"a.jpg"\n', {"a.jpg": "a cat, red"}),
        ('filepath, caption\na.jpg, "a cat, red"\n', {"a.jpg": "a cat, red"}),
        ("filepath,caption,,\na.jpg,a cat,,\n", {"a.jpg": "a cat"}),
        ("filepath,caption\na.jpg,a cat,,\n", {"a.jpg": "a cat"}),
        ("filepath\tcaption\na.jpg\ta cat, red\n", {"a.jpg": "a cat, red"}),
        ("caption;filepath\na cat, red;a.jpg\n", {"a.jpg": "a cat, red"}),
        ("filepath|caption\na.jpg|a cat; red\n", {"a.jpg": "a cat; red"}),
        ('filepath,caption\na.jpg,"two\nlines, here"\nb.jpg,b', {"a.jpg": "two\nlines, here", "b.jpg": "b"}),
        ('caption,filepath\n"two\nlines, here",a.jpg', {"a.jpg": "two\nlines, here"}),
        (
            'filepath,caption\na.jpg,a 12" pizza\nb.jpg,"a ""red"" cat"',
            {"a.jpg": 'a 12" pizza', "b.jpg": 'a "red" cat'},
        ),
        (
            "filepath,caption\na.jpg,one\u2028line\x85still\x0bthe\x1csame\n",
            {"a.jpg": "one\u2028line\x85still\x0bthe\x1csame"},
        ),
        ("filepath,caption", {}),
    ],
)
def test_what_can_be_read_in_one_way(tmp_path: Path, table: str, expected: dict[str, str]) -> None:
    assert read(tmp_path / "a.csv", table) == (expected, {})


def test_a_tab_separated_file_may_have_commas_in_its_names(tmp_path: Path) -> None:
    assert read(tmp_path / "a.tsv", "filepath\tcaption\nx,y.jpg\ta, b\n") == ({"x,y.jpg": "a, b"}, {})
    assert read(tmp_path / "a.tsv", "filepath,caption\nx.jpg,a\tb\n") == ({"x.jpg": "a\tb"}, {})


@pytest.mark.parametrize(
    ("table", "line", "problem", "others"),
    [
        ("a.jpg,a cat, red\nb.jpg,b", 2, "too many fields, 3 for 2 columns; what holds a comma must", {"b.jpg": "b"}),
        ("a.jpg\nb.jpg,b", 2, "too few fields, 1 for 2 columns", {"b.jpg": "b"}),
        ('a.jpg,"never closed\nb.jpg,b\nc.jpg,c', 2, "a quote without a partner", {"b.jpg": "b", "c.jpg": "c"}),
        ('a.jpg,"half" closed\nb.jpg,b', 2, "a quote without a partner", {"b.jpg": "b"}),
        ('b.jpg,b\na.jpg,"a \\"red\\" cat"', 3, "one within quotes that is not doubled", {"b.jpg": "b"}),
        (f'a.jpg,"{"x" * 200_000}"\nb.jpg,b', 2, "field larger than field limit", {"b.jpg": "b"}),
    ],
)  # fmt: skip
def test_what_cannot_is_told_with_its_line(
    tmp_path: Path, table: str, line: int, problem: str, others: dict[str, str]
) -> None:
    pairs, problems = read(tmp_path / "a.csv", f"filepath,caption\n{table}\n")
    assert (pairs, list(problems)) == (others, [line])
    assert problem in problems[line]


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("filepath,caption", ['a.jpg,"open', "b.jpg,b", 'c.jpg,c"', "d,d"]),
        ("filepath,caption", ['a,"open', "b,b", 'c,c"', "d,d"]),
        ("caption,filepath", ['"open,a.jpg', "b,b.jpg", 'c",c.jpg', "d,d"]),
        ("filepath,caption,more", ['a.jpg,"open,x', "b.jpg,b", 'c.jpg,c",x', "d,d,x"]),
    ],
)
def test_rows_within_a_quote_are_not_taken_for_a_caption(tmp_path: Path, header: str, rows: list[str]) -> None:
    """A quote opens in line 2 and is closed by another stray one in line 4: one row by the letter, three by intent."""
    (tmp_path / "b").touch()
    pairs, problems = read(tmp_path / "a.csv", "\n".join([header, *rows]))
    assert pairs == {"d": "d"}
    assert list(problems) == [2, 3, 4]
    assert "a quote without a partner in line 2" in problems[4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the column 'filepath' is missing"),
        (b"\n\n", "the column 'filepath' is missing"),
        (b"filepath\ttitle\n", r"the column 'caption' is missing; .* It is 'filepath\\ttitle'"),
        (b"a.jpg,a cat\n", "must name the columns filepath and caption, with commas, tabs, .* as the delimiter"),
        (b"filepath,caption,Caption\n", "the column 'caption' is there 2 times"),
        ("filepath,caption\na.jpg,é".encode("latin-1"), "is no text in UTF-8"),
        ("filepath,caption\na.jpg,a".encode("utf-16"), "is no text in UTF-8"),
        ("filepath,caption\na.jpg,a".encode("utf-16-le"), "the column 'filepath' is missing"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UsageError, match=said) as raised:
        load_pairs(str(tmp_path / "a.csv"))
    assert "\n" not in str(raised.value)
    assert "a.csv" in str(raised.value)


def test_what_is_skipped_is_counted_by_cause(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.jpg")
    rows = ["a.jpg,a", "a.jpg,a, b", "a.jpg,nul\0", f"{'x' * 300}.jpg,c", ",d", "a\0.jpg,e", "a.jpg, "]
    (tmp_path / "p.CSV").write_text("\n".join(["filepath,caption", *rows]))
    (pairs,) = load_pairs(str(tmp_path / "p.CSV"))
    assert pairs.captions == [["a"]]
    assert [skip.cause for skip in pairs.skipped] == [
        "broken line", "broken caption", "missing image", "missing image", "missing image", "empty caption",
    ]  # fmt: skip
    assert Row(3, problem="x")._replace(problem="") == Row(3)
