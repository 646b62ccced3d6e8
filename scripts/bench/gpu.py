"""The whole GPU measurement in one command: precision first, then the GRU kernels alone, then whole training steps.

    python -m scripts.bench.gpu [--models 1,4,8,32,64] [--repeats 20] [--epochs 3]

Needs a CUDA GPU with nothing else running on it, and triton. (`--device cpu --models 1,2 --batch 32` runs the same code
on a CPU: a check of this script, not a measurement.) Everything is float32 with TF32 off, the kernels' own `tf32x3`
apart. Kernels and the stock step: time between CUDA events, median after warm-up. Whole training: wall time of
`StackTrainer.run_epoch`, validation included, after one epoch of warm-up.

Two limits stand beside each time. Both are measured here: `memory` is the bytes that any implementation must move that
keeps the GRUs' states in memory, at the rate of a large copy; `arithmetic` is the products' operations at the rate of
a large float32 product (`tf32x3` on tensor cores may go below it). `x limit` is the time over the larger of the two.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dynonet.config import Config
from dynonet.network.gru import _torch_gru, gru
from dynonet.reference.oracle import Oracle, OracleTrainer
from lab.compute.draws import random_bits, seed_keys
from lab.series import Series
from lab.training.trainer import StackTrainer
from scripts.bench.gru import CASES, NAMES, Case, tensors
from scripts.bench.step import CHANNELS, operations

LOOKBACK, HORIZON, WORKER_STEPS, CONTROL, HIDDEN = 512, 96, 96, 64, 8  # the published setting, preset h96
PUBLISHED_BATCH = 512  # what `scripts.bench.step.operations` counts for
ROWS = 14_400  # of the series: ETTh1's, so that an epoch has its 15 steps
OUTPUT_ERROR, GRADIENT_ERROR = 1e-5, 1e-4  # most that is accepted, of each array's largest number


@dataclass(frozen=True)
class Machine:
    device: torch.device
    bytes_per_second: float
    operations_per_second: float

    def limits(self, moved: float, operations: float) -> tuple[float, float]:
        """Least time in ms by memory and by arithmetic."""
        return 1e3 * moved / self.bytes_per_second, 1e3 * operations / self.operations_per_second


# -- time ----------------------------------------------------------------------------------------------------
def milliseconds(run: Callable[[], object], device: torch.device, repeats: int, warm_up: int = 3) -> float:
    """Median time of a call on the device (on a CPU wall time).

    The device first sleeps for a millisecond, in which the host hands in the call: else short kernels would be timed
    as long as it takes to launch them. What waits for the host by itself, as the stock step, is timed with its waits.
    """
    for _ in range(warm_up):
        run()
    taken = []
    for _ in range(repeats):
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda._sleep(2_000_000)  # clock cycles
            begin.record()
            run()
            end.record()
            end.synchronize()
            taken.append(begin.elapsed_time(end))
        else:
            start = time.perf_counter()
            run()
            taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def measured(device: torch.device, repeats: int) -> Machine:
    gpu = device.type == "cuda"
    source = torch.ones(1 << (28 if gpu else 24), device=device)  # 1 GiB: far more than any cache
    target = torch.empty_like(source)
    copy = milliseconds(lambda: target.copy_(source), device, repeats)
    size = 8192 if gpu else 512
    a, b = torch.randn(2, size, size, device=device)
    product = milliseconds(lambda: a @ b, device, repeats)
    return Machine(device, 2 * 4 * source.numel() / (copy / 1e3), 2 * size**3 / (product / 1e3))


# -- precision -----------------------------------------------------------------------------------------------
Call = Callable[[list[Tensor], bool, bool], list[Tensor]]  # tensors, last_only, whether x needs a gradient


def kernel_call(tensors: list[Tensor], last_only: bool, needs_x: bool) -> list[Tensor]:
    """Output and gradients (of the sum of the output) by the GPU kernel."""
    from dynonet.kernels import gru_triton

    output, kept = gru_triton.forward(*tensors, last_only, True)
    return [output, *gru_triton.backward(*tensors, kept, torch.ones_like(output), last_only, needs_x, True)]


def path_call(path: Callable[..., Tensor]) -> Call:
    """The same by an autograd path."""

    def call(tensors: list[Tensor], last_only: bool, needs_x: bool) -> list[Tensor]:
        leaves = [t.detach().requires_grad_(needs_x or i > 0) for i, t in enumerate(tensors)]
        output = path(*leaves, last_only=last_only)
        output.backward(torch.ones_like(output))
        return [output.detach(), *(leaf.grad for leaf in leaves)]

    return call


def check_precision(cases: list[Case], device: torch.device, ours: Call) -> bool:
    """Prints the kernels' errors against the float64 torch path; whether all are small enough."""
    print(f"\nPrecision against float64, relative to each array's largest number (at most {OUTPUT_ERROR:g} for the")
    print(f"output, {GRADIENT_ERROR:g} for gradients)")
    names = ("output", "x", *NAMES)
    print(f"{'':34s}" + "".join(f"{name:>11s}" for name in names))
    good = True
    shapes = [replace(c, groups=2 * c.groups, last_only=last) for c in cases for last in (False, True)]
    shapes += [replace(shapes[0], name=f"D={d}, I={i}", inputs=i, hidden=d, groups=2, steps=24, last_only=False)
               for d, i in ((1, 1), (16, 16), (20, 5), (49, 7), (64, 64), (100, 7), (128, 128))]  # fmt: skip
    for case in shapes:
        inputs = [t.to(device) for t in tensors(case)]
        got = ours(inputs, case.last_only, True)
        expected = path_call(_torch_gru)([t.double() for t in inputs], case.last_only, True)
        errors = [((a.double() - b).abs().max() / b.abs().max()).item() for a, b in zip(got, expected, strict=True)]
        fits = errors[0] <= OUTPUT_ERROR and all(error <= GRADIENT_ERROR for error in errors[1:])
        good &= fits  # a NaN does not fit
        title = f"{case.name}, {'last state' if case.last_only else 'all states'}"
        print(f"{title:34s}" + "".join(f"{error:11.1e}" for error in errors) + ("" if fits else "  TOO LARGE"))
    if device.type == "cuda":
        from lab.compute import draws_triton

        keys = seed_keys(torch.arange(3, device=device))
        plain = ((random_bits(keys, (100_001,)) >> 8) & 0xFFFFFF).to(torch.float32) * 2.0**-24
        same = torch.equal(draws_triton.uniform(*keys, 100_001), plain)
        print(f"draws, bit for bit: {'the same' if same else 'NOT THE SAME'}")
        good &= same
    return good


