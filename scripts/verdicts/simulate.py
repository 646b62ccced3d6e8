"""What the verdicts are worth: whole studies are simulated whose truth is known, and judged by today's rule and by the
one before it. Prints false verdicts, power, and the coverage of every interval.

    python -m scripts.verdicts.simulate            # 2,000 studies a row: some three minutes of one core
    python -m scripts.verdicts.simulate --quick    # a check that it runs

A study has 12 arms that share `full`. Noise of a seed is drawn for `full` and each arm; an arm's is `spread` times as
wide. False verdicts: every arm's typical effect is 0, and some arm is said to help or hurt. False equivalence: every
typical effect lies at the margin, and some arm is said to have no practical effect (the worse of both sides).
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from scipy import stats
from scipy.signal import lfilter

from ablations.judging.max_t import max_t
from ablations.judging.signed_ranks import pseudo_median, signed_rank_interval
from ablations.judging.statistics import Array, t_interval
from ablations.judging.verdicts import (
    HELPS,
    HURTS,
    NO_EFFECT,
    Evidence,
    Standing,
    evidence,
    judge,
    look_schedule,
)
from lab.training.over_time import crossed, time_interval
from scripts.bench.turns import NO_MEASUREMENT
from scripts.verdicts import before

ARMS, ALPHA = 12, 0.05
UNIT = 0.01  # of `full`'s loss, 1: what a seed changes
TINY = 1e-6  # percent: a margin within which nothing lies
Rule = Callable[[Array, Array, float], Evidence]

NOISES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "Laplace": lambda rng, shape: rng.laplace(size=shape),
    "t2": lambda rng, shape: rng.standard_t(2, shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
}
SKEWED = ("exponential", "lognormal")


def studies(noise: str, spread: float, seeds: int, count: int, shift: float = 0.0) -> tuple[Array, Array]:
    """(count, arms, n) losses of arms and (count, 1, n) of `full`; the effects' noise less `shift`."""
    rng, draw = np.random.default_rng(1), NOISES[noise]
    arm, full = draw(rng, (count, ARMS, seeds)), draw(rng, (count, 1, seeds))
    return 1 + UNIT * (spread * arm - shift), 1 + UNIT * full


def typical(noise: str, spread: float, draws: int) -> float:
    """The pseudo-median of an effect's noise: 0 where that is symmetric."""
    if noise not in SKEWED:
        return 0.0
    rng, draw = np.random.default_rng(2), NOISES[noise]
    pairs = spread * draw(rng, (2, draws)) - draw(rng, (2, draws))
    return float(np.median(pairs.mean(0)))


def mean_effect(noise: str, spread: float) -> float:
    return {"exponential": 1.0, "lognormal": float(np.exp(0.5))}.get(noise, 0.0) * (spread - 1)


def rates(rule: Rule, noise: str, spread: float, seeds: int, count: int, shift: float) -> tuple[float, float]:
    """Of false verdicts, and of false equivalence at the margin."""
    arm, full = studies(noise, spread, seeds, count, shift)
    false = judged(rule, arm, full, TINY, HELPS, HURTS)
    margin = 20 * spread  # percent, which is 20 units of noise: the other side is far
    at_margin = (judged(rule, arm + sign * margin / 100 * full.mean(-1, keepdims=True), full, margin, NO_EFFECT)
                 for sign in (1, -1))  # fmt: skip
    return false, max(at_margin)


def judged(rule: Rule, arm: Array, full: Array, margin: float, *verdicts: str) -> float:
    """The share of studies with any such verdict."""
    verdict = judge(rule(arm, full, margin), arm.shape[-1], ALPHA, ARMS).verdict
    return float(np.isin(verdict, verdicts).any(-1).mean())


def false_lines(count: int, spreads: Sequence[float], draws: int) -> Iterator[str]:
    yield f"familywise rates where {ALPHA:.0%} are meant, {count:,} studies of {ARMS} arms (a Monte Carlo error is " \
          f"{np.sqrt(ALPHA * (1 - ALPHA) / count):.1%})"  # fmt: skip
    yield f"{'':<30s}{'false verdicts':^30s}{'false equivalence':^30s}"
    header = "".join(f"{name:>15s}" for name in ("before", "now") * 2)
    yield f"{'noise, its spreads':<24s}seeds{header}"
    for seeds in (9, 12):
        for noise in NOISES:
            yield _row(noise, "", seeds, count, spreads, [typical(noise, spread, draws) for spread in spreads])
    yield "equal means, skewed: what no test of n seeds can bound, as the means hang on rare runs"
    for noise in SKEWED:
        yield _row(noise, ", equal means", 9, count, spreads, [mean_effect(noise, spread) for spread in spreads])


