"""Why two numbers differ, where that is known."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from report_samples import SWEPT, head, protocols, segment

from pacl_bench import records
from pacl_bench.errors import UsageError
from pacl_bench.evaluators.presets import PRESETS, chosen
from pacl_bench.evaluators.steps import Steps, changed_steps
from pacl_bench.records import Measurement, Record
from pacl_bench.report.choices import ATTENTION
from pacl_bench.report.explain import UNKNOWN, Explanation, explain, find_record
from pacl_bench.report.terminal import WIDTH, explanation_lines

DATASET = "dataset-miou, background=none"


def written(results: Path, made: Record, **settings) -> Record:
    made.config["settings"] |= settings
    records.write(results / "records", made)
    return made


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A head at two strides and before alignment, on voc20; and under several protocols on voc21."""
    written(tmp_path, segment("clip-b16", 0.1, encoder="clip-b16", text="clip-b16"))
    written(tmp_path, segment("pacl", 0.3, encoder="clip-b16", text="clip-b16", head=head()))
    variant = {"variant": "stride=4", "encoder": "clip-b16", "text": "clip-b16", "head": head()}
    written(tmp_path, segment("pacl", 0.34, **variant), stride=4)
    swept = protocols("pacl", 0.2, encoder="clip-b16", text="clip-b16", head=head())
    swept.measurements[1:] = [
        Measurement("miou", 0.2 - 0.05 * at, protocol, 392) for at, protocol in enumerate(SWEPT) if at
    ]
    written(tmp_path, swept)
    return tmp_path


def moves(found: Explanation) -> dict[str, float | None]:
    """By choice that both tell, in percent."""
    known = [one for one in found.choices if one.name not in found.unknown]
    return {one.name: None if one.moved is None else round(100 * one.moved.value, 6) for one in known}


def test_another_setting_and_what_it_does(results: Path):
    found = explain("pacl/voc20", "pacl/voc20.stride=4", results)
    assert moves(found) == {"stride": 4.0}
    assert (found.first.value, found.value) == (0.3, 0.34)
    assert found.difference is None  # they answer different questions


def test_another_model_changes_as_a_whole(results: Path):
    found = explain("pacl/voc20", "clip-b16/voc20", results)
    assert moves(found) == {"head": -20.0}
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-0.2)


def test_the_protocols_of_one_pass_tell_what_background_does(results: Path):
    found = explain("protocols/pacl/voc21", "protocols/pacl/voc21", results, protocol=SWEPT[1])
    assert moves(found) == {}
    guess = explain("protocols/pacl/voc21", "sclip", results, protocol=SWEPT[1])
    assert moves(guess)["templates"] is None
    assert {one.name: (one.first, one.second) for one in guess.choices}["window"] == ("the whole image", "224")
    assert ("class", "class+threshold=0.1") in {(one.first, one.second) for one in guess.choices}
    by_class = explain("protocols/pacl/voc21", "maskclip", results)
    assert moves(by_class)["background"] == -5.0  # from none to a class like the others


@pytest.fixture
def under_protocols(tmp_path: Path) -> Path:
    """A record of `--protocol sclip,naclip` on voc21, and one of the usual steps."""
    given = {"encoder": "clip-b16", "text": "clip-b16", "head": head(), "dataset": "voc21"}
    made = segment("pacl", 0.3, variant="protocol=sclip+naclip", **given)
    made.measurements[:] = [
        Measurement("miou", value, f"dataset-miou, protocol={name}", 392)
        for name, value in (("sclip", 0.3), ("naclip", 0.34))
    ]
    steps = {name: chosen(name, "voc21", {}).describe() for name in ("sclip", "naclip")}
    made.config["settings"] = {"protocol": "sclip,naclip", "steps": steps}
    records.write(tmp_path / "records", made)
    records.write(tmp_path / "records", segment("pacl", 0.2, **given))
    return tmp_path


