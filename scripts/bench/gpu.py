"""The whole GPU measurement in one command, at most so many minutes: is it right, and how fast is each part of it.

    python -m scripts.bench.gpu [--minutes 8] [--models 1,8,64] [--only steps,kernels] [--json FILE] [--dry]

Needs a CUDA GPU with nothing else running on it, and triton; the part `search` ETTh1, too. Parts are taken in the order
of their worth, and one that is not expected to end in time is left out, and named, and so is one that has not ended
then; the table of targets comes last, and everything that was measured is beside it as JSON, written after each part.
Wrong kernels are not timed. A part that fails is named, too, and costs the others nothing; the command then fails.

`--dry`: all of it at tiny sizes without a GPU, kernels in Triton's interpreter: a check of this script.

Everything is float32 with TF32 off, the kernels' own `tf32x3` and the part `precisions` apart. Kernels, formulas and
the stock step: time between CUDA events, median after warm-up. Whole training: wall time of `StackTrainer.run_epoch`,
validation included, after one epoch of warm-up.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lab.console.printing import one_line
from lab.errors import DataError
from lab.series import load_series
from lab.settings.data import DataConfig
from scripts.bench.card.compiling import Registers
from scripts.bench.card.machine import Machine, Sizes, forget, measured
from scripts.bench.fill import ENDING, QUICK, SUBJECTS, Asked, compare, differing

Part = Callable[[Sizes, Machine, dict[str, Any]], None]  # prints its table, and fills in the figures as it goes

NOTE = "A CHECK OF THIS SCRIPT WITHOUT A GPU, NOT A MEASUREMENT"
ROWS = 14_400  # of the series: ETTh1's, so that an epoch has its 15 steps
# In the order of their worth; s that each is expected to take on an H100. What is timed waits for the process of
# `compiled`, which begins after `ahead`.
PARTS = {
    "ahead": 40, "precision": 50, "steps": 75, "kernels": 35, "search": 120, "formulas": 30, "epochs": 50,
    "precisions": 65, "compiled": 5,
}  # fmt: skip
# What is aimed at -> where it is measured (part, row, number), the aim.
TARGETS = {
    "64 models, ms a step": (("steps", "ours, 64 models", "ms"), 90),
    "1 model, ms a step": (("steps", "ours, 1 model", "ms"), 5),
    "workers' GRU, 64 models, there and back, ms": (("kernels", "workers, forward+backward, 64", "ms"), 10),
    "controller's GRU, 64 models, there and back, ms": (("kernels", "controller, forward+backward, 64", "ms"), 28),
    "a search of 24 trials in turns, s": (("search", "turns", "took"), 20),
    "the same, side by side through MPS, s": (("search", "mps", "took"), 20),
    "card idle from its first epoch to its last, in turns, %": (("search", "turns", "idle"), 30),
    "card idle, side by side, %": (("search", "mps", "idle"), 30),
    "compilations of the GRU's kernels by a default search": (("compiled", "gru", "count"), 8),
}


def parts(wanted: Collection[str], registers: Registers, end: float) -> dict[str, Part]:
    """Those that are wanted; what is timed waits for the process of `compiled`."""
    from scripts.bench.card.compiling import show_ahead
    from scripts.bench.card.formulas import show_formulas
    from scripts.bench.card.grus import show_kernels
    from scripts.bench.card.precision import check_precision
    from scripts.bench.card.rounding import show_precisions
    from scripts.bench.card.steps import show_epochs, show_steps

    every = (
        show_ahead, check_precision, show_steps, show_kernels, partial(show_search, end), show_formulas, show_epochs,
        show_precisions, registers.show,
    )  # fmt: skip
    found: dict[str, Part] = {name: call for name, call in zip(PARTS, every, strict=True) if name in wanted}
    if "compiled" in found:
        for name, call in found.items():
            if name == "precision":
                found[name] = after(registers.begin, call)
            elif name not in ("ahead", "compiled"):
                found[name] = after(registers.wait, call)
    return found


def after(first: Callable[[], None], call: Part) -> Part:
    def both(sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
        first()
        call(sizes, machine, found)

    return both


def show_search(end: float, sizes: Sizes, machine: Machine, found: dict[str, Any]) -> None:
    """`scripts.bench.fill`. Raises DataError where ETTh1 is not to be had."""
    print()
    if machine.device.type == "cpu":
        compare(QUICK, ["turns"], found, cold=True)
    else:
        load_series(DataConfig(dataset="ETTh1"))
        compare(Asked(), SUBJECTS, found, end=end)


def show_targets(report: dict[str, Any]) -> None:
    print(f"\n{'':56s}{'measured':>10s}{'target':>8s}")
    for name, (place, target) in TARGETS.items():
        found: Any = report["parts"]
        for key in place:
            found = found.get(key, {}) if isinstance(found, dict) else {}
        value = f"{found:.4g}" if isinstance(found, int | float) else "-"
        met = "" if value == "-" else "  met" if found <= target else f"  {found / target:.2f} times"
        print(f"{name:56s}{value:>10s}{target:>8d}{met}")
    if report["left_out"]:
        print(f"left out: {'; '.join(f'{part} ({why})' for part, why in report['left_out'].items())}")


def finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class OutOfTime(BaseException):
    """Of a part; no error that something on the way could take for one of its own."""


@contextmanager
def ended(seconds: float) -> Iterator[None]:
    """Raises OutOfTime in what has not ended by then."""

    def late(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds if math.isfinite(seconds) else 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measure(
    calls: Mapping[str, Part], sizes: Sizes, machine: Machine, end: float, report: dict[str, Any], path: Path
) -> None:
    """Takes the parts that are expected to end in time; what came of each is in the report, and on disk."""
    gpu = machine.device.type == "cuda"
    for name, call in calls.items():
        left = end - time.monotonic()
        if gpu and left < PARTS[name]:
            report["left_out"][name] = f"takes {PARTS[name]} s, {max(left, 0):.0f} were left"
            continue
        forget(machine.device)
        begun, found = time.monotonic(), report["parts"].setdefault(name, {})
        try:
            with ended(left - (ENDING if name == "search" else 0) if gpu else math.inf):
                call(sizes, machine, found)
        except (OutOfTime, torch.OutOfMemoryError, DataError) as error:
            reasons = {OutOfTime: "no time was left", torch.OutOfMemoryError: "out of memory"}
            report["left_out"][name] = reasons.get(type(error)) or one_line(str(error))
        except Exception as error:  # the others are still to be had
            traceback.print_exc()
            report["failed"][name] = one_line(f"{type(error).__name__}: {error}")
        report["seconds"][name] = round(time.monotonic() - begun, 1)
        path.write_text(json.dumps(finite(report), indent=1) + "\n")
        if name == "precision" and not found.get("good"):
            sys.exit("scripts.bench.gpu: the kernels are not known to be precise here; wrong results are not measured")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=8, help="parts that would end later are left out (default: 8)")
    parser.add_argument("--models", default="1,8,64", help="models in a stack, with commas (default: 1,8,64)")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, with commas: {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, default=Path("build/gpu.json"), help="what is measured (build/gpu.json)")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=3, help="epochs of each stack that are timed")
    parser.add_argument("--batch", type=int, default=512, help="windows a step")
    parser.add_argument("--dry", action="store_true", help="without a GPU, at tiny sizes: a check of this script")
    options = parser.parse_args()
    begun = time.monotonic()
    wanted = options.only.split(",")
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"--only: there is no part '{unknown[0]}'; parts are {', '.join(PARTS)}")
    try:
        counts = tuple(int(count) for count in options.models.split(","))
    except ValueError:
        parser.error(f"--models takes numbers with commas between them, got '{options.models}'")
    if options.dry:
        os.environ["TRITON_INTERPRET"] = "1"  # before triton is first imported
        torch.set_num_threads(1)
        print(NOTE)
    elif not torch.cuda.is_available():
        sys.exit(f"scripts.bench.gpu: torch {torch.__version__} sees no GPU here (--dry checks the script)")
    try:
        import triton
    except ImportError:
        sys.exit("scripts.bench.gpu: triton is not installed; torch's CUDA builds bring it (pip install triton)")
    card = "no GPU" if options.dry else torch.cuda.get_device_name()
    print(f"{card}, torch {torch.__version__}, triton {triton.__version__}")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if options.dry:
        sizes = Sizes((1, 2), batch=16, rows=1020, repeats=1, epochs=1, gru_steps=2)
    else:
        sizes = Sizes(counts, options.batch, ROWS, options.repeats, options.epochs)
    machine = measured(torch.device("cpu" if options.dry else "cuda"), sizes.repeats)
    print(f"large copy {machine.bytes_per_second / 1e9:.0f} GB/s, large float32 product "
          f"{machine.operations_per_second / 1e12:.2f} TFLOP/s")  # fmt: skip
    report: dict[str, Any] = {"card": card, "torch": torch.__version__, "triton": triton.__version__}
    report |= {"dry": options.dry, "bytes_per_second": machine.bytes_per_second}
    report |= {"operations_per_second": machine.operations_per_second}
    report |= {"parts": {}, "seconds": {}, "left_out": {}, "failed": {}}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    end = begun + 60 * options.minutes
    arch = 90 if options.dry else int("".join(map(str, torch.cuda.get_device_capability())))
    registers = Registers(arch, quick=options.dry)
    try:
        measure(parts(wanted, registers, end), sizes, machine, end, report, options.json)
    finally:
        registers.end()
    show_targets(report)
    options.json.write_text(json.dumps(finite(report), indent=1) + "\n")
    print(f"{time.monotonic() - begun:.0f} s; all of it is in {options.json}")
    if options.dry:
        print(NOTE)
    wrong = [f"{name} failed ({why})" for name, why in report["failed"].items()]
    wrong += filter(None, [differing(report["parts"].get("search", {}))])
    if wrong:
        sys.exit("; ".join(wrong))


if __name__ == "__main__":
    main()
