"""From the records of a search to its findings: every number that a report shows is computed here, once."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from lab.errors import ConfigError
from lab.references.forecasts import Forecasts, forecasts_of_run
from lab.references.measured import measured
from lab.references.standing import Standing, chosen, standing_of
from lab.registry import DEFAULT, forecaster, reported
from lab.seeds import replicates
from lab.series.bars.ridge import RIDGE
from lab.settings.config import Config
from lab.store.events import incidents
from lab.store.outcomes import best_of, front_of, over_origins
from lab.store.tables import Results
from lab.training.window_errors import WindowDifference, window_difference
from lab.unsealing.records import opened
from tune.findings.agreement import agreements, losses_at
from tune.findings.analysis import importance_of, improvements_of, repeated_in, rung_epochs, rungs_of
from tune.findings.findings import (
    COMPLETE,
    DIVERGED,
    FAILED,
    METRICS,
    OUTCOMES,
    RACED_OUT,
    STOPPED,
    UNFINISHED,
    Cost,
    Edge,
    Published,
    RunErrors,
    SearchFindings,
    Trial,
)
from tune.findings.origins import at_origins, over_all
from tune.proposals import Distributions, Proposal, optuna_trial, read_proposals
from tune.space import Space

Row = Mapping[str, Any]

# What a report reads of a search's settings.
_IDENTITY = ("search", "settings", "space")
_BUDGET = ("objectives", "replicates", "grace_epochs", "reduction_factor", "sampler", "seed")


def findings_of(results: Results, name: str) -> SearchFindings:
    """What the study's records say so far. Nothing is trained, and no split of the data is read.

    Raises:
        ResultsError: no such study; names the nearest.
        ConfigError: it is no search.
    """
    results.check_known(name)
    return Collector(results, name).findings()


class Collector:
    def __init__(self, results: Results, name: str):
        self.results, self.name = results, name
        began, self.identity = _identity(results, name)
        self.budget: Mapping[str, Any] = self.identity["search"]
        self.objectives: tuple[str, ...] = tuple(self.budget["objectives"])
        self.forecaster = forecaster(self.identity.get("model", DEFAULT))
        trials = results.table("trials", name).to_pylist()
        self.proposals, self.distributions = read_proposals(trials, results, self.forecaster.config)
        members = results.table("members", name).to_pylist()
        self.searched = _by_trial(row for row in members if row["role"] == "search")
        self.finals = _by_trial(row for row in members if row["role"] == "final")
        self.rows: Mapping[str, Row] = results.runs({row["run"] for row in members})
        beside = {row["run"]: row["cell"] for row in members if row["role"] == "baseline"}
        self.bars = [run for run in beside if run in self.rows]
        own = [run for run in self.bars if beside[run] is None]  # at the data's own origin
        self.baseline = [row["run"] for row in chosen(self.rows[run] for run in own) if row["model"] == RIDGE.name]
        self.origins: Mapping[str, Any] = self.identity.get("origins", {})
        complete = [name for name, proposal in self.proposals.items() if proposal.state == "complete"]
        self.losses = losses_at(list(self.origins), complete, members, self.rows)
        mine = {run for ids in self.searched.values() for run in ids}
        self.shared = sum(self._of_another(self.rows[run], began) for run in mine if self._started(run))
        self.base = self._base()
        self.space = Space(self.identity["space"], self.base, recorded=True)

    def findings(self) -> SearchFindings:
        trials = tuple(self._trial(p, self.distributions[p.trial]) for p in self.proposals.values())
        by_name = {trial.trial: trial for trial in trials}
        best = best_of(self.proposals.values())
        front = front_of(self.proposals.values()) if len(self.objectives) > 1 else []
        defaults = self.forecaster.config().flat()
        settings = {key: value for key, value in self.base.shown().items() if key not in self.identity["space"]}
        tests = self._tests()
        first = "" if best is None else best.trial
        finals = [self._errors(trial, ids, tests) for trial, ids in self.finals.items()]
        origins = at_origins(self.origins, self.losses, first or None, lambda at: self._standing(best, at))
        max_epochs, seed = self.base.training.max_epochs, self.base.training.seed
        return SearchFindings(
            name=self.name, model=self.identity.get("model", DEFAULT),
            space=tuple(self.space.ranges), objectives=self.objectives, budget=self.budget,
            settings=settings,
            changed={key: (defaults[key], value) for key, value in settings.items() if value != defaults[key]},
            data=self._data(settings), seeds=replicates(seed, self.budget["replicates"]),
            max_epochs=max_epochs, trials=trials,
            best=None if best is None else by_name[best.trial], improvements=tuple(improvements_of(trials)),
            front=tuple(by_name[proposal.trial] for proposal in front),
            finals=tuple(sorted(finals, key=lambda errors: (errors.trial != first, errors.trial))),
            linear=self._errors("", self.baseline, tests) if self.baseline else None,
            less_linear=self._less_linear(best),
            standing=self._standing(best),
            published=tuple(
                Published(model, mse, mae, _count(printed), printed)
                for model, (mse, mae, printed) in reported(self.base.data).items()
            ),
            forecasts=self._forecasts(first),
            measured=measured(self.results, self.identity["data_sha256"], self.base.data.pred_len),
            importance=importance_of(trials),
            edges=tuple(
                Edge(path, best.params[path], end) for path, end in self.space.edges(best.params).items()
            ) if best is not None else (),
            rungs=tuple(rungs_of(trials, rung_epochs(
                self.budget["grace_epochs"], self.budget["reduction_factor"], max_epochs
            ))),
            repeated=tuple(repeated_in(self.proposals.values())), costs=tuple(self._costs(trials)), shared=self.shared,
            journal=f"optuna/{self.name}.journal" if self.results.storage.local else "",
            notes=tuple(self._notes(trials, finals, first)), provenance=self._provenance(),
            incidents=incidents(self.results, self.name),
            sealed=opened(self.results, self.name),
            origins=origins, agreements=agreements(self.losses), over=over_all([each.standing for each in origins]),
            skipped=tuple(self.results.skipped_lines()),  # last: all is read by now
        )  # fmt: skip

    def _less_linear(self, best: Proposal | None) -> WindowDifference | None:
        if best is None or best.trial not in self.finals:
            return None
        data = best.config.data
        return window_difference(self.results, self.finals[best.trial], self.baseline, data.seq_len + data.pred_len)

    def _forecasts(self, trial: str) -> Forecasts | None:
        """Of the one final replicate that has them."""
        found = (forecasts_of_run(self.results, run) for run in self.finals.get(trial, ()))
        return next((each for each in found if each is not None), None)

    def _standing(self, best: Proposal | None, at: str | None = None) -> Standing:
        """`at`: one of several origins; the last is the data's own, where the final replicates are."""
        data = (self.base if best is None else best.config).data
        earlier = at is not None and at != list(self.origins)[-1]
        trained = {} if best is None else self.searched if earlier else self.finals
        ids = trained.get(best.trial, []) if best is not None else []
        cell = at if earlier else None
        return standing_of(self.results, self.name, ids, data.seq_len + data.pred_len, cell)

    def _base(self) -> Config:
        """The config around which was searched."""
        for proposal in self.proposals.values():
            fixed = {k: v for k, v in proposal.config.flat().items() if k not in self.identity["space"]}
            return self.forecaster.config.create(fixed)
        settings = self.identity["settings"]
        # Where a file lies is no part of what it holds, and is known from a trial alone.
        unknown = {"data.path": "file"} if settings["data.dataset"] == "csv" else {}
        return self.forecaster.config.create({**settings, **unknown})

    def _data(self, settings: Mapping[str, Any]) -> str:
        steps = {"seq_len": "steps in", "pred_len": "steps out"}
        known = [f"{settings[f'data.{key}']} {name}" for key, name in steps.items() if f"data.{key}" in settings]
        return ", ".join([self.base.data.name, *known])

    def _started(self, run: str) -> bool:
        return run in self.rows and self.rows[run]["started"] is not None

    def _of_another(self, row: Row, began: datetime) -> bool:
        """Whether a run was trained for another study. Records of before do not say; there the clock must."""
        trained_for = row.get("trained_for")
        return bool(row["started"] < began if trained_for is None else trained_for != self.name)

    # Trials and runs ------------------------------------------------------------------------------------------------

    def _trial(self, proposal: Proposal, distributions: Distributions) -> Trial:
        ids = self.searched.get(proposal.trial, [])
        rows = sorted((self.rows[run] for run in ids if run in self.rows), key=lambda row: row["seed"] or 0)
        value = proposal.values[0] if proposal.values else math.nan
        if not proposal.values and proposal.reports:
            value = proposal.reports[-1][1]
        error = (proposal.error or "").strip().splitlines()
        parameters = next((row["parameters"] for row in rows if row["parameters"] is not None), None)
        if parameters is None and len(proposal.values) > 1:
            parameters = int(proposal.values[1])
        return Trial(
            trial=proposal.trial, number=proposal.number, params=proposal.params,
            outcome=_outcome(proposal, [row["status"] for row in rows]), loss=value, reports=tuple(proposal.reports),
            error="" if proposal.state != "failed" else error[-1].strip() if error else "no message",
            runs=tuple(row["run"] for row in rows), losses=_by_seed(rows, max(1, len(self.origins))),
            at=self.losses.get(proposal.trial, {}), reason=proposal.reason or "",
            epochs=sum(row["epochs"] or 0 for row in rows), parameters=parameters,
            cpu_seconds=_sum(rows, "cpu_seconds"), gpu_seconds=_sum(rows, "gpu_seconds"),
            wall_seconds=max((row["wall_seconds"] or 0.0 for row in rows), default=0.0),
            optuna=optuna_trial(proposal, distributions, single=len(self.objectives) == 1, space=self.space),
        )  # fmt: skip

    def _tests(self) -> Mapping[tuple[str, str], float]:
        """(run, metric) -> the first reading of test, which is the one that the search printed."""
        ids = {run for group in self.finals.values() for run in group} | set(self.baseline)
        found: dict[tuple[str, str], float] = {}
        for row in self.results.of_runs("evaluations", ids).to_pylist():
            if row["split"] == "test" and row["channel"] is None:
                found.setdefault((row["run"], f"test_{row['metric']}"), _number(row["value"]))
        return found

    def _errors(self, trial: str, ids: Sequence[str], tests: Mapping[tuple[str, str], float]) -> RunErrors:
        rows = [self.rows.get(run, {}) for run in ids]
        places = sorted(range(len(ids)), key=lambda i: rows[i].get("seed") or 0)
        errors = {m: tuple(tests.get((ids[i], m), math.nan) for i in places) for m in METRICS if m != "val_mse"}
        errors["val_mse"] = tuple(_number(rows[i].get("val_mse")) for i in places)
        return RunErrors(
            trial=trial, runs=tuple(ids[i] for i in places),
            statuses=tuple(rows[i].get("status", "missing") for i in places), errors=errors,
            parameters=next((row["parameters"] for row in rows if row.get("parameters") is not None), None),
        )  # fmt: skip

    # What goes with them --------------------------------------------------------------------------------------------

    def _costs(self, trials: Sequence[Trial]) -> list[Cost]:
        last = self.base.training.max_epochs
        costs = []
        for outcome in OUTCOMES:
            mine = [trial for trial in trials if trial.outcome == outcome]
            if not mine:
                continue
            seeds = self.budget["replicates"] * max(1, len(self.origins))
            full = seeds * sum(t.params.get("training.max_epochs", last) for t in mine)
            costs.append(Cost(
                of=outcome, trials=len(mine), runs=sum(len(t.runs) for t in mine), epochs=sum(t.epochs for t in mine),
                all_epochs=full, cpu_seconds=sum(t.cpu_seconds for t in mine),
                gpu_seconds=sum(t.gpu_seconds for t in mine), wall_seconds=sum(t.wall_seconds for t in mine),
            ))  # fmt: skip
        groups = [("final replicates", list(self.finals.values())), ("bars", [[run] for run in self.bars])]
        for name, stacks in groups:
            rows = [self.rows[run] for run in {run: None for ids in stacks for run in ids} if run in self.rows]
            if rows:
                wall = sum(max((self.rows[r]["wall_seconds"] or 0.0 for r in ids if r in self.rows), default=0.0)
                           for ids in stacks)  # fmt: skip
                epochs = sum(row["epochs"] or 0 for row in rows)
                cpu, gpu = _sum(rows, "cpu_seconds"), _sum(rows, "gpu_seconds")
                costs.append(Cost(name, 0, len(rows), epochs, 0, cpu, gpu, wall))
        return costs

    def _notes(self, trials: Sequence[Trial], finals: Sequence[RunErrors], best: str) -> list[str]:
        notes = [f"Of the data: {note}." for note in _data_notes(self.rows.values())]
        configs = [proposal.config for proposal in self.proposals.values()] or [self.base]
        learners = [config.validation_learner for config in configs if config.validation_learner is not None]
        if learners:
            learner, setting = learners[0]
            some = "" if len(learners) == len(configs) else f", in {len(learners)} of {len(configs)} trials"
            notes.append(
                f"{learner[0].upper()}{learner[1:]} learned from validation ({setting}{some}), which also picks epochs "
                "and trials, so that validation errors here are not those of data kept apart."
            )
        if unfinished := sum(trial.outcome == UNFINISHED for trial in trials):
            them = "1 trial has" if unfinished == 1 else f"{unfinished} trials have"
            notes.append(f"{them} no outcome yet: the same command goes on with what is left.")
        own = next((errors for errors in finals if errors.trial == best), None)
        if best and own is None:
            others = ", ".join(errors.trial for errors in finals)
            before = f"; those on record are of {others}, the best at the time" if others else ""
            notes.append(f"The best trial, {best}, has no final replicates: its test errors are not known{before}.")
        for errors in finals:
            if bad := [status for status in errors.statuses if status != "complete"]:
                count = f"{len(bad)} of {len(errors.statuses)} final replicates of {errors.trial}"
                notes.append(f"{count} did not come to their end ({', '.join(sorted(set(bad)))}).")
        return notes

    def _provenance(self) -> dict[str, str]:
        rows = list(self.rows.values())
        if not rows:
            return {}

        def distinct(column: str) -> str:
            return ", ".join(sorted({str(row[column]) for row in rows if row.get(column) is not None}))

        commits = {
            f"{row['git_commit'] or 'no git checkout'}{' (changed)' if row['git_dirty'] else ''}" for row in rows
        }
        found = {
            "code": ", ".join(sorted(commits)), "packages": distinct("versions"), "devices": distinct("device"),
            "kernels": distinct("kernel"), "hosts": distinct("host"),
            "begun": _when(min, (row["started"] for row in rows)), "ended": _when(max, (row["ended"] for row in rows)),
            "data": f"{self.base.data.name}, sha256 {self.identity['data_sha256']}",
            "results version": str(self.identity["results_version"]),
        }  # fmt: skip
        return {name: value for name, value in found.items() if value}


