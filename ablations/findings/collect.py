"""From the records of a study to its findings: every number that a report shows is computed here, once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from ablations.findings.before import again
from ablations.findings.effects import Effects
from ablations.findings.findings import (
    METRICS,
    PRIMARY,
    ArmRuns,
    CellData,
    Curve,
    Diagnosis,
    Finding,
    Findings,
    Reading,
)
from ablations.findings.gains import within_margin
from ablations.findings.pooled import pooled_findings
from ablations.findings.ranked import league_of
from ablations.findings.record import StudyRecord
from ablations.findings.runs import Recorded, device_seconds
from ablations.findings.sealed import sealed_findings
from ablations.judging.reach import outlying_runs
from ablations.judging.signed_ranks import smallest_p
from ablations.judging.statistics import Array
from ablations.planning.capacity import match_capacity
from ablations.planning.plan import contrast_name
from ablations.study.pieces import Comparison
from lab.arms import FULL, difference
from lab.errors import ConfigError, DataError
from lab.forecaster import range_column
from lab.ledger.counting import store_lines
from lab.pages.formats import decimal, p_value
from lab.references.standing import Standing, standing_of
from lab.registry import forecaster, forecaster_of
from lab.settings.config import Config
from lab.store.events import incidents
from lab.store.frames import history_of
from lab.store.tables import Results
from lab.training.window_errors import WindowDifference, window_difference


def findings_of(results: Results, name: str) -> Findings:
    """What the study's records say so far; arms whose runs are missing are `incomplete`.

    Raises:
        ConfigError: no such ablation study; names the nearest.
        DataError: it was begun and nothing of it is on record yet.
    """
    try:
        record = StudyRecord.load(results, name)
    except (KeyError, TypeError, AttributeError, IndexError) as error:  # settings that no version of ours wrote
        text = " ".join(f"{type(error).__name__} {error}".split())
        raise ConfigError(
            f"study '{name}': what it was begun with cannot be read from its table 'studies' ({text})"
        ) from None
    return Collector(results, record).findings()


_MOST_EPOCHS = 1_000_000  # a record that tells of more is none of ours, and no curve is drawn of it


class Collector:
    def __init__(self, results: Results, record: StudyRecord):
        self.results, self.record, self.study = results, record, record.study
        self.recorded = Recorded.of(results, record)
        if not self.recorded.members:
            raise DataError(f"study '{record.name}' has no run on record yet")
        self.seeds = self.study.seed_list(record.judged_seeds or _first(record))
        self.histories = self._histories()

    def findings(self) -> Findings:
        cells = tuple(self._cell(cell) for cell in self.study.cell_names)
        invalid = {cell.name: cell.invalid for cell in cells if cell.invalid}
        effects = Effects(self.results, self.recorded, self.recorded.standing(), self.seeds, invalid)
        found = []
        for cell in self.study.cell_names:
            found += [self._comparison(comparison, cell, effects) for comparison in self.study.comparisons_in(cell)]
            found += [self._contrast(factors, cell, effects) for factors in self.study.contrasts]
        arms = tuple(
            self._arm(arm, cell)
            for cell in self.study.cell_names
            for arm in dict.fromkeys((FULL, *self.study.table))
            if (arm, cell) in self.recorded.members
        )
        pooled = tuple(pooled_findings(effects, found))
        return Findings(
            name=self.record.name, study=self.study, cells=cells, arms=arms, findings=tuple(found),
            pooled=pooled, family=self.recorded.family, looks=self.record.judged_looks[0],
            look=self.record.judged_looks[1], seeds=self.seeds,
            exploratory=self.record.exploratory,
            notes=(*self._notes(arms, found), *within_margin(cells, (*found, *pooled), self.study.margin_percent)),
            device_seconds=self.recorded.device_seconds(), ledger=tuple(self._ledger()),
            events=tuple(self.record.events), provenance=self._provenance(),
            data_ledger=tuple(store_lines(self.results, self.record.data.values())),
            incidents=incidents(self.results, self.record.name),
            sealed=sealed_findings(self.results, self.recorded, found, pooled),
            league=league_of(self.results, self.recorded, cells, arms),
            skipped=tuple(self.results.skipped_lines()),  # last: all is read by now
        )  # fmt: skip

    # Cells and arms -------------------------------------------------------------------------------------------------

    def _config(self, arm: str, cell: str) -> Config:
        return self.study.config(cell, arm)

    def _cell(self, cell: str) -> CellData:
        base, place, span = self._config(FULL, cell), self.study.places[cell], self.record.spans[cell]
        rows = [row for (_, c), by_seed in self.recorded.members.items() if c == cell for row in by_seed.values()]
        counts = sorted({row["test_windows"] for row in rows if row.get("test_windows")})
        linear = self.recorded.baselines.get(cell, {})
        if linear.get("test_windows"):
            counts = sorted({*counts, linear["test_windows"]})
        invalid = ""
        if len(counts) > 1:
            invalid = f"its runs were evaluated on {' and '.join(map(str, counts))} test windows, which do not compare"
        return CellData(
            name=cell, dataset=base.data.name, sha256=self.record.data[cell], seq_len=base.data.seq_len,
            pred_len=base.data.pred_len, protocol=base.protocol, channels=self.recorded.channels(cell),
            test_windows=counts[0] if len(counts) == 1 else None,
            settings=_settings(base),
            linear={metric: linear[metric] for metric in METRICS if linear.get(metric) is not None},
            linear_channels=linear.get("test_mse_channels", {}), linear_parameters=linear.get("parameters") or 0,
            less_linear=self._less_linear(cell), invalid=invalid, standing=self._standing(cell),
            series=self.study.series_of[cell], place=place.listed, back=place.back, **asdict(span),
        )  # fmt: skip

    def _less_linear(self, cell: str) -> WindowDifference | None:
        linear = self.recorded.baselines.get(cell)
        full = self.recorded.members.get((FULL, cell), {}).values()
        runs = [row["run"] for row in full if row["status"] == "complete"]
        if linear is None or not runs:
            return None
        data = self._config(FULL, cell).data
        return window_difference(self.results, runs, [linear["run"]], data.seq_len + data.pred_len)

    def _standing(self, cell: str) -> Standing:
        full = self.recorded.members.get((FULL, cell), {})
        complete = [full[seed]["run"] for seed in sorted(full) if self.recorded.status(FULL, cell, seed) == "complete"]
        data = self._config(FULL, cell).data
        return standing_of(self.results, self.record.name, complete, data.seq_len + data.pred_len, cell)

    def _seeds_of(self, arm: str, cell: str) -> tuple[int, ...]:
        """The seeds at which it was to be trained: an arm that is decided gets no more."""
        known = self.recorded.members.get((arm, cell), {})
        first = self.study.seed_list(_first(self.record))
        return tuple(seed for seed in self.study.seed_list(self.record.seeds) if seed in known or seed in first)

    def _arm(self, arm: str, cell: str) -> ArmRuns:
        config, seeds = self._config(arm, cell), self._seeds_of(arm, cell)
        rows = [self.recorded.row(arm, cell, seed) for seed in seeds]
        statuses = tuple(self.recorded.status(arm, cell, seed) for seed in seeds)
        complete = [row for row, status in zip(rows, statuses, strict=True) if status == "complete"]
        channels = self.recorded.channels(cell)
        size = forecaster_of(config).size(config, len(channels))
        known = self.study.table.get(arm)
        errors = {m: tuple(self.recorded.losses(arm, cell, seeds, m).tolist()) for m in METRICS}
        far = outlying_runs(errors[PRIMARY], 2 * self.study.margin_percent / 100)
        return ArmRuns(
            cell=cell, arm=arm, about="" if known is None else known.about, seeds=seeds,
            runs=tuple(row.get("run", "") for row in rows),
            statuses=statuses,
            errors=errors, far=tuple(seed for seed, out in zip(seeds, far, strict=True) if out),
            channels={
                channel: float(np.mean([row["test_mse_channels"][channel] for row in complete]))
                for channel in channels
                if complete and all(channel in row.get("test_mse_channels", {}) for row in complete)
            },
            best_epochs=tuple(row.get("best_epoch") for row in rows),
            parameters=size.parameters, effective=size.effective,
            device_seconds=sum(device_seconds(row) for row in rows),
            validation=self._curve(complete, "val_mse"),
            difference={} if arm == FULL else difference(self._config(FULL, cell), config),
            diagnoses=tuple(self._diagnoses(arm, cell, complete)),
        )  # fmt: skip

    def _diagnoses(self, arm: str, cell: str, complete: Sequence[Mapping[str, Any]]) -> Iterator[Diagnosis]:
        config = self._config(arm, cell)
        for key, diagnostic in forecaster_of(config).diagnostics.items():
            held = diagnostic.held(config)
            still = 0 if held is not None else sum(row.get(range_column(key)) == 0 for row in complete)
            why = self._why_still(key, arm, cell) or diagnostic.still(config) if still else ""
            yield Diagnosis(diagnostic.noun, self._curve(complete, key), held, still, why)

    def _why_still(self, key: str, arm: str, cell: str) -> str:
        """Why the comparison that only holds this quantity changes nothing, as a sentence."""

        def held(name: str) -> dict[str, float | None]:
            config = self._config(name, cell)
            return {key: each.held(config) for key, each in forecaster_of(config).diagnostics.items()}

        for comparison in self.study.comparisons_in(cell):
            inert = self._inert(comparison, cell)
            if inert and comparison.with_part == arm:
                free, fixed = held(arm), held(comparison.without)
                if [name for name in free if free[name] != fixed[name]] == [key]:
                    return f"{inert.rstrip('.')}."
        return ""

    def _histories(self) -> dict[tuple[str, str], tuple[Array, Array]]:
        """(run, metric) -> its epochs and values, of the latest attempt."""
        frame = history_of(self.results, self.record.name)
        wanted = ["val_mse", *(key for name in self.study.forecasters for key in forecaster(name).diagnostics)]
        frame = frame[frame["metric"].isin(wanted) & frame["step"].between(1, _MOST_EPOCHS)]
        frame = frame[frame["attempt"] == frame.groupby("run", observed=True)["attempt"].transform("max")]
        frame = frame.astype({"step": "float64", "value": "float64"}).sort_values("step", kind="stable")
        found: dict[tuple[str, str], tuple[Array, Array]] = {}
        for (run, metric), part in frame.groupby(["run", "metric"], observed=True):
            found[str(run), str(metric)] = part["step"].to_numpy(), part["value"].to_numpy()
        return found

    def _curve(self, rows: Sequence[Mapping[str, Any]], metric: str) -> Curve:
        found = [self.histories[row["run"], metric] for row in rows if (row["run"], metric) in self.histories]
        found = [(steps, values) for steps, values in found if len(steps)]
        if not found:
            return Curve((), (), ())
        last = int(max(steps[-1] for steps, _ in found))
        table = np.full((len(found), last), np.nan)
        for place, (steps, values) in enumerate(found):
            table[place, steps.astype(int) - 1] = values
        table = pd.DataFrame(table).ffill(axis=1).to_numpy()  # a run that has ended stays where it was
        deviation = np.zeros(last) if len(found) == 1 else table.std(axis=0, ddof=1)
        return Curve(tuple(range(1, last + 1)), tuple(table.mean(axis=0).tolist()), tuple(deviation.tolist()))

    # Findings -------------------------------------------------------------------------------------------------------

    def _comparison(self, comparison: Comparison, cell: str, effects: Effects) -> Finding:
        arm = comparison.arm
        without, with_part = self._config(comparison.without, cell), self._config(comparison.with_part, cell)
        channels = len(self.recorded.channels(cell))
        sizes = [forecaster_of(config).size(config, channels) for config in (without, with_part)]
        mismatch = ""
        if self.study.matched and not arm.variant.tuned:
            target = self.study.forecaster.size(self._config(arm.against, cell), channels).effective
            match = match_capacity(self._config(arm.plain, cell), target, channels)
            # Said of the arm of matched width, and of one that no width brings close.
            mismatch = match.text() if arm.variant.matched or not match.close else ""
        return Finding(
            name=arm.name, cell=cell, claim=arm.claim, about=arm.removes or arm.adds, without=comparison.without,
            with_part=comparison.with_part, noun=arm.noun, aside=arm.aside, variant=arm.variant, plain=arm.plain,
            against=self.study.table[arm.against].untuned, instead=comparison.instead, attributable=arm.attributable,
            inert=self._inert(comparison, cell), same=(arm.name, cell) in self.recorded.same,
            parameters=(sizes[0].parameters, sizes[1].parameters), effective=(sizes[0].effective, sizes[1].effective),
            mismatch=mismatch, **effects.of((arm.name, cell)),
        )  # fmt: skip

    def _contrast(self, factors: tuple[str, ...], cell: str, effects: Effects) -> Finding:
        kind = "the main effect of" if len(factors) == 1 else "the interaction of"
        removed = {factor.name: factor for factor in self.study.factors}
        claim = removed[factors[0]].claim if len(factors) == 1 else "what the parts do hangs on each other"
        hypothesis = (contrast_name(factors), cell)
        return Finding(
            name=hypothesis[0], cell=cell, claim=claim,
            about=f"{kind} {' and '.join(removed[factor].removes for factor in factors)}", without="", with_part="",
            factors=factors, attributable=all(removed[factor].attributable for factor in factors),
            **effects.of(hypothesis),
        )  # fmt: skip

    def _inert(self, comparison: Comparison, cell: str) -> str:
        return self.record.inert.get((comparison.arm.untuned, cell), "")

    # What goes with them --------------------------------------------------------------------------------------------

    def _notes(self, arms: Sequence[ArmRuns], found: Sequence[Finding]) -> list[str]:
        notes = [
            f"data of cell {cell}: {note}"
            for cell in self.study.cell_names
            for note in self.recorded.baselines.get(cell, {}).get("data_notes") or ()
        ]
        if text := again(self.record.before):
            notes.append(text)
        if not self.record.judged:
            notes.append("the first look is not complete: nothing is judged before it is")
        elif self.record.seeds > self.record.looks[-1] and self.record.seeds not in self.record.judged:
            notes.append(f"seeds were added and are being trained; verdicts are those of {len(self.seeds)} seeds")
        if self.recorded.same:
            notes.append(self._same_note())
        failed = sum(runs.statuses.count("failed") for runs in arms)
        if failed:
            notes.append(f"{_runs(failed)} failed; the same command tries them again")
        if diverged := sum(runs.diverged for runs in arms):
            notes.append(f"{_runs(diverged)} diverged; each counts as the worst outcome of its pair")
        notes += [note for runs in arms if (note := far_out(runs))]
        notes += _floors(found)
        flagged = sum(bool(finding.flags) for finding in found)
        if flagged:
            notes.append(f"{flagged} comparisons hold pairs whose runs were not trained alike (see the flags)")
        if self.study.retune is not None:
            notes.append(
                "intervals of re-tuned arms are conditional on one search each: they hold the noise of training, not "
                "that of the search"
            )
        return notes

    def _same_note(self) -> str:
        if not self.study.pooled:
            left = f"{len(self.recorded.same)} of {self.record.family} comparisons"
            return f"{left} made no difference with any seed, up to rounding: they left the family of tests"
        cells: dict[str, list[str]] = {}
        for name, cell in sorted(self.recorded.same, key=lambda each: self.study.cell_names.index(each[1])):
            cells.setdefault(name, []).append(cell)
        of = "; ".join(f"{name} in {', '.join(those)}" for name, those in cells.items())
        return f"no difference with any seed, up to rounding, was made by {of}: they are pooled over the other cells"

    def _ledger(self) -> list[Reading]:
        arms: dict[str, tuple[str, str, int | None]] = {}
        for (arm, cell), by_seed in self.recorded.members.items():
            for seed, row in by_seed.items():
                arms.setdefault(row["run"], (arm, cell, seed))
        for cell, row in self.recorded.baselines.items():
            arms.setdefault(row["run"], ("linear baseline", cell, None))
        readings = self.results.of_runs("evaluations", list(arms)).to_pylist()
        return [
            Reading(
                row["run"], *arms[row["run"]], row["purpose"] or "", row["time"].isoformat(timespec="seconds"),
                row["value"],
            )
            for row in readings
            if row["split"] == "test" and row["metric"] == "mse" and row["channel"] is None
        ]  # fmt: skip

    def _provenance(self) -> dict[str, str]:
        rows = [row for by_seed in self.recorded.members.values() for row in by_seed.values()]

        def distinct(column: str) -> str:
            return ", ".join(sorted({str(row[column]) for row in rows if row.get(column) is not None}))

        commits = sorted({f"{row['git_commit']}{' (changed)' if row['git_dirty'] else ''}" for row in rows})
        return {
            "code": ", ".join(commits), "packages": distinct("versions"), "devices": distinct("device"),
            "kernels": distinct("kernel"), "hosts": distinct("host"),
            "begun": _when(min, (row["started"] for row in rows)),
            "ended": _when(max, (row["ended"] for row in rows)),
            "data": ", ".join(f"{cell}: sha256 {sha256}" for cell, sha256 in self.record.data.items()),
        }  # fmt: skip


def _when(choose: Any, times: Iterable[datetime | None]) -> str:
    there = [time for time in times if time is not None]
    return str(choose(there).isoformat(timespec="seconds")) if there else ""


def _first(record: StudyRecord) -> int:
    """The number of seeds of the first look: that of all of them, if some were added before any was taken."""
    return record.looks[0] if record.judged or record.seeds == record.looks[-1] else record.seeds


def far_out(runs: ArmRuns) -> str:
    """Runs that are far above the others of their arm, as a risk that no mean of so few can bound; "" if none is."""
    if not runs.far:
        return ""
    worst = max(runs.errors[PRIMARY][runs.seeds.index(seed)] for seed in runs.far)
    are = "is" if len(runs.far) == 1 else "are"
    seeds = f"seed {runs.far[0]}" if len(runs.far) == 1 else f"seeds {', '.join(map(str, runs.far))}"
    return (
        f"{len(runs.far)} of {runs.complete} runs of {runs.arm} in cell {runs.cell} {are} far out ({seeds}; test MSE "
        f"up to {decimal(worst)}, median {decimal(runs.median(PRIMARY))}): a risk of this arm, whose share so few runs "
        "cannot bound"
    )


def _floors(found: Sequence[Finding]) -> list[str]:
    """Where several adjusted p are equal for want of seeds."""
    least: dict[tuple[int, float], int] = {}
    for finding in found:
        decision = finding.decision
        if decision and PRIMARY in finding.effects and finding.effects[PRIMARY].p == smallest_p(decision.seeds):
            key = decision.seeds, decision.p_adjusted
            least[key] = least.get(key, 0) + 1
    return [
        f"adjusted p = {p_value(p)} of {count} comparisons is the least that {seeds} seeds allow in this family: that "
        "they are equal says nothing of how strong each is"
        for (seeds, p), count in least.items()
        if count > 1
    ]


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _settings(base: Config) -> dict[str, Any]:
    """The settings of a cell's `full` that can change its numbers, and those of its data that are not the defaults."""
    canonical, defaults = base.canonical(), type(base)().flat()
    return {
        key: value
        for key, value in base.shown().items()
        if key != "training.seed" and (key in canonical or (key.startswith("data.") and value != defaults[key]))
    }
