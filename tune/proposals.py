"""The proposals of a study and what became of them: records first, Optuna's study rebuilt from them.

The records are the truth. Optuna's journal is this driver's cache of them (optuna-dashboard opens it), made anew at
each start, so that nothing in it can be ahead of or behind the records after a kill.
"""

import contextlib
import json
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from lab import seeds
from lab.errors import ConfigError
from lab.settings.config import Config
from lab.store.beside.writer import Writer
from lab.store.outcomes import best_of, front_of, in_order_of_proposal, out_of_race, pass_over, races, standing_outcomes
from lab.store.tables import Results, is_object
from tune.methods.journal import JournalCopy
from tune.methods.method import Start, Told
from tune.methods.table import SAMPLERS, SHOWN, marks
from tune.methods.window import Window
from tune.origins import Origin
from tune.space import Space
from tune.space.categories import distributions_of_json, distributions_to_json, labelled, plain
from tune.space.points import allowed_points, is_allowed, point

logger = logging.getLogger(__name__)

REDRAWS = 25  # tries of the sampler's to draw something new in a space of few points; then chance draws
REFUSALS = 1000  # tries to draw what is allowed, where most of the space is not

_STATES = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}

Distributions: TypeAlias = Mapping[str, BaseDistribution]  # of one trial, by dotted path


@dataclass
class Proposal:
    """One point of the space, trained as a stack of replicates at each origin."""

    trial: str  # id in the records
    number: int
    params: dict[str, Any]  # searched settings by dotted path
    config: Config  # of the first replicate, at the data's own origin
    state: str | None = None  # None: proposed, no outcome yet
    values: list[float] = field(default_factory=list)  # one per objective
    reports: list[tuple[int, float]] = field(default_factory=list)  # (epoch, value) from the first epoch
    error: str | None = None
    seeds: int = 0  # that it is trained with; of a race, so far; 0: nobody has said how many
    losses: list[float] = field(default_factory=list)  # of a race: of its first seeds, those that ended
    reason: str | None = None  # of a race: why it has no more seeds

    @property
    def raced_out(self) -> bool:
        return out_of_race(self.state, self.seeds, self.losses)

    def configs(self, replicates: int) -> list[Config]:
        """One config per replicate: replicate r has the base seed + r."""
        counted = seeds.replicates(self.config.training.seed, replicates)
        return [self.config.override({"training.seed": seed}) for seed in counted]


