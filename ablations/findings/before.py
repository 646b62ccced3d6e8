"""What a study was compared with before it was planned: other studies that had the same runs on both sides of one of
its comparisons, under whatever name.

Whoever has seen how runs came out on test and then asks again (fewer arms, another margin or alpha, other seeds) has
spent alpha already: the verdicts are exploratory. A run that a search read as its final is no judgement, and one arm
shared with another study (`full`, nearly always) is none either, unless the seeds were picked by hand after it was
read. Nor is the same question by the same rule with the same seeds, asked again: its answer is the same.

What is known is put on record when a study begins or gets seeds (`StudyRecord`), so that no clock decides; of studies
that were begun before this was kept, only what was judged before their own beginning counts.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ablations.study.study import Study
from lab.ledger.cache import read as read_own
from lab.ledger.looks import TEST
from lab.seeds import counted
from lab.store.tables import Results

PURPOSE = "ablation {}"  # of a reading of test, by a study of that name
_SHOWN = 4  # studies that a sentence names


@dataclass(frozen=True)
class Before:
    """Another study that had runs of this one before this one was planned, or before its seeds were."""

    study: str
    looks: tuple[int, ...]  # numbers of seeds at which its verdicts were read; () where only its errors on test were
    when: str  # the last of these, or the first of its readings
    runs: int  # that are this study's, too
    store: str = ""  # where it is on record, if not in the same results
    same: bool = False  # the same question by the same rule with the same seeds: no second try
    clean: bool = False  # of the same one: its own verdicts are not exploratory
    one_side: bool = False  # the other arms are new, but the seeds were picked by hand

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Before":
        """As `told` wrote it. Raises TypeError or KeyError for what no version of ours wrote."""
        return cls(**{**told, "looks": tuple(told["looks"])})

    def told(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        if not self.looks:
            seen = f"read on test from {self.when} on"
        else:
            times = "once" if len(self.looks) == 1 else f"{len(self.looks)} times, last"
            at = ", ".join(map(str, self.looks))
            seen = f"judged {times} {self.when}, at {at} seeds"
        where = f" in {self.store}" if self.store else ""
        return f"study {self.study}{where} ({self.runs} runs; {seen})"


@dataclass(frozen=True)
class Asked:
    """What a study is about to ask, or has asked."""

    name: str
    study: Study
    mark: str  # see `mark_of`
    runs: Mapping[tuple[str, str], Collection[str]]  # (arm, cell) -> ids

    def sides(self) -> Iterator[tuple[set[str], set[str]]]:
        """The runs that each hypothesis sets against each other."""
        for cell in self.study.cell_names:
            for each in self.study.comparisons_in(cell):
                yield self._runs([each.without], cell), self._runs([each.with_part], cell)
            for factor in self.study.factors:
                off = [arm for chosen, arm in self.study.combinations.items() if factor.name in chosen]
                on = [arm for chosen, arm in self.study.combinations.items() if factor.name not in chosen]
                yield self._runs(off, cell), self._runs(on, cell)

    def _runs(self, arms: Iterable[str], cell: str) -> set[str]:
        return {run for arm in arms for run in self.runs.get((arm, cell), ())}

    def of_tuned(self) -> "Asked":
        """What it asks of re-tuned arms, whose runs are known once their searches are through, alone."""
        table = self.study.table
        runs = {key: ids for key, ids in self.runs.items() if key[0] in table and table[key[0]].variant.tuned}
        return replace(self, runs=runs)

    @property
    def every(self) -> set[str]:
        return {run for runs in self.runs.values() for run in runs}

    @property
    def picked(self) -> bool:
        """Whether its seeds were chosen one by one."""
        seeds = self.study.seeds
        return isinstance(seeds, tuple) and seeds != counted(len(seeds))


def mark_of(identity: Mapping[str, Any], seeds: Any, exploratory: bool = False) -> str:
    """Names a question, its rule and its seeds (a number, a list, or `auto`): equal for the same study only."""
    if seeds != "auto":
        seeds = list(counted(seeds) if isinstance(seeds, int) else seeds)
    content = json.dumps([identity, seeds, exploratory], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def known_before(results: Results, asked: Asked) -> list[Before]:
    """What other studies have seen of its runs: of this store, and of others that the user's own ledger tells of."""
    mine, here = asked.every, results.storage.url
    read, sharing = _read_by(results, mine), _sharing(results, asked.name, mine)
    found: list[Before | None] = []
    known: set[tuple[str, str]] = set()
    for name in sorted({*sharing, *read} - {asked.name}):
        other = _Judged.of(results, name)
        if other.times or name in read:
            seen = read[name][0] if name in read else set()
            runs = seen | (sharing.get(name, set()) if other.times else set())
            at = other.times[-1][1] if other.times else read[name][1]
            known.add((name, here))
            found.append(_evidence(asked, name, "", other.looks, at, runs, other.mark == asked.mark, other.clean))
    if results.table("studies", asked.name).num_rows:  # before it was begun, what stands under its name is another's
        known.add((asked.name, here))
    lines: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in read_own().looks:
        key = row["read_for"] or "", row["store"] or ""
        if row["mark"] and key not in known and mine & set(row["run_ids"] or ()):
            lines[key].append(row)
    for (name, store), rows in lines.items():
        runs = {run for row in rows for run in row["run_ids"]} & mine
        looks = tuple(dict.fromkeys(_seeds_in(row["purpose"]) for row in rows))
        same = {row["mark"] for row in rows} == {asked.mark}  # which says, too, that they were not exploratory
        place = "" if store == here else store
        found.append(_evidence(asked, name, place, looks, rows[-1]["time"], runs, same, same))
    return [each for each in found if each is not None]


