"""dino.txt: DINOv3 or DINOv2 with two more blocks behind it and a text encoder, made by the code of a clone.

    dinotxt-l16@FOLDER?clone=CLONE     CLONE: of facebookresearch/dinov3; FOLDER: the released weights

The clone's own function makes the model. What it would download it finds in FOLDER (default PACL_WEIGHTS), under the
names of the release. Code runs for nobody but the user who names the clone (see encoders.own_code).

A text has a vector of two halves: the first is compared to the CLS token, the second to patch tokens; whole images, of
which the CLS token and the mean of the patch tokens are laid side by side, are compared to both.

Source: Jose et al., CVPR 2025 (arXiv 2412.16334); dinov3/hub/dinotxt.py and notebooks/dinotxt_*.ipynb of
facebookresearch/dinov3, dinov2/hub/dinotxt.py of facebookresearch/dinov2.
"""

import copy
import importlib
import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from pacl_bench.encoders import own_code
from pacl_bench.encoders.base import PatchFeatures, Preprocess, TextEncoder, Tokens, VisionEncoder, frozen
from pacl_bench.encoders.request import EncoderRequest
from pacl_bench.encoders.source import first_on_path
from pacl_bench.encoders.weights_files import WEIGHTS_SUFFIXES, read_state_dict
from pacl_bench.errors import UsageError, one_line
from pacl_bench.paths import weights_root

VOCABULARY = "bpe_path_or_url"  # a parameter of DINOv3's function


class DinoTxtVisionEncoder(VisionEncoder):
    """The vision tower of dino.txt: its tokens are those behind the additional blocks, which lie in the text space."""

    any_stride = False

    def __init__(self, name: str, tower: Any, preprocess: Preprocess):
        super().__init__()
        self.name = self.spec = name
        self.tower = frozen(tower)
        self.preprocess = preprocess
        self.patch_size, self.image_size = preprocess.patch_size, preprocess.image_size
        self.width = self.projection_dim = tower.backbone.embed_dim
        self.tap = "post-norm"

    def encode(self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int]) -> Tokens:
        cls_token, patch_tokens = self.tower.get_class_and_patch_tokens(images)[:2]
        return cls_token, patch_tokens

    def project(self, tokens: Float[Tensor, "*batch width"] | None) -> Float[Tensor, "*batch dim"]:
        assert tokens is not None
        return tokens

    def image_embedding(self, features: PatchFeatures) -> Float[Tensor, "image twice_dim"]:
        assert features.cls_token is not None
        return torch.cat([features.cls_token, features.patch_tokens.mean(1)], dim=-1)


class DinoTxtTextEncoder(TextEncoder):
    """The text tower of dino.txt: what of a text is compared to patches; with `whole`, what is compared to images."""

    BATCH = 64

    def __init__(self, name: str, tower: Any):
        super().__init__()
        self.name = self.spec = name
        self.tower = frozen(tower)
        # the authors' tokenizer is CLIP's, with CLIP's vocabulary
        self.tokenizer = SimpleTokenizer(context_length=len(tower.backbone.positional_embedding))
        self.dim = tower.head.linear_projection.out_features // 2
        self.whole = False

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Float[Tensor, "text dim"]:
        tokens = self.tokenizer(texts).to(next(self.tower.parameters()).device)
        # it sees nothing of what follows a text's end, the largest of all tokens
        longest = int(tokens.argmax(dim=1).max()) + 1
        embeddings = self.tower(tokens[:, :longest])
        return embeddings if self.whole else embeddings[:, self.dim :]

    @property
    def for_images(self) -> "DinoTxtTextEncoder":
        assert self.fingerprint  # computed once for both
        other = copy.copy(self)
        other.whole, other.dim = True, 2 * self.dim
        return other

    @property
    def settings(self) -> dict[str, object]:
        return {**super().settings, **({"part": "image and patches"} if self.whole else {})}


