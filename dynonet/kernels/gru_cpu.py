"""Calls of the compiled CPU kernel (`gru_numba.py`): addresses, memory, threads, and what it leaves to be summed."""

# mypy: ignore-errors
# (What Numba compiled is called otherwise than it is declared.)
from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from dynonet.kernels import gru_numba
from lab.compute import kernels


def forward(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, last_only: bool, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """G GRUs: see `gru.gru` for shapes and formula. float32 only; any strides (what is not contiguous is copied).

    Returns the output and, with `keep`, what `backward` needs besides the inputs: all states.
    """
    x, weight_ih, weight_hh, bias_ih, bias_hh = (t.contiguous() for t in (x, weight_ih, weight_hh, bias_ih, bias_hh))
    (groups, steps, features, batch), hidden = x.shape, weight_hh.shape[2]
    blocks = -(-batch // gru_numba.LANES)
    output = x.new_empty((groups, hidden, batch) if last_only else (groups, steps, hidden, batch))
    states = None if last_only else output
    if keep and last_only:
        states = x.new_empty(groups * blocks * steps * hidden * gru_numba.LANES)
    scratch = x.new_empty(kernels.threads(), gru_numba.forward_scratch(hidden, features))
    addresses = [*map(_address, (x, weight_ih, weight_hh, bias_ih, bias_hh, states)), last_only]
    addresses += [_address(output) if last_only else 0]
    _run(gru_numba.forward, groups * blocks, addresses, scratch, (steps, features, hidden, batch))
    return output, (states,) if keep else ()


def backward(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    kept: tuple[Tensor, ...],
    grad: Tensor,
    last_only: bool,
    needs_x: bool,
    needs_weights: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight_ih, weight_hh, bias_ih and bias_hh (None where they are not needed).

    `kept` is what `forward` returned for these inputs, `grad` the gradient of its output.
    """
    x, weight_ih, weight_hh, bias_ih, bias_hh = (t.contiguous() for t in (x, weight_ih, weight_hh, bias_ih, bias_hh))
    (groups, steps, features, batch), hidden = x.shape, weight_hh.shape[2]
    blocks = -(-batch // gru_numba.LANES)
    slot = gru_numba.slot_shape(hidden, features)
    grad = grad.contiguous()
    grad_x = torch.empty_like(x) if needs_x else None
    slots = x.new_empty(groups, blocks, sum(slot)) if needs_weights else None
    scratch = x.new_empty(kernels.threads(), gru_numba.backward_scratch(hidden, features))
    wt_ih = weight_ih.transpose(1, 2).contiguous()
    wt_hh = weight_hh.roll(hidden, 1).transpose(1, 2).contiguous()  # gates: new, reset, update
    tensors = (x, weight_ih, weight_hh, bias_ih, bias_hh, wt_ih, wt_hh, *kept)
    addresses = [*map(_address, tensors), last_only, _address(grad), last_only, _address(grad_x), _address(slots)]
    _run(gru_numba.backward, groups * blocks, addresses, scratch, (steps, features, hidden, batch))
    return grad_x, *_weight_gradients(slots, slot, groups, hidden, features)


def _weight_gradients(slots: Tensor | None, slot: tuple, groups: int, hidden: int, features: int) -> tuple:
    if slots is None:
        return None, None, None, None
    sums = slots.new_zeros(groups, sum(slot))
    for block in slots.unbind(1):  # one after the other: an order that no other size or thread count can change
        sums += block
    hh, ih, biases = sums.split(slot, dim=1)
    # The kernel's order of gates: for hh new, reset, update; for the biases hh's new before ih's three.
    hh = hh.view(groups, 3 * hidden, -1)[:, :, :hidden].roll(-hidden, 1)
    ih = ih.reshape(groups, 3 * hidden, -1)[:, :, :features].contiguous()
    return ih, hh, biases[:, hidden:].contiguous(), biases[:, : 3 * hidden].roll(-hidden, 1)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _run(function: Callable, items: int, addresses: list, scratch: Tensor, sizes: tuple[int, ...]) -> None:
    """Items 0..items-1, in as many contiguous shares as threads. (Threads are made anew: 0.1 ms, safe after a fork.)"""
    threads = kernels.threads()
    bounds = [items * i // threads for i in range(threads + 1)]
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
