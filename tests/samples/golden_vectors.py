"""What other people's evaluation code gave on a small random model: tests/golden, and all of it in ../shared/golden."""

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import open_clip.transformer
import torch
from PIL import Image
from safetensors.torch import load_file

from pacl_bench import from_open_clip
from pacl_bench.encoders.base import TextEncoder, VisionEncoder

HERE = Path(__file__).parents[1] / "golden"
SIBLINGS = HERE / "siblings"  # of another model, other pictures and other data sets
SHARED = Path(__file__).parents[3] / "shared" / "golden"

CONFIGS = {"cityscapes": "cityscapes19", "coco_stuff": "coco_stuff171", "voc20_names": "voc20"}
PROTOCOLS = {  # a preset of the vectors -> protocol, data set
    "tipsv2_slide": ("tipsv2", "ade150"),
    "tipsv2_whole": ("tipsv2-whole", "ade150"),
    "dinotxt_slide": ("dinotxt", "ade150"),
    "dinotxt_whole": ("dinotxt-whole", "ade150"),
}


@dataclass(frozen=True)
class Preset:
    """What one peer's code gave under one configuration."""

    root: Path
    name: str

    @property
    def protocol(self) -> tuple[str, str]:
        """Our name of its protocol, and of its data set."""
        if self.name in PROTOCOLS:
            return PROTOCOLS[self.name]
        peer, _, config = self.name.partition("_")
        if config.endswith("_pamr"):
            peer, config = "naclip-pamr", config.removesuffix("_pamr")
        return peer, CONFIGS.get(config, config)

    @property
    def result(self) -> dict:
        return json.loads((self.root / "segmentation" / self.name / "result.json").read_text())

    @property
    def pictures(self) -> list[dict]:
        return self.result["images"]

    def texts(self) -> tuple[torch.Tensor, list[int]]:
        """The embeddings of names, and the class of each."""
        of, folder = self.result["texts"], self.root / "segmentation"
        about = json.loads((folder / "texts.json").read_text())
        return load_file(folder / "texts.safetensors")[of], about[of]["class_of_name"]

    def image(self, picture: dict) -> Image.Image:
        return Image.open(self.root / "segmentation" / picture["image"])

    def predicted_map(self, picture: dict) -> np.ndarray:
        return self._map(self.name, picture)

    def label_map(self, picture: dict) -> np.ndarray:
        return self._map(self.result["labels"], picture)

    def _map(self, folder: str, picture: dict) -> np.ndarray:
        return np.asarray(Image.open(self.root / "segmentation" / folder / Path(picture["image"]).name))


def presets(root: Path) -> list[Preset]:
    return [Preset(root, file.parent.name) for file in sorted(root.glob("segmentation/*/result.json"))]


def golden_encoder(root: Path) -> VisionEncoder:
    """The random model, a VisionTransformer of open_clip in hand."""
    options = dict(json.loads((root / "model.json").read_text())["args"])
    activation = getattr(open_clip.transformer, options.pop("act_layer"))
    visual = open_clip.transformer.VisionTransformer(**options, act_layer=activation)
    visual.load_state_dict(load_file(root / "model.safetensors"))
    return from_open_clip(visual, "golden")


@dataclass
class GoldenImages:
    """The pictures of a preset as a data set of the name of its own."""

    preset: Preset
    pictures: list[dict]
    theirs: bool = False  # whether the label maps are those that the peer's code predicted
    official_images: int = 6
    classnames: list[str] = field(init=False)

    def __post_init__(self) -> None:
        background = ["background"] * (max(self.preset.texts()[1]) == 20)
        self.classnames = background + [f"class {number}" for number in range(20)]

    @property
    def name(self) -> str:
        return self.preset.protocol[1]

    def __len__(self) -> int:
        return len(self.pictures)

    def image(self, index: int) -> Image.Image:
        return self.preset.image(self.pictures[index]).convert("RGB")

    def label_map(self, index: int) -> np.ndarray:
        read = self.preset.predicted_map if self.theirs else self.preset.label_map
        return read(self.pictures[index])

    @cached_property
    def fingerprint(self) -> str:
        return f"{self.preset.root}: " + " ".join(picture["image"] for picture in self.pictures)

    def write_names(self, file: Path) -> Path:
        """The class file: the names of a class on its line, as `GoldenTexts` knows them."""
        names: list[list[str]] = [[] for _ in self.classnames]
        for number, label in enumerate(self.preset.texts()[1]):
            names[label].append(f"name{number}")
        file.write_text("\n".join(", ".join(of_class) for of_class in names))
        return file


class GoldenTexts(TextEncoder):
    """Gives any prompt with the name of a preset's text the embedding of that text."""

    def __init__(self, preset: Preset):
        super().__init__()
        self.name = self.spec = preset.name
        self.embeddings, _ = preset.texts()
        self.dim = self.embeddings.shape[1]

    @property
    def settings(self) -> dict[str, object]:
        return {"texts": self.name}

    def encode(self, texts: list[str]) -> torch.Tensor:
        return self.embeddings[[int(re.findall(r"name(\d+)", text)[0]) for text in texts]]
