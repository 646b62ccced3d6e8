"""Many GRUs of one shape, run side by side, with the batch as the last (contiguous) axis.

Plain torch operations (any device and type) say what it computes; compiled kernels give the same numbers in float32:
`gru_cpu.py` on a CPU, `gru_triton.py` on a GPU. See `kernels.py` for which one is taken.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dynonet.network.products import precision
from lab.compute.kernels import asked, compiled, say_once

WIDE = 256  # units of a group that an exported program makes of several


def gru(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, *, last_only: bool = False
) -> Tensor:
    """G independent GRUs of one shape (G = models, or models x channels), initial state zero.

    x (G, T, I, B): T steps of I features, batch last. weight_ih (G, 3D, I), weight_hh (G, 3D, D), bias_ih and
    bias_hh (G, 3D): gates in the order reset, update, new, with torch.nn.GRU's formula
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html): n = tanh(W_in x + b_in + r (W_hn h + b_hn)).

    Returns the hidden states (G, T, D, B), or with `last_only` the last one (G, D, B).

    A group's result does not depend on the other groups, nor on `set_threads`: with a kernel not in one bit.
    A kernel is differentiable once, the torch path any number of times. The CPU's flushes denormals by itself; for
    the torch path, and the rest of a network, the caller sets `torch.set_flush_denormal(True)` in each thread.

    Raises ValueError for shapes, types or devices that do not fit, or an unknown DYNONET_KERNEL; RuntimeError if
    DYNONET_KERNEL=compiled and the kernel cannot be compiled.
    """
    _check(x, weight_ih, weight_hh, bias_ih, bias_hh)
    inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh)
    if torch.compiler.is_exporting():
        return _exported_gru(*inputs, last_only)
    kernel = _kernel(x, weight_hh.shape[2])
    if kernel is None:
        return _torch_gru(*inputs, last_only)
    more = {"precision": precision()} if x.device.type == "cuda" else {}
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        return _KernelGRU.apply(kernel, last_only, more, *inputs)
    return kernel.forward(*(tensor.detach() for tensor in inputs), last_only, keep=False, **more)[0]


def _check(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] < 1:
        raise ValueError(f"gru: x has shape {tuple(x.shape)}, expected (G, T, I, B) with T >= 1")
    if weight_hh.ndim != 3:
        raise ValueError(f"gru: weight_hh has shape {tuple(weight_hh.shape)}, expected (G, 3D, D)")
    groups, _, inputs, _ = x.shape
    hidden = weight_hh.shape[2]
    expected = {
        "weight_ih": (weight_ih, "(G, 3D, I)", (groups, 3 * hidden, inputs)),
        "weight_hh": (weight_hh, "(G, 3D, D)", (groups, 3 * hidden, hidden)),
        "bias_ih": (bias_ih, "(G, 3D)", (groups, 3 * hidden)),
        "bias_hh": (bias_hh, "(G, 3D)", (groups, 3 * hidden)),
    }
    for name, (tensor, letters, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(f"gru: {name} has shape {tuple(tensor.shape)}, expected {letters} = {shape}")
        if tensor.dtype != x.dtype or tensor.device != x.device:
            got, wanted = f"{tensor.dtype} on {tensor.device}", f"{x.dtype} on {x.device}"
            raise ValueError(f"gru: {name} is {got}, expected {wanted}, as x is")


# -- which path ----------------------------------------------------------------------------------------------
def _kernel(x: Tensor, hidden: int) -> ModuleType | None:
    """The module whose `forward` and `backward` take these sizes, or None for plain torch."""
    asked()  # an unknown choice is refused, whether or not it matters here
    if x.dtype != torch.float32 or x.device.type not in ("cpu", "cuda"):
        return None
    if x.device.type == "cpu":
        return compiled("dynonet.kernels.gru_cpu")
    kernel = compiled("dynonet.kernels.gru_triton")
    if kernel is not None and max(hidden, x.shape[2]) > kernel.LARGEST:
        say_once(f"a GRU of more than {kernel.LARGEST} units or inputs has no GPU kernel; a slow loop takes its place")
        return None
    return kernel


# -- plain torch ---------------------------------------------------------------------------------------------
def _torch_gru(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, last_only: bool
) -> Tensor:
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


def _exported_gru(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, last_only: bool
) -> Tensor:
    """torch's own operator, which is one node of an exported program where the loop is thousands, and takes one group:
    several are one group of block-diagonal weights, as long as that is small."""
    (_, steps, _, batch), hidden = x.shape, weight_hh.shape[2]
    every_group = (x, weight_ih, weight_hh, bias_ih, bias_hh)
    states = []
    for given, *pairs in zip(*(each.split(max(1, WIDE // hidden)) for each in every_group), strict=True):
        groups = len(given)
        gates = [pair.unflatten(1, (3, hidden)) for pair in pairs]
        weights = [torch.cat([torch.block_diag(*gate) for gate in pair.unbind(1)]) for pair in gates[:2]]
        biases = [pair.transpose(0, 1).flatten() for pair in gates[2:]]
        series = given.permute(1, 3, 0, 2).flatten(2)  # (T, B, groups of I)
        start = x.new_zeros(1, batch, groups * hidden)
        every, last = torch.gru(series, start, [*weights, *biases], True, 1, 0.0, False, False, False)
        if last_only:
            states.append(last[0].view(batch, groups, hidden).permute(1, 2, 0))
        else:
            states.append(every.view(steps, batch, groups, hidden).permute(2, 0, 3, 1))
    return torch.cat(states)


# -- the kernels ---------------------------------------------------------------------------------------------
class _KernelGRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, kernel, last_only, more, *inputs):
        output, kept = kernel.forward(*inputs, last_only, keep=True, **more)
        ctx.kernel, ctx.last_only, ctx.more = kernel, last_only, more
        ctx.save_for_backward(*inputs, *kept)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        inputs, kept = ctx.saved_tensors[:5], ctx.saved_tensors[5:]
        x_needed, *weights_needed = ctx.needs_input_grad[3:]
        wanted = x_needed, any(weights_needed)
        return None, None, None, *ctx.kernel.backward(*inputs, kept, grad, ctx.last_only, *wanted, **ctx.more)
