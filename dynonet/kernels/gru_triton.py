"""The GRU of `gru.py` on a GPU in float32, compiled by Triton: a block of the batch at a time, all its steps.

`gru_triton_steps.py` goes through time and back, `gru_triton_weights.py` makes the weights' gradients of what the way
back leaves, `gru_triton_plans.py` says which of their forms takes which size; here are their calls. No program adds to
another's result, and sums have a fixed order: neither a group's neighbours nor G can change a bit of its result.

Compiled anew for another `Plans` only (and another device): D, F, G, T and B are numbers at run time under a few padded
sizes. All sizes of a default search (`dynonet/searches/etth1-h96.yaml`) take eight compilations.

Where only the last state has a gradient, that gradient may underflow on its way back in time. Every 8 steps a block
looks whether its dh is exactly zero; it then stops, since all earlier steps would add exactly zero.

Memory: the states, and where `plan` says so the gates, 4D floats a window and step. Their gradients take their place:
at 64 models of the published controller the gates are two thirds of all there is.

`TRITON_INTERPRET=1`, set before triton is first imported, runs the same code on a CPU, slowly: for tests.
"""

# mypy: ignore-errors
# (What Triton compiled is called otherwise than it is declared.)
from __future__ import annotations

import contextlib

import torch
import triton
from torch import Tensor
from torch.nn.functional import pad

from dynonet.kernels.gru_triton_plans import (
    LARGEST,
    SUM_BLOCK,
    Plan,
    Plans,
    backward_options,
    backward_plan,
    forward_options,
    plan,
    reduce_options,
)
from dynonet.kernels.gru_triton_steps import ALIGNED, _backward, _forward
from dynonet.kernels.gru_triton_weights import _reduce

__all__ = ["LARGEST", "backward", "forward", "plan"]


