"""The Triton kernels against float64: in Triton's interpreter, and on a GPU where there is one."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from pacl_bench import compatibility

PROGRAM = Path(__file__).parents[1] / "samples" / "triton_agreement.py"
pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not here")


def agree(device: str, **variables: str) -> None:
    """Fails where the program finds more than rounding between kernels and float64."""
    done = subprocess.run(
        [sys.executable, PROGRAM, device], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) >= 13
    for row in rows:
        assert row["phi"] < 1e-5, row
        assert row["text gradient"] < 1e-5, row
        # a gradient has the type of what it belongs to: that of bfloat16 is right, rounded to 8 bits
        assert row["patch gradient"] < (2**-8 if row["dtype"] == "bfloat16" else 1e-5), row


def test_kernels_in_the_interpreter() -> None:
    agree("cpu", TRITON_INTERPRET="1")


def test_kernels_compile_for_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes no GPU. The interpreter lets pass what the compiler does not."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from pacl_bench.model import compatibility_triton as module

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    sizes = {"TEXTS": module.TEXTS, "COLUMNS": module.COLUMNS, "DIMS": module.DIMS, "PATCHES": 64}
    constants: dict[str, object] = {**sizes, "PRECISION": "tf32x3", "TINY": 1e-12}
    types = dict.fromkeys(constants, "constexpr") | dict.fromkeys(("texts", "num_patches", "dim"), "i32")
    for kernel in (module._values_kernel, module._slopes_kernel):
        signature = {name: types.get(name, "*fp32") for name in kernel.arg_names}
        given = {(index,): constants[name] for index, name in enumerate(kernel.arg_names) if name in constants}
        source = ASTSource(kernel, signature, constexprs=given)
        hopper = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=module.LAUNCH)
        assert hopper.metadata.shared <= module.SHARED_MEMORY
        assert "wgmma" in hopper.asm["ptx"]  # on its matrix units


@pytest.mark.gpu
def test_kernels_on_a_gpu() -> None:
    agree("cuda")


@pytest.mark.gpu
def test_a_large_batch_on_a_gpu_takes_little_memory() -> None:
    """Its arrays of all pairs would take 3.3 GB each (text patch) and 8.6 GB (text dim)."""
    patches = torch.randn(2048, 196, 512, device="cuda", requires_grad=True)
    texts = torch.randn(2048, 512, device="cuda")
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    compatibility(patches, texts).sum().backward()
    assert torch.cuda.max_memory_allocated() - before < patches.numel() * 4 + 1e9


@pytest.mark.gpu
@pytest.mark.parametrize("patches", [196, 400])  # with the kernels, and more patches than they do
def test_a_gpu_says_what_the_cpu_says(patches: int) -> None:
    random = torch.Generator().manual_seed(0)
    given = torch.randn(4, patches, 64, generator=random), torch.randn(9, 64, generator=random)
    on_cpu = [tensor.clone().requires_grad_() for tensor in given]
    on_gpu = [tensor.cuda().requires_grad_() for tensor in given]
    expected, found = compatibility(*on_cpu, 10.0), compatibility(*on_gpu, 10.0)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-6)
    expected.square().sum().backward()
    found.square().sum().backward()
    for mine, theirs in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(mine.grad.cpu(), theirs.grad, rtol=1e-4, atol=1e-6)
