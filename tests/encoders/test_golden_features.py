"""Patch features of every variant, held to what the code of SCLIP, NACLIP, ClearCLIP and MaskCLIP gives."""

import numpy as np
import pytest
import torch
from golden_vectors import HERE, SHARED, golden_encoder
from safetensors.torch import load_file
from torch.nn.functional import normalize

from pacl_bench.encoders.resizing import tiled
from pacl_bench.encoders.setup import Setup

DINOS = "bicubic+0.1"
VARIANTS = {  # of the vectors -> how ours is set up
    "sclip": Setup("sclip", DINOS),
    "sclip_plain": Setup("clip", DINOS),
    "naclip": Setup("naclip", DINOS),
    "naclip_vanilla": Setup("clip", DINOS),
    "naclip_vanilla_arch": Setup("naclip-residual", DINOS),
    "naclip_csa": Setup("sclip", DINOS),
    "naclip_kk": Setup("naclip-kk", DINOS),
    "clearclip_clearclip_noresidual": Setup("clearclip", DINOS),
    "clearclip_clearclip_residual": Setup("clearclip-residual", DINOS),
    "clearclip_sclip_noresidual": Setup("sclip-noresidual", DINOS),
    "clearclip_sclip_residual": Setup("sclip", DINOS),
    "clearclip_maskclip_noresidual": Setup("maskclip-noresidual", DINOS),
    "clearclip_maskclip_residual": Setup("maskclip", DINOS),
    "clearclip_vanilla_noresidual": Setup("clip-noresidual", DINOS),
    "clearclip_vanilla_residual": Setup("clip", DINOS),
    "maskclip": Setup("maskclip", "bicubic-noalias", "GELU", 1e-6),
    "maskclip_quickgelu": Setup("maskclip", "bicubic-noalias"),
}


@pytest.mark.shared
@pytest.mark.parametrize("variant", VARIANTS)
def test_features_are_theirs(variant: str) -> None:
    encoder = golden_encoder(HERE).set_up(VARIANTS[variant])
    expected = load_file(SHARED / "features" / f"{variant}.safetensors")
    for size, pixels in np.load(SHARED / "features" / "inputs.npz").items():
        image = torch.from_numpy(pixels[0])
        if variant.startswith("maskclip"):
            image = tiled(image, 16, "pad")
        features = encoder(image[None])
        found = normalize(encoder.project(features.patch_tokens[0]), dim=-1)
        torch.testing.assert_close(found, expected[size], rtol=0, atol=1e-5)


@pytest.mark.shared
def test_every_variant_of_the_vectors_is_tried() -> None:
    assert {file.stem for file in (SHARED / "features").glob("*.safetensors")} == set(VARIANTS)
