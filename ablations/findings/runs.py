"""The runs of a study as the store has them, by cell, arm and seed; and where its family stands. What trains a study
and what reports it read this."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ablations.findings.findings import METRICS, PRIMARY
from ablations.findings.record import StudyRecord
from ablations.judging.max_t import MaxT, max_t
from ablations.judging.pooling import over_cells
from ablations.judging.statistics import Array
from ablations.judging.verdicts import UNDECIDED, Evidence, Standing, evidence, judge
from ablations.planning.plan import POOLED, Hypothesis, contrast_name, family_of, live_hypotheses
from ablations.study.study import Study
from lab.series.bars.ridge import RIDGE
from lab.store.schema import DONE
from lab.store.tables import Results

# Relative. Two runs that took the very same steps at other places of their stacks lie 1e-8 apart and less at first: the
# order in which matrix products are summed is the library's. What is smaller than this, no error could tell from it.
ROUNDING = 1e-6

Member = dict[str, Any]  # a row of table `runs` with `test_mse`, `test_mae`, their channels and `test_windows`


@dataclass(frozen=True)
class Sides:
    """The arms whose mean losses a hypothesis sets against each other, seed by seed."""

    without: tuple[str, ...]
    with_part: tuple[str, ...]


@dataclass(frozen=True)
class Recorded:
    """What is on record of a study's arms."""

    record: StudyRecord
    members: Mapping[tuple[str, str], Mapping[int, Member]]  # (arm, cell) -> seed -> row
    baselines: Mapping[str, Member] = field(default_factory=dict)  # cell -> row of the linear baseline

    @classmethod
    def of(cls, results: Results, record: StudyRecord) -> "Recorded":
        memberships = results.table("members", record.name).to_pylist()
        ids = sorted({row["run"] for row in memberships})
        rows = results.runs(ids)
        _add_readings(rows, results.of_runs("evaluations", ids).to_pylist())
        members: dict[tuple[str, str], dict[int, Member]] = defaultdict(dict)
        baselines: dict[str, Member] = {}
        for member in memberships:
            row = rows.get(member["run"])
            if row is None:
                continue
            if member["role"] == "baseline":
                if row["model"] == RIDGE.name:
                    baselines[member["cell"]] = row
            elif member["role"] == "arm":
                members[member["arm"], member["cell"]][row["seed"]] = row
        return cls(record, members, baselines)

    @property
    def study(self) -> Study:
        return self.record.study

    def channels(self, cell: str) -> tuple[str, ...]:
        """Of the cell's series; () while no run is on record."""
        rows = [row for (_, c), by_seed in self.members.items() if c == cell for row in by_seed.values()]
        return tuple(next((row["channels"] for row in rows if row.get("channels")), ()))

    def row(self, arm: str, cell: str, seed: int) -> Member:
        """The run's row, or {} where there is none."""
        return dict(self.members.get((arm, cell), {}).get(seed, {}))

    def status(self, arm: str, cell: str, seed: int) -> str:
        """`complete`, `diverged`, `failed`, or `missing`: not trained, or not read on test."""
        row = self.row(arm, cell, seed)
        if row.get("status") == "complete":
            if row.get("test_windows") is None:
                return "missing"
            # Weights that are fine on validation can forecast without bounds on test.
            return "complete" if row.get(PRIMARY) is not None and np.isfinite(row[PRIMARY]) else "diverged"
        return row["status"] if row.get("status") in ("diverged", "failed") else "missing"

    def first(self, arm: str, cell: str) -> Member:
        """The row of the complete run with the lowest seed, or {}: which is shown, where one stands for all."""
        seeds = sorted(self.members.get((arm, cell), {}))
        return next((self.row(arm, cell, seed) for seed in seeds if self.status(arm, cell, seed) == "complete"), {})

    def losses(self, arm: str, cell: str, seeds: Sequence[int], metric: str = PRIMARY) -> Array:
        """(seeds,), NaN unless the run is complete: a diverged run's best epoch is no result."""
        found = []
        for seed in seeds:
            value = self.row(arm, cell, seed).get(metric) if self.status(arm, cell, seed) == "complete" else None
            found.append(np.nan if value is None else value)
        return np.array(found, float)

    def side(self, arms: Sequence[str], cell: str, seeds: Sequence[int], metric: str = PRIMARY) -> Array:
        """(seeds,), the mean of the arms' losses; NaN where any is."""
        return np.asarray(np.mean([self.losses(arm, cell, seeds, metric) for arm in arms], axis=0))

    def sides(self, hypothesis: Hypothesis) -> Sides:
        """Of a comparison: its two arms. Of a contrast: the cells of the factorial by their sign, as in
        `statistics.factorial_contrasts`."""
        name, _ = hypothesis
        for comparison in self.study.comparisons:
            if comparison.name == name:
                return Sides((comparison.without,), (comparison.with_part,))
        factors = next(c for c in self.study.contrasts if contrast_name(c) == name)
        signs: dict[bool, list[str]] = {True: [], False: []}
        for off, arm in self.study.combinations.items():
            on = sum(factor not in off for factor in factors)
            signs[on % 2 == 0].append(arm)
        return Sides(tuple(signs[True]), tuple(signs[False]))

    def cells_of(self, hypothesis: Hypothesis) -> tuple[str, ...]:
        """The cells that it is about: its own, or those in which the pooled question is alive."""
        name, cell = hypothesis
        return (cell,) if cell != POOLED else self._alive.get(name, ())

    @cached_property
    def _alive(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = defaultdict(tuple)
        for name, cell in live_hypotheses(self.study, self.record.inert):
            if (name, cell) not in self.same:
                found[name] += (cell,)
        return dict(found)

    def arms_of(self, hypothesis: Hypothesis) -> list[tuple[str, str]]:
        """(arm, cell) of all that it compares."""
        sides = self.sides(hypothesis)
        arms = dict.fromkeys((*sides.without, *sides.with_part))
        return [(arm, cell) for cell in self.cells_of(hypothesis) for arm in arms]

    def whole(self, hypothesis: Hypothesis, seeds: Sequence[int]) -> bool:
        """Whether every run that it needs has come to its end, well or not."""
        return all(self.status(arm, cell, seed) in DONE for arm, cell in self.arms_of(hypothesis) for seed in seeds)

    def pair(self, hypothesis: Hypothesis, seeds: Sequence[int], metric: str = PRIMARY) -> tuple[Array, Array]:
        """(seeds,) losses without and with the part; NaN where a run is none.

        Pooled: in percent of the mean loss with the part in its cell, over the cells (see `units`).
        """
        if hypothesis[1] == POOLED:
            units = self.units(hypothesis, seeds)
            without, with_part = (
                over_cells([pair[side] for _, pair in units.values()], [series for series, _ in units])
                for side in (0, 1)
            )
            return without, with_part
        sides, cell = self.sides(hypothesis), hypothesis[1]
        return self.side(sides.without, cell, seeds, metric), self.side(sides.with_part, cell, seeds, metric)

    def units(
        self, hypothesis: Hypothesis, seeds: Sequence[int], cells: Sequence[str] | None = None, metric: str = PRIMARY
    ) -> dict[tuple[str, int], tuple[list[str], Array]]:
        """What a pooled question is pooled over: (series, origin) -> its cells and (2, seeds) losses, without and with
        the part, in percent of the mean loss with it.

        Cells of one series at one origin, as of several horizons, are judged on the same rows: their mean counts, once.

        Args:
            cells: some of its cells; all by default.
        """
        found: dict[tuple[str, int], tuple[list[str], list[Array]]] = defaultdict(lambda: ([], []))
        for cell in self.cells_of(hypothesis) if cells is None else cells:
            pair = np.array(self.pair((hypothesis[0], cell), seeds, metric))
            known = pair[1][np.isfinite(pair[1])]
            place = self.study.series_of[cell], self.record.spans[cell].origin or -self.study.places[cell].back
            those, pairs = found[place]
            those.append(cell)
            pairs.append(100 * pair / known.mean() if len(known) else np.full(pair.shape, np.nan))
        return {place: (those, np.mean(pairs, axis=0)) for place, (those, pairs) in found.items()}

    def evidence(self, hypothesis: Hypothesis, seeds: Sequence[int]) -> Evidence:
        """Of the primary metric at these seeds. Where runs are missing it decides nothing: p is 1."""
        if len(seeds) < 2 or not self.whole(hypothesis, seeds):
            return Evidence(*(np.asarray(value) for value in (1.0, 0, 1.0, False)))
        without, with_part = self.pair(hypothesis, seeds)
        if np.isnan(with_part).all():  # nothing to take a percent of
            return Evidence(*(np.asarray(value) for value in (1.0, 0, 1.0, True)))
        return evidence(without, with_part, self.study.margin_percent)

    @cached_property
    def hypotheses(self) -> list[Hypothesis]:
        """The family, but for re-tuned arms whose searches are not through."""
        asked = family_of(self.study, self.record.inert)
        return [each for each in asked if each not in self.same and self.cells_of(each)]

    @property
    def family(self) -> int:
        """m, less those that made no difference: there is nothing to be decided of them."""
        return self.record.family - len(family_of(self.study, self.record.inert)) + len(self.hypotheses)

    @cached_property
    def same(self) -> frozenset[Hypothesis]:
        """Comparisons whose two arms came to the same, up to ROUNDING, with every seed that was judged: a bound of
        gradients that none ever met, say. None before the first look."""
        seeds = self.study.seed_list(self.record.judged_seeds) if self.record.judged_seeds else ()
        return frozenset(
            (comparison.name, cell)
            for cell in self.study.cell_names
            for comparison in self.study.comparisons_in(cell)
            if (comparison.arm.untuned, cell) not in self.record.inert
            and self._same(comparison.without, comparison.with_part, cell, seeds)
        )

    def _same(self, one: str, other: str, cell: str, seeds: Sequence[int]) -> bool:
        """Whether two arms came to the same with each of the seeds that both were trained with."""
        both = [seed for seed in seeds if self.row(one, cell, seed) and self.row(other, cell, seed)]
        if len(both) < max(1, min(self.record.looks[0], len(seeds))):
            return False
        if any(self.status(arm, cell, seed) != "complete" for arm in (one, other) for seed in both):
            return False
        return all(_alike(self.row(one, cell, seed), self.row(other, cell, seed)) for seed in both)

    def standing(self) -> Standing | None:
        """After the looks that were taken (`StudyRecord.judged_looks`); None before the first.

        What is on record for a look that is not complete yet is not read: to look is to spend alpha.
        """
        schedule, taken = self.record.judged_looks
        standing: Standing | None = None
        known = 0
        for count in schedule[:taken] if self.hypotheses else ():
            seeds = self.study.seed_list(count)
            now = Evidence.of([self.evidence(hypothesis, seeds) for hypothesis in self.hypotheses])
            left = np.array([self._left(hypothesis, seeds[known:]) for hypothesis in self.hypotheses])
            joint = self._joint(seeds) if self.study.correction == "max_t" else None
            standing = judge(now, count, self.study.alpha, self.family, len(schedule), standing, joint, left)
            known = count
        return standing

    def undecided(self) -> list[Hypothesis]:
        """Of the family, after the looks that were taken."""
        standing = self.standing()
        verdicts = () if standing is None else standing.verdict
        return [each for each, verdict in zip(self.hypotheses, verdicts, strict=False) if verdict == UNDECIDED]

    def _left(self, hypothesis: Hypothesis, seeds: Sequence[int]) -> bool:
        """Whether one of its arms was not trained at any of these seeds, nor failed at one."""
        return any(not any(self.row(arm, cell, seed) for seed in seeds) for arm, cell in self.arms_of(hypothesis))

    def _joint(self, seeds: Sequence[int]) -> MaxT:
        """The joint test of the family. What is not whole has p = 1, and losing it makes nothing easier: the others'
        p are multiplied by the share of the family that is left."""
        effects = [np.subtract(*self.pair(hypothesis, seeds)) for hypothesis in self.hypotheses]
        whole = np.array([bool(np.isfinite(each).all()) and len(seeds) > 1 for each in effects])
        p, critical = np.ones(len(whole)), np.asarray(np.nan)
        if whole.any():
            lost = self.family / whole.sum()
            found = max_t(np.array([each for each, here in zip(effects, whole, strict=True) if here]),
                          self.study.alpha / lost)  # fmt: skip
            p[whole], critical = np.minimum(lost * found.p, 1), found.critical
        return MaxT(p, critical)

    def device_seconds(self) -> float:
        """Of every run of the study, each once."""
        rows = {row["run"]: row for members in self.members.values() for row in members.values()}
        return sum(device_seconds(row) for row in rows.values())


def _alike(one: Member, other: Member) -> bool:
    """Whether two runs came to the same: as many epochs, and the same errors on validation and test, by channel too."""
    if any(one.get(key) != other.get(key) for key in ("epochs", "best_epoch", "channels")):
        return False
    left, right = _errors(one), _errors(other)
    return left.shape == right.shape and bool(np.allclose(left, right, rtol=ROUNDING, atol=0.0))


def _errors(row: Member) -> Array:
    whole = [row[key] for key in METRICS if row.get(key) is not None]
    lists = [value for key in ("val_mse", "val_mae") for value in row.get(f"{key}_channels") or ()]
    tests = [row.get(f"{key}_channels") or {} for key in ("test_mse", "test_mae")]
    return np.array([*whole, *lists, *(by[name] for by in tests for name in sorted(by))], float)


def device_seconds(row: Mapping[str, Any]) -> float:
    """Of a run: GPU time where it had one, else CPU time."""
    return float(row.get("gpu_seconds") or row.get("cpu_seconds") or 0.0)


def _add_readings(rows: dict[str, Member], readings: list[dict[str, Any]]) -> None:
    """Each run's first reading of test that counted its windows: test is read once."""
    for reading in sorted(readings, key=lambda row: row["time"]):
        row = rows.get(reading["run"])
        if row is None or reading["split"] != "test":
            continue
        name = f"test_{reading['metric']}"
        if name not in METRICS:
            continue
        if reading["channel"] is not None:
            row.setdefault(f"{name}_channels", {}).setdefault(reading["channel"], reading["value"])
        elif row.get("test_windows") is None or name not in row:
            row[name] = reading["value"]
            row["test_windows"] = reading["windows"]
            row["read"] = reading["time"]
