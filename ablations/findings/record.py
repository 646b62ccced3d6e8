"""What a study puts on record beside its runs: what was asked, what was found inert, which verdicts were read when.

Each is an event, a row of the table `studies`; that of the beginning says all that must stay the same. Their order
follows from what they say, not from their times: drivers' clocks differ, and go back. Which run is which arm's stands
in `members`.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from ablations.findings.before import PURPOSE, Asked, Before, judged_before, mark_of
from ablations.findings.before import said as said_of
from ablations.planning.plan import Hypothesis, PlannedRun
from ablations.study.models import MODELS
from ablations.study.reading import changed, create_study
from ablations.study.study import Study
from lab.arms import difference
from lab.errors import ConfigError, unknown
from lab.ledger.looks import TEST
from lab.registry import DEFAULT
from lab.series import Series
from lab.series.reading.dates import shown_date
from lab.settings.config import RESULTS_VERSION
from lab.settings.differences import differences
from lab.store.tables import Results
from lab.unsealing.settled import ABLATION, SETTLED

KIND = ABLATION
_BY_CELL = ("settings", "data_sha256")  # of an identity
_NO_PROMISE = ": an error rate of alpha can no longer be promised"


@dataclass(frozen=True)
class Span:
    """When a cell's data is from."""

    origin: int = 0  # the row where training ends; 0: not on record
    trains_to: str = ""  # the date of the last training row; "": without dates
    test_period: str = ""  # the dates of the first and the last test row

    @classmethod
    def of(cls, series: Series) -> "Span":
        if series.timestamps is None:
            return cls(series.train[1])
        first, last = series.timestamps[series.test[0]], series.timestamps[series.test[1] - 1]
        trains_to = shown_date(series.timestamps[series.train[1] - 1])
        return cls(series.train[1], trains_to, f"{shown_date(first)} to {shown_date(last)}")


