"""Which form of the GRU's Triton kernels takes which size, and what is compiled into each.

A plan is a function of the widths alone; all else of a call is told at run time. So a search compiles no more than the
plans that its widths reach, and `compilations` says which those are, with or without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

LARGEST = 128  # of D and of F: above, a step's operands do not fit in shared memory
# How products on tensor cores round their factors, by `training.precision`; sums are float32 in all.
PRODUCTS = {"float32": "tf32x3", "tf32": "tf32", "bf16": "bf16"}
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
    f = max(power_of_two(inputs), 16)
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
    d = max(power_of_two(hidden), 64)
    reload = max(d, f) > 64
    wide = Plan(d, f, LANES=16, LANES_LAST=False, warps=8, RELOAD=reload, registers=255 if reload else None)
    return Plans(wide, wide, Reduction(64, d, f, 32, warps=4), KEPT=True, at_run_time=False, UNITS_LAST=True)


def power_of_two(count: int) -> int:
    """The least that is no less."""
    return 1 << (count - 1).bit_length()


# -- options of a launch -------------------------------------------------------------------------------------
def backward_plan(plans: Plans, needs_x: bool) -> Plan:
    back = plans.backward
    if needs_x and back.warps == 8 and not back.LANES_LAST:
        return back._replace(F_PAD=max(back.F_PAD, 32))  # more columns than lanes, as for D
    return back


def forward_options(plans: Plans, hidden: int, keeps_gates: bool, precision: str = "float32") -> dict[str, Any]:
    """What `_forward` is compiled with."""
    kept = plans.KEPT and (plans.at_run_time or keeps_gates)
    return {**_of_plan(plans.forward, precision), **_layout(plans, hidden), "KEPT": kept}


def backward_options(plans: Plans, hidden: int, needs_x: bool, precision: str = "float32") -> dict[str, Any]:
    """What `_backward` is compiled with."""
    own = {"KEPT": plans.KEPT, "CAN_X": needs_x or plans.at_run_time}
    return {**_of_plan(backward_plan(plans, needs_x), precision), **_layout(plans, hidden), **own}


def reduce_options(plans: Plans, hidden: int, precision: str = "float32") -> dict[str, Any]:
    """What `_reduce` is compiled with."""
    d_pad = plans.backward.D_PAD if plans.UNITS_LAST else 0  # else not read: widths share a kernel
    own = {**_capitals(plans.reduction), "BLOCK": SUM_BLOCK, "D_PAD": d_pad, "LANES": plans.backward.LANES}
    launch = {"num_warps": plans.reduction.warps, "num_stages": 1}
    return {**own, **_layout(plans, hidden), "PRODUCTS": PRODUCTS[precision], **launch}


def compilations(
    hidden: int, inputs: int, needs_x: bool, precision: str = "float32"
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a training with validation compiles for GRUs of these widths: kernels by name and options, some twice.

    `needs_x`: x has a gradient, as where something that learns comes before.
    """
    plans = plan(hidden, inputs)
    for keeps in (False, True):
        yield "_forward", forward_options(plans, hidden, keeps, precision)
    yield "_backward", backward_options(plans, hidden, needs_x, precision)
    yield "_reduce", reduce_options(plans, hidden, precision)


def _of_plan(plan: Plan, precision: str) -> dict[str, Any]:
    products = PRODUCTS["float32" if plan.LANES_LAST else precision]  # without tensor cores there is nothing to gain
    launch = {"num_warps": plan.warps, "maxnreg": plan.registers, "num_stages": 1}
    return {**_capitals(plan), "PRODUCTS": products, **launch}


def _layout(plans: Plans, hidden: int) -> dict[str, bool]:
    """FULL for wide GRUs alone: it is one more of each kernel, for the width that fills D_PAD."""
    return {"UNITS_LAST": plans.UNITS_LAST, "FULL": plans.UNITS_LAST and hidden == plans.backward.D_PAD}


def _capitals(plan: Plan | Reduction) -> dict[str, Any]:
    return {name: value for name, value in plan._asdict().items() if name.isupper()}
