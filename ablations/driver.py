"""One driver on an ablation study: it holds the lease, trains stacks of arms and seeds, and judges at each look."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ablations.collect import findings_of
from ablations.gathered import Gathered
from ablations.plan import Hypothesis, Plan, PlannedStack, write_configs
from ablations.preparation import Preparation
from ablations.progress import StudyProgress
from ablations.record import StudyRecord
from ablations.reporting.console import verdict_lines
from ablations.stacks import StackFailures, StackSearcher
from ablations.study import Study
from ablations.tuning import tune_arm
from ablations.verdicts import UNDECIDED
from tune.final import record_baseline
from tune.lease import Lease
from tune.progress import duration
from tune.ray_session import EXIT_CODES, STOPPED, Stop, command_line
from tune.results import Results
from tune.schema import DONE
from tune.trial import StackRun

MAX_FAILURES = 2  # times a stack that raised goes on from its checkpoint


class Ablation:
    """One call of the command.

    Args:
        seeds: how many were asked for beside the study's own: a number or a list, None if none were.
    Raises:
        ConfigError, DataError: a study that cannot be run, before anything is computed.
    """

    def __init__(self, study: Study, name: str, args: argparse.Namespace, seeds: int | tuple[int, ...] | None = None):
        self.name, self.args, self.seeds = name, args, seeds
        self.prepared = Preparation(study, args)

    def dry_run(self) -> list[str]:
        """What --dry-run prints. Nothing is trained but a few steps, and nothing recorded."""
        prepared = self.prepared
        exists = "://" in str(self.args.out) or Path(self.args.out).exists()
        with tempfile.TemporaryDirectory() as scratch:
            results = Results(self.args.out, create=False) if exists else Results(scratch)
            record = self._record(results)
            if record is None:
                study, inert, seeds = prepared.study, dict(prepared.liveness()), None
            else:
                study, inert, seeds = record.study, dict(record.inert), _next_look(record)
            plan = prepared.plan(results, study, inert, train_inert=self.args.train_inert, seeds=seeds)
        session = prepared.session
        lines = [plan.text(session.concurrent)]
        if study.retune is not None and not study.tuned:
            searches = len(_searched(study, inert)) * len(study.cell_names)
            lines.append(
                f"before that {searches} searches of {study.retune.trials} trials x {study.retune.replicates} seeds, "
                f"after it {searches * len(plan.seeds)} runs with what they chose"
            )
        lines.append(f"resources: {session.resources}; {session.concurrent} stacks at once")
        lines += [f"capacity: {arm} (cell {cell}): {match.text()}" for (arm, cell), match in prepared.matches.items()]
        return lines

    def _record(self, results: Results) -> StudyRecord | None:
        """The study on record. Raises ConfigError if it was begun with other settings."""
        record = StudyRecord.find(results, self.name)
        if record is not None:
            record.check_same(self.prepared.study, self.prepared.data)
        return record

    def _begin(self, results: Results) -> StudyRecord:
        """A new study on record: its arms are checked to be alive, its configs are written out."""
        study = self.prepared.study
        inert = self.prepared.liveness()
        study.schedule(inert)  # what can decide nothing is refused before it is on record
        folder = f"artifacts/{self.name}/configs"
        with tempfile.TemporaryDirectory() as scratch:
            for path in write_configs(study, scratch):
                results.put_blob(f"{folder}/{path.relative_to(scratch)}", path.read_bytes())
        for (arm, cell), match in self.prepared.matches.items():
            print(f"capacity: {arm} (cell {cell}): {match.text()}")
        print(f"the config of every arm is in {results.storage.url_of(folder)}", flush=True)
        return StudyRecord.begin(results, self.name, study, self.prepared.data, inert, self.args.train_inert)

    def run(self) -> int:
        """The whole study. Returns the exit code: 0 with its verdicts printed, 1 if runs failed, 130 after Ctrl-C."""
        results = Results(self.args.out)
        with Lease(results.storage, self.name) as lease:
            record = self._record(results) or self._begin(results)
            if self.seeds is not None:
                record.add_seeds(results, self.seeds)
            for cell in record.study.cell_names:
                series = self.prepared.series[cell]
                record_baseline(results, self.name, record.study.baseline_of(cell), series, cell)
            stop = Stop(self.args.time_budget, lease)
            started = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="dynonet-") as scratch:
                done = self._tune(results, record, stop, Path(scratch))
                done = done and self._looks(results, record, stop, Path(scratch))
            if stop.reason is not None:
                print(f"{STOPPED[stop.reason]} after {duration(time.monotonic() - started)}")
                print(f"Go on with the same command:\n  {command_line('ablations.run')}")
                return EXIT_CODES[stop.reason]
            results.compact_many()
            print("\n" + "\n".join(verdict_lines(findings_of(results, self.name))))
            print(f"\nthe report: python -m ablations.report {self.name} --results {results.storage.url}")
            return 0 if done else 1

    def _tune(self, results: Results, record: StudyRecord, stop: Stop, scratch: Path) -> bool:
        """The searches of a study with re-tuning, one an arm and cell. Returns whether all are through."""
        study = record.study
        if study.retune is None or study.tuned:
            return True
        tuned: dict[str, dict[str, dict[str, Any]]] = {}
        for arm in _searched(study, record.inert):
            for cell in study.cell_names:
                print(f"\nre-tuning {arm} (cell {cell})", flush=True)
                name = f"{self.name}.retune.{arm}.{cell}"
                found = tune_arm(study, arm, cell, name, results, self.prepared.session, self.args, stop, scratch)
                if found is None:
                    if stop.reason is None:
                        print(f"error: no trial of the search for {arm} (cell {cell}) was complete", file=sys.stderr)
                    return False
                tuned.setdefault(arm, {})[cell] = found
        record.add_tuned(results, tuned)
        return True

    def _looks(self, results: Results, record: StudyRecord, stop: Stop, scratch: Path) -> bool:
        """Trains and judges until all is decided or all looks are taken. Returns False where runs failed."""
        while True:
            seeds, wanted = _next_look(record), None
            if record.looks_taken and seeds in record.looks:
                wanted = _undecided(Gathered.of(results, record))
            plan = self.prepared.plan(
                results, record.study, record.inert, train_inert=record.train_inert, seeds=seeds, wanted=wanted,
                begun=self._begun(results),
            )  # fmt: skip
            print(plan.text(self.prepared.session.concurrent if plan.stacks else 1), flush=True)
            if self._too_long(results, record, plan):
                return True
            record.add_members(results, plan.runs)
            failed = self._train(results, plan, stop, scratch)
            if stop.reason is not None:
                return True
            gathered = Gathered.of(results, record)
            missing = [run for run in plan.runs if gathered.status(run.arm, run.cell, run.seed) not in DONE]
            if missing:
                print(
                    f"error: {failed or len(missing)} runs are not done; what is done is on record, and the same "
                    "command tries the rest again",
                    file=sys.stderr,
                )
                return False
            record.add_judgement(results, seeds)
            if seeds >= record.looks[-1]:
                return True
            undecided = _undecided(gathered)
            if not undecided:
                return True
            print(f"after {seeds} seeds {len(undecided)} of {len(gathered.hypotheses)} comparisons are undecided")

    def _too_long(self, results: Results, record: StudyRecord, plan: Plan) -> bool:
        """Whether --device-hours forbid a further look. The first one is what was asked for."""
        if self.args.device_hours is None or plan.seconds is None or not record.looks_taken:
            return False
        hours = (Gathered.of(results, record).device_seconds() + plan.seconds) / 3600
        if hours <= self.args.device_hours:
            return False
        print(f"a further look could take {hours:.2f} device hours in all, and {self.args.device_hours:g} are allowed")
        return True

    def _train(self, results: Results, plan: Plan, stop: Stop, scratch: Path) -> int:
        """Trains the stacks as Ray trials, each of which reads test at its end. Returns how many runs failed."""
        if not plan.stacks:
            return 0
        session = self.prepared.session
        configs = {
            number: {
                **session.trial_config(results),
                "configs": [run.config.to_json() for run in stack.runs],
                "data_sha256": self.prepared.checksum(stack.runs[0].config.data),
                "test_purpose": f"ablation {self.name}",
            }
            for number, stack in enumerate(_longest_first(plan.stacks), 1)
        }
        stacks = [[run.run for run in stack.runs] for stack in plan.stacks]
        results.put_blob(self._stacks_path, json.dumps(stacks).encode())
        progress = StudyProgress(self.name, {number: len(config["configs"]) for number, config in configs.items()})
        failures = StackFailures(results, session.series)
        tries = MAX_FAILURES if self.args.max_failures is None else self.args.max_failures
        try:
            session.run_trials(
                self.name, scratch, searcher=StackSearcher(configs), samples=len(configs), stop=stop,
                callbacks=[failures, progress], max_failures=tries,
            )  # fmt: skip
        finally:
            progress.close()
        for message in failures.messages:
            print(message, file=sys.stderr)
        if not failures.runs and stop.reason is None:
            results.storage.delete(self._stacks_path)
        return failures.runs

    @property
    def _stacks_path(self) -> str:
        return f"checkpoints/studies/{self.name}.json"

    def _begun(self, results: Results) -> list[list[str]]:
        """The stacks of an earlier call that have a checkpoint to go on from.

        Runs that have ended since would be planned out of their stack, and its checkpoint be of no use to the others.
        """
        try:
            stacks: list[list[str]] = json.loads(results.get_blob(self._stacks_path))
        except FileNotFoundError:
            return []
        return [stack for stack in stacks if results.storage.list(StackRun.folder_of(stack))]


def _searched(study: Study, inert: Collection[Hypothesis]) -> list[str]:
    """The arms that a study with re-tuning searches for: both sides of what is alive in some cell."""
    live = [c for c in study.comparisons if any((c.name, cell) not in inert for cell in study.cell_names)]
    return list(dict.fromkeys(arm for c in live for arm in (c.arm.against, c.arm.name)))


def _next_look(record: StudyRecord) -> int:
    """The number of seeds that is looked at next; the last one again once all looks are taken."""
    if record.seeds > record.looks[-1]:
        return record.seeds
    return next((seeds for seeds in record.looks if seeds not in record.judged), record.looks[-1])


def _undecided(gathered: Gathered) -> list[Hypothesis]:
    if not gathered.hypotheses:
        return []
    verdicts = gathered.standing(gathered.record.looks_taken).verdict
    return [h for h, verdict in zip(gathered.hypotheses, verdicts, strict=True) if verdict == UNDECIDED]


def _longest_first(stacks: Sequence[PlannedStack]) -> list[PlannedStack]:
    """So that no device waits long for the last one; what belongs together stays so among equals."""
    return sorted(stacks, key=lambda stack: -(stack.seconds or 0.0))