# -- calls ---------------------------------------------------------------------------------------------------
def forward(
    x: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    last_only: bool,
    keep: bool,
    precision: str = "float32",
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """G GRUs: see `gru.gru` for shapes and formula. float32 only; any strides (what is not contiguous is copied).

    Returns the output, (G, T, D, B) or with `last_only` (G, D, B), and with `keep` what `backward` needs besides the
    inputs: the states and, where `plan` says so, the gates (4D floats for each window and step).

    `precision`: a name of PRODUCTS.

    Raises ValueError for D or F above LARGEST.
    """
    x, weight_ih, weight_hh, bias_ih, bias_hh = (t.contiguous() for t in (x, weight_ih, weight_hh, bias_ih, bias_hh))
    (groups, steps, inputs, batch), hidden = x.shape, weight_hh.shape[2]
    plans = plan(hidden, inputs)
    programs = groups * -(-batch // plans.forward.LANES)
    last = x.new_empty(groups, hidden, batch) if last_only else None
    states = x.new_empty(groups, steps, hidden, batch) if keep or not last_only else None
    gates = _empty_gates(x, hidden, plans) if keep and plans.KEPT else None
    if programs:
        with _device_of(x):
            _forward[(programs,)](
                *(x, *_padded(plans.forward, weight_ih, weight_hh), bias_ih, bias_hh),
                *(x if tensor is None else tensor for tensor in (states, gates, last)),
                *(hidden, inputs, steps, batch),
                *(int(tensor is not None) for tensor in (states, gates, last)),
                **forward_options(plans, hidden, gates is not None, precision),
            )
    kept = tuple(tensor for tensor in (states, gates) if tensor is not None) if keep else ()
    return (last if last_only else states), kept


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
    precision: str = "float32",
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight_ih, weight_hh, bias_ih and bias_hh (None where they are not needed).

    `kept` is what `forward` returned for these inputs, `grad` the gradient of its output. The weights' gradients are
    views of one tensor (G, all of a group's). Gates that were kept are overwritten where weights need a gradient (at
    64 models they are most of the memory): a second call is refused by autograd, as for anything changed in place.
    """
    x, weight_ih, weight_hh, bias_ih, bias_hh = (t.contiguous() for t in (x, weight_ih, weight_hh, bias_ih, bias_hh))
    (groups, steps, inputs, batch), hidden = x.shape, weight_hh.shape[2]
    plans = plan(hidden, inputs)
    back = backward_plan(plans, needs_x)
    blocks = -(-batch // back.LANES)
    states, gates = kept if plans.KEPT else (*kept, None)
    parts = (3 * hidden * hidden, 3 * hidden * inputs, 3 * hidden, 3 * hidden)
    dx = torch.empty_like(x) if needs_x else None
    stops = sums = None
    if needs_weights:
        stops = torch.empty(groups * blocks, dtype=torch.int32, device=x.device)
        sums = x.new_zeros(groups, sum(parts))
        if gates is None:
            gates = _empty_gates(x, hidden, plans)
        else:
            torch.autograd.graph.increment_version(gates)
    if groups * blocks and (needs_x or needs_weights):
        with _device_of(x):
            _backward[(groups * blocks,)](
                *(x, *_padded(back, weight_ih, weight_hh), bias_ih, bias_hh, states),
                *(x if tensor is None else tensor for tensor in (gates, grad.contiguous(), dx, stops)),
                *(hidden, inputs, steps, batch, int(last_only), int(needs_x), int(needs_weights)),
                **backward_options(plans, hidden, needs_x, precision),
            )
            if needs_weights:
                _sum_up(x, states, gates, stops, sums, plans, precision)
    if not needs_weights:
        return dx, None, None, None, None
    d_hh, d_ih, d_bias_ih, d_bias_hh = sums.split(parts, dim=1)
    return dx, d_ih.unflatten(1, (-1, inputs)), d_hh.unflatten(1, (-1, hidden)), d_bias_ih, d_bias_hh


def _sum_up(
    x: Tensor, states: Tensor, gates: Tensor, stops: Tensor, sums: Tensor, plans: Plans, precision: str
) -> None:
    """The weights' gradients (G, size) of the gates': products by shares of windows and steps, then their sum."""
    how, (groups, steps, inputs, batch) = plans.reduction, x.shape
    hidden, size = states.shape[2], sums.shape[1]
    length = max(16, -(-steps // 8))  # steps of a share: enough shares to fill a GPU with one model, few slots
    shares = -(-batch // how.WINDOWS) * -(-steps // length)
    slots = x.new_empty(groups, shares, size)
    rows = 4 * (plans.backward.D_PAD if plans.UNITS_LAST else hidden)
    for adds_up, programs in enumerate((shares * -(-rows // how.ROWS), -(-size // SUM_BLOCK))):
        _reduce[(groups * programs,)](
            *(x, states, gates, stops, slots, sums, hidden, inputs, steps, batch, length, adds_up),
            **reduce_options(plans, hidden, precision),
        )


def _empty_gates(x: Tensor, hidden: int, plans: Plans) -> Tensor:
    groups, steps, _, batch = x.shape
    if plans.UNITS_LAST:
        lanes = plans.backward.LANES
        return x.new_empty(groups, -(-batch // lanes), steps, 4, lanes, plans.backward.D_PAD)
    return x.new_empty(groups, steps, 4, hidden, triton.cdiv(batch, ALIGNED.value) * ALIGNED.value)


def _padded(plan: Plan, weight_ih: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor]:
    """The weights as `_forward` and `_backward` read them: padded for RELOAD."""
    if not plan.RELOAD:
        return weight_ih, weight_hh
    hidden, inputs = weight_hh.shape[2], weight_ih.shape[2]
    sizes = ((weight_ih, plan.F_PAD - inputs), (weight_hh, plan.D_PAD - hidden))
    return tuple(pad(w.unflatten(1, (3, hidden)), (0, more, 0, plan.D_PAD - hidden)) for w, more in sizes)


def _device_of(x: Tensor) -> contextlib.AbstractContextManager:
    """Triton launches on the current device, which need not be that of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
