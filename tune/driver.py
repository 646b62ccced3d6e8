"""One driver on a search: it holds the lease, starts Ray, runs the trials, and concludes."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from ray import tune as ray_tune

from lab.console.printing import print
from lab.driving import driving
from lab.errors import ConfigError, DataError
from lab.ledger.looks import typed
from lab.machines.faults import FaultWatch
from lab.machines.options import Call
from lab.machines.progress import trial_error
from lab.machines.queue import DriverOnly
from lab.machines.session import DoesNotFit, RaySession, Stop
from lab.machines.trial import TrialSpec
from lab.pages.formats import counted
from lab.references.runs import record_bars, record_starts
from lab.references.standing import standing_of
from lab.registry import forecaster_of, model_option
from lab.series import Series, load_series
from lab.settings.config import Config
from lab.settings.sizes import too_large
from lab.store.events import record_event
from lab.store.tables import Results
from lab.store.upkeep import Upkeep
from lab.tracking.runs import Member
from lab.tracking.tracker import Tracker
from lab.training.stack_run import StackRun
from tune.conclusion import (
    comparison_table,
    edges_text,
    front_table,
    scores_of,
    train_final,
    verdicts,
)
from tune.progress import Progress, params_text
from tune.proposals import Proposal, Proposals, allowed_points
from tune.searcher import ProposalSearcher, RecordedASHA
from tune.settings import SearchSettings, differences
from tune.space.windows import check_windows

logger = logging.getLogger(__name__)

UNUSABLE = (ConfigError, DataError, RuntimeError, MemoryError)  # of a stack that cannot be built here


class FailureRecorder(DriverOnly, ray_tune.Callback):
    """Puts a trial that raised once too often on record, with its error."""

    def __init__(self, proposals: Proposals, watch: FaultWatch, close: Callable[[Proposal, str], None]):
        self.proposals, self.watch, self.close = proposals, watch, close

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self.watch.forgives(trial):
            return
        error = trial_error(trial)
        proposal = self.proposals.all[TrialSpec.of(trial).name]
        result = trial.last_result or {}
        self.close(proposal, error)
        self.proposals.finish(proposal.trial, "failed", (), result.get("reports", ()), error)


class Search:
    """One call of the command: a driver on a study.

    Args:
        session: Ray, where the caller has started it; `start_ray` starts it otherwise.
    """

    def __init__(self, settings: SearchSettings, call: Call, session: RaySession | None = None):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.settings, self.call = settings, call
        self.series: Series = load_series(settings.base.data)
        check_windows(settings.space, self.series)
        self._check_size()
        self._few = self._points()
        self._session = session
        self.tracker: Tracker | None = None  # of the command that this search is all of

    def _count(self, config: Config) -> int:
        return forecaster_of(config).size(config, self.series.num_channels).parameters

    def _check_size(self) -> None:
        """Raises ConfigError where no model of the space is within the limit, or can be held at all."""
        space, channels = self.settings.space, self.series.num_channels
        most = self.settings.budget.max_parameters
        try:
            smallest = space.smallest(self._count)
            held = not space.smallest(lambda config: int(bool(too_large(config, channels))))
        except ConfigError:  # of values that are not allowed together, of which `_points` tells
            return
        if not held:
            corners = space.corners([item.path for item in space.ranges])
            reason = next(filter(None, (too_large(config, channels) for config in (space.base, *corners))), "")
            raise ConfigError(f"no model of this space can be trained: {reason}")
        if most is not None and smallest > most:
            raise ConfigError(f"max-parameters: got {most:,}, but the smallest model of this space has {smallest:,}")

    def _allowed(self, config: Config) -> bool:
        most = self.settings.budget.max_parameters
        return not too_large(config, self.series.num_channels) and (most is None or self._count(config) <= most)

    def _points(self) -> int | None:
        """How many points of the space may be trained; None where they are too many to count.

        Raises ConfigError where there is none.
        """
        points = allowed_points(self.settings.space, self._allowed)
        if points == []:
            most = self.settings.budget.max_parameters
            limit = "" if most is None else f", and have at most {most:,} parameters"
            raise ConfigError(f"space: of its values none are allowed together{limit}; take other ranges")
        return None if points is None else len(points)

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
        self._session = RaySession(self.call.resources, [self.series], self.settings.base.forecaster)

    @property
    def session(self) -> RaySession:
        assert self._session is not None, "start_ray comes first"
        return self._session

    def proposals(self, results: Results, journal: Path | None) -> Proposals:
        budget = self.settings.budget
        return Proposals(
            results, self.settings.study, self.settings.space, seed=budget.seed, replicates=budget.replicates,
            data_sha256=self.series.identity, objectives=budget.objectives, sampler=budget.sampler, journal=journal,
            allowed=self._allowed,
        )  # fmt: skip

    def check_settings(self, results: Results, record: bool) -> None:
        """Raises ConfigError, with the differences and the ways out, if the study was begun with other settings."""
        identity = self.settings.identity(self.series.identity)
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
                f"study {settings.study} in {self.call.place.url}: {outcomes} trials on record, {pending} to resume",
                f"data {self.series.name} ({self.series.source})",
                *(f"note: {note}" for note in self.series.notes),
            ]
            remaining = self.to_come(proposals)
            lines += filter(None, [self.used_up(proposals) or self.few_points()])
            lines.append(
                f"{remaining} trials to come x {budget.replicates} replicates = {remaining * budget.replicates} runs "
                f"of at most {settings.base.training.max_epochs} epochs, then {budget.final_replicates} final runs"
            )
            lines.append(
                f"resources: {self.session.resources}; a trial takes {self.call.resources.cpus_per_trial:g} CPUs, "
                f"{self.session.gpus:g} GPUs; {self.session.concurrent} at once"
            )
            lines.append(f"objectives {', '.join(budget.objectives)}; sampler {budget.sampler}, seed {budget.seed}")
            if budget.max_parameters is not None:
                lines.append(f"models of at most {budget.max_parameters:,} parameters")
            lines.append("space:")
            lines += [f"  {item.path:<34s}{item.describe()}" for item in settings.space.ranges]
            lines.append("first proposals:")
            for _ in range(min(3, remaining)):
                # What is still to be resumed comes first, as in the search.
                if proposals.pending:
                    params = proposals.pending.pop(0).params
                elif drawn := proposals.draw():
                    params = drawn[1]
                else:
                    break
                lines.append("  " + params_text(params, type(self.settings.base)))
        return lines

    def run(self) -> int:
        """The whole search. Returns the exit code."""
        with driving(self.settings.study, self.call) as drive:
            self.tracker = drive.tracker
            self.check_settings(drive.results, record=False)
            if few := self.few_points():
                print(few)
            print("starting Ray ...", flush=True)
            self.start_ray()
            self.session.check_machines(drive.results)
            self.check_settings(drive.results, record=True)  # a command that is refused leaves no study behind
            with drive.training() as (stop, scratch):
                proposals = self.search(drive.results, stop, scratch)
            if stop.reason is not None:
                stands = f"{len(proposals.outcomes)} trials on record, {self.to_come(proposals)} to come"
                return drive.stopped(stop, "tune.search", stands)
            code = self._conclude(drive.results, proposals)
            drive.results.compact_many()
            return code

    def search(self, results: Results, stop: Stop, scratch: Path) -> Proposals:
        """Trains trials until there are as many as asked for, or `stop` says why not. Returns all of the study."""
        study, budget = self.settings.study, self.settings.budget
        optuna_folder = Path(results.storage.root) / "optuna" if results.storage.local else scratch
        proposals = self.proposals(results, optuna_folder / f"{study}.journal")
        self._close_left_over(results, proposals)
        print(f"study {study} in {results.storage.url}; data: {self.series.source}", flush=True)
        for note in self.series.notes:
            print(f"note: {note}")
        if proposals.outcomes or proposals.pending:
            on_record, resumed = len(proposals.outcomes), len(proposals.pending)
            print(f"going on: {on_record} trials on record, {resumed} resumed", flush=True)
            if resumed:
                text = f"a new driver went on: {on_record} trials on record, {resumed} in the middle of their training"
                record_event(results, study, "resumed", text)
        for line in record_bars(results, study, self.settings.base, self.series):
            print(line)
        if self.tracker is not None:
            self.tracker.follow(study)
        remaining = self.to_come(proposals)
        if len(proposals.outcomes) >= budget.trials:
            print(f"{len(proposals.outcomes)} trials are on record and {budget.trials} are asked for: none to come")
        if remaining > 0:
            self._tune(results, proposals, remaining, stop, scratch)
        if used_up := self.used_up(proposals):
            print(used_up, flush=True)
        return proposals

    def _close(self, results: Results, proposal: Proposal, status: str, error: str | None = None) -> None:
        """Puts the runs of a trial that ended early on record, from its last checkpoint."""
        try:
            configs = proposal.configs(self.settings.budget.replicates)
            StackRun(results, configs, series=self.series).close(status, error)
        except UNUSABLE as problem:
            logger.warning("%s: its runs could not be recorded as %s: %s", proposal.trial, status, problem)

    def _close_left_over(self, results: Results, proposals: Proposals) -> None:
        """A driver killed between a trial's outcome and its runs' records left a checkpoint: record them now."""
        folders = {path.split("/")[1] for path in results.storage.list("checkpoints")}
        for proposal in proposals.outcomes:
            configs = proposal.configs(self.settings.budget.replicates)
            if StackRun.folder_of([c.run_id(self.series.identity) for c in configs]).split("/")[1] in folders:
                status = "failed" if proposal.state == "failed" else "stopped"
                self._close(results, proposal, status, proposal.error)

    def _tune(self, results: Results, proposals: Proposals, remaining: int, stop: Stop, scratch: Path) -> None:
        budget, base = self.settings.budget, self.settings.base
        spec = self.session.trial_spec(
            results, self.settings.study, self.series.identity, self.settings.base.forecaster
        )
        for proposal in proposals.pending:  # what they reported before the kill fills ASHA's rungs
            try:
                stack = StackRun(results, proposal.configs(budget.replicates), series=self.series)
                proposal.reports = stack.report().reports
            except UNUSABLE as problem:  # the trial will raise too, and be recorded with its error
                logger.warning("%s: its reports cannot be read: %s", proposal.trial, problem)
        searcher = ProposalSearcher(proposals, spec, lambda proposal: self._close(results, proposal, "stopped"))
        scheduler = RecordedASHA(
            proposals.all.values(), max_epochs=base.training.max_epochs, grace_epochs=budget.grace_epochs,
            reduction_factor=budget.reduction_factor,
        )  # fmt: skip
        progress = Progress(proposals, len(proposals.outcomes) + remaining)
        watch = FaultWatch(results, self.settings.study, progress.say, self.session.memory_per_trial)
        failures = FailureRecorder(
            proposals, watch, lambda proposal, error: self._close(results, proposal, "failed", error)
        )
        tracking = []
        if self.tracker is not None:
            tracking = self.tracker.callbacks(
                self.settings.study,
                lambda trial, runs: [Member(self.settings.study, "search", run, trial=trial.trial) for run in runs],
            )
        try:
            self.session.run_trials(
                self.settings.study, scratch, searcher=searcher, scheduler=scheduler, samples=remaining, stop=stop,
                callbacks=[failures, progress, Upkeep(results), *tracking],
                max_failures=budget.max_failures, watch=watch,
            )  # fmt: skip
        finally:
            progress.close()

    def _train_final(self, results: Results, finals: Sequence[Config]) -> None:
        """The final replicates, to their end, in smaller stacks where one of all does not fit into memory."""

        def happened(kind: str, text: str) -> None:
            print(text, file=sys.stderr, flush=True)
            record_event(results, self.settings.study, kind, text)

        session, most = self.session, len(finals)
        provenance = session.trial_spec(results, self.settings.study, self.series.identity).provenance
        model, texts = self.settings.base.forecaster, [config.to_json() for config in finals]
        data = session.data(self.series.identity)
        while True:
            call = (
                results, model, texts, data, session.gpus > 0, session.threads, provenance, most, self.settings.study,
                typed(),
            )  # fmt: skip
            try:
                for text in session.run_tasks(train_final, {"final": call}, happened)["final"]:
                    record_event(results, self.settings.study, "halved", f"final replicates: {text}")
                return
            except DoesNotFit as error:
                if most == 1:
                    raise
                most = (most + 1) // 2
                happened("halved", f"{error}; it goes on with {most} models side by side at most")

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
        print(
            f"\nbest: {best.trial}, validation MSE {best.values[0]:.4f}, {params_text(best.params, type(best.config))}"
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
                print(f"retraining it with {fresh} fresh seeds, then reading test once", flush=True)
            else:
                print(f"its {len(finals)} final runs are on record, and test has been read")
            self._train_final(results, finals)
            record_starts(results, settings.study, finals, self.series)
            scores.append(scores_of(results, f"best config, {len(finals)} fresh seeds", ids))
        data = best.config.data
        standing = standing_of(results, settings.study, ids, data.seq_len + data.pred_len)
        print("\n" + "\n".join(comparison_table(scores, standing, settings.base)))
        print("\n".join(verdicts(standing, best.values[0])))
        print(f"\nwritten to {results.storage.url}: runs, histories, trials and evaluations as Parquet")
        best_file = results.storage.url_of(f"{folder}/best.yaml")
        print(f"  python -m lab.train{model_option(self.settings.base)} --config {best_file}")
        print(f"  python -m tune.results show {settings.study} --results {results.storage.url}")
        return 0