def _outcome(proposal: Proposal, statuses: Sequence[str]) -> str:
    if proposal.state == "stopped":
        return DIVERGED if "diverged" in statuses else RACED_OUT if proposal.raced_out else STOPPED
    return {"complete": COMPLETE, "failed": FAILED, None: UNFINISHED}[proposal.state]


# Records ------------------------------------------------------------------------------------------------------------


def _identity(results: Results, name: str) -> tuple[datetime, Mapping[str, Any]]:
    """When the study was begun, and with which settings."""
    told = [(json.loads(row["settings"]), row["time"]) for row in results.table("studies", name).to_pylist()]
    known = [
        (content, time) for content, time in told if isinstance(content, dict) and {"search", "kind"} & content.keys()
    ]
    if len(known) < len(told):
        results.skip({f"studies/study={name}": f"{len(told) - len(known)} of its rows say nothing of a search"})
    if any(content.get("kind") == "ablation" for content, _ in known):
        raise ConfigError(
            f"'{name}' is an ablation study, not a search; its report is made by: python -m ablations.report {name}"
        )
    begun = [(content, time) for content, time in known if "search" in content]
    if not begun:
        raise ConfigError(f"'{name}' is no search: what was searched is not on record")
    first, time = min(begun, key=lambda each: each[1])  # two that began it at once had the same settings
    lacking = [key for key in _IDENTITY if not isinstance(first.get(key), dict)]
    lacking += [f"search.{key}" for key in _BUDGET if not lacking and key not in first["search"]]
    if lacking:
        raise ConfigError(f"'{name}' is no search: what was searched is not on record (it lacks {', '.join(lacking)})")
    return time, first