def judged_before(results: Results, asked: Asked, since: datetime) -> list[Before]:
    """Of a study on record that says nothing of what was known: other studies that were judged before it began."""
    found = []
    for name, runs in _sharing(results, asked.name, asked.every).items():
        other = _Judged.of(results, name, since)
        if other.times:
            same = other.mark == asked.mark
            found.append(_evidence(asked, name, "", other.looks, other.times[-1][1], runs, same, same))
    return [each for each in found if each is not None]


def said(found: Sequence[Before], when: str) -> str:
    """Why that makes a study exploratory; "" where it does not."""
    tries = [each for each in found if not each.same]
    if not tries or any(each.same and each.clean for each in found):  # its verdicts were read before any other try
        return ""
    shown = ", ".join(each.text() for each in tries[:_SHOWN])
    more = f" and {len(tries) - _SHOWN} more" if len(tries) > _SHOWN else ""
    if all(each.one_side for each in tries):
        return f"its seeds were picked by hand after runs of it had come out on test {when}, in {shown}{more}"
    return f"runs that it compares had come out on test {when}, in {shown}{more}"


def again(found: Sequence[Before]) -> str:
    """The same study under another name, or elsewhere, which is no second try."""
    same = [each.text() for each in found if each.same]
    return f"the same question was asked before by the same rule with the same seeds: {', '.join(same)}" if same else ""


def _evidence(
    asked: Asked, name: str, store: str, looks: tuple[int, ...], at: datetime, runs: set[str], same: bool, clean: bool
) -> Before | None:
    """None where what was seen says nothing of what is asked."""
    touched = [(bool(runs & one), bool(runs & other)) for one, other in asked.sides()]
    both = any(one and other for one, other in touched)
    if not both and not (asked.picked and any(one or other for one, other in touched)):
        return None
    when = f"{at:%Y-%m-%d %H:%M:%S}"
    return Before(name, looks, when, len(runs & asked.every), store, same, same and clean, one_side=not both)


def _sharing(results: Results, name: str, runs: Collection[str]) -> dict[str, set[str]]:
    """Other studies whose arms have some of the runs, and which."""
    rows = results.table("members", columns=["study", "role", "run"]).select(["study", "role", "run"])
    rows = rows.filter(pc.and_(pc.equal(rows["role"], "arm"), pc.is_in(rows["run"], pa.array(runs, pa.string()))))
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows.to_pylist():
        if row["study"] != name:
            found[row["study"]].add(row["run"])
    return dict(found)


def _read_by(results: Results, runs: Collection[str]) -> dict[str, tuple[set[str], datetime]]:
    """The studies for which some of the runs were read on test: which, and when first."""
    prefix = PURPOSE.format("")
    found: dict[str, tuple[set[str], datetime]] = {}
    for row in results.of_runs("evaluations", runs, ["run", "split", "purpose", "time"]).to_pylist():
        if row["split"] == TEST and (row["purpose"] or "").startswith(prefix):
            name = row["purpose"].removeprefix(prefix)
            seen, first = found.get(name, (set(), row["time"]))
            found[name] = {*seen, row["run"]}, min(first, row["time"])
    return found


@dataclass(frozen=True)
class _Judged:
    """What the events of another study tell."""

    times: list[tuple[int, datetime]]  # (seeds, when) of its verdicts
    mark: str  # "" where it got seeds on the way, or is no study of ours
    clean: bool  # nothing was known when it was begun, nor of its re-tuned arms

    @property
    def looks(self) -> tuple[int, ...]:
        return tuple(seeds for seeds, _ in self.times)

    @classmethod
    def of(cls, results: Results, name: str, until: datetime | None = None) -> "_Judged":
        times, mark, added, clean, tuned = [], "", False, False, False
        for row in results.table("studies", name).to_pylist():
            event = json.loads(row["settings"])
            try:
                if "identity" in event:
                    seeds = event["study"].get("seeds", Study.model_fields["seeds"].default)
                    mark = mark_of(event["identity"], seeds)
                    clean = "before" in event and not said([Before.read(each) for each in event["before"]], "")
                elif event.get("event") == "judged" and (until is None or row["time"] < until):
                    times.append((int(event["seeds"]), row["time"]))
                elif event.get("event") == "seeds":
                    added = True
                elif event.get("event") == "tuned":
                    tuned = bool(said([Before.read(each) for each in event.get("before", ())], ""))
            except (KeyError, TypeError, ValueError, AttributeError):  # no record of ours: its readings speak for it
                continue
        return cls(sorted(times), "" if added else mark, clean and not tuned)


def _seeds_in(purpose: str) -> int:
    """Of verdicts, as `verdicts_purpose` writes it."""
    number = purpose.rpartition(" at ")[2].partition(" ")[0]
    return int(number) if number.isdigit() else 0


def verdicts_purpose(name: str, seeds: int) -> str:
    return f"verdicts of ablation {name} at {seeds} seeds"
