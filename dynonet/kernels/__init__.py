"""Compiled kernels of the GRU (Numba on a CPU, Triton on a GPU) and of a step's other formulas (Triton)."""

from types import ModuleType

import torch
from torch import Tensor

from lab.compute.kernels import compiled


def in_use(device: str) -> str:
    """What computes the GRUs on a kind of device: `numba`, `triton`, or `torch` for plain torch operations."""
    module, name = (
        ("dynonet.kernels.gru_triton", "triton") if device == "cuda" else ("dynonet.kernels.gru_cpu", "numba")
    )
    return "torch" if compiled(module) is None else name


def fused(like: Tensor) -> ModuleType | None:
    """What computes a step's formulas in a few launches (`step_triton.py`), for float32 on a GPU; else None, and plain
    torch does."""
    if like.device.type != "cuda" or like.dtype != torch.float32 or torch.compiler.is_exporting():
        return None
    return compiled("dynonet.kernels.step_triton")
