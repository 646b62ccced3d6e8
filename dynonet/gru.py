"""Many GRUs of one shape, run side by side, with the batch as the last (contiguous) axis.

Two paths give the same numbers: a compiled kernel (`gru_kernel.py`; CPU, float32) and plain torch operations (any
device and type). See `kernels.py` for which one is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dynonet.kernels import asked, compiled

_threads = 1


def gru(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, *, last_only: bool = False
) -> Tensor:
    """G independent GRUs of one shape (G = models, or models x channels), initial state zero.

    x (G, T, I, B): T steps of I features, batch last. weight_ih (G, 3D, I), weight_hh (G, 3D, D), bias_ih and
    bias_hh (G, 3D): gates in the order reset, update, new, with torch.nn.GRU's formula
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html): n = tanh(W_in x + b_in + r (W_hn h + b_hn)).

    Returns the hidden states (G, T, D, B), or with `last_only` the last one (G, D, B).

    A group's result does not depend on the other groups, nor on `set_threads`: on the kernel path not in one bit.
    The kernel is differentiable once, the torch path any number of times. The kernel flushes denormals by itself; for
    the torch path, and the rest of a network, the caller sets `torch.set_flush_denormal(True)` in each thread.

    Raises ValueError for shapes, types or devices that do not fit, or an unknown DYNONET_KERNEL; RuntimeError if
    DYNONET_KERNEL=numba and the kernel cannot be compiled.
    """
    _check(x, weight_ih, weight_hh, bias_ih, bias_hh)
    inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh)
    if _backend(x) == "torch":
        return _torch_gru(*inputs, last_only)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        return _KernelGRU.apply(*inputs, last_only)
    return _forward(inputs, last_only, keep=False)[0]


def set_threads(count: int) -> None:
    """Threads that one call of the kernel may use (1 unless set: many trials run side by side, a thread each)."""
    global _threads
    if count < 1:
        raise ValueError(f"set_threads: got {count}, expected at least 1")
    _threads = count


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
def _backend(x: Tensor) -> str:
    asked()  # an unknown choice is refused, whether or not it matters here
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return "torch"
    return "torch" if compiled("dynonet.gru_kernel") is None else "numba"


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


# -- the kernel ----------------------------------------------------------------------------------------------
class _KernelGRU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight_ih, weight_hh, bias_ih, bias_hh, last_only):
        inputs = (x, weight_ih, weight_hh, bias_ih, bias_hh)
        output, states = _forward(inputs, last_only, keep=True)
        ctx.last_only = last_only
        ctx.save_for_backward(*inputs, states)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        from dynonet import gru_kernel as kernel  # here, not above: compiling takes seconds, and may fail

        *arrays, states = ctx.saved_tensors
        x, weight_ih, weight_hh, bias_ih, bias_hh = (array.contiguous() for array in arrays)
        (groups, steps, inputs, batch), hidden = x.shape, weight_hh.shape[2]
        blocks = -(-batch // kernel.LANES)
        slot = kernel.slot_shape(hidden, inputs)
        grad = grad.contiguous()
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        slots = x.new_empty(groups, blocks, sum(slot)) if any(ctx.needs_input_grad[1:5]) else None
        scratch = x.new_empty(_threads, kernel.backward_scratch(hidden, inputs))
        wt_ih = weight_ih.transpose(1, 2).contiguous()
        wt_hh = weight_hh.roll(hidden, 1).transpose(1, 2).contiguous()  # gates: new, reset, update
        tensors = (x, weight_ih, weight_hh, bias_ih, bias_hh, wt_ih, wt_hh, states)
        addresses = [*map(_address, tensors), ctx.last_only, _address(grad), ctx.last_only]
        addresses += [_address(grad_x), _address(slots)]
        _run(kernel.backward, groups * blocks, addresses, scratch, (steps, inputs, hidden, batch))
        return grad_x, *_weight_gradients(slots, slot, groups, hidden, inputs), None


def _weight_gradients(slots: Tensor | None, slot: tuple, groups: int, hidden: int, inputs: int) -> tuple:
    if slots is None:
        return None, None, None, None
    sums = slots.new_zeros(groups, sum(slot))
    for block in slots.unbind(1):  # one after the other: an order that no other size or thread count can change
        sums += block
    hh, ih, biases = sums.split(slot, dim=1)
    # The kernel's order of gates: for hh new, reset, update; for the biases hh's new before ih's three.
    hh = hh.view(groups, 3 * hidden, -1)[:, :, :hidden].roll(-hidden, 1)
    ih = ih.reshape(groups, 3 * hidden, -1)[:, :, :inputs].contiguous()
    return ih, hh, biases[:, hidden:].contiguous(), biases[:, : 3 * hidden].roll(-hidden, 1)


def _forward(inputs: tuple[Tensor, ...], last_only: bool, keep: bool) -> tuple[Tensor, Tensor | None]:
    """The output and, with `keep`, what backward needs besides the inputs: all states."""
    from dynonet import gru_kernel as kernel

    x, weight_ih, weight_hh, bias_ih, bias_hh = (tensor.detach().contiguous() for tensor in inputs)
    (groups, steps, features, batch), hidden = x.shape, weight_hh.shape[2]
    blocks = -(-batch // kernel.LANES)
    output = x.new_empty((groups, hidden, batch) if last_only else (groups, steps, hidden, batch))
    states = None if last_only else output
    if keep and last_only:
        states = x.new_empty(groups * blocks * steps * hidden * kernel.LANES)
    scratch = x.new_empty(_threads, kernel.forward_scratch(hidden, features))
    addresses = [*map(_address, (x, weight_ih, weight_hh, bias_ih, bias_hh, states)), last_only]
    addresses += [_address(output) if last_only else 0]
    _run(kernel.forward, groups * blocks, addresses, scratch, (steps, features, hidden, batch))
    return output, states


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _run(function: Callable, items: int, addresses: list, scratch: Tensor, sizes: tuple[int, ...]) -> None:
    """Items 0..items-1, in as many contiguous shares as threads. (Threads are made anew: 0.1 ms, safe after a fork.)"""
    bounds = [items * i // _threads for i in range(_threads + 1)]
    shares = [
        (first, last, *addresses, _address(scratch[i]), *sizes)
        for i, (first, last) in enumerate(itertools.pairwise(bounds))
        if first < last
    ]
    if len(shares) <= 1:
        for share in shares:
            function(*share)
        return
    with ThreadPoolExecutor(len(shares)) as pool:
        for done in [pool.submit(function, *share) for share in shares]:
            done.result()
