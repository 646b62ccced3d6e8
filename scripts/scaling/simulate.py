"""How far one driver goes: a search or a study on 1 to 1,000 GPUs, replayed from measured costs.

    python -m scripts.scaling.simulate [--store object] [--epoch-seconds 1] [--runs 100,1e4,1e6] [--gpus 1,10,100,1000]
    python -m scripts.scaling.simulate --measure [FILE]    # this machine's costs beside the model's, 3 minutes
    python -m scripts.scaling.simulate --check             # predictions beside real runs, 4 to 5 minutes

The model and what it assumes: model.py. The seconds of a GPU's epoch (`--epoch-seconds`), what each further
model of a stack adds (`--further`) and how many fit (`--fits`) are **assumed**, and the tables say so. For an epoch of
the published setting a CPU core takes some 3 s (bench.step: 0.21 s a step), an H100 0.15 s (bench.gpu: 9.8 ms).
"""

import argparse
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.bench.turns import NO_MEASUREMENT
from scripts.scaling.model import STORES, Costs, Outcome, Work, simulate

HEAD = (
    f"{'':<40s}{'GPUs':>6s}{'wall time':>12s}{'GPUs busy':>11s}{'driver busy':>13s}{'its cores':>11s}{'waiting':>9s}"
    f"{'compaction':>12s}  limit"
)
TRIAL_SECONDS, TARGET = 60.0, 100_000  # of the search that a driver for many GPUs must be fast enough for


def seconds_of(value: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:.1f} s"


def row(label: str, slots: int, found: Outcome) -> str:
    assert found.trials.count(1) == len(found.trials), "the model lost or repeated a trial"
    compaction = seconds_of(found.compaction) if found.compaction else "-"
    shares = f"{found.utilisation:>11.0%}{found.busy / found.makespan:>13.0%}{found.cpu / found.makespan:>11.2f}"
    shares += f"{found.waited / (min(slots, len(found.trials)) * found.makespan):>9.1%}"
    return f"{label:<40s}{slots:>6,d}{seconds_of(found.makespan):>12s}{shares}{compaction:>12s}  {found.limit}"


def report(costs: Costs, args: argparse.Namespace) -> Iterator[str]:
    store = STORES[args.store]
    some, many = (100, 1000) if args.quick else (10_000, 1_000_000)

    def line(label: str, kind: str, runs: int, slots: int, costs: Costs = costs, **changes: Any) -> str:
        """The work as the defaults cut it: replicates of a proposal, or a study's runs divided over the devices."""
        stack = changes.pop("stack", 3 if kind == "search" else min(args.fits, math.ceil(runs / slots)))
        epoch = changes.pop("longer", 1) * args.epoch_seconds * (1 + args.further * (stack - 1))
        work = Work(kind, runs, stack, epoch=epoch, **changes)
        return row(label.replace("STACK", f"{stack}"), slots, simulate(work, slots, costs, store))

    yield (
        f"store: {args.store} ({'measured' if args.store == 'local' else 'assumed latencies'})\n"
        f"ASSUMED, not measured: an epoch of one model takes {args.epoch_seconds:g} s of a GPU, each further "
        f"one of its stack {args.further:.0%} of that; {args.fits} fit\n"
        "driver busy: time in which its loop can take no further report; its cores: what it computes, threads too;\n"
        "waiting: the part of their time that trials wait for it; compaction: after the last run, of what it has not\n"
        "merged as it went; limit: what most of the GPUs' time goes to, or of the rest where under half of it is theirs"
    )
    for kind in ("search", "study"):
        yield f"\n{HEAD}"
        for runs in args.runs:
            for slots in args.gpus:
                yield line(f"{kind}, {runs:,d} runs, stacks of STACK", kind, runs, slots)
    for slots in (10, 100):
        yield f"\n{f'what the defaults do, {some:,d} runs':<40s}{HEAD[40:]}"
        yield line("search, by default (stacks of STACK)", "search", some, slots)
        yield line("  a trial a replicate (stacks of 1)", "search", some, slots, stack=1)
        yield line("  eight replicates (stacks of 8)", "search", some, slots, stack=8)
        yield line("  without ASHA", "search", some, slots, grace=40)
        yield line("  compacted at the end alone", "search", some, slots, compact_above=some)
        yield line("  a report every 4 epochs", "search", some, slots, cadence=4)
        yield line("  epochs five times as long", "search", some, slots, longer=5)
        yield line("study, by default (stacks of STACK)", "study", some, slots)
        yield line("  unstacked (stacks of 1)", "study", some, slots, stack=1)
        fresh = replace(costs, begin=costs.begin + costs.actor_start, trial=costs.trial + costs.actor)
        yield line("  unstacked, a process a trial", "study", some, slots, fresh, stack=1)
    yield f"\n{f'{many:,d} runs':<40s}{HEAD[40:]}"
    for kind in ("search", "study"):
        yield line(f"{kind}, one", kind, many, 1000)
        yield line("  100 studies, folders apart: each", kind, some, 10)
    trials = TARGET // 100 if args.quick else TARGET
    yield f"\n{f'search, {trials:,d} trials of a minute':<40s}{HEAD[40:]}"
    work = Work("search", 3 * trials, 3)
    work = replace(work, epoch=TRIAL_SECONDS * trials / sum(map(work.length, range(trials))))
    for slots in (100, 300, 1000):
        yield row("  stacks of 3", slots, simulate(work, slots, costs, store))


def numbers(text: str) -> list[int]:
    return [int(float(part)) for part in text.split(",")]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = options.add_argument
    add("--gpus", type=numbers, default=[1, 10, 100, 1000], help="default: 1,10,100,1000")
    add("--runs", type=numbers, default=[100, 10_000, 1_000_000], help="default: 100,1e4,1e6")
    add("--store", choices=STORES, default="object", help="where results are (default: object)")
    add("--epoch-seconds", type=float, default=1.0, help="of a GPU, for one model: assumed (default: 1)")
    add("--further", type=float, default=0.1, help="and for each further one of a stack, as a part: assumed (0.1)")
    add("--fits", type=int, default=64, help="models that a GPU holds: assumed (default: 64)")
    add(
        "--costs",
        type=Path,
        metavar="FILE",
        help="what --measure wrote (default: those in scaling/model.py)",
    )
    add("--measure", nargs="?", const="", metavar="FILE", help="measure this machine's costs (and write them)")
    add("--check", action="store_true", help="compare predictions with real runs on this machine")
    add("--quick", action="store_true", help="tiny sizes: a check of this script, no measurement")
    args = options.parse_args()
    if args.quick:
        print(NO_MEASUREMENT)
    costs = Costs()
    if args.costs:
        measured = json.loads(args.costs.read_text())
        costs, STORES["local"] = replace(costs, **measured["costs"]), replace(STORES["local"], **measured["local"])
    if args.measure is not None:
        from scripts.scaling.costs import measure

        measured = measure(args.quick)
        if args.measure:
            Path(args.measure).write_text(json.dumps(measured, indent=1) + "\n")
        return
    if args.check:
        from scripts.scaling.runs import check

        lines = check(costs, args.quick)
    else:
        lines = report(costs, args)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
