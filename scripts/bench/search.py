"""The default search beside random search without stopping, on equal CPU time, paired by seed.

    python -m scripts.bench.search [--seeds 10] [--budget 38] [--jobs 2] [--out FILE.json] [--full]

The default search is that of preset regimes: its proposals, its ASHA, its space, replicates and epochs, driven here one
trial at a time without Ray. Random search draws from the same space with the same replicates and trains each trial to
the end (`max_epochs`, and the trainer's own patience). The two of a pair share the seed of the sampler and of the
training, so while the default search still draws at random, both see the same configs.

CPU time is the process's, one thread, sampler and records included, imports and compilation left out. A search's value
is the least that any trial has shown so far: at the end of an epoch, the mean over the trial's replicates of each
one's best validation MSE. Nothing is read from test. `t random` is when random search first had its best value of the
whole budget, `t default` when the default search first had one at least as good, `>` where the budget ended before.

So that all pairs take under seven minutes on two free cores, the training problem is a lighter one than the preset's
(LIGHT: half the rows, windows a quarter as long). `--full` takes the preset's own, with five times the budget.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from ray.tune.search import Searcher

from dynonet.config import Config
from lab.compute.device import use_threads
from lab.machines.trial import TrialSpec
from lab.provenance import code_provenance
from lab.series import load_series
from lab.store.tables import Results
from lab.training.stack_run import StackRun
from lab.training.trainer import StackTrainer
from tune.proposals import Proposal, Proposals
from tune.racing.searcher import RacingASHA, RacingSearcher
from tune.searcher import ProposalSearcher, RecordedASHA
from tune.settings import SearchCall, SearchSettings
from tune.space import Space

LIGHT = ("data.synthetic.rows=1500", "data.seq_len=24", "data.pred_len=8")
BUDGET, FULL_BUDGET = 38.0, 190.0  # CPU seconds of one search
METHODS = ("random", "default")
RESAMPLES = 10_000  # of the bootstrap


@dataclass
class Trace:
    """What one search had to show for its CPU time."""

    times: list[float]  # CPU seconds at each improvement
    values: list[float]  # the best value from then on
    trials: int = 0
    stopped: int = 0  # by ASHA
    proposing: float = 0.0  # CPU seconds of the sampler and of its records

    @property
    def best(self) -> float:
        return self.values[-1] if self.values else math.inf


@dataclass(frozen=True)
class Pair:
    """Both searches of one seed."""

    seed: int
    random: Trace
    default: Trace

    def reached(self) -> tuple[float, float | None]:
        """When random search had its best, and when the default search had as good a value: None if it never did."""
        return self.random.times[-1], time_to(self.default, self.random.best)


def time_to(trace: Trace, value: float) -> float | None:
    """CPU seconds until a search had a value at least as good; None if it never had."""
    return next((t for t, found in zip(trace.times, trace.values, strict=True) if found <= value), None)


def order_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """An interval of the median from order statistics (the sign test turned round), with its exact level.

    It assumes only that the values are independent and of one distribution, and holds for censored values at their
    bounds as far as its ends are none of them. With fewer than six values no interval reaches 95%: then it is the whole
    range, with the lower level it has.
    """
    ordered, count = sorted(values), len(values)
    inside, place = 1 - 2 * 0.5**count, 0
    for candidate in range(1, (count - 1) // 2 + 1):
        tail = sum(math.comb(count, k) for k in range(candidate + 1)) / 2**count
        if 1 - 2 * tail < level:
            break
        inside, place = 1 - 2 * tail, candidate
    return ordered[place], ordered[count - 1 - place], inside


def bootstrap_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """A percentile interval of the mean over resampled seeds (a little narrow for ten of them)."""
    draws = np.random.default_rng(0).choice(np.asarray(values), (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def sign_p(wins: int, losses: int) -> float:
    """Two-sided p of the sign test; ties are left out."""
    count = wins + losses
    return min(1.0, 2 * sum(math.comb(count, k) for k in range(min(wins, losses) + 1)) / 2**count)


def settings_of(overrides: Sequence[str], replicates: int | None = None) -> SearchSettings:
    budget = {} if replicates is None else {"replicates": replicates}
    return SearchCall(preset="regimes", overrides=tuple(overrides), budget=budget).settings()


def search(
    settings: SearchSettings, method: str, seed: int, budget: float,
    after: Callable[[Results, Proposals], None] | None = None,
) -> Trace:  # fmt: skip
    """One search until `budget` CPU seconds are spent; the trial under way then counts as far as it has come.

    Args:
        method: random (never stopped early), default, or race (see scripts.bench.race).
        after: what is done with what the search leaves, outside of its budget.
    """
    search_budget, base = settings.budget, settings.base
    base = base.override({"training.seed": base.training.seed + 1000 * seed})
    space = Space(settings.space.as_dict(), base)
    series = load_series(base.data)
    trace = Trace([], [])
    stack: StackRun | None = None
    provenance = code_provenance()

    def close(proposal: Proposal) -> None:
        if stack is not None:
            stack.close("stopped")

    with tempfile.TemporaryDirectory() as scratch:
        results = Results(scratch)
        started = time.process_time()
        proposals = Proposals(
            results, "bench", space, seed=seed, replicates=search_budget.replicates, data_sha256=series.identity,
            sampler="random" if method == "random" else search_budget.sampler, race=method == "race",
        )  # fmt: skip
        racing = method == "race"
        searcher = (RacingSearcher if racing else ProposalSearcher)(proposals, TrialSpec((), series.identity), close)
        searcher.begin(sys.maxsize)
        asha = (RacingASHA if racing else RecordedASHA)(
            [], max_epochs=base.training.max_epochs, grace_epochs=search_budget.grace_epochs,
            reduction_factor=search_budget.reduction_factor,
        )  # fmt: skip

        def spend() -> None:
            nonlocal stack
            for number in itertools.count():
                before = time.process_time()
                name = f"tune-{number}"
                if before - started >= budget or (given := searcher.suggest(name)) == Searcher.FINISHED:
                    return
                trace.proposing += time.process_time() - before
                trial = SimpleNamespace(trial_id=name, config=given)
                configs = [Config.from_json(text) for text in TrialSpec.of(trial).configs]
                whole = len(configs) == search_budget.replicates  # in a race fewer come first
                stack = StackRun(results, configs, "cpu", provenance)
                asha.on_trial_add(None, trial)
                decision, result = "CONTINUE", dict[str, Any](state="running")
                while decision == "CONTINUE" and result["state"] == "running":
                    if time.process_time() - started >= budget:
                        return
                    result = step(stack)
                    spent = time.process_time() - started
                    if spent <= budget and whole and result.get("value", math.inf) < trace.best:
                        trace.times.append(spent)
                        trace.values.append(result["value"])
                    if method != "random" and result["state"] == "running":
                        decision = asha.on_trial_result(None, trial, result)
                trace.stopped += decision == "STOP"
                asha.on_trial_complete(None, trial, result)
                before = time.process_time()
                searcher.on_trial_complete(name, result)
                trace.proposing += time.process_time() - before

        spend()
        trace.trials = len(proposals.all)
        if after is not None:
            after(results, proposals)
    return trace


def step(stack: StackRun) -> dict[str, Any]:
    """An epoch of a trial, as it is reported to Tune."""
    report = stack.step()
    result: dict[str, Any] = {"epoch": report.epoch, "state": report.state, "reports": report.reports}
    result["losses"] = list(report.losses)
    return result if report.value is None else {**result, "value": report.value}


def pair(overrides: Sequence[str], budget: float, seed: int) -> Pair:
    """Both searches of a seed, one after the other in one process; who goes first takes turns."""
    use_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = settings_of(overrides)
    StackTrainer([settings.base]).run_epoch()  # compilation is not the search's
    order = METHODS if seed % 2 else METHODS[::-1]
    traces = {method: search(settings, method, seed, budget) for method in order}
    return Pair(seed, **traces)


def table(pairs: Sequence[Pair], budget: float) -> list[str]:
    head = f"{'seed':>4s}{'trials':>16s}{'best of random':>16s}{'best of default':>17s}{'t random':>10s}"
    lines = [f"{head}{'t default':>11s}{'ratio':>8s}"]
    for one in pairs:
        t_random, t_default = one.reached()
        mark, t_shown = ("", t_default) if t_default is not None else (">", budget)
        trials = f"{one.random.trials} / {one.default.trials} ({one.default.stopped})"
        line = f"{one.seed:>4d}{trials:>16s}{one.random.best:>16.4f}{one.default.best:>17.4f}{t_random:>10.1f}"
        lines.append(f"{line}{f'{mark}{t_shown:.1f}':>11s}{f'{mark}{t_shown / t_random:.2f}':>8s}")
    return [*lines, *summary(pairs, budget)]


def summary(pairs: Sequence[Pair], budget: float) -> list[str]:
    """Ratios of times and differences of final values over all pairs; a time not reached counts as the budget."""
    times = [one.reached() for one in pairs]
    ratios = [(budget if t is None else t) / t_random for t_random, t in times]
    bounds = [ratio for ratio, (_, t) in zip(ratios, times, strict=True) if t is None]

    def shown(value: float, unsure: bool) -> str:
        return f"{'at least ' if unsure else ''}{value:.2f}"

    median, (low, high, level) = statistics.median(ratios), order_interval(ratios)
    median_text, high_text = (shown(value, any(bound <= value for bound in bounds)) for value in (median, high))
    lines = [
        "time to random search's best, default / random:",
        f"  median {median_text}, {low:.2f} to {high_text} (order statistics, {level:.1%})",
    ]
    logs = [math.log(ratio) for ratio in ratios]
    low, high = (math.exp(end) for end in bootstrap_interval(logs))
    mean = shown(math.exp(statistics.mean(logs)), bool(bounds))
    lines.append(f"  geometric mean {mean}, {low:.2f} to {shown(high, bool(bounds))} (bootstrap over seeds, 95%)")
    wins = sum(t is not None and t < t_random for t_random, t in times)
    losses = sum(t is None or t > t_random for t_random, t in times)
    lines.append(
        f"  sooner in {wins} of {len(pairs)} seeds (sign test p = {sign_p(wins, losses):.3g}); "
        f"not reached within the budget in {len(bounds)}"
    )
    gains = [one.default.best - one.random.best for one in pairs]
    low, high, level = order_interval(gains)
    lines += [
        "best value of the whole budget, default - random:",
        f"  median {statistics.median(gains):+.4f}, {low:+.4f} to {high:+.4f} (order statistics, {level:.1%}); "
        f"lower in {sum(gain < 0 for gain in gains)} of {len(pairs)} seeds",
    ]
    proposing = [statistics.mean(getattr(one, method).proposing for one in pairs) for method in METHODS]
    spent = " and ".join(f"{seconds:.1f}" for seconds in proposing)
    return [*lines, f"CPU s a search for the sampler and its records, random and default: {spent}"]


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings of the training problem")
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument(
        "--budget", type=float, help=f"CPU seconds of one search ({BUDGET:g}; --full: {FULL_BUDGET:g})"
    )
    options.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    options.add_argument("--full", action="store_true", help="the preset's own training problem")
    options.add_argument("--out", help="a JSON file for every improvement of every search")
    args = options.parse_args()
    overrides = [*(() if args.full else LIGHT), *args.overrides]
    budget = args.budget or (FULL_BUDGET if args.full else BUDGET)
    settings = settings_of(overrides)
    chosen, epochs = settings.budget, settings.base.training.max_epochs
    print(
        f"{budget:g} CPU s a search; {chosen.replicates} replicates, at most {epochs} epochs; ASHA from epoch "
        f"{chosen.grace_epochs}, one in {chosen.reduction_factor:g}; trials: random / default (stopped early)"
    )
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=spawn) as pool:
        pairs = list(pool.map(partial(pair, overrides, budget), range(args.seeds)))
    if any(not one.random.times for one in pairs):
        sys.exit(f"error: {budget:g} CPU seconds are too few: a random search had no value by then")
    print("\n".join(table(pairs, budget)))
    if args.out:
        content = {"budget": budget, "overrides": overrides, "pairs": [asdict(one) for one in pairs]}
        Path(args.out).write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
