"""What Triton makes of every GPU kernel, without a GPU: registers, spills, shared memory, seconds.

    python -m scripts.bench.card.registers [--arch 90] [--hidden 4-32] [--workers 2-16] [--precision float32] [--all]

One line for each compilation that a search over these widths comes to (by default those of search preset etth1-h96: a
controller of 7 channels, and workers), then the kernels that know no size. `--all`: every plan up to 128 units. A
thread has 255 registers at most; what is spilled goes through memory in each step. Only the numbers of the compiler
for that architecture: what is fast is measured by `scripts.bench.gpu`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dynonet.kernels.gru_triton_plans import LARGEST, PRODUCTS, compilations

CHANNELS = 7
LAUNCH = ("num_warps", "num_stages", "maxnreg")
INTEGERS = {"stops": "*i32", "low": "*i32", "high": "*i32", "steps": "*i64", "index": "*i64", "active": "*i1"}
SIZES = frozenset(["C", "D", "F", "T", "B", "W", "H", "P", "G"])


@dataclass(frozen=True)
class Compiled:
    kernel: str
    options: str
    warps: int
    registers: int  # of a thread
    spills: int  # bytes of a thread, stored and loaded again
    shared: int  # bytes of a program
    seconds: float


def of_search(hidden: Iterable[int], workers: Iterable[int], precision: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The GRUs' compilations, each once: controllers of CHANNELS channels, and workers."""
    widths = [*((width, CHANNELS, False) for width in hidden), *((width, width, True) for width in workers)]
    known = set()
    for each in widths:
        for name, options in compilations(*each, precision):
            key = (name, *sorted(options.items(), key=str))
            if key not in known:
                known.add(key)
                yield name, options


def of_any_size() -> Iterator[tuple[str, dict[str, Any]]]:
    """The compilations of what knows no size."""
    from dynonet.kernels import layers_triton, step_triton
    from dynonet.learning.optimiser import BETA1, BETA2, EPS
    from lab.compute import draws_triton

    lanes, steps, row = {"LANES": layers_triton.LANES}, {"STEPS": layers_triton.STEPS}, {"BLOCK": step_triton.BLOCK}
    yield from (("_input", lanes), ("_input_back", lanes | steps), ("_residual_back", lanes))
    yield from (("_modulate", lanes), ("_modulate_back", lanes | steps))
    yield from (("_gelu_dropout", row), ("_squares", lanes | steps))
    yield "_adamw", {"BETA1": BETA1, "BETA2": BETA2, "EPS": EPS, **row}
    yield "_uniform", {"BLOCK": draws_triton.BLOCK}


def function_of(name: str) -> Any:
    from dynonet.kernels import gru_triton_steps, gru_triton_weights, layers_triton, step_triton
    from lab.compute import draws_triton

    modules = (gru_triton_steps, gru_triton_weights, layers_triton, step_triton, draws_triton)
    return next(vars(module)[name] for module in modules if hasattr(vars(module).get(name), "arg_names"))


def signature(function: Any, told: Mapping[str, Any]) -> dict[str, str]:
    """The types of a kernel's arguments: pointers, whole numbers, and `eps`; what is compiled in is constant."""

    def kind(name: str) -> str:
        if name in told:
            return "constexpr"
        if name == "eps":
            return "fp32"
        counts = "steps" in name and "index" not in function.arg_names  # of a share, where not of AdamW's groups
        number = name in SIZES or name.startswith(("wants_", "has_")) or re.fullmatch(r"[a-z]_[a-z]", name)
        if counts or number or name in ("last_only", "adds_up", "drops", "part", "count", "backward"):
            return "i32"
        return INTEGERS.get(name, "*fp32")

    return {name: kind(name) for name in function.arg_names}