@dataclass
class StudyRecord:
    """A study as its events tell it."""

    name: str
    study: Study  # as begun, with the seeds and re-tuned settings that came later
    data: Mapping[str, str]  # cell -> checksum of its series
    inert: Mapping[Hypothesis, str]  # what liveness found to change nothing, with the reason
    train_inert: bool
    looks: tuple[int, ...]  # numbers of seeds, fixed when it was begun
    family: int
    judged: list[int] = field(default_factory=list)  # numbers of seeds at which verdicts were read
    settled: bool = False  # all was decided before the last look
    exploratory: str = ""  # why its verdicts are, or ""
    before: tuple[Before, ...] = ()  # other studies that had seen runs of it when it was begun, or got seeds
    events: list[str] = field(default_factory=list)
    identity: Mapping[str, Any] = field(default_factory=dict)
    spans: Mapping[str, Span] = field(default_factory=dict)  # of every cell

    @property
    def seeds(self) -> int:
        """How many are asked for: those of the last look, or more where some were added by hand."""
        return max(self.looks[-1], len(self.study.seed_list()))

    @property
    def looks_taken(self) -> int:
        return sum(seeds in self.judged for seeds in self.looks)

    @property
    def judged_looks(self) -> tuple[tuple[int, ...], int]:
        """The numbers of seeds that alpha is shared among, and how many of them were looked at.

        With seeds that were added by hand, once they were judged: one look, at all of them.
        """
        most = max(self.judged, default=0)
        return ((most,), 1) if most > self.looks[-1] else (self.looks, self.looks_taken)

    @property
    def judged_seeds(self) -> int:
        """Seeds of the last verdicts; 0 before the first."""
        schedule, taken = self.judged_looks
        return schedule[taken - 1] if taken else 0

    @classmethod
    def load(cls, results: Results, name: str) -> "StudyRecord":
        """Raises ConfigError: no such study, or one that is no ablation."""
        record = cls.find(results, name)
        if record is None:
            raise unknown("study on record", name, results.studies())
        return record

    @classmethod
    def find(cls, results: Results, name: str) -> "StudyRecord | None":
        """The study on record, or None. Raises ConfigError if something else has that name."""
        rows = results.table("studies", name).to_pylist()
        if not rows:
            return None
        told = [(json.loads(row["settings"]), row) for row in rows]
        told.sort(key=lambda each: (*_place(each[0]), each[1]["time"]))
        first = told[0][0]
        if first.get("kind") != KIND:
            raise ConfigError(f"'{name}' is a search, not an ablation study; take another name (--study OTHER)")
        study = create_study(first["study"])
        inert = {(arm, cell): why for arm, cell, why in first["inert"]}
        record = cls(
            name, study, first["data"], inert, first["train_inert"], tuple(first["looks"]), first["family"],
            identity=first["identity"],
            spans={cell: Span(**first.get("spans", {}).get(cell, {})) for cell in study.cell_names},
        )  # fmt: skip
        record.events.append(f"{_when(told[0][1])}: begun with {record.looks[0]} seeds")
        if "before" in first:
            before = [Before.read(each) for each in first["before"]]
        else:  # by a version that did not say
            before = judged_before(results, record._asked(results), told[0][1]["time"])
        record._add_before(before, "before it was begun")
        for event, row in told[1:]:
            if event.get("event") == "seeds" and "read" not in event:  # likewise
                event["read"] = record._readable(results, row["time"])
            if event.get("event") == "tuned" and "before" not in event:
                asked = record._asked(results, record._study_with({"tuned": event["tuned"]})).of_tuned()
                event["before"] = [each.told() for each in judged_before(results, asked, row["time"])]
            record._take_in(event, _when(row))
        return record

    @classmethod
    def begin(
        cls,
        results: Results,
        name: str,
        study: Study,
        data: Mapping[str, str],
        inert: Mapping[Hypothesis, str],
        train_inert: bool = False,
        before: Sequence[Before] = (),
        spans: Mapping[str, Span] | None = None,
    ) -> "StudyRecord":
        """Puts the study on record; `before`: what other studies had seen of its runs (`known_before`); `spans`: of
        its cells.

        Raises ConfigError where its seeds cannot reach significance.
        """
        looks, family = study.schedule(inert), study.family(inert)
        content = {
            "kind": KIND, "study": study.model_dump(mode="json", exclude_defaults=True), "data": dict(data),
            "inert": [[arm, cell, why] for (arm, cell), why in inert.items()], "train_inert": train_inert,
            "looks": list(looks), "family": family, "identity": identity(study, data, train_inert),
            "before": [each.told() for each in before],
            "spans": {cell: asdict(span) for cell, span in (spans or {}).items()},
        }  # fmt: skip
        results.add("studies", [{"study": name, "settings": json.dumps(content)}], key="begun")
        record = cls.find(results, name)
        assert record is not None
        return record

    def check_same(self, study: Study, data: Mapping[str, str], train_inert: bool = False) -> None:
        """Raises ConfigError, with the differences and the ways out, if the study was begun with other settings.

        Seeds are another matter (`add_seeds`): numbers of them on the command line say nothing of looks.
        """
        now = identity(study, data, train_inert)
        if study.seeds != "auto":
            now["rule"]["looks"] = self.identity["rule"]["looks"]
        if unlike := _unlike(self.identity, now):
            shown = "\n  ".join(unlike[:12])
            raise ConfigError(
                f"study '{self.name}' was begun with other settings, and results of both do not mix:\n  {shown}\n"
                "Take another name (--study OTHER), other results (--results ...), or the old settings"
            )

    # Events ---------------------------------------------------------------------------------------------------------

    def add_seeds(
        self, results: Results, seeds: int | tuple[int, ...], before: Callable[[], Sequence[Before]] = tuple
    ) -> None:
        """More seeds than planned, by hand. Once test was read for it, that makes the study exploratory.

        `before`: as of `begin`, with these seeds; asked only where they are more. The seeds that it was begun with say
        nothing new. Raises ConfigError for others that do not go on from those on record.
        """
        known = self.study.seed_list(self.seeds)
        after = self.study.model_copy(update={"seeds": seeds}).seed_list()
        if after == known[: self.looks[-1]]:
            return
        if after[: len(known)] != known:
            raise ConfigError(
                f"seeds: {list(after)} do not go on from those on record, {list(known)}; seeds can only be added"
            )
        if len(after) > len(known):
            event = {
                "event": "seeds", "seeds": seeds, "from": len(known), "judged": bool(self.judged),
                "read": self._readable(results), "before": [each.told() for each in before()],
            }  # fmt: skip
            self._add(results, event)

    def add_judgement(self, results: Results, seeds: int) -> None:
        if seeds not in self.judged:
            self._add(results, {"event": "judged", "seeds": seeds})

    def add_settled(self, results: Results) -> None:
        """That its last look decided all, where more were planned: nothing is left to be trained or judged."""
        early = self.judged_seeds and self.looks[-1] not in self.judged and self.seeds == self.looks[-1]
        if early and not self.settled:
            self._add(results, {"event": SETTLED, "seeds": self.judged_seeds})

    def add_tuned(
        self,
        results: Results,
        tuned: Mapping[str, Mapping[str, Mapping[str, Any]]],
        before: Callable[[Study], Sequence[Before]] = lambda study: (),
    ) -> None:
        """What the searches of a study with re-tuning chose: arm -> cell -> settings.

        `before`: what other studies had seen of the runs of the study with these arms, of which it could not tell when
        it was begun (`known_before` of `Asked.of_tuned`).
        """
        known = before(self._study_with({"tuned": tuned}))
        self._add(results, {"event": "tuned", "tuned": tuned, "before": [each.told() for each in known]})

    def add_members(self, results: Results, runs: Iterable[PlannedRun]) -> None:
        """Which run is which arm's, before it is trained."""
        known = {
            (row["arm"], row["cell"], row["run"])
            for row in results.table("members", self.name).to_pylist()
            if row["role"] == "arm"
        }
        rows = [
            {"study": self.name, "role": "arm", "arm": run.arm, "cell": run.cell, "run": run.run}
            for run in runs
            if (run.arm, run.cell, run.run) not in known
        ]
        if rows:
            results.add("members", rows, key="arms")

    def _add(self, results: Results, event: Mapping[str, Any]) -> None:
        results.add("studies", [{"study": self.name, "settings": json.dumps(event)}], key=event["event"])
        self._take_in(json.loads(json.dumps(event)), "now")

    def _take_in(self, event: Mapping[str, Any], when: str) -> None:
        kind = event.get("event")
        if kind == "judged":
            self.judged.append(event["seeds"])
            self.events.append(f"{when}: verdicts were read at {event['seeds']} seeds")
        elif kind == "seeds":
            seeds = event["seeds"]
            self.study = self._study_with({"seeds": tuple(seeds) if isinstance(seeds, list) else seeds})
            said = f"seeds were added by hand, from {event['from']} to {self.seeds}"
            if event["judged"] or event["read"]:
                said += ", after verdicts had been read" if event["judged"] else ", after test had been read"
                self._explore(said)
            self.events.append(f"{when}: {said}")
            self._add_before([Before.read(each) for each in event.get("before", ())], "before these seeds were added")
        elif kind == SETTLED:
            self.settled = True
            self.events.append(f"{when}: all was decided at {event['seeds']} seeds, and no further look is taken")
        elif kind == "tuned":
            self.study = self._study_with({"tuned": event["tuned"]})
            self.events.append(f"{when}: the searches for the nuisance settings were through")
            self._add_before([Before.read(each) for each in event.get("before", ())], "before its arms were re-tuned")
        elif kind is None:  # a second driver began it at the same moment, with the same settings
            return
        else:
            raise ConfigError(f"study '{self.name}' holds an event of kind '{kind}', which this version cannot read")

    def _add_before(self, found: Sequence[Before], when: str) -> None:
        self.before = tuple(dict.fromkeys((*self.before, *found)))
        if text := said_of(found, when):
            self._explore(text)
            self.events.append(text)

    def _explore(self, why: str) -> None:
        reasons = self.exploratory.removesuffix(_NO_PROMISE)
        self.exploratory = f"{f'{reasons}; ' if reasons else ''}{why}{_NO_PROMISE}"

    def _asked(self, results: Results, study: Study | None = None) -> Asked:
        """What it asks, with the runs that are on record of it. `study`: as it came to be later."""
        runs: dict[tuple[str, str], set[str]] = defaultdict(set)
        for row in results.table("members", self.name).to_pylist():
            if row["role"] == "arm":
                runs[row["arm"], row["cell"]].add(row["run"])
        return Asked(self.name, study or self.study, self.mark, runs)

    @property
    def mark(self) -> str:
        """Names its question, its rule and its seeds (see `before.mark_of`)."""
        return mark_of(self.identity, self.study.seeds, bool(self.exploratory))

    def _readable(self, results: Results, until: datetime | None = None) -> bool:
        """Whether test was read for it (until then)."""
        runs = {run for each in self._asked(results).runs.values() for run in each}
        rows = results.of_runs("evaluations", runs, ["run", "split", "purpose", "time"]).to_pylist()
        times = [row["time"] for row in rows if (row["split"], row["purpose"]) == (TEST, PURPOSE.format(self.name))]
        return any(until is None or time < until for time in times)

    def _study_with(self, changes: Mapping[str, Any]) -> Study:
        return changed(self.study, changes)


