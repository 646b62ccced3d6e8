"""Racing over seeds beside fixed replicates, on equal CPU time, paired by seed.

    python -m scripts.bench.race [--seeds 10] [--budget 38] [--replicates 3] [--jobs 2] [--out FILE.json]
    python -m scripts.bench.race --replay results/flagship

Both are the default search on the problem of `scripts.bench.search`, driven as it is there. In `race` a trial has one
seed first (`tune.racing`). A search's value is the least mean over all R seeds that any trial has shown so far; in the
race a trial shows one once its last seed is under way. Time is compared to the same best, the lowest value that both
came to: `t` is when each first had one at least as good.

Afterwards, outside the budget, the seeds that raced-out trials did not have are trained, and it is counted whose mean
over all R would have been below that of the search's winner. The budget's end cuts a race off as a kill does: a trial
that waits for its next seed then has shown nothing.

`--replay` trains nothing: it takes the complete trials of each search on record, of which all seeds are known, at each
of its origins, and races them, in the order of their proposals and in ORDERS - 1 others.
"""

import argparse
import json
import math
import multiprocessing
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import optuna
from scipy import stats

from lab.compute.device import use_threads
from lab.store.tables import Results
from lab.training.stack_run import StackRun
from lab.training.trainer import StackTrainer
from scripts.bench.search import (
    BUDGET,
    LIGHT,
    Trace,
    bootstrap_interval,
    order_interval,
    search,
    settings_of,
    sign_p,
    time_to,
)
from tune.proposals import Proposals
from tune.racing.rule import ALPHA, Race, looks
from tune.settings import SearchSettings

METHODS = ("default", "race")
TARGET = 0.05  # of wrong eliminations
ORDERS = 40  # of a replay
EPOCHS = 7  # by which a model alone is compared with one in a stack
Table = Sequence[Sequence[float]]  # trial, seed


@dataclass(frozen=True)
class Out:
    """A trial that was raced out, with the mean that it would have had over all seeds."""

    trial: str
    seeds: int  # that it had
    mean: float
    winner: float  # that of the best trial at the end


@dataclass(frozen=True)
class Pair:
    """Both searches of one seed."""

    seed: int
    fixed: Trace
    race: Trace
    out: list[Out] = field(default_factory=list)

    @property
    def target(self) -> float:
        """The lowest value that both came to."""
        return max(self.fixed.best, self.race.best)

    def times(self) -> tuple[float, float]:
        """When each had a value at least as good as the target."""
        found = [time_to(trace, self.target) for trace in (self.fixed, self.race)]
        return found[0] or math.nan, found[1] or math.nan


def audit(results: Results, proposals: Proposals, found: list[Out]) -> None:
    """Trains what raced-out trials had not, to its end."""
    best = proposals.best()
    for proposal in [p for p in proposals.outcomes if p.raced_out]:
        stack = StackRun(results, proposal.configs(proposals.replicates), outlive_divergence=True)
        while (report := stack.step()).state == "running":
            pass
        losses = [math.inf if loss is None else loss for loss in report.losses]
        winner = math.inf if best is None else best.values[0]
        found.append(Out(proposal.trial, proposal.seeds, statistics.fmean(losses), winner))


def pair(overrides: Sequence[str], replicates: int | None, budget: float, seed: int) -> Pair:
    """Both searches of a seed, one after the other in one process; who goes first takes turns."""
    use_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = settings_of(overrides, replicates)
    StackTrainer([settings.base]).run_epoch()  # compilation is not the search's
    out: list[Out] = []
    traces = {}
    for method in METHODS if seed % 2 else METHODS[::-1]:
        after = partial(audit, found=out) if method == "race" else None
        traces[method] = search(settings, method, seed, budget, after)
    return Pair(seed, traces["default"], traces["race"], out)


