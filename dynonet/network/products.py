"""How exactly the matrix products of a step are taken on a GPU: `training.precision`.

Factors are rounded, sums are not: `tf32` keeps 11 bits of a factor, `bf16` 8. Validation, test and forecasts are taken
in float32 whatever training was.
"""

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch import Tensor

_here = threading.local()


def precision() -> str:
    """That of the products taken now, in this thread: a value of `training.precision`."""
    return getattr(_here, "precision", "float32")


@contextlib.contextmanager
def rounded(name: str) -> Iterator[None]:
    """Takes products of float32 tensors on a GPU in this precision, those of a backward pass within included."""
    before, _here.precision = precision(), name
    matmul = torch.backends.cuda.matmul
    flag = None if name == "float32" else matmul.allow_tf32  # torch's own setting is left alone where nothing is asked
    try:
        if flag is not None:
            matmul.allow_tf32 = True
        yield
    finally:
        _here.precision = before
        if flag is not None:
            matmul.allow_tf32 = flag


def batched_product(bias: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    """`weight @ x + bias`: (G, out, in) by (G, in, B), and (G, out, 1)."""
    if precision() == "bf16" and x.dtype == torch.float32:
        return torch.bmm(weight.bfloat16(), x.bfloat16()).float() + bias
    return torch.baddbmm(bias, weight, x)