def differing(found: Explanation) -> dict[str, tuple[str, str]]:
    """The steps in which the two differ, as both tell them."""
    return {one.name: (one.first, one.second) for one in found.choices}


def test_a_record_under_a_protocol_is_what_that_protocol_says(under_protocols: Path):
    record = "pacl/voc21.protocol=sclip+naclip"
    alike = explain(record, "sclip", under_protocols)
    # the sample's encoder has its own attention, as where the protocol is for another encoder
    assert set(differing(alike)) - set(alike.unknown) == {ATTENTION}
    assert alike.first.protocol == "dataset-miou, protocol=sclip"


@pytest.mark.parametrize("second", ["naclip", "pacl/voc21"])
def test_every_step_is_named_that_another_protocol_takes_otherwise(under_protocols: Path, second: str):
    """Of the protocol by its name, and of a record of the usual steps."""
    sclip = PRESETS["sclip"].steps_on("voc21")
    other = PRESETS[second].steps_on("voc21") if second in PRESETS else Steps()
    found = differing(explain("pacl/voc21.protocol=sclip+naclip", second, under_protocols))
    assert set(changed_steps(sclip, other)) <= set(found)
    assert found["window"] == ("224", "the whole image")
    assert found["scale"] == ("65.0", "40.0" if second in PRESETS else UNKNOWN)
    by_naclip = explain("pacl/voc21.protocol=sclip+naclip", "sclip", under_protocols, "dataset-miou, protocol=naclip")
    assert differing(by_naclip)["scale"] == ("40.0", "65.0")


def test_a_printed_number_with_what_is_known_of_it(results: Path):
    found = explain("pacl/voc20", "CorrCLIP-B", results)
    assert (found.value, found.difference) == (0.899, None)
    assert "templates" in found.unknown
    assert "vision encoder" in moves(found)
    assert "commit 103bc18" in found.second
    paper = explain("pacl/voc20", "CLIP + PACL", results)
    assert "vision encoder" not in moves(paper)  # clip-b16, whatever its sha256


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("sclpi", "Unknown record, printed method or protocol 'sclpi'. Did you mean 'sclip'?"),
        ("pacl/voc12", "pacl/voc12: no record is meant. Give one of protocols/pacl/voc21.default.json, segment/pacl/"),
        ("nothing.json", "nothing.json: no such record"),
    ],
)
def test_what_is_not_known_is_said_in_a_line(results: Path, second: str, said: str):
    with pytest.raises(UsageError) as error:
        explain("pacl/voc20", second, results)
    assert str(error.value).startswith(said)


def test_a_method_without_a_number_on_the_set_says_where_it_has_some(results: Path):
    written(results, segment("pacl", 0.2, dataset="my photos", head=head()))
    with pytest.raises(UsageError, match=r"CorrCLIP-B: nothing is printed of it on my photos, but on voc21, voc20"):
        explain("pacl/my photos", "CorrCLIP-B", results)


def test_a_record_is_found_by_file_and_by_name(results: Path):
    file = results / "records" / "segment" / "pacl" / "voc20.stride=4.json"
    for name in (str(file), "segment/pacl/voc20.stride=4.json", "segment/pacl/voc20.stride=4", "pacl/voc20.stride=4"):
        assert find_record(name, results).variant == "stride=4"
    assert find_record("pacl/voc20", results).variant == "default"


def test_lines_fit_the_terminal(results: Path):
    lines = explanation_lines(explain("pacl/voc20", "sclip", results))
    assert max(map(len, lines)) <= WIDTH
    assert any(line.startswith("resize") and "mmseg" in line for line in lines)


def test_the_command(results: Path):
    command = [sys.executable, "-m", "pacl_bench.cli", "explain", "pacl/voc20", "segment/pacl/voc20.stride=4"]
    command += ["--results", str(results)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "stride" in told
    assert "+4.0" in told
    [row] = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert (row["choice"], row["second"]) == ("stride", "4")
    assert row["record"].endswith("voc20.stride=4.json")