def tables(results: Results) -> dict[str, Table]:
    """The losses of complete trials by seed, of each search of two seeds or more, at each of its origins."""
    found: dict[str, Table] = {}
    for study in results.studies():
        outcomes = [row for row in results.table("trials", study).to_pylist() if row["event"] == "outcome"]
        complete = sorted(row["trial"] for row in outcomes if row["state"] == "complete")
        members = [row for row in results.table("members", study).to_pylist() if row["role"] == "search"]
        runs = results.runs({row["run"] for row in members})
        for cell in sorted({row["cell"] for row in members}, key=str):
            losses: dict[str, dict[int, float]] = {trial: {} for trial in complete}
            for row in members:
                run = runs.get(row["run"])
                if row["cell"] == cell and row["trial"] in losses and run is not None and run["val_mse"] is not None:
                    losses[row["trial"]][run["seed"]] = run["val_mse"]
            most = max(map(len, losses.values()), default=0)
            whole = [[each[seed] for seed in sorted(each)] for each in losses.values() if len(each) == most]
            if most > 1 and len(whole) > 2:
                found[f"{study}{f' at {cell}' if cell else ''}"] = whole
    return found


def raced(table: Table) -> tuple[int, int, int]:
    """How many trials are raced out, how many of them wrongly, and how many seeds are trained."""
    replicates = len(table[0])
    race, out, seeds = Race(replicates), list[float](), 0
    for number, losses in enumerate(table):
        gone = next((k for k in looks(replicates)[:-1] if race.judge(losses[:k]).excluded), None)
        seeds += gone or replicates
        if gone is None:
            race.add(f"t{number:05d}", losses)
        else:
            out.append(statistics.fmean(losses))
    assert race.best is not None
    return len(out), sum(mean < race.best[0] for mean in out), seeds


def replay(results: Results) -> list[str]:
    first = f"search, in {ORDERS} orders"
    lines = [f"{first:<34s}{'trials':>8s}{'seeds':>7s}{'raced out':>11s}{'wrong':>8s}{'seeds trained':>15s}"]
    chance, every = random.Random(0), []
    for name, table in tables(results).items():
        orders = [table, *(chance.sample(table, len(table)) for _ in range(ORDERS - 1))]
        found = [sum(column) for column in zip(*map(raced, orders), strict=True)]
        every.append((*found, len(table) * ORDERS, len(table) * ORDERS * len(table[0])))
        lines.append(f"{name:<34s}{len(table):>8d}{len(table[0]):>7d}{_shares(*every[-1])}")
    return (
        [*lines, f"{'all':<49s}{_shares(*map(sum, zip(*every, strict=True)))}"]
        if every
        else ["no search of two seeds or more"]
    )


def _shares(out: int, wrong: int, seeds: int, trials: int, all_seeds: int) -> str:
    return f"{out / trials:>11.0%}{wrong / max(1, out):>8.2%}{seeds / all_seeds:>15.0%}"


def alone(settings: SearchSettings) -> float:
    """CPU time of an epoch of a model by itself, over that of one among all seeds of a trial."""
    use_threads(1)
    seconds: dict[int, list[float]] = {1: [], settings.budget.replicates: []}
    stacks = {
        size: StackTrainer([settings.base.override({"training.seed": seed}) for seed in range(size)])
        for size in seconds
    }  # fmt: skip
    for turn in range(EPOCHS + 1):
        for size, stack in stacks.items():
            before = time.process_time()
            stack.run_epoch()
            if turn:  # the first compiles
                seconds[size].append((time.process_time() - before) / size)
    found = [statistics.median(each) for each in seconds.values()]
    return found[0] / found[-1]


HEAD = (
    f"{'seed':>4s}{'trials':>20s}{'best of fixed':>15s}{'best of race':>14s}{'t fixed':>9s}{'t race':>8s}"
    f"{'ratio':>7s}{'wrong':>7s}"
)


def line(one: Pair) -> str:
    fixed, race = one.times()
    trials = f"{one.fixed.trials} / {one.race.trials} ({one.race.stopped}, {len(one.out)})"
    wrong = sum(each.mean < each.winner for each in one.out)
    return (
        f"{one.seed:>4d}{trials:>20s}{one.fixed.best:>15.4f}{one.race.best:>14.4f}{fixed:>9.1f}{race:>8.1f}"
        f"{race / fixed:>7.2f}{wrong:>7d}"
    )


