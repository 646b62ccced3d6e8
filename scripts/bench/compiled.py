"""What `torch.compile` gains of a rival's forward and backward, and after how many steps its compiling is paid for.

    python -m scripts.bench.compiled [--models rlinear,patchtst] [--repeats 5] [--device cuda]

A module as its forecaster builds it, at the settings of scripts.bench.forecasters, on one batch: forecast, mean squared
error, gradients of all parameters; the optimiser's step and the batch's cutting, which compiling would not touch, are
left out. Eager and compiled take turns in one process on one thread (a GPU: alone). `pays after` is how many such steps
take back the CPU seconds that compiling took (nothing kept from before), `steps of a run` how many a run of that preset
on ETTh1 takes at most: where the first is the smaller, it pays within one run. Code is compiled once a process.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lab.compute.device import pick_device, prepare_process
from lab.console.printing import one_line
from lab.errors import ConfigError
from lab.registry import forecaster, names
from lab.settings.config import Config
from lab.training.module_stack import ModuleForecaster
from lab.training.modules.members import seeded
from scripts.bench.forecasters import TRAIN_ROWS, config_of
from scripts.bench.turns import NO_MEASUREMENT

CHANNELS = 7


def rivals(named: str | None) -> list[str]:
    """Raises ConfigError: a name of none, or of a forecaster that is no torch module."""
    chosen = named.split(",") if named else [name for name in names() if is_module(name)]
    for name in chosen:
        if not is_module(name):
            raise ConfigError(f"{name} is no module that torch.compile could take; it has kernels of its own")
    return chosen


def is_module(name: str) -> bool:
    return isinstance(forecaster(name), ModuleForecaster)


def stepping(module: nn.Module, called: Callable[..., Any], inputs: dict[str, Any], device: str) -> Callable[[], float]:
    """A step of it, which says the seconds that it took: of CPU time, or until the GPU has nothing left to do."""
    window, target = inputs.pop("window"), inputs.pop("target")
    parameters = [each for each in module.parameters() if each.requires_grad]
    clock = time.process_time if device == "cpu" else time.perf_counter

    def run() -> float:
        start = clock()
        forecast = called(window, **inputs)
        loss = functional.mse_loss(forecast[0] if isinstance(forecast, tuple) else forecast, target)
        torch.autograd.grad(loss, parameters, allow_unused=True)
        if device != "cpu":
            torch.cuda.synchronize()
        return clock() - start

    return run


def inputs_of(name: str, config: Config, device: str) -> dict[str, Any]:
    """A batch of what the module reads; its numbers do not matter for the time."""
    found = forecaster(name)
    batch, reads, ahead = config.training.batch_size, config.data.seq_len, config.data.pred_len
    given: dict[str, Any] = {
        "window": torch.randn(batch, reads, CHANNELS, device=device),
        "target": torch.randn(batch, ahead, CHANNELS, device=device),
    }
    if found.wants_calendar:
        given["calendar"] = torch.rand(batch, reads + ahead, 4, device=device) - 0.5
    if found.wants_rows:
        given["rows"] = torch.arange(batch, device=device)
    return given


def compiling_seconds() -> float:
    """CPU seconds so far, those of the compilers that were called included."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def measured(name: str, repeats: int, quick: bool, device: str) -> tuple[float, float, float, float, Config]:
    """Seconds of an eager and of a compiled step, of compiling, the largest difference of a forecast, the config."""
    found = forecaster(name)
    assert isinstance(found, ModuleForecaster)
    config = config_of(name, None, quick)
    module = seeded(found.module, config, CHANNELS).to(device).train(False)  # without dropout: the same numbers
    given = inputs_of(name, config, device)
    compiled = torch.compile(module)
    with torch.no_grad():
        window = given["window"]
        others = {key: value for key, value in given.items() if key not in ("window", "target")}
        plain = module(window, **others)
    eager = stepping(module, module, dict(given), device)
    fast = stepping(module, compiled, dict(given), device)
    eager()
    before = compiling_seconds()
    for _ in range(2):  # forward and backward are compiled as they are first called
        fast()
    first = compiling_seconds() - before
    with torch.no_grad():
        made = compiled(window, **others)
    pairs = zip(*(output if isinstance(output, tuple) else (output,) for output in (plain, made)), strict=True)
    apart = float(np.max([float((a - b).abs().max()) for a, b in pairs if isinstance(a, torch.Tensor)]))
    turns = [(eager(), fast()) for _ in range(repeats)]
    step, quicker = (statistics.median(turn[side] for turn in turns) for side in (0, 1))
    return step, quicker, max(0.0, first - 2 * quicker), apart, config


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--models", help="comma-separated (default: every rival)")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--device", default="cpu")
    options.add_argument("--quick", action="store_true", help="tiny shapes: a check of this script")
    args = options.parse_args()
    try:
        chosen, device = rivals(args.models), str(pick_device(args.device))
    except ConfigError as error:
        options.error(str(error))
    if args.quick:
        print(NO_MEASUREMENT)
    torch.set_num_threads(1)
    prepare_process()
    folder = tempfile.TemporaryDirectory()
    os.environ |= {"TORCHINDUCTOR_CACHE_DIR": folder.name, "TORCHINDUCTOR_COMPILE_THREADS": "1"}  # in this process
    print(f"{'':14s}{'eager, ms':>11s}{'compiled, ms':>14s}{'eager / compiled':>18s}{'compiling, s':>14s}", end="")
    print(f"{'pays after':>12s}{'steps of a run':>16s}{'apart':>9s}")
    for name in chosen:
        torch.compiler.reset()
        try:
            step, quicker, compiling, apart, config = measured(name, args.repeats, args.quick, device)
        except RuntimeError as error:  # of the compiler: it takes not every module
            said = one_line(str(error).splitlines()[0], 90)
            print(f"{name:14s}is not compiled: {type(error).__name__}: {said}", flush=True)
            continue
        windows = TRAIN_ROWS - config.data.seq_len - config.data.pred_len + 1
        steps = windows // config.training.batch_size * config.training.max_epochs
        pays = f"{compiling / (step - quicker):,.0f}" if step > quicker else "never"
        print(
            f"{name:14s}{1e3 * step:>11.2f}{1e3 * quicker:>14.2f}{step / quicker:>18.2f}{compiling:>14.1f}"
            f"{pays:>12s}{steps:>16,d}{apart:>9.0e}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
