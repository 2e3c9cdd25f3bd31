"""Running an experiment: what fails is told and tried again, what is done stays done, what is sent out comes back."""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from shard_samples import write_shards

from pacl_bench import cli, records
from pacl_bench.errors import UsageError
from pacl_bench.locks import CLAIM
from pacl_bench.studies.experiment import Experiment, Heads, load_experiment
from pacl_bench.studies.launch import launcher, read_options
from pacl_bench.studies.orchestra import Outcome, run_experiment, seconds_left, summary
from pacl_bench.studies.plan import Setting
from pacl_bench.training.recipe import Loading
from pacl_bench.training.state import TrainState

STUDY = """
report = false

[train.small]
encoders = ["tiny-clip"]
pairs = ["{pairs}"]
recipe = "small"
change = {{ batch_size = 4, steps = 2 }}

[train.large]
like = "small"
grid = {{ patch_scale = [1, 10] }}

[measure.table1]
evaluator = "patches"
encoders = ["tiny-clip"]
trained = ["small"]
datasets = ["folder:{scenes}"]

[measure.table3]
name = "ablate"
evaluator = "segment"
trained = ["large"]
datasets = ["folder:{scenes}"]

[picture.figure2]
kind = "alignment"
trained = ["small"]
datasets = ["world-scenes"]
showing = "zebra"
images = 1
"""
SCENES = Path(__file__).parents[1] / "frozen" / "v1" / "scenes"
PAIRS = Path(__file__).parents[1] / "frozen" / "v1" / "pairs" / "pairs.csv"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(STUDY.format(pairs=PAIRS, scenes=SCENES))
    return tmp_path / "mine.toml"


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path / "heads", tmp_path / "results")


def models(outcome: Outcome) -> list[tuple[str, str]]:
    return sorted((record.key.study, record.key.model) for record in outcome.records)


EVERY = [
    ("ablate", "pacl-tiny-clip.pairs"),
    ("ablate", "pacl-tiny-clip.pairs.patch_scale=1"),
    ("patches", "pacl-tiny-clip.pairs"),
    ("patches", "tiny-clip"),
]


