"""The GRU of `gru.py` on a GPU in float32, compiled by Triton: a block of the batch at a time, all its steps.

`gru_triton_steps.py` goes through time and back, `gru_triton_weights.py` makes the weights' gradients of what the way
back leaves; here is which of their forms takes which size (`plan`), and their calls. No program adds to another's
result, and sums have a fixed order: neither a group's neighbours nor G can change a bit of its result.

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
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from torch.nn.functional import pad

from dynonet.kernels.gru_triton_steps import ALIGNED, _backward, _forward
from dynonet.kernels.gru_triton_weights import _reduce

LARGEST = 128  # of D and of F: above, a step's operands do not fit in shared memory
SUM_BLOCK = 128  # weight gradients that one program of the last sum adds up


# -- plans: what is in capitals is compiled in ---------------------------------------------------------------
class Plan(NamedTuple):
    """How a GRU goes one way through time."""

    D_PAD: int  # hidden units, padded to a power of two
    F_PAD: int
    LANES: int  # windows of one program
    LANES_LAST: bool  # one unit of one window in each thread; else tensor cores
    warps: int
    RELOAD: bool = False  # weights do not fit beside each other: read anew in each step, from the second-level cache
    registers: int | None = None  # at most for a thread


class Reduction(NamedTuple):
    """How the gates' gradients become those of the weights: the tiles of one program."""

    ROWS: int  # of the 4D rows of gates
    H_COLUMNS: int  # D, padded
    X_COLUMNS: int  # F, padded
    WINDOWS: int
    warps: int
    AT_ONCE: int = 16  # slots that one program of the last sum reads at once


class Plans(NamedTuple):
    forward: Plan
    backward: Plan
    reduction: Reduction
    KEPT: bool  # forward keeps the gates for backward; else backward computes them again
    at_run_time: bool  # what is wanted (gates, dx) is told at run time: fewer kernels, a little slower for wide GRUs
    UNITS_LAST: bool = False  # the gates' layout, see `_gate_steps`; where D is D_PAD it is also FULL


def plan(hidden: int, inputs: int) -> Plans:
    """A function of D and F alone, never of G, T, B or a measurement: a result is the same in any stack.

    What chose them, on an H200, 512 windows, last state only: ms forward and backward of 1, 8 and 64 models (7 workers
    each, 96 steps, x needs a gradient; a controller of F = 7, 512 steps). `before`: with the weights' gradients in the
    loop over time, D below 17 with LANES_LAST, above padded to 64 with 8 warps.

                             before              this                others that were measured
        workers D = 4    0.13 0.61  4.1     0.14 0.75  5.3     padded to 4 instead: 0.12 0.49 3.3, for two kernels more
                D = 8    0.53 3.6  28       0.16 0.83  5.9     32 lanes 7.2; tensor cores, gates kept 0.31 1.1 8.0
                D = 16   1.2  8.5  66       0.39 2.1  16       LANES_LAST back too: gates again 22, kept 20
                D = 24   3.5 25   199       0.65 4.3  33       gates again 0.92 6.0 45; 2 warps 0.80 4.9 36
                D = 32   3.5 25   192       0.62 4.0  31       gates again 1.0 6.6 50; 2 warps 0.76 4.5 34
        controller 12    0.77 2.1  14       0.66 1.3   6.6     tensor cores forward 1.5 2.1 7.2
                20       2.3  6.1  38       1.2  2.2  13       gates kept 1.3 2.3 13; 2 warps 1.9 2.7 13
                32       2.6  5.0  38       1.3  2.0  14       gates kept 1.1 1.8 12, for three kernels more
                64       3.0  5.9  41       2.2  4.9  36       32 lanes 3.6 4.9 34; 4 warps 3.0 6.5 46 (with a slower
                128     20   55             14   34            reduction, as 128's)

    Raises ValueError for a size above LARGEST.
    """
    if max(hidden, inputs) > LARGEST:
        raise ValueError(f"GRU kernel for GPUs: got {hidden} hidden units and {inputs} inputs, at most {LARGEST} each")
    f = max(triton.next_power_of_2(inputs), 16)
    if max(hidden, inputs) <= 8:
        narrow = Plan(8, 8, LANES=16, LANES_LAST=True, warps=4)
        return Plans(narrow, narrow, Reduction(32, 16, 16, 32, warps=1, AT_ONCE=8), KEPT=False, at_run_time=True)
    if max(hidden, inputs) <= 16:
        # 128 registers, so that two programs fit beside each other: else its forward is 1.7 times slower.
        out = Plan(16, 16, LANES=16, LANES_LAST=True, warps=8, registers=128)
        back = Plan(16, 16, LANES=16, LANES_LAST=False, warps=1)
        return Plans(out, back, Reduction(32, 16, 16, 32, warps=1, AT_ONCE=8), KEPT=True, at_run_time=True)
    if max(hidden, inputs) <= 32:
        middle, wide_x = Plan(32, f, LANES=16, LANES_LAST=False, warps=4), inputs > 16
        reduction = Reduction(32, 32, f, 32, warps=2)
        return Plans(middle, middle, reduction, KEPT=wide_x, at_run_time=False, UNITS_LAST=wide_x)
    # 64 units at least, as eight warps want more columns than lanes. With RELOAD ptxas falls back on 32 registers and
    # spills all else, unless it is told how many there are.
    d = max(triton.next_power_of_2(hidden), 64)
    reload = max(d, f) > 64
    wide = Plan(d, f, LANES=16, LANES_LAST=False, warps=8, RELOAD=reload, registers=255 if reload else None)
    return Plans(wide, wide, Reduction(64, d, f, 32, warps=4), KEPT=True, at_run_time=False, UNITS_LAST=True)