def _by_trial(members: Iterable[Row]) -> dict[str, list[str]]:
    """Each trial's runs, once, in the order in which they went on record."""
    found: dict[str, dict[str, None]] = {}
    for row in members:
        found.setdefault(row["trial"] or "", {})[row["run"]] = None
    return {trial: list(ids) for trial, ids in found.items()}


def _by_seed(rows: Iterable[Row], origins: int) -> tuple[float, ...]:
    """Each seed's validation MSE over so many origins."""
    found: dict[int | None, list[float]] = {}
    for row in rows:
        found.setdefault(row["seed"], []).append(_number(row["val_mse"]))
    whole = [len(errors) == origins and not any(map(math.isnan, errors)) for errors in found.values()]
    return tuple(over_origins(errors) if each else math.nan for errors, each in zip(found.values(), whole, strict=True))


def _data_notes(rows: Iterable[Row]) -> list[str]:
    """What the runs were told of their data, each sentence once."""
    return list({note: None for row in rows for note in row.get("data_notes") or ()})


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _sum(rows: Iterable[Row], column: str) -> float:
    return float(sum(row[column] or 0.0 for row in rows))


def _when(choose: Any, times: Iterable[datetime | None]) -> str:
    there = [time for time in times if time is not None]
    return str(choose(there).isoformat(timespec="seconds")) if there else ""


def _count(printed: str) -> float:
    """94K, 1M+ as a number."""
    digits = printed.rstrip("+")
    scale = {"K": 1e3, "M": 1e6}.get(digits[-1:], 1.0)
    return float(digits.rstrip("KM")) * scale
