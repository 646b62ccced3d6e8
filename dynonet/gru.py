"""Many small GRUs of one shape, run side by side, with the batch as the last (contiguous) axis."""

from __future__ import annotations

import torch
from torch import Tensor


def gru(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, *, last_only: bool = False
) -> Tensor:
    """G independent GRUs of one shape. See the shapes below; initial state zero.

    x (G, T, I, B), weight_ih (G, 3D, I), weight_hh (G, 3D, D), bias_ih and bias_hh (G, 3D).
    Returns (G, T, D, B), or (G, D, B) with last_only.
    """
    return _torch_gru(x, weight_ih, weight_hh, bias_ih, bias_hh, last_only)


def _torch_gru(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, last_only: bool
) -> Tensor:
    """The recurrence in plain torch operations: any dtype, any device, any order of derivative."""
    groups, steps, inputs, batch = x.shape
    hidden = weight_hh.shape[2]
    # One product for all steps: (G, 3D, I) @ (G, I, T*B).
    flat = x.transpose(1, 2).reshape(groups, inputs, steps * batch)
    from_input = torch.baddbmm(bias_ih.unsqueeze(2), weight_ih, flat)
    from_input = from_input.view(groups, 3 * hidden, steps, batch)
    h = x.new_zeros(groups, hidden, batch)
    states = []
    for gi in from_input.unbind(2):  # unbind once: indexing [t] makes a full-size gradient for every step
        gh = torch.baddbmm(bias_hh.unsqueeze(2), weight_hh, h)
        reset, update = torch.sigmoid(gi[:, : 2 * hidden] + gh[:, : 2 * hidden]).chunk(2, dim=1)
        new = torch.tanh(gi[:, 2 * hidden :] + reset * gh[:, 2 * hidden :])
        h = torch.lerp(new, h, update)  # (1 - z) * n + z * h
        states.append(h)
    return h if last_only else torch.stack(states, dim=1)
