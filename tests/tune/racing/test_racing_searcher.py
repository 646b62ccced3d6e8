"""A race as Tune drives it: who gets more seeds, what is on record of it, and that a kill changes no verdict."""

import json
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from dynonet.config import Config
from lab.machines.trial import TrialSpec
from lab.store.tables import Results
from lab.training.stack_run import StackRun
from tune.findings.collect import findings_of
from tune.proposals import Proposals
from tune.racing.searcher import RacingASHA, RacingSearcher
from tune.report import render
from tune.settings import Budget, SearchSettings
from tune.space import Space

SPACE = {"model.worker_hidden": {"int": [2, 64]}, "training.lr": {"float": [1e-4, 1e-1], "log": True}}
EPOCHS = 6


class Killed(Exception):
    pass


class Bench:
    """Drives a search one epoch after the other, without Ray; `curve` has what a trial's seed comes to by epoch."""

    def __init__(
        self, store: Results, config: Config, sha: str, replicates: int, curve: Callable[[int, int], list[float]],
        dies: Callable[[], bool] = lambda: False,
    ):  # fmt: skip
        space = Space(SPACE, config)
        self.proposals = Proposals(
            store, "study", space, seed=0, replicates=replicates, data_sha256=sha, sampler="random", race=True
        )
        self.searcher = RacingSearcher(self.proposals, TrialSpec((), sha), lambda proposal: None)
        self.curve, self.dies = curve, dies
        add_members = self.proposals._add_members

        def add(*arguments: Any) -> None:  # behind the record that it follows from
            self._die()
            add_members(*arguments)

        self.proposals._add_members = add  # type: ignore[method-assign, assignment]

    def run(self, trials: int, epochs: dict[str, int]) -> None:
        """`epochs`: that a trial's seeds were trained, which outlives a kill as checkpoints do."""
        for proposal in (p for p in self.proposals.pending if not p.losses):
            proposal.reports = self._reports(proposal.number, 1, epochs.get(f"{proposal.trial}-1", 0))
        asha = RacingASHA(self.proposals.all.values(), max_epochs=EPOCHS, grace_epochs=3, reduction_factor=2)
        self.searcher.begin(trials - len(self.proposals.outcomes))
        for number in range(1000):
            given = self.searcher.suggest(f"tune-{number}")
            if given == Searcher.FINISHED:
                return
            self._train(SimpleNamespace(trial_id=f"tune-{number}", config=given), asha, epochs)
        raise AssertionError("it never ends")

    def _train(self, trial: Any, asha: RacingASHA, epochs: dict[str, int]) -> None:
        spec = TrialSpec.of(trial)
        seeds, key = len(spec.configs), f"{spec.name}-{len(spec.configs)}"
        asha.on_trial_add(None, trial)
        result: dict[str, Any] = {"state": "running"}
        decision = "CONTINUE"
        while decision == "CONTINUE" and result["state"] == "running":
            self._die()
            epochs[key] = min(EPOCHS, epochs.get(key, 0) + 1)
            result = self._result(self.proposals.all[spec.name].number, seeds, epochs[key])
            if result["state"] == "running":
                decision = asha.on_trial_result(None, trial, result)
        asha.on_trial_complete(None, trial, result)
        self.searcher.on_trial_complete(trial.trial_id, result)
        self._die()

    def _die(self) -> None:
        if self.dies():
            raise Killed

    def _reports(self, number: int, seeds: int, epoch: int) -> list[tuple[int, float]]:
        curves = [self.curve(number, seed)[:epoch] for seed in range(seeds)]
        return [(at, sum(values) / seeds) for at, values in enumerate(zip(*curves, strict=True), 1)]

    def _result(self, number: int, seeds: int, epoch: int) -> dict[str, Any]:
        reports = self._reports(number, seeds, epoch)
        losses = [self.curve(number, seed)[epoch - 1] for seed in range(seeds)]
        state = "complete" if epoch == EPOCHS else "running"
        return {"state": state, "epoch": epoch, "reports": reports, "value": reports[-1][1], "losses": losses}


def curves(seed: int) -> Callable[[int, int], list[float]]:
    """Losses that fall by epoch, to trials' own levels, each seed beside it."""
    level = [random.Random(f"{seed} {number}").gauss(1, 0.03) for number in range(50)]

    def curve(number: int, replicate: int) -> list[float]:
        chance = random.Random(f"{seed} {number} {replicate}")
        end = level[number] + chance.gauss(0, 0.003)
        return [end + (EPOCHS - epoch) * 0.05 * chance.random() for epoch in range(1, EPOCHS)] + [end]

    return curve


