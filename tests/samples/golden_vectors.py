"""What other people's evaluation code gave on a small random model: tests/golden, and all of it in ../shared/golden."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip.transformer
import torch
from PIL import Image
from safetensors.torch import load_file

from pacl_bench import from_open_clip
from pacl_bench.encoders.base import VisionEncoder

HERE = Path(__file__).parents[1] / "golden"
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
