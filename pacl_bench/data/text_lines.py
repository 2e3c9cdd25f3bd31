"""Lines of text, as whoever wrote them in an editor counts them."""

from pathlib import Path

from pacl_bench.files import read_text


def lines_of(text: str) -> list[str]:
    """The lines of a text; an end of line at its very end begins no further one.

    Not `str.splitlines`, for which ten more characters end a line, U+2028 for one: they may stand within a name.
    """
    return text.removesuffix("\n").split("\n") if text else []


def read_lines(file: Path) -> list[str]:
    """The lines of a user's file, ended as on any system; a UsageError names a file that is not UTF-8."""
    return lines_of(read_text(file))


def is_comment(line: str) -> bool:
    """Whether a line is the author's word to readers: `# my garden`. Without the space it is a name: `#1 car`."""
    return line.startswith("# ") or line.rstrip() == "#"


def is_unicode(name: str) -> bool:
    """Whether the name of a file or folder is in UTF-8: Python keeps its bytes as surrogates where it is not."""
    return not any("\ud800" <= char <= "\udfff" for char in name)


def printable(text: str) -> str:
    """The same in one line that any terminal shows: what is no letter (line ends, bytes outside UTF-8) as its code."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in text
    )


NO_TEXT = {"", "nan", "NaN", "<NA>", "None", "null", "NULL"}  # what pandas and others write where there is none


def is_no_text(text: str) -> bool:
    """Whether a caption says nothing: it is empty, or the word that a program writes for a value that is missing."""
    return text in NO_TEXT