def decided(store: Results) -> list[tuple[Any, ...]]:
    """What was decided of each trial, and on which grounds, in the order of the trials."""
    rows = store.table("trials", "study").to_pylist()
    found = [
        (row["trial"], row["event"], row["state"], row["seeds"], row["losses"], row["values"], row["reason"],
         [tuple(report.values()) for report in row["reports"]])
        for row in rows if row["event"] != "proposed"
    ]  # fmt: skip
    return sorted(found, key=lambda row: (row[0], row[3], row[1] == "outcome"))


@pytest.mark.parametrize("replicates", [2, 5])
def test_a_kill_anywhere_changes_no_verdict(tmp_path: Any, tiny: Config, sha: str, replicates: int) -> None:
    curve = curves(replicates)
    whole, killed = Results(tmp_path / "whole"), Results(tmp_path / "killed")
    lived = Bench(whole, tiny, sha, replicates, curve)
    lived.run(24, {})
    chance, epochs, kills = random.Random(replicates), dict[str, int](), 0
    while True:
        bench = Bench(killed, tiny, sha, replicates, curve, lambda: chance.random() < 0.15)
        try:
            bench.run(24, epochs)
            break
        except Killed:
            kills += 1
    assert kills > 10 and decided(killed) == decided(whole)
    # Each outcome is one of the four that there are, and says how many seeds the trial had.
    ended = [row for row in decided(whole) if row[1] == "outcome"]
    members = whole.table("members", "study").to_pylist()
    kinds: dict[str, int] = {}
    for trial, _, state, seeds, losses, values, reason, reports in ended:
        proposal = lived.proposals.all[trial]
        kind = "raced out" if proposal.raced_out else state
        kinds[kind] = kinds.get(kind, 0) + 1
        assert [m["run"] for m in members if m["trial"] == trial] == [
            config.run_id(sha) for config in proposal.configs(replicates)[:seeds]
        ]
        assert reports == [tuple(r) for r in bench._reports(proposal.number, 1, len(reports))], "of its first seed"
        if kind != "stopped":
            assert values == [pytest.approx(sum(losses) / seeds)] and len(losses) == seeds
        assert reason.startswith(
            {"complete": "has all", "stopped": "stopped early", "raced out": "raced out after"}[kind]
        )
    assert set(kinds) == {"complete", "stopped", "raced out"} and sum(kinds.values()) == 24
    # Optuna knows what is on record, whichever driver told it.
    states = {t.user_attrs["trial"]: t.state for t in lived.proposals.optuna.trials if "trial" in t.user_attrs}
    assert all(
        (state == TrialState.COMPLETE) == (lived.proposals.all[t].state == "complete") for t, state in states.items()
    )
    best = lived.proposals.best()
    assert best is not None and len(best.losses) == best.seeds == replicates
    again = Proposals(
        whole, "study", Space(SPACE, tiny), seed=0, replicates=replicates, data_sha256=sha, sampler="random", race=True
    )
    assert again.all == lived.proposals.all and not again.pending
    # The page says who was raced out, why, and what the others' errors are means of.
    settings = SearchSettings("study", tiny, Space(SPACE, tiny), Budget(replicates=replicates, race=True))
    whole.add("studies", [{"study": "study", "settings": json.dumps(settings.identity(sha))}], key="settings")
    found = findings_of(whole, "study")
    assert {outcome: len(found.of(outcome)) for outcome in kinds} == kinds
    assert found.best is not None and found.best.trial == best.trial
    page = render(found)["report.md"]
    assert f"24 trials of up to {replicates} seeds each" in page
    for trial in found.of("raced out"):
        assert f"| {trial.trial} | raced out after " in page
    assert f"{kinds['raced out']} of {24 - kinds['stopped']} that came to their end were raced out" in page