def _place(event: Mapping[str, Any]) -> tuple[float, int]:
    """Where an event stands among a study's. Seeds are only ever added, and those that are there are judged before."""
    kind = event.get("event")
    if kind is None or kind == "tuned":
        return (-math.inf, int(event.get("kind") != KIND) if kind is None else 2)
    if kind in ("judged", SETTLED):
        return (event["seeds"], int(kind == SETTLED))
    if kind == "seeds":
        return (event["from"], 1)
    return (math.inf, 0)


def identity(study: Study, data: Mapping[str, str], train_inert: bool = False) -> dict[str, Any]:
    """What must stay the same for results to belong to one study, seeds apart."""
    arms: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for cell in study.cell_names:
        base = study.baseline_of(cell)
        settings[cell] = {key: value for key, value in base.canonical().items() if key != "training.seed"}
        for name in study.table:
            changes = difference(base, study.config(cell, name))
            arms[f"{name} ({cell})"] = {key: here for key, (_, here) in changes.items()} or "as full"
    content = {
        "settings": settings, "arms": arms, "data_sha256": dict(data), "results_version": RESULTS_VERSION,
        "comparisons": {c.name: f"{c.without} - {c.with_part}" for c in study.comparisons},
        "contrasts": [list(contrast) for contrast in study.contrasts],
        "rule": {
            "metric": study.metric, "alpha": study.alpha, "margin_percent": study.margin_percent,
            "descriptive": list(study.descriptive), "train_inert": train_inert,
            "looks": [study.max_seeds, study.looks] if study.seeds == "auto" else "fixed",
            **({} if study.correction == "holm" else {"correction": study.correction}),
            **({"pooled": True} if study.pooled else {}),
        },
        "retune": None if study.retune is None else study.retune.model_dump(mode="json", exclude_none=True),
    }  # fmt: skip
    if study.model != DEFAULT:
        content |= {"model": study.model, **study.forecaster.config.identity}
    if study.kind == MODELS:
        content["models"] = {
            name: {"model": entry.model, **entry.forecaster.config.identity} for name, entry in study.models.items()
        }
    found: dict[str, Any] = json.loads(json.dumps(content))  # as it will be read back
    return found


def _unlike(told: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, a line each: cells that only one of them has by their names alone."""
    before, after = list(told["data_sha256"]), list(now["data_sha256"])
    if set(before) == set(after):
        return differences(told, now)
    both = set(before) & set(after)

    def kept(content: Mapping[str, Any]) -> dict[str, Any]:
        by_cell = {key: {cell: each for cell, each in content[key].items() if cell in both} for key in _BY_CELL}
        arms = {name: each for name, each in content["arms"].items() if name.rpartition(" (")[2][:-1] in both}
        return {**content, **by_cell, "arms": arms}

    return [f"cells: {', '.join(before)} -> {', '.join(after)}", *differences(kept(told), kept(now))]


def _when(row: Mapping[str, Any]) -> str:
    return str(row["time"].strftime("%Y-%m-%d %H:%M:%S"))