def _row(noise: str, more: str, seeds: int, count: int, spreads: Sequence[float], shifts: Sequence[float]) -> str:
    """The lowest and highest rates over the spreads."""
    found = []
    for rule in (before.evidence, evidence):
        found.append([rates(rule, noise, s, seeds, count, shift) for s, shift in zip(spreads, shifts, strict=True)])
    cells = [[pair[which] for pair in rule] for which in (0, 1) for rule in found]
    shown = "".join(f"{f'{min(cell):.1%} to {max(cell):.1%}':>15s}" for cell in cells)
    return f"{f'{noise}{more}, 1 to {max(spreads):g}':<24s}{seeds:>5d}{shown}"


def power_lines(count: int) -> Iterator[str]:
    yield "power: one arm of 12 has an effect, in deviations of a pair's effect; normal noise"
    yield f"{'deviations':>10s}{'seeds':>7s}{'before':>9s}{'now':>9s}{'max-t':>9s}"
    for size, seeds in ((2, 6), (4, 6), (2, 9), (3, 9), (2, 12)):
        arm, full = studies("normal", 1, seeds, count)
        arm[:, 0] += size * np.sqrt(2) * UNIT
        shown = [judge(rule(arm, full, TINY), seeds, ALPHA, ARMS).verdict[:, 0] for rule in (before.evidence, evidence)]
        joint = max_t(arm - full, ALPHA).p[:, 0] <= ALPHA
        yield (
            f"{size:>10d}{seeds:>7d}" + "".join(f"{(v == HELPS).mean():>9.1%}" for v in shown) + f"{joint.mean():>9.1%}"
        )
    for noise in ("normal", "t2", "exponential"):
        arm, full = studies(noise, 4, 6, count, typical(noise, 4, 100_000))
        wrong = (max_t(arm - full, ALPHA).p <= ALPHA).any(-1).mean()
        yield f"max-t, false verdicts at 6 seeds, {noise}, spread 4: {wrong:.1%}"


def window_lines(count: int) -> Iterator[str]:
    yield "coverage of 95% intervals over windows and over both: seeds x windows, 10 seeds; the share of the variance"
    yield "of the mean that is time's; windows correlate by exp(-lag / memory); a memory of one block is allowed for"
    yield (
        f"{'blocks':>8s}{'memory, blocks':>16s}{'time share':>12s}{'seeds alone':>13s}{'moving block':>14s}"
        f"{'windows':>9s}{'both, t':>9s}{'both':>7s}{'width':>7s}"
    )
    for blocks, memory, share in [(b, m, s) for b in (1.75, 4.6, 20) for m in (0.25, 1.0, 2.0) for s in (0.1, 0.9)]:
        yield _window_row(blocks, memory, share, count)


def _window_row(blocks: float, memory: float, share: float, count: int, windows: int = 400, seeds: int = 10) -> str:
    """The mean of windows varies by `share`, that of seeds by 1 - share; the rest is a tenth of both."""
    rng, block = np.random.default_rng(3), windows / blocks
    keep = np.exp(-1 / (memory * block))
    common, rest = _series(rng, count, 1, windows, keep), _series(rng, count, seeds, windows, keep)
    deviation = common.mean(-1).std()  # of a mean over windows
    window = common / deviation * np.sqrt(share)
    rest = rest / deviation * np.sqrt(0.1 * seeds)
    seed = rng.standard_normal((count, seeds, 1)) * np.sqrt((1 - share) * seeds)
    table = seed + window + rest
    by_seed = table.mean(-1)
    lows, highs = signed_rank_interval(by_seed, ALPHA)
    centre, tallies, widths = pseudo_median(by_seed), np.zeros(5), []
    for study in range(count):
        series = table[study].mean(0)
        over_time = time_interval(series, block)
        both = crossed(float(centre[study]), (float(lows[study]), float(highs[study])), over_time)
        widths.append((both[1] - both[0]) / (2 * 1.96 * np.sqrt(1.1)))
        moving = before.window_interval(series, round(block), 199)
        low, high = t_interval(by_seed[study])
        old_seeds = (float(low), float(high))
        pieces = (old_seeds, moving, over_time, _satterthwaite(by_seed[study], over_time, block, windows), both)
        trained = float(seed[study].mean())  # the effect of these models over all of time: what windows alone speak of
        truths = (0.0, trained, trained, 0.0, 0.0)
        tallies += [float(ends[0] <= truth <= ends[1]) for truth, ends in zip(truths, pieces, strict=True)]
    rates = [f"{covered:.1%}" for covered in tallies / count]
    if blocks < 2:
        rates[1] = "none"
    shown = "".join(f"{rate:>{width}s}" for rate, width in zip(rates, (13, 14, 9, 9, 7), strict=True))
    return f"{blocks:>8g}{memory:>16g}{share:>12.0%}{shown}{np.median(widths):>7.2f}"