def columns(**widths: int) -> str:
    return "".join(f"{name.replace('_', ' '):>{width}s}" for name, width in widths.items())


# -- the kernels alone ---------------------------------------------------------------------------------------
def bytes_moved(case: Case, backward: bool) -> int:
    """Floats that must be read or written, times 4: x, states (once each way where backward needs them), gradients."""
    windows = case.groups * case.batch
    x, states = windows * case.steps * case.inputs, windows * case.steps * case.hidden
    output = windows * case.hidden if case.last_only else states
    if not backward:
        return 4 * (x + output)
    gradients = output + (0 if case.last_only else x)
    return 4 * (x + states + x + states + gradients)


def calls(case: Case, backward: bool, device: torch.device) -> Callable[[], object]:
    """One call of our kernel for all groups; in training, x needs a gradient unless it is a first layer."""
    inputs, last_only = [t.to(device) for t in tensors(case)], case.last_only
    if device.type == "cpu":
        train = path_call(gru)
        return lambda: train(inputs, last_only, not last_only) if backward else gru(*inputs, last_only=last_only)
    from dynonet.kernels import gru_triton

    if not backward:
        return lambda: gru_triton.forward(*inputs, last_only, False)
    shape = (case.groups, case.hidden, case.batch) if last_only else (*inputs[0].shape[:2], case.hidden, case.batch)
    grad = torch.ones(shape, device=device)

    def step() -> None:
        _, kept = gru_triton.forward(*inputs, last_only, True)
        gru_triton.backward(*inputs, kept, grad, last_only, not last_only, True)

    return step


def stock_gru(case: Case, backward: bool, device: torch.device, together: bool) -> Callable[[], None]:
    """One model's groups as torch.nn.GRU: one after the other, or `together` as a single block-diagonal one."""
    count, width = (1, case.groups) if together else (case.groups, 1)
    layers = [torch.nn.GRU(width * case.inputs, width * case.hidden).to(device) for _ in range(count)]
    x = torch.randn(case.steps, case.batch, width * case.inputs, device=device)
    xs = [x.clone().requires_grad_(backward and not case.last_only) for _ in layers]

    def run() -> None:
        with torch.set_grad_enabled(backward):
            for part, layer in zip(xs, layers, strict=True):
                output = layer(part)[0]
                output = output[-1] if case.last_only else output
                if backward:
                    output.backward(torch.ones_like(output))

    return run


