"""Study files: whatever is wrong in one is a line that names file and key, before anything is measured."""

from pathlib import Path

import pytest

from pacl_bench.errors import UsageError
from pacl_bench.evaluators import EVALUATORS
from pacl_bench.studies.experiment import load_study
from pacl_bench.studies.study import Study

RIGHT = {
    "evaluator": '"coherence"',
    "encoders": '["tiny-clip"]',
    "datasets": '["world-things"]',
}
WRONG = {
    "negative": "-3",
    "negative fraction": "-0.5",
    "zero in quotes": '"0"',
    "huge": "9223372036854775807",
    "not a number": "nan",
    "infinite": "-inf",
    "empty text": '""',
    "blank text": '" "',
    "line break": '"a\\nb"',
    "null character": '"\\u0000"',
    "empty name in a list": '["a", ""]',
    "number in a list": "[1]",
    "list in a list": "[[]]",
    "table in a list": "[{}]",
    "one name twice": '["a", "a"]',
    "empty table": "{}",
    "table": "{ a = 1 }",
    "date": "2020-01-01",
    "time": "07:32:00",
}
KEYS = ("name", "evaluator", "encoders", "heads", "datasets")
MEANT = {  # where such a value is right
    ("name", "zero in quotes"),
    ("settings.thresholds", "number in a list"),
    ("settings.entropies", "number in a list"),
}


def written(content: dict[str, str], folder: Path) -> Path:
    file = folder / "mine.toml"
    file.write_text("".join(f"{key} = {value}\n" for key, value in content.items()), encoding="utf-8")
    return file


def refused(file: Path) -> str:
    with pytest.raises(UsageError) as raised:
        load_study(file)
    line = str(raised.value)
    assert line.startswith(f"{file}: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_a_wrong_value_is_named_with_file_and_key(evaluator: str, wrong: str, tmp_path: Path) -> None:
    settings = EVALUATORS[evaluator].settings.__pydantic_fields__  # type: ignore[attr-defined]
    for key in (*KEYS, *(f"settings.{name}" for name in settings)):
        if (key, wrong) not in MEANT:
            line = refused(written({**RIGHT, "evaluator": f'"{evaluator}"', key: WRONG[wrong]}, tmp_path))
            assert f": {key} = " in line or f": {key}[" in line or "Unknown evaluator" in line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("evaluator = ", "mine.toml: Invalid value"),
        ('encoders = ["clip-b16"]', "the key 'evaluator' is missing (patches, coherence, segment, classify)."),
        ('evaluator = "patchs"\n', "Unknown evaluator 'patchs'. Did you mean 'patches'?"),
        ('evaluator = "patches"\ndataset = ["voc20"]', "Unknown key 'dataset'. Did you mean 'datasets'?"),
        ('evaluator = "patches"\ndatasets = "voc20"', "datasets = 'voc20': should be a valid list."),
        ('evaluator = "patches"\ndatasets = ["voc20"]', "the keys 'encoders' and 'heads' name none."),
        ('evaluator = "patches"\nencoders = ["x"]\ndatasets = []', "the key 'datasets' names none."),
        ('evaluator = "patches"\nsettings = 3', "settings = 3: should be a valid table."),
        ('evaluator = "patches"\nsettings.purity = -3', "settings.purity = -3: should be greater than or equal to 0."),
        ('evaluator = "patches"\nsettings.purty = 1', "settings.purty = 1: Unknown key 'purty'. Did you mean 'purity'"),
        ('evaluator = "patches"\nevaluator = "x"', "Cannot overwrite a value"),
        (f"x = {'9' * 5000}", "Exceeds the limit"),
        (f"x = {'[' * 5000}", "recursion"),
        (f'name = "{"x" * 300}"\nevaluator = "patches"', "at most 200 characters"),
    ],
)
def test_what_is_wrong_is_said(content: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(content)
    assert line in refused(file)


def test_text_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b'evaluator = "\xff"')
    with pytest.raises(UsageError, match=r"mine\.toml is no text in UTF-8"):
        load_study(file)


def test_a_right_study_is_read(tmp_path: Path) -> None:
    settings = {"settings.purity": "1", "settings.grid": "4"}
    file = written({**RIGHT, **settings}, tmp_path)
    study = Study("mine", "coherence", ["tiny-clip"], [], ["world-things"], {"purity": 1, "grid": 4})
    assert load_study(file) == study
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())  # a byte order mark, as Windows' editors write it
    assert load_study(file) == study