def test_what_fails_is_told_and_tried_again(
    file: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Of two heads one cannot be trained: what needs the other goes on."""
    update = TrainState.update

    def failing(state: TrainState, *given):
        if state.recipe.patch_scale == 1:
            raise RuntimeError("the lights went out")
        return update(state, *given)

    monkeypatch.setattr(TrainState, "update", failing)
    outcome = run_experiment(load_experiment(file), setting)
    assert models(outcome) == [EVERY[0], *EVERY[2:]]
    assert (setting.results / "report" / "figure2.png").is_file()
    assert [failure.partition(": ")[2] for failure in outcome.failures] == [
        "RuntimeError: the lights went out",
        "pacl-tiny-clip.pairs.patch_scale=1 is not trained",
    ]
    capsys.readouterr()
    monkeypatch.setattr(TrainState, "update", update)
    again = run_experiment(load_experiment(file), setting)
    assert (models(again), again.failures) == (EVERY, [])
    told = capsys.readouterr().err
    assert "1 of 3: training heads, tiny-clip on" in told
    assert "table1, patches on" in told
    assert "3 of 3: drawing" not in told  # it was drawn the first time


def test_of_heads_side_by_side_one_that_fails_keeps_no_other(
    clip_spec: str, tmp_path: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shards = write_shards(tmp_path / "mine", [9])
    grid = {"patch_scale": [1, 10], "temperature": [0.03, 0.07]}
    heads = Heads([clip_spec], [str(shards)], recipe="small", change={"batch_size": 4, "steps": 2}, grid=grid)
    experiment = Experiment("grid", {"heads": heads}, report=False)
    setting = replace(setting, loading=Loading(workers=0))
    update = TrainState.update

    def failing(state: TrainState, *given):
        if (state.recipe.patch_scale, state.recipe.temperature, state.step) == (1, 0.07, 1):
            raise RuntimeError("the lights went out")
        return update(state, *given)

    monkeypatch.setattr(TrainState, "update", failing)
    told = f"small-clip on {shards}, patch_scale=1: RuntimeError: the lights went out"
    assert run_experiment(experiment, setting).failures == [told]
    assert len(list(setting.heads.glob("*/head.json"))) == 3
    assert "4 heads of small-clip side by side: RuntimeError: the lights went out" in capsys.readouterr().err
    monkeypatch.setattr(TrainState, "update", update)
    assert run_experiment(experiment, setting).failures == []
    assert len(list(setting.heads.glob("*/head.json"))) == 4


def test_a_run_with_failures_ends_with_one_line_and_exit_code_1(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def broken(*given: object, **named: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr("pacl_bench.studies.steps.train_many", broken)
    command = ["run", str(file), "--only", "table3", "--out", str(tmp_path / "h"), "--results", str(tmp_path / "r")]
    monkeypatch.setattr(sys, "argv", ["pacl-bench", *command, "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, json.loads(out)) == (1, [])
    assert err.splitlines()[-1].startswith("pacl-bench: 4 failed: tiny-clip on")
    assert err.splitlines()[-1].endswith("the same command tries these again.")


def test_a_dry_run_does_nothing(file: Path, setting: Setting, capsys: pytest.CaptureFixture) -> None:
    assert run_experiment(load_experiment(file), setting, dry_run=True) == Outcome()
    assert not setting.heads.exists()
    assert not setting.results.exists()
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "training heads, 2 steps" in told
    assert "patch_scale=1: 8 pairs, 0.333 passes" in told
    assert "table1, patches on folder:" in told
    assert "2 measurements, 4 images to encode" in told  # of the two models' one encoder, once
    run_experiment(load_experiment(file), setting)
    capsys.readouterr()
    run_experiment(load_experiment(file), setting, dry_run=True)
    assert " ".join(capsys.readouterr().err.replace("│", " ").split()).count(": done") == 5


def test_heads_that_are_not_needed_are_not_trained(file: Path, setting: Setting) -> None:
    run_experiment(load_experiment(file).only(["figure2"]), setting)
    assert [folder.name for folder in setting.heads.iterdir()] == ["pacl-tiny-clip.pairs"]
    assert not (setting.results / "records").exists()


def test_a_disk_without_room_is_told_before(file: Path, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacl_bench.studies.survey.shutil.disk_usage", lambda place: SimpleNamespace(free=1000))
    with pytest.raises(UsageError, match=r"GB are needed for heads and records, 0.0 GB are free"):
        run_experiment(load_experiment(file), setting)
    assert not setting.heads.exists()


@pytest.mark.parametrize("full", ["heads", "records"])
def test_each_disk_is_asked_for_what_goes_to_it(
    file: Path, setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """Heads and records on disks of their own, of which one is full."""
    disks = {name: tmp_path / f"disk of {name}" for name in ("heads", "records")}
    for place in disks.values():
        place.mkdir()
    monkeypatch.setattr("pacl_bench.studies.survey._disk", lambda place: place.name)
    monkeypatch.setattr(
        "pacl_bench.studies.survey.shutil.disk_usage",
        lambda place: SimpleNamespace(free=1000 if place == disks[full] else 10**12),
    )
    apart = replace(setting, heads=disks["heads"] / "mine", results=disks["records"] / "mine")
    with pytest.raises(UsageError, match=f"^{disks[full]}: 0.0 GB are needed"):
        run_experiment(load_experiment(file), apart)


@pytest.mark.parametrize("option", ["--out", "--results"])
def test_what_is_no_folder_is_told_before(file: Path, setting: Setting, tmp_path: Path, option: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    changed = {"--out": "heads", "--results": "results"}[option]
    for wrong, told in ((file, "is a file"), (tmp_path / "loop", "leads nowhere"), (file / "x", f": {file} is a file")):
        with pytest.raises(UsageError, match=f"^{option} {wrong}.*{told}; a folder is wanted"):
            run_experiment(load_experiment(file), replace(setting, **{changed: wrong}))
    assert not setting.heads.exists()
    assert not (setting.results / "records").exists()


def test_all_that_is_not_there_is_named_at_once(file: Path, setting: Setting) -> None:
    file.write_text(file.read_text().replace(str(PAIRS), "cc12m").replace('"world-scenes"', '"voc20"'))
    with pytest.raises(UsageError, match=r"^cc12m: .* not found. Get it with .* Nor can these be had: voc20\.$"):
        run_experiment(load_experiment(file), setting)
    assert not setting.heads.exists()


def test_of_many_failures_three_are_named() -> None:
    assert summary(["a.", "b", "a."]).startswith("2 failed: a; b. All else")
    assert summary("abcde").startswith("5 failed: a; b; c; and 2 more. All else")


@pytest.mark.slow
def test_what_is_sent_out_comes_back(file: Path, setting: Setting, capsys: pytest.CaptureFixture) -> None:
    """In processes of submitit's own, two at once.

    One is taken away, as a cluster does it that needs the machine: it is put into the queue again, and goes on.
    """
    file.write_text(file.read_text().replace("steps = 2", "steps = 300"))
    experiment, jobs = load_experiment(file).only(["table3"]), setting.results / "jobs"
    thief = Thread(target=take_away, args=[setting.heads / "pacl-tiny-clip.pairs"], daemon=True)
    thief.start()
    outcome = run_experiment(experiment, setting, launch=launcher("local", jobs, 2, {"timeout_min": 5}))
    assert (models(outcome), outcome.failures) == (EVERY[:2], [])
    assert "1 of 2: training heads, 2 steps at once" in capsys.readouterr().err
    assert len(records.load(setting.results)) > 20
    for log in setting.heads.glob("*/log.jsonl"):
        assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(300))
    assert sum("Requeued job" in told.read_text() for told in jobs.glob("*_log.*")) == 1


def take_away(head: Path) -> None:
    """Sends what trains a head the signal of submitit's that asks it to end, once it has made some steps."""
    log, until = head / "log.jsonl", time.monotonic() + 120
    while time.monotonic() < until and not (log.is_file() and log.read_text().count("\n") > 3):
        time.sleep(0.02)
    os.kill(holder(head / CLAIM), signal.SIGUSR2)


def holder(file: Path) -> int:
    """The process that has a file open."""
    for opened in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # another user's, or gone
            if opened.readlink() == file:
                return int(opened.parts[2])
    raise ProcessLookupError(file)


def test_time_left_is_what_was_expected_at_the_pace_so_far() -> None:
    assert seconds_left([10.0, 20.0, 40.0], 0, 0.0) == "1:10 left"
    assert seconds_left([10.0, 20.0, 40.0], 1, 20.0) == "2:00 left"
    assert seconds_left([3600.0, 3600.0], 1, 7205.0) == "2:00:05 left"
    assert seconds_left([10.0, None], 0, 0.0) == seconds_left([0.0, 0.0], 0, 0.0) == seconds_left([], 0, 0.0) == ""


def test_options_of_jobs() -> None:
    assert read_options(["slurm_partition=gpu", "timeout_min=60"]) == {"slurm_partition": "gpu", "timeout_min": 60}
    with pytest.raises(UsageError, match="write KEY=VALUE"):
        read_options(["gpu"])
    with pytest.raises(UsageError, match=r"--launcher local: .*nonsense"):
        launcher("local", Path("jobs"), 1, {"nonsense": 3})
