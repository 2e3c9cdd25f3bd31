"""How far the Triton kernels are from the same in float64 by plain operations, as JSON, case by case.

It is a program, as Triton looks at TRITON_INTERPRET once, when it is imported:

    TRITON_INTERPRET=1 python tests/samples/triton_agreement.py cpu
    python tests/samples/triton_agreement.py cuda
"""

import json
import sys

import torch
from torch import Tensor
from torch.nn.functional import normalize

from pacl_bench.model.compatibility_blocks import TORCH, Steps, blockwise_compatibility
from pacl_bench.model.compatibility_triton import TRITON

# images, patches, texts, dim: odd numbers, one patch, one text, several programs an image, the paper's patches, and as
# many patches as there may be
CASES = [(3, 7, 5, 20), (2, 1, 3, 5), (2, 9, 1, 16), (2, 33, 130, 40), (1, 196, 70, 96), (1, 256, 3, 17)]
LARGE_CASES = [(8, 196, 512, 512), (3, 255, 1000, 768)]  # minutes in the interpreter


def main(device: str) -> None:
    """Prints a row a case: the relative errors of phi and of its gradients by patches and by texts."""
    rows = []
    for case in CASES + (LARGE_CASES if device == "cuda" else []):
        patches, texts = random_batch(*case)
        rows.append({"case": case, "dtype": "float32", **errors(patches, texts, device)})
        rows.append({"case": case, "dtype": "bfloat16", **errors(patches.bfloat16(), texts, device)})
    patches, texts = random_batch(3, 5, 4, 20)
    patches[0], patches[1, 2], texts[1] = 0, 0, 0
    rows.append({"case": "zeros", "dtype": "float32", **errors(patches, texts, device)})
    print(json.dumps(rows))


def random_batch(images: int, patches: int, texts: int, dim: int) -> tuple[Tensor, Tensor]:
    """Patches and texts of random directions and lengths."""
    random = torch.Generator().manual_seed(patches)
    return torch.randn(images, patches, dim, generator=random), torch.randn(texts, dim, generator=random)


def errors(patches: Tensor, texts: Tensor, device: str) -> dict[str, float]:
    """Of the kernels, relative to the norm of what is right."""
    exact = value_and_gradients(patches.double(), texts.double(), TORCH)
    found = value_and_gradients(patches.to(device), texts.to(device), TRITON)
    names = "phi", "patch gradient", "text gradient"
    return {
        name: float((one.cpu().double() - right).norm() / right.norm())
        for name, one, right in zip(names, found, exact, strict=True)
    }


def value_and_gradients(patches: Tensor, texts: Tensor, steps: Steps) -> tuple[Tensor, ...]:
    """phi at a patch scale of 10, and the gradients of a sum in which every pair counts differently."""
    patches, texts = patches.requires_grad_(), texts.requires_grad_()
    directions = normalize(texts, dim=-1)
    phi = blockwise_compatibility(patches, directions, 10.0, steps)
    weighting = torch.linspace(-1, 2, phi.numel(), dtype=phi.dtype, device=phi.device).reshape(phi.shape)
    return phi.detach(), *torch.autograd.grad((phi * weighting).sum(), [patches, texts])


if __name__ == "__main__":
    main(sys.argv[1])
