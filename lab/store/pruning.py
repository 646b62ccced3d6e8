"""`python -m tune.results prune STUDY...`: what studies have left behind that nothing will read again, deleted.

Kept is what a report, a forecast or a resume reads: weights of the best trial and of a front, of its finals, of arm
`full`, of every arm's run whose test or sealed rows are yet to be read; errors by window of arms, finals and baselines;
and checkpoints of what is not done. A run that another study needs is kept for that one. The tables are never touched:
what is gone is gone of a run's weights, not of its record, and should its test ever be read it is trained once more.

Each object is deleted by itself, after all that is needed is known: a kill at any moment leaves some for the next call.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc
import pyarrow.fs as pafs

from lab.settings.sources import SOURCES
from lab.store.objects.checksums import plain
from lab.store.objects.lease import Lease
from lab.store.objects.storage import TEMPORARY, Storage
from lab.store.outcomes import best_of, front_of, in_order_of_proposal, standing_outcomes
from lab.store.schema import DONE
from lab.store.tables import Results, ResultsError
from lab.training.stack_run import StackRun

KINDS = {  # by folder
    "weights": "weights", "checkpoints": "checkpoints", "test_windows": "test windows",
    "sealed_windows": "sealed windows",
}  # fmt: skip
# Where what is a run's own lies, by kind: names that state checksums (without them), and the names of before.
_OF_RUN = {
    "weights": re.compile(r"weights/([^/]+)\.(?:pt|npz)"),
    "checkpoints": re.compile(r"checkpoints/runs/([^/]+?)(?:/state)?\.pt"),
    "test_windows": re.compile(r"test_windows/([^/]+?)(?:/(?:blocks|mse))?\.npy"),
    "sealed_windows": re.compile(r"sealed_windows/([^/]+?)/blocks\.npy"),
}
_WINDOWS = ("test_windows", "sealed_windows")
_DATA = ("params.data.dataset", "params.data.sealed", "params.data.origins_back")  # which say whether rows are sealed
FULL = "full"  # the arm of an ablation that has every part
DELETES_AT_ONCE = 16

Member = Mapping[str, Any]
Own = tuple[str, str]  # what is a run's own: its kind (a folder of KINDS), and the run


@dataclass
class Pruning:
    """What of some studies can go, and what stays: bytes by path."""

    freed: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)

    def lines(self, done: bool) -> list[str]:
        """A line a kind, and the sum."""
        rows = []
        for folder, name in (*KINDS.items(), ("", "all")):
            gone, stay = ([s for p, s in part.items() if p.startswith(folder)] for part in (self.freed, self.kept))
            rows.append(f"{name:<14s}{len(gone):>8,d} files {size_text(sum(gone)):>10s}"
                        f"{len(stay):>12,d} files {size_text(sum(stay)):>10s}")  # fmt: skip
        head = f"{'':<14s}{'freed' if done else 'can go':>25s}{'kept':>29s}"
        return [head, *rows, "every run, trial, reading and study stays on record"]


def prune(results: Results, studies: Sequence[str], dry_run: bool = False) -> Pruning:
    """Deletes what nothing needs of some studies, or only says what that is.

    Raises:
        ResultsError: no such study, or records that cannot be read, so that what is needed is not known.
        LeaseHeld: a driver works on one of them.
        StorageError: it cannot be read or written; the same call goes on.
    """
    names = sorted(set(studies))
    for name in names:
        results.check_known(name)
    with ExitStack() as leases:
        for name in () if dry_run else names:
            leases.enter_context(Lease(results.storage, name))
        found = _found(results, names)
        if not dry_run:
            with ThreadPoolExecutor(1 if results.storage.local else DELETES_AT_ONCE) as pool:
                for _ in pool.map(results.storage.delete, sorted(found.freed)):
                    pass
    return found


def _found(results: Results, names: Collection[str]) -> Pruning:
    """What the studies have, divided into what some study needs and what none does."""
    members: dict[str, list[Member]] = defaultdict(list)
    for row in results.table("members").to_pylist():
        members[row["study"]].append(row)
    mine = {row["run"] for name in names for row in members[name]}
    sharing = [name for name, rows in members.items() if name in names or any(row["run"] in mine for row in rows)]
    runs = {row["run"] for name in sharing for row in members[name]}
    facts = Facts.of(results, runs)
    stacks: set[str] = set()
    needed: set[Own] = set()
    needed_stacks: set[str] = set()
    for name in sharing:
        study = StudyNeeds(results, name, members[name], facts)
        needed |= study.needs
        needed_stacks |= study.needed_stacks
        if name in names:
            stacks |= study.stacks
    if results.skipped:
        raise ResultsError(
            f"{len(results.skipped)} files of the records cannot be read (named above), so what is needed is not known "
            "for sure; nothing is deleted. Move them out of the results first, or bring them back"
        )
    lying = {path: size for folder in KINDS for path, size in sizes(results.storage, folder).items()}
    found = Pruning()
    for path, size in lying.items():
        own, folder = own_of(path), path.rpartition("/")[0]
        if own is not None and own[1] in mine:
            kept = own in needed
        elif folder in stacks:
            kept = folder in needed_stacks
        else:
            continue
        (found.kept if kept else found.freed)[path] = size
    return found


def own_of(path: str) -> Own | None:
    """Whose a file is; None for one that is no single run's."""
    folder = path.split("/")[0]
    match = _OF_RUN[folder].fullmatch(plain(path))
    return (folder, match[1]) if match else None


