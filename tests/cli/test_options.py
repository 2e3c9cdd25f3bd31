"""Options: made from the classes that declare them, and no value that an option cannot mean is taken in silence."""

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer
from PIL import Image

from pacl_bench import cli
from pacl_bench.cli.app import Command
from pacl_bench.evaluators import EVALUATORS
from pacl_bench.training.recipe import Loading, Recipe


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """The one line with which a command is refused."""

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["pacl-bench", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        assert (ended.value.code, captured.out) == (2, "")
        assert captured.err.startswith("pacl-bench: ")
        assert captured.err.count("\n") == 1
        return captured.err.removeprefix("pacl-bench: ").strip()

    return run


def commands(group=None) -> dict:
    """Every command by its words: "data check"."""
    found = {}
    for name, command in (group or typer.main.get_command(cli.app)).commands.items():
        below = commands(command) if hasattr(command, "commands") else None
        found |= {name: command} if below is None else {f"{name} {word}": each for word, each in below.items()}
    return found


@pytest.mark.parametrize(
    ("command", "declared"),
    [*((name, entry.settings) for name, entry in EVALUATORS.items()), ("train", Recipe), ("train", Loading)],
)
def test_every_setting_is_an_option_with_its_meaning_and_default(command: str, declared: type) -> None:
    options = {option.name: option for option in commands()[command].params}
    for field in fields(declared):  # type: ignore[arg-type]
        option = options[field.name]
        assert f"--{field.name.replace('_', '-')}" in option.opts
        assert declared.__pydantic_fields__[field.name].description in option.help.replace("\\", "")  # type: ignore[attr-defined]
        if declared is not Recipe:  # whose options have no defaults: the recipe has
            assert option.default == (field.default if field.default != () else None)


def test_every_command_refuses_what_typer_takes_in_silence() -> None:
    assert [name for name, command in commands().items() if not isinstance(command, Command)] == []


def test_functions_of_commands_have_few_parameters() -> None:
    assert len(inspect.signature(cli.measuring.segment).parameters) < 8


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("patches --encoders x --purity 2", "--purity 2.0: should be less than or equal to 1."),
        ("patches --encoders x --purity nan", "--purity nan: should be a finite number."),
        ("coherence --encoders x --grid 0", "--grid 0: should be greater than or equal to 1."),
        ("segment --encoders x --overlap 1", "--overlap 1.0: should be less than 1."),
        ("segment --encoders x --thresholds 0.1,1.5", "--thresholds 1.5: should be less than or equal to 1."),
        ("segment --encoders x --entropies 1,a", "--entropies 'a': should be a valid number."),
        ("segment --encoders x --stride 0", "--stride 0: should be greater than or equal to 1."),
        ("segment --encoders x --scale inf", "--scale inf: should be a finite number."),
        ("segment --predictions p --name n --boundary -7", "--boundary -7: should be greater than or equal to 0."),
        ("classify --encoders x --templates simpel", "Did you mean 'simple'?"),
        ("train --encoder a --text b --pairs c --lr -1", "--lr -1.0: should be greater than or equal to 0."),
        ("train --encoder a --text b --pairs c --noun-share 2", "--noun-share 2.0: should be less than or equal to 1."),
        ("train --encoder a --text b --pairs c --betas 0.9,1", "--betas 1: should be less than 1."),
        ("train --encoder a --text b --pairs c --betas 0.9", "--betas (0.9,): a value is missing."),
        ("train --encoder a --text b --pairs c --max-skipped -1", "--max-skipped -1.0: should be greater than"),
        ("train --encoder a --text b --pairs c --seed 99999999999999999999", "--seed 99999999999999999999: should be"),
        ("quickstart --seed -1", "--seed -1: should be greater than or equal to 0."),
        ("ablate --seed 99999999999999999999", "--seed 99999999999999999999: should be less than"),
        ("ablate --steps -1", "--steps -1: should be greater than or equal to 0."),
        ("world pretrain tiny-clip --seed 99999999999999999999", "--seed 99999999999999999999: should be less than"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_bound(refused, words: str, line: str) -> None:
    assert line in refused(*words.split())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["patches", "--encoders", ","], "--encoders ',' says nothing: leave it out, or give it a value."),
        (["patches", "--encoders", "tiny-clip", "--block", ""], "--block '' says nothing"),
        (["patches", "--encoders", "tiny-clip", "--study", " "], "--study ' ' says nothing"),
        (["train", "--encoder", "a", "--text", "b", "--pairs", "c", "--out", ""], "--out '' says nothing"),
        (["data", "where", "--data-root", ""], "--data-root '' says nothing"),
        (["train", "--encoder", "a", "--text", "b", "--pairs", "c", "--out", "a\nb"], r"--out 'a\nb' holds a line end"),
        (["segment", "--predictions", "p", "--name", "a\x1b[1m"], r"--name 'a\x1b[1m' holds a line end or another"),
        (
            ["segment", "--predictions", "p", "--name", "n", "--study", "a\u2028b"],
            r"--study 'a\u2028b' holds a line end",
        ),
        (["ablate", "--grid", "lr=1,\r2"], r"--grid 'lr=1,\r2' holds a line end"),
        (["run", "pa\tper"], r"study 'pa\tper' holds a line end"),
        (["patches", "--encoders", "tiny-clip", "--encoders", "tiny-dino"], "--encoders is given twice."),
        (["train", "--learn-temperature", "--no-learn-temperature"], "--learn-temperature is given twice."),
        (["cache", "info", "--json", "--json"], "--json is given twice."),
        (["data", "where", ""], "names '' says nothing"),
        (["head", "info", " "], "folder ' ' says nothing"),
        (["run", ""], "study '' says nothing"),
        (["explain", "", "b"], "first '' says nothing"),
        (["run", "paper", "--jobs", "3"], "--jobs is of the jobs of --launcher."),
        (["report", "--check", "--only", "table1", "--out", "x"], "--only, --out: not heeded beside --check. Leave"),
        (["report", "--compare", "a", "b", "--only", "table1"], "--only: not heeded beside --compare. Leave it out."),
        (["report", "--json"], "--json: not heeded, or give --compare. Leave it out."),
        (["patches", "--heads", "h", "--block", "1"], "--block 1 is of --encoders: a head has the block"),
        (["patches", "--encoders", "tiny-clip", "--block", "last"], "--block last: a number or all is wanted."),
        (["patches", "--encoders", "tiny-clip,tiny-clip"], "'tiny-clip' stands there twice."),
        (["patches", "--encoders", "tiny-clip", "--study", "x" * 300], "--study 'xxx"),
        (["segment", "--encoders", "tiny-clip", "--thresholds", "0.1,0.10000001"], "two of them are one"),
        (["segment", "--encoders", "x", "--save-predictions", "p", "--rerun", "never"], "leave out --rerun never."),
        (
            ["segment", "--predictions", "p", "--name", "n", "--size", "64", "--upsampling", "nearest"],
            "--predictions are scored as they are: leave out --size, --upsampling.",
        ),
        (
            ["segment", "--predictions", "p", "--name", "n", "--overlap", "0.5", "--rerun", "missing"],
            "leave out --overlap, --rerun.",  # their defaults do nothing either
        ),
    ],
)
def test_a_value_that_an_option_cannot_mean_is_refused(refused, words: list[str], line: str) -> None:
    assert line in refused(*words)


