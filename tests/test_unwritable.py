"""Every command that writes finds out before it works that it cannot: one line, and nothing measured or written."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from full_disk import full_disk
from kills import make_inputs
from read_only import read_only
from report_samples import classify

from pacl_bench import records

TINY = ["--encoders", "tiny-clip"]
SETS = ["--datasets", "folder:a"]
RESULTS = ["--results", "disk"]
TRAIN = ["train", "--encoder", "tiny-clip", "--text", "tiny-clip", "--pairs", "pairs/p.csv", "--steps", "1"]
ABLATE = [
    "ablate", *TINY, "--pairs", "pairs/p.csv", "--recipe", "small", "--steps", "1", "--grid", "batch_size=4",
    "--dataset", "folder:a",
]  # fmt: skip
COMMANDS = {
    "patches": ["patches", *TINY, *SETS, *RESULTS],
    "coherence": ["coherence", *TINY, *SETS, *RESULTS],
    "segment": ["segment", *TINY, *SETS, *RESULTS],
    "classify": ["classify", *TINY, "--datasets", "folder:c", *RESULTS],
    "always": ["patches", *TINY, *SETS, *RESULTS, "--rerun", "always"],
    "predictions": ["segment", "--predictions", "a/masks", "--name", "theirs", *SETS, *RESULTS],
    "save-predictions": ["segment", *TINY, *SETS, "--save-predictions", "disk"],
    "train": [*TRAIN, "--out", "disk/head"],
    "ablate": [*ABLATE, "--out", "disk"],
    "ablate-results": [*ABLATE, *RESULTS],
    "run": ["run", "study.toml", "--out", "disk"],
    "quickstart": ["quickstart", "--smoke", "--out", "disk"],
    "report": ["report", "--results", "measured", "--out", "disk", "--format", "html"],
    "compare": ["report", "--results", "measured", "--compare", "clip", "dino", "--out", "disk"],
    "alignment": ["show", "alignment", "pairs/0.jpg", "--word", "cat", *TINY, "--out", "disk/picture"],
    "similarity": ["show", "similarity", "pairs/0.jpg", *TINY, "--out", "disk/picture"],
    "segmentation": ["show", "segmentation", "pairs/0.jpg", "--classes", "cat,dog", *TINY, "--out", "disk/picture"],
    "gallery": ["show", "gallery", "--heads", "h", "--dataset", "folder:a", "--out", "disk/picture"],
    "pull": ["head", "pull", "somebody/head", "--out", "disk/head"],
    "bench": ["bench", "all", "--out", "disk", "--device", "cpu"],
    "pretrain": ["world", "pretrain", "tiny-clip", "--out", "disk"],
}
WORK = [  # what no command may come to
    "pacl_bench.studies.runner._measure",
    "pacl_bench.studies.predictions._measured",
    "pacl_bench.training.state.TrainState.update",
    "pacl_bench.training.run.Head.finish",
    "pacl_bench.report.write._made",
    "pacl_bench.studies.pictures.read_photos",
    "pacl_bench.bench.everything.stages",
    "pacl_bench.world.pretrain.build_tiny_clip",
]


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    make_inputs(root)
    for model in ("clip", "dino"):
        records.write(root / "measured" / "records", classify(model, 0.5))
    return root


@pytest.fixture
def disk(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What cannot be written to in a test: "disk" in the folder that commands are given in."""
    for path in inputs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PACL_CACHE_LIMIT", "0")
    for name in WORK:
        monkeypatch.setattr(name, lambda *given, name=name, **named: pytest.fail(f"it came to {name}"))
    made = tmp_path / "disk"
    made.mkdir()
    return made


def without_room(folder: Path) -> AbstractContextManager[None]:
    return full_disk(2000)


def a_file(folder: Path) -> AbstractContextManager[None]:
    folder.rmdir()
    folder.write_text("somebody's")
    return nullcontext()


@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_told_before_anything_is_done(
    command: str, disk: Path, pacl: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    for make in (read_only, without_room, a_file):
        with make(disk):
            code, _, said = pacl(*COMMANDS[command])
        lines = [line for line in said.splitlines() if line.startswith("pacl-bench: ")]
        assert len(lines) == 1, said
        assert "disk" in lines[0] or make is without_room  # which no folder has then
        assert ("cannot be written" in lines[0]) == (make is not a_file), lines
        assert code == (2 if make is a_file else 1)
        assert sorted(tmp_path.rglob("*")) == before
