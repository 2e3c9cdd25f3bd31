"""Vision transformers of timm: DINO, DINOv2, MAE and any other by its name. They know no text."""

import warnings
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from pacl_bench.encoders.base import Preprocess, Tap, Tokens, VisionEncoder, frozen, patch_stride, resolve_block
from pacl_bench.encoders.checkpoints import find_weights, missing_weights, read_state_dict
from pacl_bench.encoders.hub import hub_access
from pacl_bench.errors import UsageError
from pacl_bench.registry import unknown_name


class TimmVisionEncoder(VisionEncoder):
    """A vision transformer of timm, with any number of prefix tokens (CLS, registers, distillation).

    Args:
        trunk: one whose patch embedding takes any image size (`dynamic_img_size=True`).
        projection: what an open_clip model puts behind its trunk to reach its text space.
    """

    def __init__(
        self,
        name: str,
        trunk: Any,  # a model of timm; pyright cannot know its attributes
        preprocess: Preprocess,
        block: int | None = None,
        tap: Tap = "post-norm",
        projection: nn.Module | None = None,
    ):
        super().__init__()
        self.name = self.spec = name
        self.trunk = frozen(trunk)
        self.projection = frozen(projection) if projection is not None else None
        self.preprocess = preprocess
        self.patch_size = trunk.patch_embed.patch_size[0]
        self.image_size = preprocess.image_size
        self.width = trunk.embed_dim
        self.num_blocks = len(trunk.blocks)
        self.block = resolve_block(block, self.num_blocks, name)
        self.tap = tap
        if projection is not None and trunk.global_pool == "token":
            self.projection_dim = self._projected(torch.zeros(1, self.width)).shape[1]

    def encode_blocks(
        self, images: Float[Tensor, "image 3 height width_px"], stride: int, grid: tuple[int, int], blocks: list[int]
    ) -> list[Tokens]:
        taken = sorted(set(blocks))  # the order in which they are come by
        with patch_stride(self.trunk.patch_embed.proj, stride), _any_size(self.trunk.patch_embed):
            outs = self.trunk.forward_intermediates(
                images,
                indices=taken,
                norm=self.tap == "post-norm",
                stop_early=True,
                output_fmt="NLC",
                intermediates_only=True,
                return_prefix_tokens=True,
            )
        by_block = dict(zip(taken, map(self._tokens, outs), strict=True))
        return [by_block[block] for block in blocks]

    def _tokens(self, out: Any) -> Tokens:
        if isinstance(out, Tensor):  # a model without prefix tokens
            return None, out
        patch_tokens, prefix_tokens = out
        # the CLS token comes first where there is one; a model may have registers alone
        has_cls = getattr(self.trunk, "cls_token", None) is not None
        return prefix_tokens[:, 0] if has_cls else None, patch_tokens

    def project(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch dim"]:
        if self.projection_dim is None:
            return super().project(tokens)
        if self.tap == "pre-norm":
            tokens = self.trunk.norm(tokens)
        return self._projected(tokens.reshape(-1, self.width)).reshape(*tokens.shape[:-1], -1)

    @torch.no_grad()
    def _projected(self, tokens: Float[Tensor, "token width"]) -> Float[Tensor, "token dim"]:
        assert self.projection is not None
        return self.projection(self.trunk.forward_head(tokens[:, None]))  # each token stands where CLS does


class _any_size:
    """Within the block a patch embedding does not ask that the image be a multiple of the patch size.

    With the stride trick it is not: 224 = 16 + 52 * 4. The encoder has cut off what no whole patch covers.
    """

    def __init__(self, patch_embed: Any):
        self.patch_embed = patch_embed
        self.own = patch_embed.img_size

    def __enter__(self) -> None:
        self.patch_embed.img_size = None

    def __exit__(self, *exception: object) -> None:
        self.patch_embed.img_size = self.own


def load_timm_vision(
    name: str, model: str, file: Path | None, block: int | None, tap: Tap, size: int | None
) -> TimmVisionEncoder:
    """A model of timm with the weights of a file, of PACL_WEIGHTS, or of the hub.

    A file may be in timm's own format or in that of the model's first release (DINO, DINOv2, MAE): timm's conversion
    is applied to it.
    """
    if not timm.is_model(model):
        raise UsageError(
            f"{name}: {unknown_name(model, timm.list_models(pretrained=True) + timm.list_models(), 'timm model')}"
        )
    weights = find_weights(name, file)
    trunk = _from_file(model, weights) if weights else _from_hub(name, model)
    config = resolve_data_config({}, model=trunk)
    patch_size = trunk.patch_embed.patch_size[0]
    preprocess = Preprocess(
        size or config["input_size"][-1], patch_size, config["mean"], config["std"], config["interpolation"]
    )
    return TimmVisionEncoder(name, trunk, preprocess, block, tap)


def _create(name: str, **options: Any) -> Any:
    try:
        trunk = timm.create_model(name, dynamic_img_size=True, **options)
    except TypeError:  # convolutional networks know no dynamic_img_size
        raise UsageError(f"{name} is no vision transformer, so it has no patch tokens. Choose a ViT.") from None
    if not all(hasattr(trunk, part) for part in ("patch_embed", "forward_intermediates", "blocks")):
        raise UsageError(f"{name} gives no patch tokens. Choose a ViT.")
    return trunk


def _from_file(model: str, weights: Path) -> Any:
    overlay = {"state_dict": read_state_dict(weights)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # the head keeps the size it was released with, so that timm loads strictly
            return _create(model, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError) as error:
        first = " ".join(str(error).split())[:160]
        raise UsageError(
            f"{weights} does not fit timm's {model} ({first}). Name the model it was saved from."
        ) from None


def _from_hub(name: str, model: str) -> Any:
    if not timm.is_model_pretrained(model):
        raise UsageError(f"{name}: timm has no weights for {model}. Give a local file: {name}@FILE.")
    with hub_access():
        try:
            return _create(model, pretrained=True)
        except (RuntimeError, OSError) as error:
            raise missing_weights(name, f"timm's {model}", error) from None
