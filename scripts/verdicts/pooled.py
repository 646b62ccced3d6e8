"""What pooled verdicts are worth: simulated series and origins whose truth is known. Prints coverage and width of the
interval over series beside those of other methods, the calibration of the chance that a part helps on the next series
and at the next origin, and false verdicts and power of the whole rule.

    python -m scripts.verdicts.pooled            # 4,000 studies a row, 300 for the Bayesian one: some two minutes
    python -m scripts.verdicts.pooled --quick    # a check that it runs

The unit of effects, widths and deviations is what a seed changes: the deviation of a pair's effect over seeds. Origins
of a series deviate by half of what series do. A study has 9 seeds, and 12 arms that share `full` where it is of arms.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ablations.judging.pooling import chance_of_next, over_p, reached
from ablations.judging.statistics import Array
from ablations.judging.verdicts import HELPS, HURTS, evidence, judge
from scripts.verdicts.intervals import Found, hierarchical, mixed_model, students_t
from scripts.verdicts.simulate import ALPHA, ARMS, TINY, print_tables

SEEDS = 9
SERIES, DEVIATIONS = (2, 3, 4, 6, 8), (0, 1, 4, 20)


@dataclass(frozen=True)
class Case:
    """How a study's series, origins and seeds deviate."""

    origins: int = 3
    heavy: bool = False  # series as t3
    unequal: bool = False  # seeds, by series: 1/3 to 3 times as much
    ragged: bool = False  # every other series has one origin less
    together: float = 0.0  # correlation of neighbouring origins


CASES = {
    "normal, 1 origin": Case(origins=1),
    "normal, 3 origins": Case(),
    "t3 over series": Case(heavy=True),
    "seeds' noise unequal": Case(unequal=True),
    "2 or 3 origins": Case(ragged=True),
    "origins correlate 0.7": Case(together=0.7),
}


def studies(case: Case, series: int, deviation: float, count: int, mean: Array | float = 0.0) -> tuple[Array, Array]:
    """(count, series, origins) means over seeds, NaN where a series has no such origin, and their variances."""
    rng, m = np.random.default_rng(4), case.origins
    shape = (count, series, m)
    apart = (
        rng.standard_t(3, (count, series, 1)) / np.sqrt(3) if case.heavy else rng.standard_normal((count, series, 1))
    )
    over_time = neighbours(rng, shape, case.together)
    wide = 3.0 ** np.linspace(-1, 1, series) if case.unequal else np.ones(series)
    wide = (wide / np.sqrt((wide**2).mean()))[:, None]
    noise = wide * rng.standard_normal(shape) / np.sqrt(SEEDS)
    variances = wide**2 * rng.chisquare(SEEDS - 1, shape) / (SEEDS - 1) / SEEDS
    cells = np.reshape(mean, (-1, 1, 1)) + deviation * (apart + over_time / 2) + noise
    if case.ragged:
        cells[:, ::2, -1] = np.nan
    return cells, variances


def neighbours(rng: np.random.Generator, shape: tuple[int, ...], together: float) -> Array:
    drawn = rng.standard_normal(shape)
    for at in range(1, shape[-1]):
        drawn[..., at] = together * drawn[..., at - 1] + np.sqrt(1 - together**2) * drawn[..., at]
    return drawn


def coverage_lines(count: int, few: int) -> Iterator[str]:
    yield "the 95% interval of the mean over series: coverage, lowest over the cases below, and mean width where all is"
    yield f"normal ({count:,} studies a case, {few} for the Bayesian: errors of {_error(count)}, {_error(few)})"
    methods = ("t over series", "REML", "Bayes, 2 wide", "Bayes, 20 wide")
    yield f"{'series':>6s}{'deviation':>11s}" + "".join(f"{name:>18s}" for name in methods)
    lowest: dict[str, list[float]] = {}
    for series in SERIES:
        for deviation in DEVIATIONS:
            covered, widths = [], []
            for name, case in CASES.items():
                found = _intervals(case, series, deviation, count, few)
                covered.append([float(((one.low <= 0) & (one.high >= 0)).mean()) for one in found])
                lowest.setdefault(name, []).append(covered[-1][0])
                widths.append([float((one.high - one.low).mean()) for one in found])
            shown = zip(np.min(covered, 0), widths[1], strict=True)
            cells = "".join(f"{f'{rate:.1%} {width:7.2f}':>18s}" for rate, width in shown)
            yield f"{series:>6d}{deviation:>11g}{cells}"
    yield "t over series, by case, lowest and highest: " + ", ".join(
        f"{name} {min(rates):.1%} to {max(rates):.1%}" for name, rates in lowest.items()
    )


def _intervals(case: Case, series: int, deviation: float, count: int, few: int) -> tuple[Found, ...]:
    cells, variances = studies(case, series, deviation, count)
    some, their = cells[:few], variances[:few]
    return (
        students_t(np.nanmean(cells, -1)), mixed_model(cells, variances, SEEDS),
        hierarchical(some, their, SEEDS), hierarchical(some, their, SEEDS, scale=20),
    )  # fmt: skip


def _error(count: int) -> str:
    return f"{np.sqrt(ALPHA * (1 - ALPHA) / count):.1%}"


def origin_lines(count: int) -> Iterator[str]:
    yield "one series: coverage of the 95% interval over its origins, by the correlation of neighbours (deviation 4)"
    yield f"{'origins':>7s}" + "".join(f"{together:>9g}" for together in (0, 0.4, 0.7))
    for origins in (2, 3, 5, 8):
        rates = []
        for together in (0, 0.4, 0.7):
            rng = np.random.default_rng(5)
            found = students_t(
                2 * neighbours(rng, (count, origins), together) + rng.standard_normal((count, origins)) / 3
            )
            rates.append(((found.low <= 0) & (found.high >= 0)).mean())
        yield f"{origins:>7d}" + "".join(f"{rate:>9.1%}" for rate in rates)


BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


def next_lines(count: int) -> Iterator[str]:
    yield "the chance that the effect has the likelier sign on the next series, as said and as it came out; over parts"
    yield "whose means deviate by 0.5, 1 or 3 times what their series do, which is 0.5 to 4; Brier scores of it, of"
    yield "Student's t with a flat prior, and of Laplace's rule of succession, (k + 1) / (K + 2)"
    bins = "".join(f"{f'{low:.0%} to {high:.0%}':>16s}" for low, high in pairwise(BINS))
    yield f"{'means, series':<24s}{bins}{'Brier':>8s}{'flat':>8s}{'Laplace':>9s}"
    for size in (0.5, 1, 3):
        for series in (2, 4, 8):
            means, came = _next_series(series, size, count)
            yield _calibrated(f"{size:g} of deviation, {series}", means, came)
    yield "at the next origin of a series: three before it; neighbours correlate by 0 or 0.7; effects in deviations"
    for together in (0.0, 0.7):
        for size in (0.5, 1, 3):
            rng = np.random.default_rng(7)
            effects = size * rng.standard_normal((count, 1)) + neighbours(rng, (count, 4), together)
            yield _calibrated(f"{size:g}, correlation {together:g}", effects[:, :-1], effects[:, -1])


def _next_series(series: int, size: float, count: int) -> tuple[Array, Array]:
    """(studies, series) means, and that of one more series."""
    drawn = []
    for deviation in (0.5, 1, 2, 4):
        rng = np.random.default_rng(6)
        mean = size * deviation * rng.standard_normal(count)
        drawn.append(studies(Case(), series + 1, deviation, count, mean)[0].mean(-1))
    together = np.concatenate(drawn)
    return together[:, :-1], together[:, -1]


def _calibrated(name: str, means: Array, came: Array) -> str:
    k = means.shape[-1]
    said = chance_of_next(means)
    methods = (said, students_t(means).next_series, ((means > 0).sum(-1) + 1) / (k + 2))
    sure, right = np.maximum(said, 1 - said), (came > 0) == (said > 0.5)
    cells = []
    for low, high in pairwise(BINS):
        here = (sure >= low) & (sure < high)
        cells.append(f"{sure[here].mean():.0%} {right[here].mean():.0%}" if here.mean() > 0.005 else "")
    scores = [float(((one - (came > 0)) ** 2).mean()) for one in methods]
    return f"{name:<24s}" + "".join(f"{c:>16s}" for c in cells) + "{:>8.3f}{:>8.3f}{:>9.3f}".format(*scores)


def family_lines(count: int) -> Iterator[str]:
    yield f"{ARMS} arms that share `full`, 3 origins, {count:,} studies: the share with a false verdict where the"
    yield "parts do nothing on average over series, over seeds alone, with a 95% interval over series an arm, and with"
    yield "that of the family (the rule); and the share of arms shown where all help by 2, by the last two"
    heads = f"{'seeds':>10s}{'each 95%':>10s}{'family':>9s}{'power: each':>15s}{'family':>9s}"
    yield f"{'series':>6s}{'deviation':>11s}{heads}"
    for series in SERIES:
        for deviation in (0, 0.5, 1, 4):
            rates = [_family(series, deviation, count, mean) for mean in (0.0, 2.0)]
            false = [float(np.isin(verdict, (HELPS, HURTS)).any(-1).mean()) for verdict in rates[0]]
            shown = [float((verdict == HELPS).mean()) for verdict in rates[1][1:]]
            yield f"{series:>6d}{deviation:>11g}{false[0]:>10.1%}{false[1]:>10.1%}{false[2]:>9.1%}" \
                  f"{shown[0]:>15.1%}{shown[1]:>9.1%}"  # fmt: skip


def _family(series: int, deviation: float, count: int, mean: float, origins: int = 3) -> tuple[Array, Array, Array]:
    """(count, arms) verdicts: over seeds alone, with 95% for each arm, with the family over series."""
    rng, cells = np.random.default_rng(8), (count, ARMS, series, origins)
    effects = mean + deviation * (rng.standard_normal((count, ARMS, series, 1)) + rng.standard_normal(cells) / 2)
    arm, full = (np.sqrt(0.5) * rng.standard_normal((count, n, series, origins, SEEDS)) for n in (ARMS, 1))
    table = effects[..., None] + arm - full
    pooled, means = table.mean((2, 3)), table.mean((3, 4))
    seeds = judge(evidence(100 + pooled, np.full(pooled.shape, 100.0), TINY), SEEDS, ALPHA, ARMS).verdict
    centre, p = means.mean(-1), over_p(means)
    sided = np.where(seeds == HELPS, centre > 0, np.where(seeds == HURTS, centre < 0, True))
    each = np.where(np.isin(seeds, (HELPS, HURTS)) & ((p > ALPHA) | ~sided), "", seeds)
    return seeds, each, reached(seeds, centre, p, np.ones(p.shape), ALPHA, ARMS)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--studies", type=int, default=4000, help="simulated studies a row (4000)")
    parser.add_argument("--quick", action="store_true", help="a check that it runs: nothing is measured")
    options = parser.parse_args(arguments)
    count, few = (40, 4) if options.quick else (options.studies, min(300, options.studies))
    family = family_lines(max(count // 4, 4))
    print_tables(options.quick, (coverage_lines(count, few), origin_lines(count), next_lines(count), family))
    return 0


if __name__ == "__main__":
    sys.exit(main())
