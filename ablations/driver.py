"""One driver on an ablation study: it holds the lease, trains stacks of arms and seeds, and judges at each look."""

import json
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from ablations.findings.before import Asked, again, known_before, mark_of, said, verdicts_purpose
from ablations.findings.collect import findings_of
from ablations.findings.record import Span, StudyRecord, identity
from ablations.findings.runs import Recorded
from ablations.planning.call import StudyCall
from ablations.planning.plan import Hypothesis, Plan, PlannedStack, write_configs
from ablations.planning.preparation import Preparation
from ablations.planning.progress import StudyProgress
from ablations.planning.stacks import StackFailures, StackSearcher
from ablations.planning.tuning import check_search, search_name, tune_arm
from ablations.reporting.console import verdict_lines
from ablations.study.models import MODELS
from ablations.study.reading import changed
from ablations.study.study import Study
from lab.arms import FULL
from lab.console.printing import print, say
from lab.driving import driving
from lab.ledger.looks import record as put_on_ledger
from lab.ledger.looks import typed
from lab.machines.faults import FaultWatch
from lab.machines.session import Stop
from lab.machines.trial import TrialSpec
from lab.references.forecasts import record_forecasts
from lab.references.runs import record_bars, record_starts
from lab.store.beside.upkeep import Upkeep
from lab.store.events import record_event
from lab.store.place import OPTION
from lab.store.schema import DONE
from lab.store.tables import Results
from lab.tracking.runs import Member
from lab.tracking.tracker import Tracker
from lab.training.stack_run import StackRun

MAX_FAILURES = 2  # times a stack that raised goes on from its checkpoint