def show_kernels(cases: list[Case], counts: list[int], machine: Machine, repeats: int) -> None:
    print("\nGRU kernels alone, ms (stock: torch.nn.GRU for one model, times the models, one after the other)")
    print(f"{'':30s}" + columns(models=7, ours=10, memory=10, arithmetic=11, x_limit=9, stock=10, ratio=8))
    for case in cases:
        for backward in (False, True):
            title = f"{case.name}, {'forward+backward' if backward else 'forward'}"
            stock = milliseconds(stock_gru(case, backward, machine.device, False), machine.device, repeats)
            for count in counts:
                stack = replace(case, groups=count * case.groups)
                try:
                    ours = milliseconds(calls(stack, backward, machine.device), machine.device, repeats)
                except torch.cuda.OutOfMemoryError:
                    print(f"{title:30s}{count:>7d}   out of memory")
                    continue
                memory, arithmetic = machine.limits(bytes_moved(stack, backward), stack.products(backward))
                row = f"{title:30s}{count:>7d}{ours:>10.3f}{memory:>10.3f}{arithmetic:>11.3f}"
                print(f"{row}{ours / max(memory, arithmetic):>9.1f}{count * stock:>10.2f}{count * stock / ours:>8.1f}")
            if case.groups > 1:
                wide = milliseconds(stock_gru(case, backward, machine.device, True), machine.device, repeats)
                print(f"{title:30s}  one block-diagonal nn.GRU for {case.groups} channels of one model: {wide:.2f}")
    print("(arithmetic counts every step of backward; where only the last state has a gradient, ours may stop earlier)")


# -- whole steps ---------------------------------------------------------------------------------------------
def series(rows: int) -> Series:
    values = np.random.default_rng(0).standard_normal((rows, CHANNELS)).cumsum(axis=0)
    names = tuple(f"c{i}" for i in range(CHANNELS))
    first, second = rows * 6 // 10, rows * 8 // 10
    return Series("random walk", values, names, (0, first), (first, second), (second, rows), "bench", "bench")


def stock_step(rows: int, batch: int, device: torch.device) -> Callable[[], None]:
    """One alternating step as published, in stock modules: workers' phase, controller's phase, both optimisers."""
    net = Oracle(CHANNELS, CONTROL, HIDDEN, 1, LOOKBACK, HORIZON).to(device)
    trainer = OracleTrainer(net, 2e-3, 1e-4)
    scaled = torch.as_tensor(series(rows).scaled.copy(), dtype=torch.float32, device=device)
    windows = scaled.unfold(0, LOOKBACK + HORIZON, 1)[:batch].transpose(1, 2).contiguous()
    x, y = windows[:, :LOOKBACK], windows[:, LOOKBACK:]

    def masks() -> dict[str, object]:
        uniforms = [[torch.rand(batch, WORKER_STEPS, HIDDEN, device=device)] for _ in range(CHANNELS)]
        mixer = torch.rand(batch, HORIZON, 4 * CHANNELS, device=device)
        return {"worker_uniforms": uniforms, "mixer_uniforms": mixer, "mixer_rate": 0.1}

    def run() -> None:
        trainer.worker_step(x, y, torch.rand(CHANNELS, device=device), **masks())
        trainer.controller_step(x, y, **masks())

    return run


def step_bytes(batch: int) -> int:
    """Bytes that one model's step must move: its windows, and the GRUs of both phases with their states.

    The workers' phase runs the controller forward only; the workers themselves run forward and backward in both.
    """
    controller = Case("controller", 1, LOOKBACK, CHANNELS, CONTROL, batch, last_only=True)
    workers = Case("workers", CHANNELS, WORKER_STEPS, HIDDEN, HIDDEN, batch, last_only=True)
    windows = 2 * 2 * 4 * batch * CHANNELS * (LOOKBACK + HORIZON)  # gathered (read, written) in each phase
    dx = 4 * 2 * batch * CHANNELS * WORKER_STEPS * HIDDEN  # the workers' input has a gradient, in both phases
    return (
        windows + bytes_moved(controller, False) + bytes_moved(controller, True) + 2 * bytes_moved(workers, True) + dx
    )


def epoch_seconds(count: int, rows: int, batch: int, epochs: int, device: torch.device) -> tuple[float, int]:
    """Median seconds of an epoch of a stack of `count` models, and its steps."""
    settings = {"training.protocol": "published", "training.batch_size": batch}
    configs = [Config.create({**settings, "training.seed": seed}, preset="h96") for seed in range(count)]
    trainer = StackTrainer(configs, series(rows), device=device)
    taken = []
    for _ in range(epochs + 1):
        start = time.perf_counter()
        trainer.run_epoch()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    if len(trainer.running) != count:
        raise RuntimeError(f"{count - len(trainer.running)} of {count} models left the stack while it was timed")
    return statistics.median(taken[1:]), trainer.steps  # the first epoch compiles, and fills the allocator


