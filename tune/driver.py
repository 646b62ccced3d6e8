"""One driver on a search: it holds the lease, starts Ray, runs the trials, and concludes."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import optuna

from lab.console.printing import print, say
from lab.driving import driving
from lab.errors import ConfigError
from lab.machines.faults import FaultWatch
from lab.machines.options import Call
from lab.machines.session import RECORD_SECONDS, RaySession, Stop
from lab.machines.trial import TrialSpec
from lab.pages.formats import counted
from lab.references.measured import measured
from lab.references.runs import record_bars, record_starts
from lab.references.standing import standing_of
from lab.series import Series
from lab.store.beside.upkeep import Upkeep
from lab.store.events import record_event
from lab.store.tables import Results
from lab.tracking.runs import Member
from lab.tracking.tracker import Tracker
from lab.training.origins_run import Stack, stacks_run
from tune.conclusion import (
    at_text,
    comparison_table,
    edges_text,
    front_table,
    losses_of,
    origins_text,
    scores_of,
    train_finals,
    verdicts,
)
from tune.costs import expected, points_of, settle_share
from tune.findings.collect import findings_of
from tune.limits import Limits
from tune.offers import offers
from tune.origins import check_places, described, origin_lines, placed
from tune.progress import Progress, params_text
from tune.proposals import Proposal, Proposals
from tune.racing.plan import race_lines
from tune.racing.searcher import RacingASHA, RacingSearcher
from tune.searcher import (
    UNUSABLE,
    Closing,
    FailureRecorder,
    ProposalSearcher,
    RecordedASHA,
    close_left_over,
)
from tune.settings import SearchSettings, differences
from tune.space.windows import lookbacks

logger = logging.getLogger(__name__)


class Search:
    """One call of the command: a driver on a study.

    Args:
        session: Ray, where the caller has started it; `start_ray` starts it otherwise.
    """

    def __init__(self, settings: SearchSettings, call: Call, session: RaySession | None = None):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.settings, self.call = settings, call
        self.places = placed(settings.base.data, settings.budget.origins)
        self.series: Series = self.places[-1].series
        check_places(settings.space, self.places)
        self._limits = Limits(settings, self.series.num_channels)
        self._limits.check_size()
        self._few = self._limits.points()
        self._session = session
        self._whole = True  # what this call has trained is on record
        self.tracker: Tracker | None = None  # of the command that this search is all of

    def few_points(self) -> str:
        """A sentence where the space has fewer points than trials are asked for, else ""."""
        if self._few is None or self._few >= self.settings.budget.trials:
            return ""
        return (
            f"the space has {counted(self._few, 'point')} in all, and {self.settings.budget.trials} trials are asked "
            "for: the search ends when it is used up"
        )

    def to_come(self, proposals: Proposals) -> int:
        """Trials without an outcome that this study can still have, as many as are asked for at most."""
        wanted = max(0, self.settings.budget.trials - len(proposals.outcomes))
        left = proposals.left()
        new = 0 if proposals.exhausted else wanted if left is None else len(left)
        return min(wanted, len(proposals.all) - len(proposals.outcomes) + new)

    def used_up(self, proposals: Proposals) -> str:
        """A sentence where no more trials can come than are on record, though more are asked for, else ""."""
        asked, outcomes = self.settings.budget.trials, len(proposals.outcomes)
        if outcomes >= asked or self.to_come(proposals):
            return ""
        return (
            f"the space is used up: {counted(outcomes, 'trial')} on record, {asked} asked for, and no other point of "
            "it may be trained; a wider space (--space FILE, --study OTHER) has more"
        )

    def start_ray(self) -> None:
        """Connects to Ray. Raises ConfigError where the cluster cannot give what a trial takes."""
        self._session = RaySession(
            self.call.resources, [place.series for place in self.places], self.settings.base.forecaster
        )
        self._limits.check_device(self._session.gpus)

    @property
    def session(self) -> RaySession:
        assert self._session is not None, "start_ray comes first"
        return self._session

    def proposals(self, results: Results, journal: Path | None) -> Proposals:
        budget = self.settings.budget
        return Proposals(
            results, self.settings.study, self.settings.space, seed=budget.seed, replicates=budget.replicates,
            data_sha256=self.series.identity, objectives=budget.objectives, sampler=budget.sampler, journal=journal,
            allowed=self._limits.allowed, origins=[place.origin for place in self.places], race=budget.race,
        )  # fmt: skip

    def check_settings(self, results: Results, record: bool) -> None:
        """Raises ConfigError, with the differences and the ways out, if the study was begun with other settings."""
        identity = self.settings.identity(self.series.identity, described(self.places))
        rows = results.table("studies", self.settings.study).to_pylist()
        if rows:
            told = [json.loads(row["settings"]) for row in sorted(rows, key=lambda row: row["time"])]
            before = next((content for content in told if "search" in content), None)
            if before is None:
                raise ConfigError(f"'{self.settings.study}' is no search; take another name (--study OTHER)")
            if changed := differences(before, identity):
                shown = "\n  ".join(changed[:12])
                raise ConfigError(
                    f"study '{self.settings.study}' was begun with other settings, and results of both do not mix:\n"
                    f"  {shown}\nTake another name (--study OTHER), other results (--results ...), or the old settings"
                )
        elif record:
            row = {"study": self.settings.study, "settings": json.dumps(identity)}
            results.add("studies", [row], key="settings")

    def plan(self) -> list[str]:
        """What --dry-run prints. The first proposals are drawn as the search would, and recorded nowhere."""
        settings, budget = self.settings, self.settings.budget
        with self.call.place.as_it_is() as results:
            self.check_settings(results, record=False)
            proposals = self.proposals(results, None)
            outcomes, pending = len(proposals.outcomes), len(proposals.pending)
            lines = [
                f"study {settings.study} in {self.call.place.url}: {counted(outcomes, 'trial')} on record, "
                f"{pending} to resume",
                f"data {self.series.name} ({self.series.source})",
                *(f"note: {note}" for note in self.series.notes),
                *origin_lines(self.places),
            ]
            remaining = self.to_come(proposals)
            lines += filter(None, [self.used_up(proposals) or self.few_points()])
            origins = f" x {len(self.places)} origins" if len(self.places) > 1 else ""
            runs = remaining * budget.replicates * len(self.places)
            lines.append(
                f"{counted(remaining, 'trial')} to come x {counted(budget.replicates, 'replicate')}{origins} = "
                f"{counted(runs, 'run')} of at most {counted(settings.base.training.max_epochs, 'epoch')}, then "
                f"{counted(self._finals_to_come(results, proposals, remaining), 'final run')}"
            )
            lines += race_lines(budget, remaining)
            settle_share(self.session, settings, self.series, len(self.places))
            lines += filter(None, [self.session.share])
            cpus = self.call.resources.cpus_per_trial
            lines.append(
                f"resources: {self.session.resources}; a trial takes {cpus:g} {'CPU' if cpus == 1 else 'CPUs'}, "
                f"{self.session.gpus:g} GPUs; {self.session.concurrent} at once"
            )
            lines.append(f"objectives {', '.join(budget.objectives)}; sampler {budget.sampler}, seed {budget.seed}")
            if budget.max_parameters is not None:
                lines.append(f"models of at most {budget.max_parameters:,} parameters")
            lines.append("space:")
            lines += [f"  {item.path:<34s}{item.describe()}" for item in settings.space.ranges]
            lines.append("first proposals:")
            configs = []
            for _ in range(min(3, remaining)):
                # What is still to be resumed comes first, as in the search.
                if proposals.pending:
                    params = proposals.pending.pop(0).params
                elif drawn := proposals.draw():
                    params = drawn[1]
                else:
                    break
                lines.append("  " + params_text(params, type(self.settings.base)))
                configs.append(settings.space.config(params))
        costs = expected(settings, configs, remaining, len(self.places), self.session, self.series)
        return [*lines, *([] if costs is None else [costs.text(self.session.concurrent)])]

    def _finals_to_come(self, results: Results, proposals: Proposals, trials: int) -> int:
        """Final runs that are still to be trained, where so many trials are."""
        best = proposals.best()
        if trials or best is None:
            return self.settings.budget.final_replicates
        ids = [config.run_id(self.series.identity) for config in self.settings.final_configs(best.config)]
        return len(ids) - len(results.done(ids))

    def run(self) -> int:
        """The whole search. Returns the exit code."""
        with driving(self.settings.study, self.call) as drive:
            self.tracker = drive.tracker
            self.check_settings(drive.results, record=False)
            if few := self.few_points():
                say(few)
            say(self.call.resources.beginning)
            self.start_ray()
            if self.session.share:
                say(self.session.share)
            self.session.check_machines(drive.results, self.settings.budget.trials)
            self.check_settings(drive.results, record=True)  # a command that is refused leaves no study behind
            with drive.training() as (stop, scratch):
                proposals = self.search(drive.results, stop, scratch)
            if stop.reason is not None:
                stands = f"{counted(len(proposals.outcomes), 'trial')} on record, {self.to_come(proposals)} to come"
                if not self._whole:
                    stands = "the storage did not take all records in time, and the next call makes them again"
                return drive.stopped(stop, "tune.search", stands)
            code = self._conclude(drive.results, proposals)
            drive.results.compact_many()
            return code

    def search(self, results: Results, stop: Stop, scratch: Path) -> Proposals:
        """Trains trials until there are as many as asked for, or `stop` says why not. Returns all of the study."""
        settings = self.settings
        study, budget, reach = settings.study, settings.budget, lookbacks(settings.space)
        optuna_folder = Path(results.storage.root) / "optuna" if results.storage.local else scratch
        proposals = self.proposals(results, optuna_folder / f"{study}.journal")
        close_left_over(results, proposals, self._stacks)
        remaining = self.to_come(proposals)
        say(f"study {study} in {results.storage.url}; data: {self.series.source}")
        for note in self.series.notes:
            say(f"note: {note}")
        if proposals.outcomes or proposals.pending:
            on_record, resumed = counted(len(proposals.outcomes), "trial"), len(proposals.pending)
            say(f"going on: {on_record} on record, {resumed} resumed")
            if resumed:
                text = f"a new driver went on: {on_record} on record, {resumed} in the middle of their training"
                record_event(results, study, "resumed", text)
        if self.session.auto and remaining > 0:
            settle_share(self.session, self.settings, self.series, len(self.places))
            say(self.session.share)
        warm_up = self.session.warm_up(points_of(settings.space), self.series.identity) if remaining > 0 else None
        said = [
            line
            for place in self.places
            for line in record_bars(
                results, study, place.config(settings.base), place.series, place.cell, lookbacks=reach
            )
        ]
        for line in dict.fromkeys(said):
            say(line)
        if self.tracker is not None:
            self.tracker.follow(study)
        if len(proposals.outcomes) >= budget.trials:
            say(f"{len(proposals.outcomes)} trials are on record and {budget.trials} are asked for: none to come")
        if warm_up is not None:
            warm_up.wait()
            self._tune(results, proposals, remaining, stop, scratch)
        if used_up := self.used_up(proposals):
            say(used_up)
        return proposals

    def _stacks(self, proposal: Proposal) -> list[Stack]:
        """What a trial trains at each origin."""
        configs = proposal.configs(proposal.seeds)
        return [(place.origin.configs(configs), place.series) for place in self.places]

    def _tune(self, results: Results, proposals: Proposals, remaining: int, stop: Stop, scratch: Path) -> None:
        budget, base = self.settings.budget, self.settings.base
        spec = self.session.trial_spec(results, self.settings.study, self.series.identity, base.forecaster)
        spec = replace(spec, tells=self.tracker is not None and self.tracker.live)
        if len(self.places) > 1:
            spec = replace(spec, origins=tuple(place.origin.identity for place in self.places))
        # What they reported before the kill fills ASHA's rungs; of a race's later seeds it is on record.
        for proposal in (each for each in proposals.pending if not each.losses):
            try:
                proposal.reports = stacks_run(results, self._stacks(proposal)).report().reports
            except UNUSABLE as problem:  # the trial will raise too, and be recorded with its error
                logger.warning("%s: its reports cannot be read: %s", proposal.trial, problem)
        closing = Closing(results, self._stacks)
        searcher = (RacingSearcher if budget.race else ProposalSearcher)(
            proposals, spec, closing.stopped, stop.stop_all
        )
        scheduler = (RacingASHA if budget.race else RecordedASHA)(
            proposals.all.values(), max_epochs=base.training.max_epochs, grace_epochs=budget.grace_epochs,
            reduction_factor=budget.reduction_factor,
        )  # fmt: skip
        progress = Progress(proposals, len(proposals.outcomes) + remaining)
        watch = FaultWatch(results, self.settings.study, progress.say, self.session.memory_per_trial)
        failures = FailureRecorder(proposals, watch, closing)
        tracking = []
        if self.tracker is not None:
            tracking = self.tracker.callbacks(self.settings.study, self._members, closing.underway)
        try:
            with closing:
                self.session.run_trials(
                    self.settings.study, scratch, searcher=searcher, scheduler=scheduler, stop=stop,
                    callbacks=[closing, failures, progress, Upkeep(results), *tracking],
                    samples=searcher.begin(remaining), max_failures=budget.max_failures, watch=watch,
                )  # fmt: skip
                if stop.reason == "lease":
                    closing.let_go()
                    proposals.writer.drop()
                closing.patience = stop.patience
            self._whole = proposals.writer.wait(stop.patience) and closing.through
        except Exception:
            proposals.writer.wait(RECORD_SECONDS)  # its own error says more than what Tune makes of it
            raise
        finally:
            proposals.writer.drop()
            progress.close()

    def _members(self, trial: TrialSpec, runs: Sequence[str]) -> list[Member]:
        cells = [place.origin.name for place in self.places for _ in range(len(runs) // len(self.places))]
        study = self.settings.study
        return [
            Member(study, "search", run, trial=trial.trial, cell=cell) for run, cell in zip(runs, cells, strict=True)
        ]

    def _conclude(self, results: Results, proposals: Proposals) -> int:
        settings, budget = self.settings, self.settings.budget
        best = proposals.best()
        failed = [p for p in proposals.outcomes if p.state == "failed"]
        for proposal in failed:
            lines = (proposal.error or "unknown").strip().splitlines()
            print(f"{proposal.trial} failed after {budget.max_failures + 1} tries: {lines[-1][:200]}")
        if best is None:
            states = ", ".join(sorted({str(p.state) for p in proposals.outcomes})) or "none"
            print(f"error: no trial was complete (outcomes: {states}); nothing to retrain", file=sys.stderr)
            return 1
        at = losses_of(results, proposals, best.trial)
        print(
            f"\nbest: {best.trial}, validation MSE {best.values[0]:.4f}{at_text(at)}, "
            f"{params_text(best.params, type(best.config))}"
        )
        for line in edges_text(proposals, best):
            print(line)
        folder = f"artifacts/{settings.study}"
        results.storage.put(f"{folder}/best.yaml", best.config.to_yaml().encode())
        if len(budget.objectives) > 1:
            front = proposals.front()
            print("\n".join(front_table(front)))
            rows = [
                {"trial": p.trial, "val_mse": p.values[0], "parameters": int(p.values[1]), **p.params} for p in front
            ]
            results.storage.put(f"{folder}/front.json", json.dumps(rows, indent=1).encode())
        scores, ids = [], []
        finals = settings.final_configs(best.config)
        if finals:
            ids = [config.run_id(self.series.identity) for config in finals]
            members = [{"study": settings.study, "trial": best.trial, "role": "final", "run": run} for run in ids]
            results.add("members", members, key="final")
            fresh = len(finals) - len(results.done(ids))
            if fresh:
                where = "" if len(self.places) == 1 else f" at {self.places[-1].origin.name}, the latest origin"
                say(f"retraining it with {counted(fresh, 'fresh seed')}{where}, then reading test once")
            else:
                say(f"its {len(finals)} final runs are on record, and test has been read")
            train_finals(self.session, results, settings.study, finals, self.series)
            record_starts(results, settings.study, finals, self.series)
            for place in self.places[:-1]:
                configs = place.origin.configs(best.configs(budget.replicates))
                record_starts(results, settings.study, configs, place.series, place.cell)
            scores.append(scores_of(results, f"best config, {counted(len(finals), 'fresh seed')}", ids))
        data = best.config.data
        standing = standing_of(results, settings.study, ids, data.seq_len + data.pred_len)
        others = measured(results, self.series.identity, data.pred_len)
        print("\n" + "\n".join(comparison_table(scores, standing, settings.base, others)))
        loss = [best.values[0], *at.values()][-1]
        print("\n".join(verdicts(standing, loss)))
        if len(self.places) > 1:
            print("\n".join(origins_text(findings_of(results, settings.study))))
        print(f"\nwritten to {results.storage.url}: runs, histories, trials and evaluations as Parquet")
        print("\n".join(offers(settings.study, self.call.place, best.config, standing, loss)))
        return 0