def load_dinotxt_vision(request: EncoderRequest) -> DinoTxtVisionEncoder:
    """The vision tower, from the clone and the weights that the request names."""
    options, patch_size = request.vision_options, request.entry.patch
    assert options.size is not None
    assert patch_size is not None
    preprocess = Preprocess(options.size, patch_size, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    return DinoTxtVisionEncoder(request.spec.name, _requested(request).visual_model, preprocess)


def load_dinotxt_text(request: EncoderRequest) -> DinoTxtTextEncoder:
    """The text tower, from the clone and the weights that the request names."""
    return DinoTxtTextEncoder(request.spec.name, _requested(request).text_model)


def _requested(request: EncoderRequest) -> Any:
    """The model, its clone and folder of weights found or asked for in one line."""
    name, function = request.weights_name, request.entry.model
    repository = f"facebookresearch/{_package(function)}"
    if "clone" not in request.spec.options:
        raise UsageError(f"{name} is code of {repository}. Name your clone of it: {name}@FOLDER?clone=CLONE.")
    clone = Path(request.spec.options["clone"]).expanduser().resolve()
    if not (clone / _package(function) / "hub" / "dinotxt.py").is_file():
        raise UsageError(f"{name}: {clone} is no clone of {repository} (its hub/dinotxt.py not found).")
    folder = request.spec.file.expanduser() if request.spec.file else weights_root()
    if folder is None or not folder.is_dir():
        given = f"{folder} is no folder" if folder is not None else "PACL_WEIGHTS is not set"
        raise UsageError(
            f"{name}: {given}. Name the folder with the files of the release: {name}@FOLDER?clone={clone}."
        )
    own_code.remember(request.spec.text)
    return _model(name, function, clone, folder)


@lru_cache(maxsize=1)  # the two towers of one model are asked for one after the other
def _model(name: str, function: str, clone: Path, folder: Path) -> Any:
    """What the clone's function makes of the weights in a folder."""
    given: set[str] = set()
    with (
        one_line(f"{name} cannot be made of {clone} and {folder}"),
        first_on_path(clone),
        _files_for_downloads(folder, given),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of packages that would make it faster
        make = getattr(_module(_package(function), clone), function)
        # DINOv2's function takes nothing; DINOv3's would download CLIP's vocabulary, and returns a tokenizer too
        takes_vocabulary = VOCABULARY in inspect.signature(make).parameters
        made = make(**{VOCABULARY: default_bpe()} if takes_vocabulary else {})
        model = made[0] if isinstance(made, tuple) else made
        _require_all(model, given)
    return model


def _module(package: str, clone: Path) -> ModuleType:
    """The clone's module of dino.txt; a UsageError where its package has the name of one imported from elsewhere."""
    module = importlib.import_module(f"{package}.hub.dinotxt")
    found = Path(module.__file__ or "").resolve()
    if not found.is_relative_to(clone):
        raise UsageError(f"this process has imported another {package}, of {found.parents[2]}.")
    return module


def _package(function: str) -> str:
    """The repository's name, and that of its package: dinov3 or dinov2."""
    return function.partition("_")[0]


@contextmanager
def _files_for_downloads(folder: Path, given: set[str]) -> Iterator[None]:
    """Within the block torch.hub takes files from a folder, adding the names of their weights to `given`.

    DINOv2's function takes no paths, and torch.hub would copy what DINOv3's is given into its cache.
    """

    def from_folder(address: str, **_options: Any) -> dict[str, Tensor]:
        weights = read_state_dict(_released(folder, address))
        given.update(weights)
        return weights

    download = torch.hub.load_state_dict_from_url
    torch.hub.load_state_dict_from_url = from_folder
    try:
        yield
    finally:
        torch.hub.load_state_dict_from_url = download


def _released(folder: Path, address: str) -> Path:
    """The file of a folder that has the name of a released one, or is the same in another format."""
    released = folder / address.rpartition("/")[2]
    same = (released.with_suffix(suffix) for suffix in (released.suffix, *WEIGHTS_SUFFIXES))
    file = next((candidate for candidate in same if candidate.is_file()), None)
    if file is None:
        raise UsageError(f"{released.name} is not there. It is released at {address}.")
    return file


def _require_all(model: Any, given: set[str]) -> None:
    """DINOv3's function takes a file that lacks weights in silence; a UsageError for one that does."""
    for prefix, part in (("visual_model.head.", model.visual_model.head), ("text_model.", model.text_model)):
        for weight in part.state_dict():
            if not {weight, prefix + weight} & given:
                raise UsageError(f"{prefix}{weight} is in none of the files.")