class Proposals:
    """All proposals of one study. Only the driver that holds the study's lease may change them."""

    def __init__(
        self, results: Results, study: str, space: Space, *,
        seed: int, replicates: int, data_sha256: str, objectives: Sequence[str] = ("val_mse",), sampler: str = "tpe",
        journal: Path | None = None, allowed: Callable[[Config], bool] = lambda config: True,
        origins: Sequence[Origin] = (), race: bool = False,
    ):  # fmt: skip
        """
        Args:
            data_sha256: identity of the series at the data's own origin.
            allowed: of proposals, what may be trained; others are drawn again.
            origins: where several, the data's own the last of them.
            race: a proposal is trained with one seed first, and with more as `race_on` says.
        """
        self.results, self.study, self.space, self.seed = results, study, space, seed
        self.replicates, self.data_sha256, self.objectives = replicates, data_sha256, tuple(objectives)
        self.allowed, self.race = allowed, race
        self.origins = tuple(origins) or (Origin(None, data_sha256),)
        self.all: dict[str, Proposal] = {}
        self.exhausted = False  # nothing new was found when last drawn
        self._next = 0  # number of the next proposal
        self.writer = Writer(results)
        self._optuna_trials: dict[str, optuna.trial.Trial] = {}
        distributions = self._read()
        self._known = {point(space.own(p.params)) for p in self.all.values()}
        self._every = allowed_points(space, allowed)
        self.pending = [p for p in self.all.values() if p.state is None]
        self.ended = self.outcomes  # as they were told, for who looks at what is new
        self.optuna = self._rebuild(sampler, journal, distributions)

    @property
    def outcomes(self) -> list[Proposal]:
        return [p for p in self.all.values() if p.state is not None]

    def stacks(self, proposal: Proposal) -> list[tuple[Origin, list[Config]]]:
        """What it trains: its replicates at each origin."""
        configs = proposal.configs(proposal.seeds)
        return [(origin, origin.configs(configs)) for origin in self.origins]

    def best(self) -> Proposal | None:
        return best_of(self.all.values())

    def front(self) -> list[Proposal]:
        return front_of(self.all.values())

    def _read(self) -> dict[str, Distributions]:
        """Fills `all` from the records; returns Optuna's distributions by trial."""
        rows = self.results.table("trials", self.study).to_pylist()
        self._next = 1 + max((row["number"] for row in rows if row["number"] is not None), default=-1)
        self.all, distributions = read_proposals(rows, self.results, type(self.space.base))
        for proposal in self.all.values():
            proposal.seeds = proposal.seeds or self._first_seeds
        return distributions

    @property
    def _first_seeds(self) -> int:
        return 1 if self.race else self.replicates

    def _rebuild(self, sampler: str, journal: Path | None, distributions: Mapping[str, Distributions]) -> optuna.Study:
        storage: BaseStorage = InMemoryStorage()
        if journal is not None:
            known, copied = SHOWN.get(sampler), JournalCopy(journal)
            storage = JournalStorage(copied) if known is None else Window(copied, known)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=storage,
            study_name=self.study,
            directions=["minimize"] * len(self.objectives),
            sampler=self._sampler(sampler),
        )
        single = len(self.objectives) == 1
        complete = 0
        for proposal in self.outcomes:
            system: dict[str, Any] = {}
            if proposal.state == "complete":
                system = marks(study.sampler, complete)
                complete += 1
            study.add_trial(optuna_trial(proposal, distributions[proposal.trial], single, system, self.space))
        for proposal in self.pending:
            self._enqueue(study, proposal.params, trial=proposal.trial)
        return study

    def _enqueue(self, study: optuna.Study, params: Mapping[str, Any], **attributes: Any) -> None:
        """Has Optuna ask for these settings next."""
        study.enqueue_trial(self.space.labelled(params), user_attrs=attributes)

    def _sampler(self, name: str) -> optuna.samplers.BaseSampler:
        told = [Told(self.space.own(p.params), p.state, tuple(p.values)) for p in self.all.values()]
        fresh = (self.seed + 7919 * len(self.all)) % 2**32
        return SAMPLERS[name](Start(self.space, self.seed % 2**32, fresh, told))

    def propose(self) -> Proposal | None:
        """The next proposal, given to the writer before it is returned: one without an outcome first, else a new one.

        None if nothing new could be drawn (a space of few points that is used up).
        """
        if self.pending:
            proposal = self.pending.pop(0)
            trial = self.optuna.ask()
            drawn = self.space.suggest(trial)
            if point(drawn) != point(self.space.own(proposal.params)):
                raise RuntimeError(f"trial {proposal.trial}: Optuna gave {drawn} for {proposal.params} on record")
            self._optuna_trials[proposal.trial] = trial
            self._add_members(proposal)  # a kill may have come between the two records
            return proposal
        if (new := self.draw()) is None:
            return None
        return self._record(*new)

    def draw(self) -> tuple[optuna.trial.Trial, dict[str, Any], Config] | None:
        """A new point of the space, with its config, on no record yet; None as `propose`."""
        left = self.left()
        self.exhausted = left == []
        known = refused = 0
        while not self.exhausted and known < REDRAWS and refused < REFUSALS:
            trial = self.optuna.ask()
            params = self.space.suggest(trial)
            if point(params) in self._known:
                known += 1
            else:
                with contextlib.suppress(ConfigError):  # values that are allowed each, but not together
                    config = self.space.config(params)
                    if self.allowed(config):
                        return trial, params, config
                refused += 1
            self.optuna.tell(trial, state=TrialState.FAIL)
        # The sampler comes back to what it knows; chance does not.
        chosen = self._by_chance(left)
        self.exhausted = chosen is None
        if chosen is None:
            return None
        self._enqueue(self.optuna, chosen)
        while True:
            trial = self.optuna.ask()
            params = self.space.suggest(trial)
            if point(params) == point(chosen):
                return trial, params, self.space.config(params)
            self.optuna.tell(trial, state=TrialState.FAIL)  # one that waited before it

    def left(self) -> list[dict[str, Any]] | None:
        """The points of the space that are new and allowed; None where they are too many to count."""
        return None if self._every is None else [p for p in self._every if point(p) not in self._known]

    def _by_chance(self, left: Sequence[dict[str, Any]] | None) -> dict[str, Any] | None:
        """A new point that is allowed, or None."""
        seed = (self.seed + len(self.all)) % 2**32
        if left is not None:
            return random.Random(seed).choice(left) if left else None
        draws = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        for _ in range(REFUSALS):
            params = self.space.suggest(draws.ask())
            if point(params) not in self._known and is_allowed(self.space, self.allowed, params):
                return params
        return None

    def _record(self, trial: optuna.trial.Trial, params: dict[str, Any], config: Config) -> Proposal:
        number, self._next = self._next, self._next + 1
        proposal = Proposal(f"t{number:05d}", number, params, config, seeds=self._first_seeds)
        distributions = distributions_to_json(trial.distributions)
        told = {"params": json.dumps(params), "distributions": distributions, "config": config.to_json()}
        self._write(self._row(proposal, "proposed", told))
        self._add_members(proposal)
        trial.set_user_attr("trial", proposal.trial)
        self.all[proposal.trial] = proposal
        self._known.add(point(params))
        self._optuna_trials[proposal.trial] = trial
        return proposal

    def _add_members(self, proposal: Proposal, before: int = 0) -> None:
        key = {"study": self.study, "trial": proposal.trial, "role": "search"}
        members = [
            {**key, "cell": origin.name, "run": config.run_id(origin.identity)}
            for origin, configs in self.stacks(proposal)
            for config in configs[before:]
        ]
        self.writer.add("members", members, key=proposal.trial)

    def race_on(
        self, trial: str, seeds: int, losses: Sequence[float], reports: Sequence[tuple[int, float]], reason: str
    ) -> None:
        """Records that a trial of a race goes on with so many seeds in all.

        Args:
            losses: of those it has had.
            reports: of the first, by which it is compared at the rungs for good; those of later ones are passed over.
        """
        proposal = self.all[trial]
        reports = proposal.reports if proposal.losses else reports
        told = {"seeds": seeds, "losses": list(losses), "reports": _told(reports), "reason": reason}
        self._write(self._row(proposal, "raced", told))
        proposal.seeds, proposal.losses, proposal.reports = seeds, list(losses), list(reports)
        self._add_members(proposal, len(losses))

    def finish(
        self, trial: str, state: str, values: Sequence[float] = (), reports: Sequence[tuple[int, float]] = (),
        error: str | None = None, losses: Sequence[float] = (), reason: str | None = None,
    ) -> None:  # fmt: skip
        """Records the outcome of a trial (`complete`, `stopped` or `failed`), then tells Optuna.

        `losses`, `reason`: of a race (see Proposal).
        """
        proposal = self.all[trial]
        if proposal.state is None:
            row = self._outcome(proposal, state, values, reports, error, losses, reason)
            self._write(row)
            self._tell(proposal, row)

    def failed(self, trial: str, reports: Sequence[tuple[int, float]], error: str) -> Callable[[], None]:
        """Tells Optuna that a trial failed. Its outcome is recorded by a call of what is returned: after its runs, of
        which no later driver thinks where there is an outcome."""
        if (proposal := self.all[trial]).state is not None:
            return lambda: None
        row = self._outcome(proposal, "failed", (), reports, error)
        self._tell(proposal, row)
        return lambda: self._write(row)

    def _outcome(
        self, proposal: Proposal, state: str, values: Sequence[float], reports: Sequence[tuple[int, float]],
        error: str | None, losses: Sequence[float] = (), reason: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        reports = proposal.reports if proposal.losses else reports  # what its first seed reported stands
        losses = list(losses or proposal.losses)
        raced = {"seeds": proposal.seeds, "losses": losses or None, "reason": reason} if self.race else {}
        told = {"state": state, "values": list(values) or None, "error": error, "reports": _told(reports)}
        return self._row(proposal, "outcome", {**told, **raced})

    def _row(self, proposal: Proposal, event: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """A row of table `trials`."""
        known = {"study": self.study, "trial": proposal.trial, "number": proposal.number, "seed": self.seed}
        return {**known, "event": event, **told}

    def _write(self, row: Mapping[str, Any]) -> None:
        self.writer.add("trials", [row], key=row["trial"])

    def _tell(self, proposal: Proposal, row: Mapping[str, Any]) -> None:
        proposal.state, proposal.values, proposal.error = row["state"], row["values"] or [], row["error"]
        if self.race:
            proposal.losses, proposal.reason = row["losses"] or [], row["reason"]
        proposal.reports = [(int(report["epoch"]), float(report["value"])) for report in row["reports"]]
        self.ended.append(proposal)
        known = self._optuna_trials.pop(proposal.trial, None)
        if known is None:
            return
        if len(self.objectives) == 1:
            for epoch, value in proposal.reports:
                known.report(value, epoch)
        told = proposal.values if proposal.state == "complete" else None
        self.optuna.tell(known, told, state=_STATES[proposal.state], skip_if_finished=True)


def read_proposals(
    rows: Sequence[Mapping[str, Any]], results: Results, settings: type[Config]
) -> tuple[dict[str, Proposal], dict[str, Distributions]]:
    """The proposals that rows of table `trials` tell of, by trial in the order of their numbers, with Optuna's
    distributions of each. Rows that tell nothing of the kind are named in `results.skipped`."""
    proposals: dict[str, Proposal] = {}
    distributions: dict[str, Distributions] = {}
    for row in in_order_of_proposal(rows):
        try:
            proposal, parsed = _proposed(row, settings)
        except Exception as error:  # of the config, of Optuna, of JSON: they have no common name
            pass_over(results, row, "its proposal", error)
            continue
        if proposals.setdefault(proposal.trial, proposal) is proposal:
            distributions[proposal.trial] = parsed
    for trial, raced in races(rows, proposals, results).items():
        proposal = proposals[trial]
        proposal.seeds, proposal.losses, proposal.reports = raced.seeds, raced.losses, raced.reports
    for trial, outcome in standing_outcomes(rows, proposals, results).items():
        proposal = proposals[trial]
        proposal.state, proposal.error = outcome.state, outcome.error
        proposal.values, proposal.reports = outcome.values, outcome.reports
        proposal.seeds, proposal.losses = outcome.seeds or proposal.seeds, outcome.losses
        proposal.reason = outcome.reason
    return proposals, distributions


def _told(reports: Iterable[tuple[int, float]]) -> list[dict[str, float]]:
    return [{"epoch": epoch, "value": value} for epoch, value in reports]


def _proposed(row: Mapping[str, Any], settings: type[Config]) -> tuple[Proposal, Distributions]:
    if not is_object(row["config"]):
        raise ValueError("its config is no JSON object")
    params = {path: plain(path, value, settings) for path, value in json.loads(row["params"]).items()}
    proposal = Proposal(row["trial"], int(row["number"]), params, settings.from_json(row["config"]))
    parsed = distributions_of_json(row["distributions"], settings)
    optuna_trial(proposal, parsed, single=True)  # Optuna's own checks
    return proposal, parsed


def optuna_trial(
    proposal: Proposal,
    distributions: Distributions,
    single: bool,
    system: Mapping[str, Any] | None = None,
    space: Space | None = None,
) -> FrozenTrial:
    """A proposal as Optuna keeps it; one without an outcome is running.

    `single`: the study has one objective; only then does Optuna take what was reported on the way.
    `space`: which Optuna will draw from, where a choice may be written otherwise than on record.
    """
    params = proposal.params
    if space is not None:
        params, distributions = space.own(params), {**distributions, **space.distributions(params)}
    values = proposal.values or None
    if proposal.state in (None, "failed") or (proposal.state == "stopped" and not single):
        values = None
    return optuna.trial.create_trial(
        state=_STATES[proposal.state] if proposal.state else TrialState.RUNNING,
        values=values,
        params=labelled(params, distributions),
        distributions=dict(distributions),
        intermediate_values=dict(proposal.reports) if single else None,
        user_attrs={"trial": proposal.trial},
        system_attrs=dict(system or {}),
    )
