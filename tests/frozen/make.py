"""Makes what a version of pacl-bench writes, to be frozen: `python tests/frozen/make.py FOLDER` with that version.

Run once a schema, with the commit that FOLDER/README.md names; what is frozen is never made again. The tests in
tests/test_frozen.py read it with today's code.
"""

import csv
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

out = Path(sys.argv[1]).resolve()
out.mkdir(parents=True, exist_ok=True)
os.chdir(out)
os.environ["PACL_CACHE"] = str(out / "cache")


def draw() -> None:
    """Four scenes with masks, six with classes, 24 pairs: all from the built-in world."""
    from pacl_bench.data.classification import load_classification
    from pacl_bench.data.pairs import load_pairs
    from pacl_bench.data.segmentation import load_segmentation

    scenes = load_segmentation("world-things")
    for part in ("images", "masks"):
        (out / "scenes" / part).mkdir(parents=True)
    (out / "scenes" / "names.txt").write_text("\n".join(scenes.classnames) + "\n")
    for index in range(4):
        scenes.image(index).save(out / "scenes" / "images" / f"{index}.png")
        Image.fromarray(scenes.label_map(index).astype(np.uint8)).save(out / "scenes" / "masks" / f"{index}.png")
    things = load_classification("world-clean")
    for index in range(6):
        folder = out / "classes" / things.classnames[things.labels[index]]
        folder.mkdir(parents=True, exist_ok=True)
        things.image(index).save(folder / f"{index}.png")
    (out / "pairs").mkdir()
    pairs = load_pairs("world-1k")[0]
    with (out / "pairs" / "pairs.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("filepath", "caption"))
        for index in range(24):
            pairs.photos.image(index).save(out / "pairs" / f"{index}.png")
            writer.writerows((f"{index}.png", caption) for caption in pairs.captions[index])


def train_heads() -> None:
    """A finished head, an untrained one, and a run that was stopped at step 4 of 8 beside the weights it leads to."""
    from dataclasses import replace

    from pacl_bench.train import RECIPES, TrainConfig, TrainState, train  # type: ignore[import-not-found]

    recipe = replace(RECIPES["small"], steps=8, batch_size=8, warmup_steps=2)
    config = TrainConfig("tiny-clip", "tiny-clip", "pairs/pairs.csv", recipe, 0)
    train(config, out / "heads" / "trained")
    train(replace(config, recipe=replace(recipe, steps=0)), out / "heads" / "untrained")
    update = TrainState.update

    def stopped(self: TrainState, *given: object) -> float:
        if self.step == 4:
            raise KeyboardInterrupt
        return update(self, *given)

    TrainState.update = stopped
    try:
        train(config, out / "heads" / "stopped")
    except Exception as error:
        print(error)
    TrainState.update = update
    (out / "heads" / "trained" / "checkpoint.pt").unlink()


def measure() -> None:
    """A record of each evaluator, before alignment and after."""
    from pacl_bench.runner import run_study  # type: ignore[import-not-found]
    from pacl_bench.study import Study  # type: ignore[import-not-found]

    heads = ["heads/trained"]
    scenes, classes = ["folder:scenes"], ["folder:classes"]
    run_study(Study("patches", "patches", ["tiny-clip"], heads, scenes, {"purity": 0.6}), out)
    run_study(Study("coherence", "coherence", ["tiny-clip", "tiny-dino"], [], scenes), out)
    run_study(Study("segment", "segment", ["tiny-clip"], heads, scenes, {"thresholds": [0.2]}), out)
    run_study(Study("classify", "classify", ["tiny-clip"], heads, classes), out)


draw()
train_heads()
measure()
shutil.rmtree(out / "cache" / "locks", ignore_errors=True)
