"""Whole training at the published setting: steps, epochs with their launches, validation."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch

import dynonet.kernels
from dynonet.config import Config
from dynonet.reference.oracle import Oracle, OracleTrainer
from lab.training.trainer import StackTrainer
from scripts.bench.card.grus import bytes_moved
from scripts.bench.card.machine import Machine, Sizes, columns, forget, launches, milliseconds, peak_gib
from scripts.bench.gru import Case
from scripts.bench.step import CHANNELS, operations, series

LOOKBACK, HORIZON, WORKER_STEPS, CONTROL, HIDDEN = 512, 96, 96, 64, 8  # the published setting, preset h96
PUBLISHED_BATCH = 512  # what `scripts.bench.step.operations` counts for


def stock_step(sizes: Sizes, device: torch.device) -> Callable[[], None]:
    """One alternating step as published, in stock modules: workers' phase, controller's phase, both optimisers."""
    batch = sizes.batch
    net = Oracle(CHANNELS, CONTROL, HIDDEN, 1, LOOKBACK, HORIZON).to(device)
    trainer = OracleTrainer(net, 2e-3, 1e-4)
    scaled = torch.as_tensor(series(sizes.rows).scaled.copy(), dtype=torch.float32, device=device)
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


def trainer_of(count: int, sizes: Sizes, device: torch.device, precision: str = "float32") -> StackTrainer:
    settings = {"training.protocol": "published", "training.batch_size": sizes.batch, "training.precision": precision}
    configs = [Config.create({**settings, "training.seed": seed}, preset="h96") for seed in range(count)]
    return StackTrainer(configs, series(sizes.rows), device=device)


def seconds_of(run: Callable[[], object], times: int, device: torch.device, warm_up: int = 1) -> float:
    """Median wall time, to the end of what it does on the device. The first calls compile, capture, allocate."""
    taken = []
    if device.type != "cuda":
        warm_up, times = 0, 1
    for _ in range(warm_up + times):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[warm_up:])


def step_ms(count: int, sizes: Sizes, device: torch.device, precision: str = "float32") -> tuple[float, StackTrainer]:
    """ms a step of whole epochs, validation included, and the trainer."""
    trainer = trainer_of(count, sizes, device, precision)
    seconds = seconds_of(trainer.run_epoch, sizes.epochs, device)
    if len(trainer.running) != count:
        raise RuntimeError(f"{count - len(trainer.running)} of {count} models left the stack while it was timed")
    return 1e3 * seconds / trainer.steps, trainer


def show_steps(sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
    device = machine.device
    print("\nWhole alternating steps at the published setting (ours with validation's share, stock without)")
    widths = {"ms/step": 10, "steps/s/model": 15, "x stock": 9, "memory": 10, "arithmetic": 11, "x limit": 9, "GiB": 7}
    print(f"{'':30s}" + columns(**widths))

    def row(title: str, count: int, ms: float, stock: float) -> None:
        share = sizes.batch / PUBLISHED_BATCH
        memory, arithmetic = machine.limits(count * step_bytes(sizes.batch), count * operations() * share)
        line = f"{title:30s}{ms:>10.2f}{1e3 / ms:>15.2f}{count * stock / ms:>9.1f}{memory:>10.3f}{arithmetic:>11.3f}"
        peak = peak_gib(device)
        print(f"{line}{ms / max(memory, arithmetic):>9.1f}{peak:>7.1f}", flush=True)
        found[title] = {"ms": ms, "times_stock": count * stock / ms, "gib": peak}

    forget(device)
    stock = milliseconds(stock_step(sizes, device), device, min(sizes.repeats, 10))
    row("published structure, stock", 1, stock, stock)
    for count in dict.fromkeys((*reversed(sizes.ends), *sizes.models)):  # what the targets are of comes first
        forget(device)
        try:
            ms, trainer = step_ms(count, sizes, device)
        except torch.cuda.OutOfMemoryError:
            print(f"{f'ours, {count} models':30s}   out of memory")
            continue
        row(f"ours, {count} model{'s' if count > 1 else ''}", count, ms, stock)
        del trainer
    print(f"(x stock: models trained in the time that the published structure takes for one; {sizes.batch} windows)")


def show_epochs(sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
    """An epoch's launches, its validation, and both with the formulas of `step_triton` in torch instead."""
    device = machine.device
    what = "kernels" if device.type == "cuda" else "torch's operations"
    print(f"\nAn epoch with validation ({what} launched; validation: as one graph, and piece by piece, ms)")
    print(f"{'':34s}" + columns(**{"epoch, ms": 11, "launches": 10, "validation": 12, "in pieces": 11}))
    for count in sizes.ends:
        for title, fused in ((f"{count} model{'s' if count > 1 else ''}", True), ("  formulas in torch", False)):
            forget(device)
            with patch.object(dynonet.kernels, "fused", dynonet.kernels.fused if fused else lambda like: None):
                ms, trainer = step_ms(count, sizes, device)
                launched = launches(trainer.run_epoch, device)
                whole = 1e3 * seconds_of(trainer.validate, 3, device, warm_up=3)
                pieces = 1e3 * seconds_of(lambda t=trainer: t.validate(len(t.validation)), 3, device)
            epoch = ms * trainer.steps
            print(f"{title:34s}{epoch:>11.1f}{launched:>10d}{whole:>12.2f}{pieces:>11.2f}", flush=True)
            key = f"{count}, {'fused' if fused else 'in torch'}"
            found[key] = {"epoch_ms": epoch, "launches": launched, "validation_ms": whole, "pieces_ms": pieces}
            del trainer
