"""The workers: one tiny GRU (or LSTM) per channel reads the last W steps of that channel's residual."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import gelu

from dynonet import kernels
from dynonet.config import ModelConfig
from dynonet.network.controller import Signals
from dynonet.network.gru import gru
from dynonet.network.layers import dropout, layer_norm, stacked_linear
from dynonet.network.lstm import lstm
from lab.compute.draws import Key, uniform

DROPOUT_EPS = 1e-8  # published: kept values are divided by keep + 1e-8


def workers(
    weights: Mapping[str, Tensor],
    residual: Tensor,
    signals: Signals,
    model: ModelConfig,
    keys: Sequence[Key] | None,
) -> Tensor:
    """Forecast of every worker.

    Args:
        weights: the workers' entries by name, each (N, C, ...), or (N, 1, ...) where all channels share one worker.
        residual: (N, W, C, B), what each worker reads.
        keys: where each layer's dropout draws its masks; None outside training (no dropout).
    Returns:
        (N, C, H, B).
    """
    models, steps, channels, batch = residual.shape
    hidden = weights["input.bias"].shape[-1]
    weights = {name: weight.expand(-1, channels, *weight.shape[2:]) for name, weight in weights.items()}
    kernel, position = kernels.fused(residual), weights["position"][:, :, :steps]  # (N, C, W, D)
    if kernel is not None:
        weight, bias = weights["input.weight"][..., 0], weights["input.bias"]
        x = kernel.workers_input(residual, weight, bias, position, signals.gate_masks)
        x = x.view(models, channels, steps, hidden, batch)
    else:
        lanes = residual.permute(0, 2, 1, 3).unsqueeze(3)  # (N, C, W, 1, B)
        offset = weights["input.bias"][:, :, None, :] + position
        x = weights["input.weight"][:, :, None] * lanes + offset[..., None]
        x = x * signals.gate_masks[:, :, None]  # (N, C, W, D, B)

    rate = signals.dropout_rate[:, :, None, None]  # (N, C, 1, 1, B)
    cell = {"gru": gru, "lstm": lstm}[model.worker_cell]
    for layer in range(model.num_layers):
        last = layer == model.num_layers - 1  # of the last layer only the last step is read
        flat = [
            weights[f"{model.worker_cell}.{layer}.{n}"].flatten(0, 1)
            for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        out = cell(x.reshape(models * channels, steps, hidden, batch), *flat, last_only=last)
        out = out.view(models, channels, 1 if last else steps, hidden, batch)
        film = signals.film_gamma[layer], signals.film_beta[layer]  # (N, C, D, B)
        norm = weights[f"norm.{layer}.weight"], weights[f"norm.{layer}.bias"]  # (N, C, D)
        draws = None if keys is None else uniform(keys[layer], tuple(out.shape[1:]))
        if kernel is not None:
            out = kernel.modulated(out, *film, *norm, signals.dropout_rate, draws, DROPOUT_EPS)
        else:
            gamma, beta = (t[:, :, None] for t in film)
            out = layer_norm(gamma * out + beta, *(t[:, :, None, :, None] for t in norm))
            if draws is not None:
                out = dropout(out, rate, draws, DROPOUT_EPS)
        if layer > 0:
            out = out + (x[:, :, -1:] if last else x)
        x = out

    context = signals.context[:, None].expand(-1, channels, -1, -1)
    joined = torch.cat([x[:, :, 0], context], dim=2).flatten(0, 1)  # (N*C, 2D, B)
    first, second = (
        (weights[f"output.{n}.weight"].flatten(0, 1), weights[f"output.{n}.bias"].flatten(0, 1)) for n in (0, 2)
    )
    return stacked_linear(gelu(stacked_linear(joined, *first)), *second).view(models, channels, -1, batch)
