"""The whole paper in small: official layouts and checkpoint formats, random weights; and runs of it that are killed.

    python tests/samples/small_paper.py FOLDER --kills 10

trains and measures once undisturbed, and once killed at so many random moments, and says whether both left the same
records. Each run is a fork of this process, which has imported everything already.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import torch
from kills import import_everything
from PIL import Image
from safetensors.torch import save_file
from shard_samples import write_shards

from pacl_bench import cli
from pacl_bench.data.classification import CLASSIFICATION_SETS

CONFIGS = Path(__file__).parents[1] / "open_clip_configs"
SIZE = (48, 64)  # of an image: height, width
# of each set: image, label map, split list, two raw labels
SEGMENTATION = (
    ("VOCdevkit/VOC2012", "JPEGImages/{}.jpg", "SegmentationClass/{}.png", "ImageSets/Segmentation/val.txt", (8, 12)),
    ("VOCdevkit/VOC2010", "JPEGImages/{}.jpg", "SegmentationClassContext/{}.png",
     "ImageSets/SegmentationContext/val.txt", (3, 40)),
    ("coco", "val2017/{}.jpg", "stuffthingmaps/val2017/{}.png", "", (16, 120)),
    ("ADEChallengeData2016", "images/validation/{}.jpg", "annotations/validation/{}.png", "", (1, 100)),
)  # fmt: skip
CLASSIFICATION = {"eurosat": "eurosat/2750", "caltech101": "caltech101/101_ObjectCategories"}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
EXPERIMENT = """
[train.cells]
encoders = [{b16}, {dino}]
texts = [{b16}]
pairs = ["cc12m", "cc12m+yfcc15m", "cc3m+cc12m+yfcc15m"]
recipe = "paper"
change = {{ batch_size = 8, steps = 6, sets_apart = true }}

[train.l14-cells]
like = "cells"
encoders = [{l14}]
texts = []

[train.largest]
like = "cells"
encoders = [{b16}]
pairs = ["cc3m+cc12m+yfcc15m"]

[measure.table1]
evaluator = "patches"
encoders = [{b16}, {l14}]
trained = ["largest"]
datasets = ["voc20"]

[measure.figure3]
evaluator = "coherence"
encoders = [{b16}, {l14}, {dino}, "crf-kernel?size=64"]
datasets = ["voc20"]

[[measure.table2]]
evaluator = "segment"
encoders = [{b16}]
trained = ["largest"]
datasets = ["voc20", "context59", "coco_stuff171", "ade150"]

[[measure.table2]]
evaluator = "segment"
encoders = [{b16}]
trained = ["largest"]
datasets = ["voc20"]
settings = {{ stride = 4 }}

[measure.table3]
name = "ablate"
evaluator = "segment"
trained = ["cells", "l14-cells"]
datasets = ["voc20"]

[measure.figure8]
evaluator = "classify"
encoders = [{b16}, {l14}]
trained = ["largest"]
datasets = ["eurosat", "caltech101"]

[picture.figure2]
kind = "alignment"
encoders = [{b16}]
trained = ["largest"]
datasets = ["voc20"]
showing = "cat"
images = 2

[picture.figure4]
kind = "similarity"
encoders = [{b16}, {dino}]
datasets = ["voc20"]
showing = "dog"
images = 2

