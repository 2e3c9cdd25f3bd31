"""A world in which the answer is known: each class has a colour, and a model that sees colours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pacl_bench.data.segmentation import SegmentationImages, load_segmentation
from pacl_bench.data.vocabulary import shipped_names
from pacl_bench.encoders.base import Preprocess, TextEncoder, VisionEncoder
from pacl_bench.model.aligned import AlignedModel

CLASSNAMES = shipped_names("voc20")
# 20 directions in 20 dimensions are told apart exactly; a photo has three, so a colour is looked up
COLOURS = np.random.default_rng(3).integers(0, 256, size=(21, 3), dtype=np.uint8)


class ColourEncoder(VisionEncoder):
    """Patch tokens that say which class's colour a patch mostly has: one-hot, width 21 (20 classes and background)."""

    def __init__(self, patch_size: int = 8, image_size: int = 64):
        super().__init__()
        self.name = self.spec = "colours"
        self.patch_size, self.image_size, self.width, self.num_blocks = patch_size, image_size, 21, 1
        self.block, self.tap, self.projection_dim = 0, "post-norm", 21
        self.preprocess = Preprocess(image_size, patch_size, (0.0,) * 3, (1.0,) * 3, "nearest")
        self.register_buffer("colours", torch.from_numpy(COLOURS).float() / 255)
        self.eval()

    def encode(self, images: Tensor, stride: int, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        distance = (images[:, None] - self.colours[None, :, :, None, None]).abs().sum(2)
        one_hot = (distance == distance.amin(1, keepdim=True)).float()
        pooled = torch.nn.functional.avg_pool2d(one_hot, self.patch_size, stride)
        patch_tokens = pooled.flatten(2).mT
        return patch_tokens.mean(1), patch_tokens

    def project(self, tokens: Tensor) -> Tensor:
        return tokens

    def parameters(self, recurse: bool = True):
        return iter([self.colours])


class NameEncoder(TextEncoder):
    """Text embeddings that say which class a prompt names; `answer` changes what a name stands for."""

    def __init__(self, answer: Callable[[int], int] = lambda label: label):
        super().__init__()
        self.name = self.spec = "names"
        self.dim, self.answer = 21, answer

    @property
    def settings(self) -> dict[str, object]:
        return {"answers": [self.answer(label) for label in range(21)]}

    def encode(self, texts: list[str]) -> Tensor:
        embeddings = torch.zeros(len(texts), 21)
        for row, text in enumerate(texts):
            named = [label for label, name in enumerate(CLASSNAMES) if f" {name}" in f" {text}"]
            label = max(named, key=lambda label: len(CLASSNAMES[label])) if named else 20
            embeddings[row, self.answer(label)] = 1
        return embeddings


@pytest.fixture
def perfect() -> AlignedModel:
    return AlignedModel("perfect", ColourEncoder(), NameEncoder())


@pytest.fixture
def constant() -> AlignedModel:
    """Every prompt means the same, so the first class always wins."""
    return AlignedModel("constant", ColourEncoder(), NameEncoder(lambda label: 0 if label == 0 else 20))


@pytest.fixture
def coloured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentationImages:
    """VOC's layout; 10 images of 2 x 2 fields of 32 pixels: every class has the same number of pixels."""
    root = tmp_path / "data" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    labels = np.random.default_rng(0).permutation(np.arange(40) % 20).reshape(10, 2, 2)
    for number, fields in enumerate(labels):
        label_map = fields.repeat(32, 0).repeat(32, 1).astype(np.uint8)
        # PNG under JPEG's name: Pillow looks at the content, and colours stay exact
        Image.fromarray(COLOURS[label_map]).save(root / "JPEGImages" / f"{number}.jpg", format="png")
        Image.fromarray(label_map + 1).save(root / "SegmentationClass" / f"{number}.png")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(map(str, range(10))))
    monkeypatch.setenv("PACL_DATA", str(tmp_path / "data"))
    return load_segmentation("voc20")