def test_the_search_waits_for_trials_that_may_need_more_seeds(store: Results, tiny: Config, sha: str) -> None:
    bench = Bench(store, tiny, sha, 2, curves(0))
    searcher = bench.searcher
    assert searcher.begin(2) == 4, "trials of Tune's, two for each of ours at most"
    first, second = (searcher.suggest(name) for name in ("a", "b"))
    assert [len(given["configs"]) for given in (first, second)] == [1, 1] and searcher.suggest("c") is None
    searcher.on_trial_complete("a", bench._result(0, 1, EPOCHS))
    more = searcher.suggest("c")
    assert more["trial"] == "t00000" and more["configs"][:1] == first["configs"] and len(more["configs"]) == 2
    assert searcher.suggest("d") is None
    searcher.on_trial_complete("b", bench._result(1, 1, 2))  # ASHA stopped it
    assert searcher.suggest("d") is None
    diverged = bench._result(0, 2, 3) | {"state": "diverged"}
    searcher.on_trial_complete("c", diverged)
    assert searcher.suggest("d") == Searcher.FINISHED
    proposals = bench.proposals.all
    assert (proposals["t00000"].state, proposals["t00000"].reason) == ("stopped", "a run of it diverged")
    assert not proposals["t00000"].raced_out and len(proposals["t00000"].reports) == EPOCHS, "those of its first seed"


def test_at_the_rungs_trials_are_compared_on_their_first_seed(tiny: Config, sha: str) -> None:
    """One whose first seed ended before a rung has more seeds there, and neither is stopped nor counted."""
    asha = RacingASHA([], max_epochs=EPOCHS, grace_epochs=3, reduction_factor=2)

    def at_the_rung(name: str, seeds: int, value: float) -> str:
        trial = SimpleNamespace(trial_id=name, config=TrialSpec((tiny.to_json(),) * seeds, sha, trial=name).to_dict())
        asha.on_trial_add(None, trial)
        return asha.on_trial_result(None, trial, {"epoch": 3, "value": value, "reports": [(3, value)]})

    told = [
        at_the_rung(f"t{n}", seeds, value)
        for n, (seeds, value) in enumerate([(1, 1.0), (1, 3.0), (2, 9.0), (2, 0.1), (1, 2.0)])
    ]
    assert told == ["CONTINUE", "STOP", "CONTINUE", "CONTINUE", "CONTINUE"], "2.0 is the middle of 1.0 and 3.0"


def test_a_verdict_on_record_that_cannot_be_one_is_passed_over(store: Results, tiny: Config, sha: str) -> None:
    def begin() -> Proposals:
        return Proposals(store, "study", Space(SPACE, tiny), seed=0, replicates=2, data_sha256=sha, race=True)

    proposal = begin().propose()
    assert proposal is not None
    row = {"study": "study", "trial": proposal.trial, "number": 0, "event": "raced", "seeds": 2, "reports": []}
    for losses in ([], [1.0, 2.0], [None]):
        store.add("trials", [{**row, "losses": losses}], key=proposal.trial)
    with pytest.warns(UserWarning, match="passed over"):
        assert begin().all == {proposal.trial: proposal} and proposal.seeds == 1
    assert list(store.skipped) == ["trials/study=study, its race of t00000"]


def test_the_winners_records_are_those_of_fixed_replicates(tmp_path: Any, tiny: Config, sha: str) -> None:
    """Trained one seed after the other, it has the runs that a stack of both would have, and their numbers."""
    short = tiny.override({"training.max_epochs": 2})
    raced, fixed = Results(tmp_path / "raced"), Results(tmp_path / "fixed")
    space = Space({"model.worker_hidden": {"int": [2, 4]}}, short)
    proposals = Proposals(raced, "study", space, seed=0, replicates=2, data_sha256=sha, race=True)
    searcher = RacingSearcher(proposals, TrialSpec((), sha), lambda proposal: None)
    searcher.begin(1)
    for name in ("one", "two"):
        configs = [Config.from_json(text) for text in searcher.suggest(name)["configs"]]
        stack = StackRun(raced, configs)
        while (report := stack.step()).state == "running":
            pass
        told = {"state": report.state, "value": report.value, "reports": report.reports, "losses": report.losses}
        searcher.on_trial_complete(name, told)
    assert searcher.suggest("three") == Searcher.FINISHED
    best = proposals.best()
    assert best is not None
    stack = StackRun(fixed, best.configs(2))
    while (report := stack.step()).state == "running":
        pass
    ours, theirs = raced.runs(), fixed.runs()
    assert set(ours) == set(theirs)
    for run, row in theirs.items():
        assert ours[run]["val_mse"] == pytest.approx(row["val_mse"], rel=1e-5) and ours[run]["attempt"] == 1
        assert (ours[run]["status"], ours[run]["epochs"]) == (row["status"], row["epochs"])
    assert best.values == [pytest.approx(report.value, rel=1e-5)] and raced.storage.list("checkpoints") == []
    assert best.losses == [ours[config.run_id(sha)]["val_mse"] for config in best.configs(2)]
