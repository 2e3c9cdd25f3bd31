"""Several processes that train and measure together come to what one does alone."""

import json
import multiprocessing
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shard_samples import jpeg, write_shards

from pacl_bench.training.recipe import RECIPES, TrainConfig

WORK = """
import os
os.environ.update(environment)
import open_clip, torch
torch.set_num_threads(1)
open_clip.add_model_config(configs)
try:
    exec(code, names)
    told.send(names["answer"])
except Exception as error:
    told.send(repr(error))
    raise
"""
TRAIN = """
from pacl_bench.training.loop import train
from pacl_bench.training.recipe import Loading
answer = train(config, out, resume=resume, loading=Loading(workers=0, **loading)).train
"""
MEASURE = """
from pacl_bench.studies.runner import run_study
from pacl_bench.studies.study import Study
answer = [
    (record.key, [m for m in record.measurements], record.curves)
    for evaluator, datasets in measured.items()
    for record in run_study(Study(evaluator, evaluator, [encoder], datasets=datasets), results)
]
"""
# children of a process that has imported all that they need (of scikit-learn that takes seconds), and done nothing else
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    ["pacl_bench.training.loop", "pacl_bench.encoders.open_clip", "pacl_bench.studies.runner"]
    + [f"pacl_bench.evaluators.{name}" for name in ("classification", "coherence", "patches", "segmentation")]
)
# AdamW divides a gradient by its own size: where it is nearly 0, rounding becomes a part of the learning rate
QUICK = replace(RECIPES["small"], batch_size=10, steps=6, warmup_steps=0, lr=5e-5)


def together(processes: int, code: str, **names: Any) -> list[Any]:
    """What each of so many processes answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    own = {name: value for name, value in os.environ.items() if name.startswith("PACL_")}
    group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pipes, running = [], []
    for rank in range(processes):
        pipe, told = context.Pipe()
        given = {
            "environment": own | group | {"RANK": str(rank)},
            "configs": Path(__file__).parents[1] / "open_clip_configs",
            "code": code,
            "names": names,
            "told": told,
        }
        process = context.Process(target=exec, args=(WORK, given), daemon=True)
        process.start()
        told.close()
        pipes.append(pipe)
        running.append(process)
    assert all(pipe.poll(180) for pipe in pipes)
    answers = [pipe.recv() for pipe in pipes]
    for process in running:
        process.join(60)
    return answers


def same_weights(found: Path, expected: Path) -> None:
    weights, others = (load_file(folder / "head.safetensors") for folder in (found, expected))
    for name, weight in others.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize("source", ["files", "shards"])
def test_two_and_three_processes_train_the_head_of_one(
    clip_spec: str, pairs_csv: Path, tmp_path: Path, source: str
) -> None:
    """The same loss at every step, the same weights, one log; a run of two goes on in three."""
    pairs = str(pairs_csv) if source == "files" else str(write_shards(tmp_path / "mine", [25, 18, 6]))
    config = TrainConfig(clip_spec, clip_spec, pairs, QUICK)
    (alone,) = together(1, TRAIN, config=config, out=tmp_path / "one", resume=False, loading={})
    for number in (2, 3):
        out = tmp_path / str(number)
        answers = together(number, TRAIN, config=config, out=out, resume=False, loading={})
        assert answers == [alone] * number
        same_weights(out, tmp_path / "one")
        assert losses(out) == pytest.approx(losses(tmp_path / "one"), abs=1e-6)


@pytest.mark.slow
def test_two_and_three_processes_write_the_records_of_one(
    clip_spec: str, voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where images are encoded for it, where they are in the cache, and what a process reads that was recorded."""
    for label in ("cat", "dog"):
        (tmp_path / "folder" / label).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "folder" / label / f"{number}.jpg").write_bytes(jpeg(number))
    measured = {name: ["voc20"] for name in ("segment", "patches", "coherence")}
    measured["classify"] = [f"folder:{tmp_path / 'folder'}"]
    (alone,) = together(1, MEASURE, encoder=clip_spec, measured=measured, results=tmp_path / "1")
    assert len(alone) == 4
    in_the_cache = together(2, MEASURE, encoder=clip_spec, measured=measured, results=tmp_path / "cached")
    monkeypatch.setenv("PACL_CACHE", str(tmp_path / "own cache"))
    for number in (2, 3):
        answers = together(number, MEASURE, encoder=clip_spec, measured=measured, results=tmp_path / f"{number}")
        assert answers == [alone] * number
    assert in_the_cache == [alone] * 2
    written = [sorted(file.name for file in (tmp_path / name).rglob("*.json")) for name in ("1", "2", "3", "cached")]
    assert written == [written[0]] * 4


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]
