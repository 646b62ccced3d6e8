"""Small layers with the model axis. Inside the network the batch is the last axis: lanes lie together in memory.

Symbols: N models, B windows, S lookback, H horizon, C channels, D worker hidden, W worker_seq_len.
"""

from functools import cache

import torch
from torch import Tensor

from dynonet.network.products import batched_product

REVIN_EPS = 1e-5
NORM_EPS = 1e-5  # of layer norm, torch's default


def stacked_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(G, out, in) weights and (G, out) biases on (G, in, B): `weight @ x + bias`, (G, out, B)."""
    return batched_product(bias[..., None], weight, x)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer norm over the last but one axis, (..., D, B); weight and bias broadcast to it."""
    centred = x - x.mean(dim=-2, keepdim=True)
    variance = centred.square().mean(dim=-2, keepdim=True)
    return centred * torch.rsqrt(variance + NORM_EPS) * weight + bias


def window_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population deviation of each window and channel over time: (N, S, C, B) -> two (N, 1, C, B).

    RevIN (Kim et al., ICLR 2022) as published: no gradient flows through the statistics.
    """
    x = x.detach()
    mean = x.mean(dim=1, keepdim=True)
    # Not x.var: over an axis that is not the last it takes ten times as long.
    return mean, ((x - mean).square_().mean(dim=1, keepdim=True) + REVIN_EPS).sqrt()


@cache  # for good: a captured step reads it whenever it is replayed
def _moving_average(length: int, kernel: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    rows = torch.arange(length)[:, None]
    columns = (rows + torch.arange(kernel)[None, :] - kernel // 2).clamp(0, length - 1)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    matrix.scatter_add_(1, columns, torch.full(columns.shape, 1.0 / kernel, dtype=torch.float64))
    return matrix.to(dtype=dtype, device=device)


def moving_average_matrix(length: int, kernel: int, like: Tensor) -> Tensor:
    """The (S, S) matrix whose product with a series is its moving average, edges padded by repetition.

    The average is linear, so the network folds it into the trend layer's weight and never computes the trend.
    """
    return _moving_average(length, kernel, like.dtype, like.device)


def decompose(x: Tensor, kernel: int) -> tuple[Tensor, Tensor]:
    """Trend and residual of (N, S, ...): the moving average over time, and what it leaves."""
    matrix = moving_average_matrix(x.shape[1], kernel, x)
    trend = torch.einsum("ts,ns...->nt...", matrix, x)
    return trend, x - trend


def dropout(x: Tensor, rate: Tensor, uniform: Tensor, eps: float = 0.0) -> Tensor:
    """Keeps an element where its uniform draw is at least the rate, divided by `keep + eps`.

    The rate is a number per element or broadcast; a gradient reaches it through the scale alone. At rate 1
    nothing is kept, and nothing is divided by 0.
    """
    keep = 1.0 - rate
    scaled = x / (keep + eps).clamp_min(1e-12)
    return torch.where(uniform.to(x.dtype) >= rate.detach(), scaled, 0.0)