# -- calls ---------------------------------------------------------------------------------------------------
def forward(
    x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor, last_only: bool, keep: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """G GRUs: see `gru.gru` for shapes and formula. float32 only; any strides (what is not contiguous is copied).

    Returns the output, (G, T, D, B) or with `last_only` (G, D, B), and with `keep` what `backward` needs besides the
    inputs: the states and, where `plan` says so, the gates (4D floats for each window and step).

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
                **_compiled_in(plans.forward),
                **_layout(plans, plans.forward, hidden),
                KEPT=plans.KEPT and (plans.at_run_time or gates is not None),
                num_warps=plans.forward.warps,
                maxnreg=plans.forward.registers,
                num_stages=1,
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
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight_ih, weight_hh, bias_ih and bias_hh (None where they are not needed).

    `kept` is what `forward` returned for these inputs, `grad` the gradient of its output. The weights' gradients are
    views of one tensor (G, all of a group's). Gates that were kept are overwritten where weights need a gradient (at
    64 models they are most of the memory): a second call is refused by autograd, as for anything changed in place.
    """
    x, weight_ih, weight_hh, bias_ih, bias_hh = (t.contiguous() for t in (x, weight_ih, weight_hh, bias_ih, bias_hh))
    (groups, steps, inputs, batch), hidden = x.shape, weight_hh.shape[2]
    plans = plan(hidden, inputs)
    back = plans.backward
    if needs_x and back.warps == 8 and not back.LANES_LAST:
        back = back._replace(F_PAD=max(back.F_PAD, 32))  # more columns than lanes, as for D
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
                **_compiled_in(back),
                **_layout(plans, back, hidden),
                KEPT=plans.KEPT,
                CAN_X=needs_x or plans.at_run_time,
                num_warps=back.warps,
                maxnreg=back.registers,
                num_stages=1,
            )
            if needs_weights:
                _sum_up(x, states, gates, stops, sums, plans)
    if not needs_weights:
        return dx, None, None, None, None
    d_hh, d_ih, d_bias_ih, d_bias_hh = sums.split(parts, dim=1)
    return dx, d_ih.unflatten(1, (-1, inputs)), d_hh.unflatten(1, (-1, hidden)), d_bias_ih, d_bias_hh


def _sum_up(x: Tensor, states: Tensor, gates: Tensor, stops: Tensor, sums: Tensor, plans: Plans) -> None:
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
            **_compiled_in(how),
            **_layout(plans, plans.backward, hidden),
            BLOCK=SUM_BLOCK,
            D_PAD=plans.backward.D_PAD if plans.UNITS_LAST else 0,  # else not read: widths share a kernel
            LANES=plans.backward.LANES,
            num_warps=how.warps,
            num_stages=1,
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


def _layout(plans: Plans, plan: Plan, hidden: int) -> dict[str, bool]:
    """FULL for wide GRUs alone: it is one more of each kernel, for the width that fills D_PAD."""
    return {"UNITS_LAST": plans.UNITS_LAST, "FULL": plans.UNITS_LAST and hidden == plan.D_PAD}


def _compiled_in(plan: Plan | Reduction) -> dict[str, int | bool]:
    return {name: value for name, value in plan._asdict().items() if name.isupper()}


def _device_of(x: Tensor) -> contextlib.AbstractContextManager:
    """Triton launches on the current device, which need not be that of the tensors."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
