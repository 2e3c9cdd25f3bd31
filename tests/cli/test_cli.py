"""The command line as a user meets it: exit codes, one line an error, tables and JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pacl_bench import records


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["segmnt"], "No such command 'segmnt'"),
        (["segment", "--encoder", "x"], "Nothing to measure: give --encoders or --heads."),
        (["train", "--encoder", "x"], "Missing option '--text'"),
        (["list", "encodres"], "encodres"),
        (["patches", "--encoders", "clip-b61"], "Unknown encoder 'clip-b61'. Did you mean 'clip-b16'?"),
        (["coherence", "--encoders", "clip-b61,dino-b16"], "Did you mean 'clip-b16'?"),
        (["patches"], "Nothing to measure: give --encoders or --heads."),
        (["patches", "--encoders", "clip-b16", "--datasets", "voc2"], "Unknown segmentation set 'voc2'."),
        (["classify", "--encoders", "clip-b16", "--datasets", "cifar"], "Did you mean 'cifar10'?"),
        (["patches", "--encoders", "clip-b16", "--purity", "2"], "--purity"),
        (["patches", "--encoders", "clip-b16", "--templates", "papr7"], "Did you mean 'paper7'?"),
        (["patches", "--encoders", "clip-b16", "--device", "cuda:9"], "--device cuda:9: not on this machine"),
        (["segment", "--heads", "/nowhere"], "/nowhere holds no head"),
        (["train", "--encoder", "clip-b61", "--text", "clip-b16", "--pairs", "flickr8k"], "Did you mean 'clip-b16'?"),
        (["train", "--encoder", "c", "--text", "t", "--pairs", "p", "--recipe", "smal"], "Did you mean 'small'?"),
        (["ablate", "--encoders", "clip-b16", "--pairs", "flickr8"], "Did you mean 'flickr8k'?"),
        (["run", "table1-patche"], "Did you mean 'table1-patches'?"),
        (["report", "--results", "/nowhere"], "/nowhere holds no records/. Measure something first"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(pacl, voc: Path, arguments: list[str], line: str) -> None:
    code, out, err = pacl(*arguments)
    assert code == 2
    assert out == ""
    assert line in err
    assert err.startswith("pacl-bench: ")
    assert err.count("\n") == 1


def test_from_pairs_to_report(
    pacl, voc: Path, pairs_csv: Path, clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = ["--results", str(tmp_path / "results")]
    train = ["train", "--encoder", clip_spec, "--text", clip_spec, "--pairs", str(pairs_csv), "--batch-size", "4"]
    code, out, _ = pacl(*train, "--steps", "3", "--json")
    assert code == 0
    assert json.loads(out)[0] | {"seconds": 0, "temperature": 0} == {
        "head": "heads/pacl-small-clip", "steps": 3, "pairs": "pairs", "images": 10, "captions": 10, "skipped": 3,
        "seconds": 0, "temperature": 0,
    }  # fmt: skip
    assert pacl(*train, "--steps", "0", "--out", "heads/untrained")[0] == 0
    code, _, err = pacl(*train, "--steps", "3")
    assert (code, "Add --resume to go on" in err) == (2, True)

    heads = ["--encoders", clip_spec, "--heads", "heads/untrained,heads/pacl-small-clip", "--datasets", "voc20"]
    for command in ("patches", "segment", "coherence"):
        code, out, _ = pacl(command, *heads, *results)
        assert code == 0
        assert "pacl-small-clip" in out
    code, out, _ = pacl("segment", *heads, *results, "--stride", "8", "--json")
    rows = json.loads(out)
    assert {row["variant"] for row in rows} == {"stride=8"}
    assert {row["protocol"] for row in rows if row["metric"] == "miou"} == {
        "dataset-miou, background=none",
        "present-miou, background=none",
    }
    code, out, _ = pacl("report", *results)
    assert code == 0
    page = Path(out.strip()).read_text()
    assert "72.3" in page  # published
    assert "pacl-small-clip" in page


def test_ablate_trains_measures_and_skips(
    pacl, voc: Path, pairs_csv: Path, clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = pairs_csv.with_name("more.csv")
    more.write_text(pairs_csv.read_text())
    command = ["ablate", "--encoders", clip_spec, "--pairs", f"{pairs_csv},{pairs_csv}+{more}", "--recipe", "small"]
    command += ["--out", str(tmp_path / "heads"), "--results", str(tmp_path / "results"), "--steps", "2"]
    code, out, _ = pacl(*command)
    assert code == 0
    assert {folder.name for folder in (tmp_path / "heads").iterdir()} == {
        "pacl-small-clip.pairs.steps=2",
        "pacl-small-clip.pairs+more.steps=2",
    }
    with monkeypatch.context() as nothing_new:
        nothing_new.setattr("pacl_bench.studies.steps.train_many", None)
        nothing_new.setattr("pacl_bench.studies.runner._measure", None)
        assert pacl(*command)[:2] == (0, out)
    assert pacl(*[*command[:-1], "3"])[0] == 0
    assert records.load(tmp_path / "results")["head"].nunique() == 4


@pytest.mark.parametrize("what", ["encoders", "datasets", "pairs", "protocols", "studies"])
def test_lists(pacl, what: str) -> None:
    code, table, _ = pacl("list", what)
    assert code == 0
    code, out, _ = pacl("list", what, "--json")
    assert code == 0
    for row in json.loads(out):
        assert row["name"] in table


def test_a_file_in_place_of_a_folder_is_one_line(pacl, pairs_csv: Path, clip_spec: str, voc: Path) -> None:
    train = ["train", "--encoder", clip_spec, "--text", clip_spec, "--pairs", str(pairs_csv), "--out", str(pairs_csv)]
    code, _, err = pacl(*train)
    assert (code, err) == (2, f"pacl-bench: --out {pairs_csv} is a file; a folder is wanted.\n")
    code, _, err = pacl("coherence", "--encoders", clip_spec, "--results", str(pairs_csv))
    assert (code, err) == (2, f"pacl-bench: --results {pairs_csv} is a file; a folder is wanted.\n")


def test_damaged_records_are_named(pacl, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "broken.json").write_text("{")
    code, _, err = pacl("report", "--results", str(tmp_path))
    assert (code, "broken.json is not a record" in err) == (2, True)


def test_an_interrupted_training_fails_with_one_line(
    pacl, pairs_csv: Path, clip_spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("pacl_bench.training.state.TrainState.update", interrupted)
    out = str(tmp_path / "head")
    code, _, err = pacl("train", "--encoder", clip_spec, "--text", clip_spec, "--pairs", str(pairs_csv), "--out", out)
    assert code == 1
    assert "Go on with --resume" in err.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["list", "studies"]])
def test_these_need_no_torch(arguments: list[str]) -> None:
    code = f"import sys; sys.argv = ['pacl-bench', *{arguments!r}]\nfrom pacl_bench import cli\n"
    code += "try:\n    cli.main()\nexcept SystemExit as e:\n    assert not e.code\nassert 'torch' not in sys.modules"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_every_block_of_an_encoder_and_a_common_grid(pacl, voc: Path, clip_spec: str, tmp_path: Path) -> None:
    results = ["--results", str(tmp_path / "results"), "--json"]
    code, out, _ = pacl("coherence", "--encoders", clip_spec, "--block", "all", *results)
    assert code == 0
    rows = [row for row in json.loads(out) if row["metric"] == "auroc" and not row["class_name"]]
    assert [row["model"] for row in rows] == ["small-clip block 0", "small-clip block 1"]
    code, out, _ = pacl("coherence", "--encoders", clip_spec, "--grid", "3", *results)
    assert {(row["variant"], row["protocol"]) for row in json.loads(out)} == {("grid=3", "pairs-across, grid=3")}
    code, out, _ = pacl("patches", "--encoders", f"{clip_spec}?block=0", "--block", "all", *results)
    assert {row["model"] for row in json.loads(out)} == {"small-clip"}  # what a spec says of itself stands
    code, _, err = pacl("coherence", "--encoders", clip_spec, "--block", "7")
    assert code == 2
    assert "block=7 does not exist; its blocks are 0 to 1" in err


def test_bench_coherence_stands_beside_scikit_learn(pacl) -> None:
    code, out, _ = pacl(
        "bench", "coherence", "--patches", "1200", "--subset", "1000", "--width", "8", "--device", "cpu", "--json"
    )
    assert code == 0
    counted, ranked, floor = json.loads(out)
    assert (counted["pairs"], ranked["pairs"]) == (1200 * 1199 // 2, 1000 * 999 // 2)
    assert counted["auroc"] == pytest.approx(ranked["auroc"], abs=0.02)
    assert floor["pairs"] == counted["pairs"]
    assert counted["times scikit-learn"] == pytest.approx(counted["pairs_per_second"] / ranked["pairs_per_second"])