[picture.figure6]
kind = "segmentation"
encoders = [{b16}]
trained = ["largest"]
datasets = ["voc20", "ade150"]
images = 1
stride = 8
"""


def write_small_paper(folder: Path) -> Path:
    """Data sets, checkpoints and the study file below a folder; returns the file."""
    data = folder / "data"
    for number, tree in enumerate(SEGMENTATION):
        _write_segmentation(data, *tree, random=np.random.default_rng(number))
    for name, below in CLASSIFICATION.items():
        for label, of_class in enumerate(list(CLASSIFICATION_SETS[name].folder_names)[:3]):
            _write_photo(data / below / of_class / "1.jpg", np.random.default_rng(label))
    for name, sizes in (("cc3m", [9]), ("cc12m", [10, 8]), ("yfcc15m", [12])):
        write_shards(data / name, sizes)
    return _write_experiment(folder)


def _write_segmentation(
    data: Path, root: str, image: str, label_map: str, split: str, raw: tuple[int, int], random: np.random.Generator
) -> None:
    ids = [f"{number:06}" for number in range(3)]
    for name in ids:
        _write_photo(data / root / image.format(name), random)
        labels = np.full(SIZE, raw[0], np.uint8)
        labels[:, SIZE[1] // 2 :] = raw[1]
        (data / root / label_map.format(name)).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(data / root / label_map.format(name))
    if split:
        (data / root / split).parent.mkdir(parents=True, exist_ok=True)
        (data / root / split).write_text("\n".join(ids) + "\n")


def _write_photo(file: Path, random: np.random.Generator) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, size=(*SIZE, 3), dtype=np.uint8)).save(file)


def _write_experiment(folder: Path) -> Path:
    """Two CLIPs as open_clip's training saves them, a ViT of timm as safetensors."""
    open_clip.add_model_config(CONFIGS)
    for seed, name in enumerate(("b16", "l14")):
        torch.manual_seed(seed)
        weights = open_clip.create_model("small-test-vit").state_dict()
        torch.save({"epoch": 1, "name": name, "state_dict": weights}, folder / f"{name}.pt")
    torch.manual_seed(2)
    save_file(timm.create_model("vit_tiny_patch16_224").state_dict(), folder / "dino.safetensors")
    names = {
        **{name: f"clip-{name}=open_clip:small-test-vit@{folder / name}.pt" for name in ("b16", "l14")},
        "dino": f"dino-b16=timm:vit_tiny_patch16_224@{folder / 'dino.safetensors'}?size=64",
    }
    file = folder / "paper.toml"
    file.write_text(EXPERIMENT.format(**{name: json.dumps(spec) for name, spec in names.items()}))
    return file


def start(file: Path, out: Path, *more: str) -> int:
    """The number of a process that runs the small paper, with everything that it writes below `out`."""
    out.mkdir(parents=True, exist_ok=True)
    process = os.fork()
    if process:
        return process
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    log = os.open(out / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ |= {"PACL_DATA": str(file.parent / "data"), "PACL_CACHE": str(out / "cache")}
    sys.argv = ["pacl-bench", "run", str(file), "--out", str(out / "heads"), "--results", str(out / "results")]
    sys.argv += ["--workers", "0", "--device", "cpu", *more]
    code = 3
    try:
        cli.main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def exit_code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill(process: int, number: int, out: Path, files: int) -> int:
    """Ends a run by a signal when it has left so many files; the exit code it ends with."""
    while files_below(out) < files and not os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.01)
    os.kill(process, number)
    return exit_code(process)


def files_below(out: Path) -> int:
    """Of heads and records: how far a run has come."""
    return sum(file.is_file() for part in ("heads", "results") for file in (out / part).rglob("*"))


def left_behind(out: Path) -> dict[str, Any]:
    """Every record but where and when it was made. Weights of heads stand in it as their hashes."""
    # what begins with a dot is half of a file, left by a kill: nothing reads it
    files = [file for file in sorted((out / "results" / "records").rglob("*.json")) if file.name[0] != "."]
    contents = {str(file.relative_to(out)): json.loads(file.read_text()) for file in files}
    return {name: {key: value for key, value in one.items() if key != "provenance"} for name, one in contents.items()}


def compare(folder: Path, kills: int, seed: int = 0) -> list[str]:
    """What went wrong; nothing where the run that was killed leaves what the other leaves."""
    file, whole, killed = write_small_paper(folder), folder / "whole", folder / "killed"
    if exit_code(start(file, whole)):
        return [f"the undisturbed run failed: {(whole / 'log.txt').read_text()[-2000:]}"]
    moments = sorted(random.Random(seed).sample(range(files_below(whole)), kills))
    for at, moment in enumerate(moments):
        name = SIGNALS[at % len(SIGNALS)]
        code = kill(start(file, killed), name, killed, moment)
        print(f"{name.name} at {moment} files: exit code {code}, {len(left_behind(killed))} records", flush=True)
    if exit_code(start(file, killed)):
        return [f"the last run failed: {(killed / 'log.txt').read_text()[-2000:]}"]
    right, found = left_behind(whole), left_behind(killed)
    return [name for name in {*right, *found} if right.get(name) != found.get(name)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    torch.set_num_threads(1)
    import_everything()
    wrong = compare(given.folder.resolve(), given.kills, given.seed)
    print("\n".join(wrong) or "the same records")
    sys.exit(bool(wrong))