@pytest.mark.parametrize("command", ["patches", "segment", "segment --save-predictions"])
def test_a_folder_of_results_that_is_none_is_told_before_anything_is_done(
    refused, command: str, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    option = command.partition(" ")[2] or "--results"
    for name, told in (("loop", "leads nowhere"), ("file", "is a file")):
        words = [command.split()[0], "--encoders", "tiny-clip", "--datasets", "world-things", option]
        assert refused(*words, str(tmp_path / name)) == f"{option} {tmp_path / name} {told}; a folder is wanted."


@pytest.mark.parametrize("device", ["meta", "cpu:1", "tpu", "0", "cuda:x", "cuda:999"])
def test_devices_that_nobody_has(refused, device: str) -> None:
    line = refused("patches", "--encoders", "tiny-clip", "--datasets", "world-things", "--device", device)
    assert line.startswith(f"--device {device}: ")


def test_names_are_checked_before_data_is_looked_for(refused) -> None:
    assert refused("coherence", "--encoders", "clip-b61") == "Unknown encoder 'clip-b61'. Did you mean 'clip-b16'?"
    assert "Unknown segmentation set 'voc2l'" in refused(
        "patches", "--encoders", "clip-b16", "--datasets", "voc20,voc2l"
    )
    assert "Did you mean 'cifar100'" in refused("classify", "--encoders", "clip-b16", "--datasets", "dtd,cifar1000")
    assert refused("patches", "--heads", "/nowhere").startswith("/nowhere holds no head")
    assert "Get it with `pacl-bench data fetch voc20`" in refused("coherence", "--encoders", "clip-b16")
    assert "Did you mean 'clip-b16'" in refused("ablate", "--encoders", "clip-b61")
    assert "Did you mean 'voc20'" in refused(
        "ablate", "--encoders", "tiny-clip", "--pairs", "world-1k", "--dataset", "voc200"
    )


def test_a_picture_has_the_options_of_segmentation(refused, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(file)
    show = ["show", "segmentation", str(file), "--classes", "cat,dog", "--encoders", "tiny-clip"]
    assert refused(*show, "--stride", "0") == "--stride 0: should be greater than or equal to 1."
    assert "Did you mean 'simple'" in refused(*show, "--templates", "simpel")


def test_help_needs_no_torch() -> None:
    code = "import sys; sys.argv = ['pacl-bench', 'segment', '--help']\nfrom pacl_bench import cli\n"
    code += (
        "try:\n    cli.main()\nexcept SystemExit:\n    assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("segment --resize mmsge", "Unknown value of --resize 'mmsge'. Did you mean 'mmseg'?"),
        ("coherence --scope none", "Unknown value of --scope 'none'. Known: across, within, all."),
        ("list protocls", "Unknown name 'protocls'. Did you mean 'protocols'?"),
    ],
)
def test_the_nearest_of_several_choices_is_named(words: str, line: str, refused) -> None:
    assert refused(*words.split()) == line


def test_where_heads_are_named_their_encoders_may_be_named_beside_them() -> None:
    """A head that travels is used from another machine in every command."""
    options = {words: {name for one in command.params for name in one.opts} for words, command in commands().items()}
    with_heads = {words: names for words, names in options.items() if "--heads" in names}
    assert {"segment", "show alignment", "show gallery"} <= with_heads.keys()
    assert [words for words, names in with_heads.items() if not {"--encoder", "--text"} <= names] == []
