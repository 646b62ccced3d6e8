"""Many LSTMs of one shape side by side, in plain torch operations: the cell of an ablation, not of the network."""

import torch
from torch import Tensor


def lstm(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, *, last_only: bool = False
) -> Tensor:
    """G independent LSTMs, initial state and cell zero; shapes as in `gru.gru`, with 4D rows for 3D.

    Gates in the order input, forget, cell, output, with torch.nn.LSTM's formula
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html). Returns the hidden states (G, T, D, B), or with
    `last_only` the last one (G, D, B).
    """
    groups, steps, inputs, batch = x.shape
    hidden = weight_hh.shape[2]
    # One product for all steps: (G, 4D, I) @ (G, I, T*B).
    flat = x.transpose(1, 2).reshape(groups, inputs, steps * batch)
    from_input = torch.baddbmm((bias_ih + bias_hh).unsqueeze(2), weight_ih, flat)
    from_input = from_input.view(groups, 4 * hidden, steps, batch)
    h = cell = x.new_zeros(groups, hidden, batch)
    states = []
    for given in from_input.unbind(2):
        gates = torch.baddbmm(given, weight_hh, h)
        enter, forget, new, out = gates.chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(new)
        h = torch.sigmoid(out) * torch.tanh(cell)
        states.append(h)
    return h if last_only else torch.stack(states, dim=1)