def share(count: int, of: int) -> str:
    """With its exact interval (Clopper and Pearson 1934)."""
    if not of:
        return "none was raced out"
    interval = stats.binomtest(count, of).proportion_ci(0.95)
    return f"{count} of {of}: {count / of:.1%}, {interval.low:.1%} to {interval.high:.1%} (exact, 95%)"


def summary(pairs: Sequence[Pair]) -> list[str]:
    ratios = [race / fixed for fixed, race in (one.times() for one in pairs)]
    low, high, level = order_interval(ratios)
    lines = [
        "time to the best that both came to, race / fixed:",
        f"  median {statistics.median(ratios):.2f}, {low:.2f} to {high:.2f} (order statistics, {level:.1%})",
    ]
    logs = [math.log(ratio) for ratio in ratios]
    low, high = (math.exp(end) for end in bootstrap_interval(logs))
    wins, losses = sum(ratio < 1 for ratio in ratios), sum(ratio > 1 for ratio in ratios)
    gains = [one.race.best - one.fixed.best for one in pairs]
    lines += [
        f"  geometric mean {math.exp(statistics.mean(logs)):.2f}, {low:.2f} to {high:.2f} (bootstrap over seeds, 95%)",
        f"  sooner in {wins} of {len(pairs)} seeds (sign test p = {sign_p(wins, losses):.3g})",
    ]
    low, high, level = order_interval(gains)
    below, above = sum(gain < 0 for gain in gains), sum(gain > 0 for gain in gains)
    out = [each for one in pairs for each in one.out]
    return [
        *lines,
        "best value of the whole budget, race - fixed:",
        f"  median {statistics.median(gains):+.4f}, {low:+.4f} to {high:+.4f} (order statistics, {level:.1%}); "
        f"lower in {below} of {len(pairs)} seeds (sign test p = {sign_p(below, above):.3g})",
        f"wrong eliminations, of a lower mean over all seeds than the winner's (at most {TARGET:.0%}):",
        f"  {share(sum(each.mean < each.winner for each in out), len(out))}",
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings of the training problem")
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--budget", type=float, default=BUDGET, help="CPU seconds of one search")
    options.add_argument("--replicates", type=int, help="seeds of a trial (the preset's)")
    options.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    options.add_argument("--replay", metavar="RESULTS", help="race the trials of the searches on record there")
    options.add_argument("--out", help="a JSON file for every improvement of every search")
    args = options.parse_args()
    if args.replay:
        print("\n".join(replay(Results(args.replay))))
        return
    overrides = [*LIGHT, *args.overrides]
    settings = settings_of(overrides, args.replicates)
    chosen, epochs = settings.budget, settings.base.training.max_epochs
    print(
        f"{args.budget:g} CPU s a search; {chosen.replicates} replicates, at most {epochs} epochs; ASHA from epoch "
        f"{chosen.grace_epochs}, one in {chosen.reduction_factor:g}; race at {ALPHA:g}; trials: fixed / race (stopped "
        f"early, raced out)\n{HEAD}",
        flush=True,
    )
    spawn, pairs = multiprocessing.get_context("spawn"), []
    with ProcessPoolExecutor(args.jobs, mp_context=spawn) as pool:
        for one in pool.map(partial(pair, overrides, args.replicates, args.budget), range(args.seeds)):
            if not one.fixed.times or not one.race.times:
                raise SystemExit(
                    f"error: {args.budget:g} CPU seconds are too few: seed {one.seed} had no value by then"
                )
            pairs.append(one)
            print(line(one), flush=True)
            if args.out:
                content = {"budget": args.budget, "overrides": overrides, "pairs": [asdict(each) for each in pairs]}
                Path(args.out).write_text(json.dumps(content, indent=1))
    print("\n".join(summary(pairs)))
    ratio = alone(settings)
    print(f"CPU time of an epoch of a model alone / in a stack of {chosen.replicates}: {ratio:.2f}")


if __name__ == "__main__":
    main()