def show_steps(counts: list[int], rows: int, batch: int, epochs: int, repeats: int, machine: Machine) -> None:
    device = machine.device
    print("\nWhole alternating steps at the published setting (ours with validation's share, stock without)")
    widths = {"ms/step": 10, "steps/s/model": 15, "x stock": 9, "memory": 10, "arithmetic": 11, "x limit": 9, "GiB": 7}
    print(f"{'':30s}" + columns(**widths))

    def row(title: str, count: int, ms: float, stock: float, peak: float) -> None:
        memory, arithmetic = machine.limits(count * step_bytes(batch), count * operations() * batch / PUBLISHED_BATCH)
        ratio = count * stock / ms
        line = f"{title:30s}{ms:>10.2f}{1e3 / ms:>15.2f}{ratio:>9.1f}{memory:>10.3f}{arithmetic:>11.3f}"
        print(f"{line}{ms / max(memory, arithmetic):>9.1f}{peak:>7.1f}", flush=True)

    def peak() -> float:
        return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else float("nan")

    def reset() -> None:
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)

    reset()
    stock = milliseconds(stock_step(rows, batch, device), device, repeats)
    row("published structure, stock", 1, stock, stock, peak())
    torch.backends.cudnn.allow_tf32 = True
    row("the same, cuDNN with TF32", 1, milliseconds(stock_step(rows, batch, device), device, repeats), stock, peak())
    torch.backends.cudnn.allow_tf32 = False
    times: dict[int, float] = {}
    for count in counts:
        reset()
        try:
            seconds, steps = epoch_seconds(count, rows, batch, epochs, device)
        except torch.cuda.OutOfMemoryError:
            print(f"{f'ours, {count} models':30s}   out of memory")
            continue
        times[count] = 1e3 * seconds / steps
        row(f"ours, {count} model{'s' if count > 1 else ''}", count, times[count], stock, peak())
    print(
        f"(x stock: models trained in the time that the published structure takes for one; {steps_note(rows, batch)})"
    )
    if {4, 64} <= set(times):
        print(f"time(64) / time(4) = {times[64] / times[4]:.2f}")


def steps_note(rows: int, batch: int) -> str:
    windows = rows * 6 // 10 - LOOKBACK - HORIZON + 1
    return f"{windows // min(batch, windows)} steps an epoch, {batch} windows a step"


# -- the command ---------------------------------------------------------------------------------------------
def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", default="1,4,8,32,64", help="models in a stack, with commas")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each stack that are timed")
    parser.add_argument("--batch", type=int, default=PUBLISHED_BATCH, help="windows a step")
    parser.add_argument("--rows", type=int, help="rows of the series")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a check of this script only")
    options = parser.parse_args()
    device = torch.device(options.device)
    note = "A CHECK OF THIS SCRIPT ON A CPU, NOT A MEASUREMENT"
    if device.type == "cpu":
        torch.set_num_threads(1)
        print(note)
    elif not torch.cuda.is_available():
        sys.exit(f"scripts.bench.gpu: torch {torch.__version__} sees no GPU here (--device cpu checks the script)")
    else:
        try:
            import triton
        except ImportError:
            sys.exit("scripts.bench.gpu: triton is not installed; torch's CUDA builds bring it (pip install triton)")
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {triton.__version__}")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    counts = [int(count) for count in options.models.split(",")]
    repeats = options.repeats if device.type == "cuda" else 1
    rows = options.rows or (ROWS if device.type == "cuda" else 2000)
    cases = [replace(case, batch=options.batch) for case in CASES]

    ours = kernel_call if device.type == "cuda" else path_call(gru)
    if not check_precision(cases, device, ours):
        sys.exit("scripts.bench.gpu: the kernels are not precise enough here; wrong results are not measured")
    machine = measured(device, repeats)
    print(f"\nlarge copy {machine.bytes_per_second / 1e9:.0f} GB/s, large float32 product "
          f"{machine.operations_per_second / 1e12:.2f} TFLOP/s")  # fmt: skip
    show_kernels(cases, counts, machine, repeats)
    show_steps(counts, rows, options.batch, options.epochs if device.type == "cuda" else 1, repeats, machine)
    if device.type == "cpu":
        print(note)


if __name__ == "__main__":
    main()