@dataclass(frozen=True)
class Facts:
    """Of runs: their status, and those whose test is read."""

    status: Mapping[str, str]
    read: Collection[str]
    sealed: Collection[str]  # at the latest origin of a series with sealed rows, on which they are not read yet

    @classmethod
    def of(cls, results: Results, runs: Collection[str]) -> "Facts":
        latest = results.latest(runs, ["status", *_DATA]).to_pylist()
        readings = results.of_runs("evaluations", runs).select(["run", "split", "windows"])
        test = pc.and_(pc.equal(readings["split"], "test"), pc.is_valid(readings["windows"]))
        read = set(pc.unique(readings.filter(test)["run"]).to_pylist())
        opened = set(pc.unique(readings.filter(pc.equal(readings["split"], "sealed"))["run"]).to_pylist())
        sealed = {row["run"] for row in latest if _has_sealed(row) and row["run"] not in opened}
        return cls({row["run"]: row["status"] for row in latest}, read, sealed)

    def done(self, run: str) -> bool:
        return self.status.get(run) in DONE

    def unfinished(self, runs: Iterable[str], test: bool) -> bool:
        """Whether something is left to be done with one of the runs, reading its `test` included."""
        return any(not self.done(run) or (test and run not in self.read) for run in runs)


def _has_sealed(row: Mapping[str, Any]) -> bool:
    """Whether rows of a run's series are sealed, as far as its settings tell."""
    dataset, sealed, back = (row.get(name) for name in _DATA)
    named = SOURCES[dataset].sealed if dataset in SOURCES else None
    return (sealed is not None or named is not None) and not back


class StudyNeeds:
    """What one study needs.

    Attributes:
        needs: what is a run's own.
        stacks, needed_stacks: folders of all stacks that it knows of, and of those that it needs.
    """

    def __init__(self, results: Results, name: str, members: Sequence[Member], facts: Facts):
        self.name, self.members, self.facts = name, members, facts
        self.needs: set[Own] = set()
        self.stacks: set[str] = set()
        self.needed_stacks: set[str] = set()
        by_role: dict[str, list[Member]] = defaultdict(list)
        for row in members:
            by_role[row["role"]].append(row)
        for row in by_role["baseline"]:
            self._keep(row["run"], "weights", *_WINDOWS)
        for row in by_role["arm"]:
            self._arm(row)
        if by_role["arm"]:
            self._planned_stacks(results)
        if by_role["search"] or by_role["final"]:
            self._search(results, by_role["search"], by_role["final"])

    def _whole(self, run: str, test: bool = False) -> None:
        """A run that is of use: its weights, what was read with them, and its checkpoint where it is not done."""
        self._keep(run, "weights", *_WINDOWS)
        if self.facts.unfinished([run], test):
            self._keep(run, "checkpoints")

    def _keep(self, run: str, *kinds: str) -> None:
        self.needs |= {(kind, run) for kind in kinds}

    def _arm(self, row: Member) -> None:
        run = row["run"]
        if row["arm"] == FULL or self.facts.unfinished([run], test=True):
            self._whole(run, test=True)
        self._keep(run, *_WINDOWS, *(["weights"] if run in self.facts.sealed else []))

    def _stack(self, ids: Sequence[str], needed: bool) -> None:
        folder = StackRun.folder_of(ids)
        self.stacks.add(folder)
        if needed:
            self.needed_stacks.add(folder)

    def _planned_stacks(self, results: Results) -> None:
        planned = results.read_blob(f"checkpoints/studies/{self.name}.json", json.loads)
        for ids in planned or []:
            self._stack(ids, self.facts.unfinished(ids, test=True))

    def _search(self, results: Results, searched: Sequence[Member], finals: Sequence[Member]) -> None:
        rows = results.table("studies", self.name).sort_by("time").to_pylist()
        several = len(json.loads(rows[0]["settings"])["search"]["objectives"]) > 1
        trials = results.table("trials", self.name).to_pylist()
        proposed = [row["trial"] for row in in_order_of_proposal(trials)]
        outcomes = standing_outcomes(trials, proposed, results)
        ended = [outcomes[trial] for trial in dict.fromkeys(proposed) if trial in outcomes]
        best = best_of(ended)
        kept = {outcome.trial for outcome in front_of(ended)} if several else set()
        if best is not None:
            kept.add(best.trial)
        for row in searched:
            if row["trial"] not in outcomes or row["trial"] in kept:
                self._whole(row["run"])
        for origin in {row["cell"]: None for row in searched}:  # at each a trial trains a stack of its own
            there = [row for row in searched if row["cell"] == origin]
            for trial, ids in _by_trial(there).items():  # in the order of the seeds: so they were put on record
                # One that has ended before its runs were on record has them put there by the next call.
                left = trial not in outcomes or any(run not in self.facts.status for run in ids)
                self._stack(ids, left)
        mine = [row["run"] for row in finals if best is not None and row["trial"] == best.trial]
        for run in mine:
            self._whole(run, test=True)
        for ids in _by_trial(finals).values():
            for count in range(1, len(ids) + 1):  # a later call may have asked for more of them
                self._stack(ids[:count], set(ids) <= set(mine) and self.facts.unfinished(ids[:count], test=True))


def _by_trial(members: Sequence[Member]) -> dict[str, list[str]]:
    """Each trial's runs, each once, in the order in which they were put on record."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for row in members:
        found[row["trial"]][row["run"]] = None
    return {trial: list(runs) for trial, runs in found.items()}


def sizes(storage: Storage, folder: str) -> dict[str, int]:
    """Bytes of every object below a folder, by path."""
    selector = pafs.FileSelector(storage.full(folder), allow_not_found=True, recursive=True)
    with storage.errors("list", folder):
        infos = storage.fs.get_file_info(selector)
    start = len(storage.root.rstrip("/")) + 1
    return {
        info.path[start:]: info.size
        for info in infos
        if info.type == pafs.FileType.File and not info.base_name.startswith(TEMPORARY)
    }


def size_text(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