class Ablation:
    """One call of the command.

    Raises:
        ConfigError, DataError, ResultsError: a study that cannot be run, before anything is computed.
    """

    def __init__(self, study: Study, name: str, call: StudyCall):
        self.name, self.call = name, call
        self.prepared = Preparation(study, call)
        self._tracker: Tracker
        if study.retune is not None:
            for arm, cell in product(_searched(self.prepared.study, ()), study.cell_names):
                check_search(self.prepared.study, arm, cell, name, self.prepared.series[cell])

    def dry_run(self) -> list[str]:
        """What --dry-run prints. Nothing is trained but a few steps, and nothing recorded."""
        prepared = self.prepared
        with self.call.place.as_it_is() as results:
            record = self._record(results)
            if record is None:
                study, inert = prepared.study, dict(prepared.liveness())
                plan = prepared.plan(results, prepared.work(study, inert, train_inert=self.call.train_inert))
                known = said(known_before(results, self._asked(study, inert)), "before it was begun")
            else:
                study, inert, known = record.study, dict(record.inert), record.exploratory
                by_hand = self.call.seeds is not None and prepared.study.seeds != "auto"
                asked = len(prepared.study.seed_list()) if by_hand else 0
                seeds, wanted = self._next(results, record) or (record.judged_seeds, [])
                if asked > record.seeds:
                    study, seeds, wanted = study.model_copy(update={"seeds": prepared.study.seeds}), asked, None
                work = prepared.work(study, inert, train_inert=record.train_inert, seeds=seeds, wanted=wanted)
                plan = prepared.plan(results, work, self._begun(results))
        session = prepared.session
        lines = [*prepared.data_notes(), plan.text(session.concurrent, self.name)]
        lines += [f"its verdicts would be EXPLORATORY: {known}"] if known else []
        if study.retune is not None and not study.tuned:
            searches = len(_searched(study, inert)) * len(study.cell_names)
            lines.append(
                f"before that {searches} searches of {study.retune.text}, "
                f"after it {searches * len(plan.seeds)} runs with what they chose"
            )
        lines.append(f"resources: {session.resources}; {session.concurrent} stacks at once")
        return [*lines, *self._capacity_lines()]

    def _capacity_lines(self) -> list[str]:
        return [f"capacity: {arm} (cell {cell}): {m.text()}" for (arm, cell), m in self.prepared.matches.items()]

    def _record(self, results: Results) -> StudyRecord | None:
        """The study on record. Raises ConfigError if it was begun with other settings."""
        record = StudyRecord.find(results, self.name)
        if record is not None:
            record.check_same(self.prepared.study, self.prepared.data, self.call.train_inert)
        return record

    def _begin(self, results: Results) -> StudyRecord | None:
        """A new study on record: its arms are checked to be alive, its configs are written out.

        None, and nothing on record, where all of its comparisons are inert.
        """
        study = self.prepared.study
        inert = self.prepared.liveness()
        if not study.family(inert):
            return None
        study.schedule(inert)  # what can decide nothing is refused before it is on record
        before = known_before(results, self._asked(study, inert))
        self._write_configs(results, study)
        for line in self._capacity_lines():
            say(line)
        data, spans = self.prepared.data, {cell: Span.of(series) for cell, series in self.prepared.series.items()}
        return StudyRecord.begin(results, self.name, study, data, inert, self.call.train_inert, before, spans)

    def _asked(self, study: Study, inert: Mapping[Hypothesis, str]) -> Asked:
        """What a study asks for in all: its runs with every seed that it may come to."""
        work = self.prepared.work(study, inert, seeds=len(study.seed_list()))
        runs: dict[tuple[str, str], set[str]] = defaultdict(set)
        for run in work.runs:
            runs[run.arm, run.cell].add(run.run)
        begun = changed(study, {"tuned": {}}) if study.tuned else study  # what searches find is no part of the question
        mark = mark_of(identity(begun, self.prepared.data, self.call.train_inert), study.seeds)
        return Asked(self.name, study, mark, runs)

    def _write_configs(self, results: Results, study: Study) -> None:
        folder = f"artifacts/{self.name}/configs"
        with tempfile.TemporaryDirectory() as scratch:
            for path in write_configs(study, scratch):
                results.storage.put(f"{folder}/{path.relative_to(scratch)}", path.read_bytes())
        say(f"the config of every arm is in {results.storage.url_of(folder)}")

    def run(self) -> int:
        """The whole study. Returns the exit code: 0 with its verdicts printed, 1 if runs failed, 130 after Ctrl-C (see
        `Stop.exit_code`)."""
        with driving(self.name, self.call) as drive:
            results, self._tracker = drive.results, drive.tracker
            for note in self.prepared.data_notes():
                say(note)
            record = self._record(results) or self._begin(results)
            if record is None:
                print("every comparison is inert: there is nothing to train, and nothing to judge")
                return 0
            if (seeds := self.prepared.study.seeds) != "auto":
                self._add_seeds(results, record, seeds)
            if record.exploratory:
                print(f"EXPLORATORY: {record.exploratory}", flush=True)
            if same := again(record.before):
                say(f"note: {same}")
            for cell in record.study.cell_names:
                series = self.prepared.series[cell]
                for line in record_bars(results, self.name, record.study.baseline_of(cell), series, cell):
                    say(f"cell {cell}: {line}")
            drive.tracker.follow(self.name)
            with drive.training() as (stop, scratch):
                done = self._tune(results, record, stop, scratch) and self._looks(results, record, stop, scratch)
                if stop.reason is None:
                    self._record_starts(results, record)
                    self._record_forecasts(results, record)
            if stop.reason is not None:
                return drive.stopped(stop, "ablations.run")
            results.compact_many()
            print("\n" + "\n".join(verdict_lines(findings_of(results, self.name))))
            given = f" {OPTION} {shlex.quote(results.storage.url)}" if self.call.place.given else ""
            print(f"\nthe report: python -m ablations.report {self.name}{given}")
            return 0 if done else 1

    def _record_starts(self, results: Results, record: StudyRecord) -> None:
        """Of the whole network's runs, and of a league's models, where they start from a closed form: what training
        added is told from them."""
        recorded, study = Recorded.of(results, record), record.study
        for cell, arm in product(
            study.cell_names, dict.fromkeys((FULL, *(study.table if study.kind == MODELS else ())))
        ):
            rows = recorded.members.get((arm, cell), {})
            complete = [seed for seed in sorted(rows) if recorded.status(arm, cell, seed) == "complete"]
            configs = [study.config(cell, arm, seed) for seed in complete]
            record_starts(results, self.name, configs, self.prepared.series[cell], cell)

    def _record_forecasts(self, results: Results, record: StudyRecord) -> None:
        """Of a league's models, a few windows of the first complete run of each, for the page."""
        recorded, study = Recorded.of(results, record), record.study
        for cell in study.cell_names if study.kind == MODELS else ():
            firsts = [recorded.first(arm, cell) for arm in dict.fromkeys((FULL, *study.table))]
            rows = {row["run"]: row for row in firsts if row}
            for why in record_forecasts(results, self.name, rows, self.prepared.series[cell]).values():
                say(f"cell {cell}: no forecasts to show: {why}")

    def _add_seeds(self, results: Results, record: StudyRecord, seeds: int | tuple[int, ...]) -> None:
        """Seeds that the command line asks for are added; a file that says another number than the record adds none."""
        if self.call.seeds is not None:
            more = record.study.model_copy(update={"seeds": seeds})
            record.add_seeds(results, seeds, lambda: known_before(results, self._asked(more, record.inert)))
        elif len(self.prepared.study.seed_list()) > record.seeds:
            say(f"note: the study's file asks for more seeds than the {record.seeds} on record; --seeds adds them")

    def _tune(self, results: Results, record: StudyRecord, stop: Stop, scratch: Path) -> bool:
        """The searches of a study with re-tuning, one an arm and cell. Returns whether all are through."""
        study = record.study
        if study.retune is None or study.tuned:
            return True
        self.prepared.session.check_machines(results, study.retune.trials)
        tuned: dict[str, dict[str, dict[str, Any]]] = {}
        for arm in _searched(study, record.inert):
            for cell in study.cell_names:
                say(f"\nre-tuning {arm} (cell {cell})")
                name = search_name(self.name, arm, cell)
                found = tune_arm(study, arm, cell, name, results, self.prepared.session, self.call, stop, scratch)
                if found is None:
                    if stop.reason is None:
                        print(f"error: no trial of the search for {arm} (cell {cell}) was complete", file=sys.stderr)
                    return False
                tuned.setdefault(arm, {})[cell] = found
                self._tracker.follow(name)
        record.add_tuned(results, tuned, lambda then: known_before(results, self._asked(then, record.inert).of_tuned()))
        self._write_configs(results, record.study)
        return True

    def _looks(self, results: Results, record: StudyRecord, stop: Stop, scratch: Path) -> bool:
        """Trains and judges until all is decided or all looks are taken. Returns False where runs failed."""
        if self._next(results, record) is None:
            say(f"nothing is left to train: verdicts were read at {record.judged_seeds} seeds")
        while (look := self._next(results, record)) is not None:
            seeds, wanted = look
            work = self.prepared.work(
                record.study, record.inert, train_inert=record.train_inert, seeds=seeds, wanted=wanted
            )
            plan = self.prepared.plan(results, work, self._begun(results))
            say(plan.text(self.prepared.session.concurrent if plan.stacks else 1, self.name))
            if self._too_long(results, record, plan):
                return True
            record.add_members(results, plan.runs)
            failed = self._train(results, plan, stop, scratch)
            if stop.reason is not None:
                return True
            recorded = Recorded.of(results, record)
            missing = [run for run in plan.runs if recorded.status(run.arm, run.cell, run.seed) not in DONE]
            if missing:
                print(
                    f"error: {failed or len(missing)} runs are not done; what is done is on record, and the same "
                    "command tries the rest again",
                    file=sys.stderr,
                )
                return False
            self._put_on_ledger(results, record, plan, seeds)
            record.add_judgement(results, seeds)
            undecided = recorded.undecided()
            say(f"after {seeds} seeds {len(undecided)} of {len(recorded.hypotheses)} comparisons are undecided")
        record.add_settled(results)
        return True

    def _put_on_ledger(self, results: Results, record: StudyRecord, plan: Plan, seeds: int) -> None:
        """Verdicts are a look at test, too: on the ledger with what was asked, for whoever asks next."""
        ids: dict[str, dict[str, None]] = defaultdict(dict)  # by series, in order
        for run in plan.runs:
            ids[self.prepared.data[run.cell]][run.run] = None
        for series in {series.identity: series for series in self.prepared.series.values()}.values():
            put_on_ledger(
                series, verdicts_purpose(self.name, seeds), study=self.name, results=results, mark=record.mark,
                ids=list(ids[series.identity]),
            )  # fmt: skip

    def _next(self, results: Results, record: StudyRecord) -> tuple[int, list[Hypothesis] | None] | None:
        """The number of seeds that is looked at next and what more seeds are for (None: everything); None at the end.

        Seeds that were added by hand are for every arm.
        """
        if record.seeds > record.looks[-1]:
            return None if record.seeds in record.judged else (record.seeds, None)
        if not record.looks_taken:
            return record.looks[0], None
        recorded = Recorded.of(results, record)
        wanted = [(name, cell) for name, where in recorded.undecided() for cell in recorded.cells_of((name, where))]
        left = [seeds for seeds in record.looks if seeds not in record.judged]
        return (left[0], wanted) if left and wanted else None

    def _too_long(self, results: Results, record: StudyRecord, plan: Plan) -> bool:
        """Whether --device-hours forbid a further look. The first one is what was asked for."""
        if self.call.device_hours is None or plan.seconds is None or not record.looks_taken:
            return False
        hours = (Recorded.of(results, record).device_seconds() + plan.seconds) / 3600
        if hours <= self.call.device_hours:
            return False
        print(f"a further look could take {hours:.2f} device hours in all, and {self.call.device_hours:g} are allowed")
        return True

    def _train(self, results: Results, plan: Plan, stop: Stop, scratch: Path) -> int:
        """Trains the stacks as Ray trials, each of which reads test at its end. Returns how many runs failed."""
        if not plan.stacks:
            return 0
        session = self.prepared.session
        session.check_machines(results, len(plan.stacks))
        if begun := len(self._begun(results)):
            text = f"a new driver went on: {begun} stacks in the middle of their training"
            record_event(results, self.name, "resumed", text)
        specs = [
            replace(self._spec(results, stack), stack=number)
            for number, stack in enumerate(_longest_first(plan.stacks), 1)
        ]
        stacks = [[run.run for run in stack.runs] for stack in plan.stacks]
        results.replace_blob(self._stacks_path, json.dumps(stacks).encode())
        progress = StudyProgress(self.name, {number: len(spec.configs) for number, spec in enumerate(specs, 1)})
        watch = FaultWatch(results, self.name, progress.say, session.memory_per_trial)
        failures = StackFailures(results, session.series, watch)
        tracking = self._tracker.callbacks(
            self.name,
            lambda _, ids: [Member(self.name, "arm", r.run, arm=r.arm, cell=r.cell) for r in plan.runs if r.run in ids],
        )
        tries = self.call.resources.max_failures
        tries = MAX_FAILURES if tries is None else tries
        try:
            session.run_trials(
                self.name, scratch, searcher=StackSearcher(specs), samples=len(specs), stop=stop,
                callbacks=[failures, progress, Upkeep(results), *tracking], max_failures=tries, watch=watch,
            )  # fmt: skip
        finally:
            progress.close()
        for message in failures.messages:
            print(message, file=sys.stderr)
        if not failures.runs and stop.reason is None:
            results.delete_blob(self._stacks_path)
        return failures.runs

    def _spec(self, results: Results, stack: PlannedStack) -> TrialSpec:
        identity = self.prepared.identity_of(stack.runs[0].config.data)
        spec = self.prepared.session.trial_spec(
            results, self.name, identity, stack.runs[0].config.forecaster, [r.config.to_json() for r in stack.runs]
        )
        return replace(spec, test_purpose=f"ablation {self.name}", command=typed(), tells=self._tracker.live)

    @property
    def _stacks_path(self) -> str:
        return f"checkpoints/studies/{self.name}.json"

    def _begun(self, results: Results) -> list[list[str]]:
        """The stacks of an earlier call that have a checkpoint to go on from.

        Runs that have ended since would be planned out of their stack, and its checkpoint be of no use to the others.
        """
        stacks = results.read_blob(self._stacks_path, _stacks) or []
        return [stack for stack in stacks if results.storage.list(StackRun.folder_of(stack))]


def _stacks(data: bytes) -> list[list[str]]:
    found = json.loads(data)
    if not isinstance(found, list) or not all(isinstance(run, str) for stack in found for run in stack):
        raise ValueError("no list of stacks")
    return found


def _searched(study: Study, inert: Collection[Hypothesis]) -> list[str]:
    """The arms that a study with re-tuning searches for: both sides of what is alive in some cell."""
    live = [c for c in study.comparisons if any((c.name, cell) not in inert for cell in study.cell_names)]
    return list(dict.fromkeys(arm for c in live for arm in (c.arm.against, c.arm.name)))


def _longest_first(stacks: Sequence[PlannedStack]) -> list[PlannedStack]:
    """So that no device waits long for the last one; what belongs together stays so among equals."""
    return sorted(stacks, key=lambda stack: -(stack.seconds or 0.0))