def compile_for(name: str, options: Mapping[str, Any], arch: int) -> Compiled:
    """Compiles one kernel for an architecture and asks its assembler what it takes."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    function, launch = function_of(name), {key: value for key, value in options.items() if key in LAUNCH}
    told = {key: value for key, value in options.items() if key not in LAUNCH}
    places = {(function.arg_names.index(key),): value for key, value in told.items()}
    start = time.perf_counter()
    built = compile(
        ASTSource(function, signature(function, told), places, {}), target=GPUTarget("cuda", arch, 32), options=launch
    )
    seconds = time.perf_counter() - start
    said = assembled(built.asm["ptx"], arch)
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", said)]
    spills = [int(a) + int(b) for a, b in re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", said)]
    if not registers:
        raise RuntimeError(f"{name}: ptxas says nothing of registers:\n{said}")
    shown = " ".join(f"{key}={value}" for key, value in told.items() if key not in ("BETA1", "BETA2", "EPS"))
    warps = launch.get("num_warps", 4)
    return Compiled(name, shown, warps, max(registers), max(spills, default=0), built.metadata.shared, seconds)


def assembled(ptx: str, arch: int) -> str:
    """What Triton's own ptxas says of a program."""
    from triton.backends.nvidia import compiler

    try:
        ptxas = compiler.get_ptxas(arch)
    except TypeError:  # of other Tritons
        ptxas = compiler.get_ptxas()
    path = getattr(ptxas, "path", ptxas)
    target = re.search(r"^\.target (\S+?)[,\s]", ptx, re.M)
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [str(path), "-v", f"--gpu-name={target[1] if target else f'sm_{arch}'}", file.name, "-o", os.devnull]
        return subprocess.run(command, capture_output=True, text=True).stderr


def table(every: Iterable[tuple[str, dict[str, Any]]], arch: int) -> list[Compiled]:
    """Compiles and prints them."""
    print(f"{'kernel':16s}{'warps':>6s}{'registers':>10s}{'spills':>7s}{'shared':>8s}{'s':>6s}  compiled in")
    rows = []
    for name, options in every:
        row = compile_for(name, options, arch)
        head = f"{row.kernel:16s}{row.warps:>6d}{row.registers:>10d}{row.spills:>7d}{row.shared:>8d}{row.seconds:>6.1f}"
        print(f"{head}  {row.options}", flush=True)
        rows.append(row)
    return rows


def widths(text: str) -> range:
    low, _, high = text.partition("-")
    try:
        found = range(int(low), int(high or low) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes LOW-HIGH, such as 4-32, got '{text}'") from None
    if not found or found[0] < 1 or found[-1] > LARGEST:
        raise argparse.ArgumentTypeError(f"takes widths from 1 to {LARGEST}, got '{text}'")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--arch", type=int, default=90, help="compute capability: 90 is an H100's, 80 an A100's")
    parser.add_argument("--hidden", type=widths, default=widths("4-32"), help="units of controllers, LOW-HIGH")
    parser.add_argument("--workers", type=widths, default=widths("2-16"), help="units of workers, LOW-HIGH")
    parser.add_argument("--precision", choices=tuple(PRODUCTS), default="float32", help="training.precision")
    parser.add_argument("--all", action="store_true", help="every plan, controllers and workers up to 128 units")
    parser.add_argument("--quick", action="store_true", help="the narrowest plan alone: a check of this script")
    parser.add_argument("--json", action="store_true", help="and as JSON, in the last line")
    options = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") == "1":
        sys.exit("scripts.bench.card.registers: TRITON_INTERPRET=1 compiles nothing; unset it")
    try:
        import triton
    except ImportError:
        sys.exit("scripts.bench.card.registers: no triton; torch's CUDA builds bring it (pip install triton)")
    hidden, workers = (range(1, LARGEST + 1),) * 2 if options.all else (options.hidden, options.workers)
    if options.quick:
        hidden, workers = range(4, 5), range(2, 3)
    print(f"triton {triton.__version__}, sm_{options.arch}, products {PRODUCTS[options.precision]}")
    with tempfile.TemporaryDirectory() as folder:
        if not options.quick:
            os.environ["TRITON_CACHE_DIR"] = folder  # what is timed is compiled
        rows = table([*of_search(hidden, workers, options.precision), *of_any_size()], options.arch)
    grus = [row for row in rows if row.kernel in ("_forward", "_backward", "_reduce")]
    seconds = sum(row.seconds for row in rows)
    print(f"{len(grus)} compilations of the GRU's, {len(rows) - len(grus)} of the others; {seconds:.0f} s")
    if options.json:
        counts = {"gru": {"count": len(grus)}, "others": {"count": len(rows) - len(grus)}}
        print(json.dumps({**counts, "rows": [asdict(row) for row in rows]}))


if __name__ == "__main__":
    main()
