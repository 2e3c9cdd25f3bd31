"""Small real things for all tests: encoders in the official formats, data sets in the official layouts."""

import csv
import gc
import itertools
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in several processes, a core each

import numpy as np
import pytest
import xdist
from PIL import Image

from pacl_bench import cli, progress, registry

if TYPE_CHECKING:  # see pytest_collection
    import torch

SHARED = Path(__file__).parents[2] / "shared"
CONFIGS = Path(__file__).parent / "open_clip_configs"
HOMES = itertools.count()

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as does nohup this one, and both are inherited
gc.disable()  # until all is imported: a million objects, of which none is garbage, would be gone through many times


def pytest_collection(session: pytest.Session) -> None:
    """Large libraries come before the package: what is first imported by a module that jaxtyping's hook loads is
    compiled anew, each time. The process that only hands out tests needs none of them.
    """
    if not xdist.is_xdist_controller(session):
        import matplotlib.pyplot
        import open_clip
        import pandas
        import sklearn.metrics
        import timm

        del matplotlib, open_clip, pandas, sklearn, timm


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real photos and of a GPU skip, with the reason, where there are none. Files with slow tests come first:
    begun last, one of them would be all that is left to do, by one process of several."""
    slow = {item.path for item in items if "slow" in item.keywords}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        if "shared" in item.keywords and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"the developers' folder {SHARED} is not here"))
        if "gpu" in item.keywords and not has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_collection_finish() -> None:
    """What was imported stays to the end, and is no garbage."""
    gc.freeze()
    gc.enable()


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's folders or the network."""
    root = tmp_path_factory.getbasetemp() / f"home{next(HOMES)}"  # mktemp reads the names of all that are there
    root.mkdir()
    for variable in ("PACL_DATA", "PACL_WEIGHTS", "PACL_RESULTS", "PACL_CACHE"):
        monkeypatch.setenv(variable, str(root / variable.lower()))
    monkeypatch.setenv("PACL_OWN_CODE", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(autouse=True)
def own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command says how far it is, however long it takes on a busy machine."""
    monkeypatch.setattr(progress._PlainLines, "said", math.inf)


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """A command that ends ignores Ctrl-C for the rest of its process; the process of the tests goes on."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def pacl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pacl-bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def shared_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real photos, as the data root."""
    monkeypatch.setenv("PACL_DATA", str(SHARED / "data"))
    return SHARED / "data"


@pytest.fixture(scope="session")
def small_clip() -> "torch.nn.Module":
    """A random CLIP of open_clip's own class: ViT of width 32, 2 blocks, patch 16, 64 pixels; text space of 24."""
    import open_clip
    import torch

    torch.manual_seed(0)
    open_clip.add_model_config(CONFIGS)
    return open_clip.create_model("small-test-vit").eval()


@pytest.fixture(scope="session")
def clip_file(small_clip: "torch.nn.Module", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights as open_clip's training script saves them."""
    import torch

    file = tmp_path_factory.mktemp("clip") / "epoch_1.pt"
    torch.save({"epoch": 1, "name": "small", "state_dict": small_clip.state_dict()}, file)
    return file


@pytest.fixture(scope="session")
def clip_spec(clip_file: Path) -> str:
    return f"small-clip=open_clip:small-test-vit@{clip_file}"


@pytest.fixture(scope="session")
def vit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ViT-Ti/16 of timm, as safetensors."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    file = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    save_file(timm.create_model("vit_tiny_patch16_224").state_dict(), file)
    return file


@pytest.fixture
def voc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VOC2012 in its official layout: 6 images of odd sizes, cat (8) left, dog (12) right, 255 above, 0 below."""
    root = tmp_path / "data" / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    random = np.random.default_rng(0)
    names = [f"2007_{number:06}" for number in range(6)]
    for name in names:
        height, width = (int(side) for side in random.integers(60, 140, size=2))
        photo = random.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        labels = np.full((height, width), 8, np.uint8)
        labels[:, width // 2 :] = 12
        labels[:2] = 255
        labels[-2:] = 0
        Image.fromarray(photo).save(root / "JPEGImages" / f"{name}.jpg")
        mask = Image.fromarray(labels)
        mask.putpalette([value for number in range(256) for value in (number, number, number)])
        mask.save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(names) + "\n")
    monkeypatch.setenv("PACL_DATA", str(tmp_path / "data"))
    return root


@pytest.fixture
def pairs_csv(tmp_path: Path) -> Path:
    """Twelve pairs in a csv, among them a corrupt JPEG, an empty caption and a photo that is not there."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    random = np.random.default_rng(1)
    rows = []
    for number in range(12):
        photo = random.integers(0, 256, size=(40 + number, 70 - number, 3), dtype=np.uint8)
        Image.fromarray(photo).save(folder / f"{number}.jpg")
        rows.append((f"{number}.jpg", f"a dog and a cat number {number} on the grass"))
    whole = (folder / "3.jpg").read_bytes()
    (folder / "3.jpg").write_bytes(whole[: len(whole) // 2])
    rows[5] = ("5.jpg", "  ")
    rows.append(("gone.jpg", "a photo nobody took"))
    with (folder / "pairs.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([("filepath", "caption"), *rows])
    return folder / "pairs.csv"


@pytest.fixture
def declares(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, list[EntryPoint]], None]]:
    """Makes it seem that an installed package declares entry points of a group."""

    def declare(group: str, points: list[EntryPoint]) -> None:
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group, wanted=group: points * (group == wanted))
        registry._installed.cache_clear()

    yield declare
    registry._installed.cache_clear()