def _series(rng: np.random.Generator, count: int, rows: int, windows: int, keep: float) -> Array:
    drawn = rng.standard_normal((count, rows, windows))
    drawn[..., 0] /= np.sqrt(1 - keep**2)
    return np.asarray(lfilter([1.0], [1.0, -keep], drawn))


def _satterthwaite(by_seed: Array, over_time: tuple[float, float], block: float, windows: int) -> tuple[float, float]:
    """The other way to cross: both variances added, t on the degrees of freedom that they have together (four cosines
    over time)."""
    n, cosines = len(by_seed), 4
    half = (over_time[1] - over_time[0]) / 2 / _critical(block / windows, cosines)
    first, second = by_seed.var(ddof=1) / n, half**2
    freedom = (first + second) ** 2 / (first**2 / (n - 1) + second**2 / cosines)
    reach = stats.t.isf(0.025, freedom) * np.sqrt(first + second)
    return float(by_seed.mean() - reach), float(by_seed.mean() + reach)


def _critical(share: float, cosines: int) -> float:
    from lab.training.over_time import COSINES, critical_value

    used = next(count for most, count in COSINES if share <= most)
    return critical_value(min(float(np.ceil(share * 200) / 200), 1.0), used, 0.95)


def stopping_lines(count: int) -> Iterator[str]:
    looks, arms = look_schedule(8, 16, 5), 2
    yield f"`auto`: coverage of an interval where an arm stops, {len(looks)} looks at 8 to 16 seeds, {arms} arms:"
    yield "of all arms, and of those alone that stopped early, which no interval promises"
    header = f"{'before, of all':>16s}{'early':>8s}{'now, of all':>14s}{'early':>8s}"
    yield f"{'deviations':>10s}{'stopped early':>15s}{header}"
    for size in (0.0, 0.4, 0.7, 1.0, 1.5):
        arm, full = studies("normal", 1, looks[-1], count)
        arm = arm[:, :arms] + size * np.sqrt(2) * UNIT
        standing: Standing | None = None
        for seeds in looks:
            now = evidence(arm[..., :seeds], full[..., :seeds], TINY)
            standing = judge(now, seeds, ALPHA, arms, len(looks), standing)
        assert standing is not None
        truth, covered = size * np.sqrt(2) * UNIT, np.zeros((2, *standing.seeds.shape))
        for seeds in looks:
            here = standing.seeds == seeds
            if here.any():
                effects = (arm - full)[here][:, :seeds]
                both = (t_interval(effects), signed_rank_interval(effects, ALPHA / len(looks)))
                covered[:, here] = [(low <= truth) & (truth <= high) for low, high in both]
        early = standing.seeds < looks[-1]
        shown = [f"{rule.mean():.1%}" for rule in covered]
        stopped = [f"{rule[early].mean():.1%}" if early.any() else "" for rule in covered]
        yield (f"{size:>10g}{early.mean():>15.0%}{shown[0]:>16s}{stopped[0]:>8s}{shown[1]:>14s}{stopped[1]:>8s}")


def print_tables(quick: bool, tables: Iterable[Iterable[str]]) -> None:
    """Line by line, as they come."""
    if quick:
        print(NO_MEASUREMENT)
    for lines in tables:
        for line in lines:
            print(line, flush=True)
        print()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies a row (2000)")
    parser.add_argument("--quick", action="store_true", help="a check that it runs: nothing is measured")
    options = parser.parse_args(arguments)
    count, spreads, draws = (20, (1, 8), 2000) if options.quick else (options.studies, (1, 2, 4, 8), 1_000_000)
    windows = window_lines(max(count // 4, 4))
    tables = (false_lines(count, spreads, draws), power_lines(count), windows, stopping_lines(count))
    print_tables(options.quick, tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
