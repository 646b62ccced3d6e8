"""Where Tune meets Optuna: what Tune says of a trial goes on record, and ASHA is rebuilt from the records."""

import pickle
import random
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.exceptions import ActorDiedError
from ray.tune.search import Searcher

from dynonet.config import Config
from lab.errors import DataError
from lab.machines.trial import TrialSpec
from lab.series import load_series
from lab.store.tables import Results, StorageError
from lab.training.origins_run import Stack
from lab.training.stack_run import StackRun
from tune import searcher as module
from tune.proposals import Proposal, Proposals
from tune.searcher import Closing, ProposalSearcher, RecordedASHA, close_left_over
from tune.space import Space

SPACE = {"model.worker_hidden": {"int": [2, 64]}}
Begin = Callable[..., tuple[ProposalSearcher, list[str]]]


@pytest.fixture
def begin(store: Results, tiny: Config, sha: str) -> Begin:
    def start(specs: dict[str, Any] | None = None, **settings: Any) -> tuple[ProposalSearcher, list[str]]:
        space = Space(specs or SPACE, tiny)
        proposals = Proposals(store, "study", space, seed=0, replicates=2, data_sha256=sha, **settings)
        closed: list[str] = []
        return ProposalSearcher(proposals, TrialSpec((), sha, threads=3), lambda p: closed.append(p.trial)), closed

    return start


def result(state: str, *values: float, **more: Any) -> dict[str, Any]:
    reports = list(enumerate(values, 1))
    found: dict[str, Any] = {"state": state, "epoch": len(values), "reports": reports, "parameters": 50, **more}
    return found | ({"value": values[-1]} if values else {})


def outcome(searcher: ProposalSearcher, trial: str) -> tuple[Any, ...]:
    """State and values on record, and Optuna's state of the same trial."""
    proposals = searcher.proposals
    rows = proposals.results.table("trials", "study").to_pylist()
    row = next(r for r in rows if r["trial"] == trial and r["event"] == "outcome")
    known = next(t for t in proposals.optuna.trials if t.user_attrs.get("trial") == trial)
    return row["state"], row["values"], known.state


def test_a_trial_is_given_when_its_proposal_is_on_record(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher, _ = begin()
    written = [False, False, True, False, False, True, False, False, True, False]
    monkeypatch.setattr(searcher.proposals.writer, "written", lambda trial, seconds: written.pop(0))
    assert searcher.suggest("a")["trial"] == "t00000", "waited for where nothing is under way"
    assert [searcher.suggest("b"), searcher.suggest("b")] == [None, None]
    assert searcher.suggest("b")["trial"] == "t00001"
    searcher.room = 2
    assert searcher.suggest("c") is None
    assert searcher.suggest("c")["trial"] == "t00003", "the first that is"
    searcher.room = 1
    for trial in ("a", "b", "c"):
        searcher.on_trial_complete(trial, result("complete", 1.0))
    searcher.over = lambda: True
    assert searcher.suggest("d") == Searcher.FINISHED
    assert len(searcher.proposals.all) == 4, "who waits is proposed once"


def test_a_trial_gets_its_stack_of_configs(begin: Begin) -> None:
    searcher, _ = begin()
    config = searcher.suggest("tune-1")
    assert isinstance(config, dict) and config["threads"] == 3 and config["trial"] == "t00000"
    configs = [Config.from_json(text) for text in config["configs"]]
    assert configs == searcher.proposals.all["t00000"].configs(2)


@pytest.mark.parametrize("objectives", [("val_mse",), ("val_mse", "parameters")])
def test_what_tune_says_of_a_trial(begin: Begin, objectives: tuple[str, ...]) -> None:
    searcher, closed = begin(objectives=objectives)
    two = len(objectives) == 2
    names = [searcher.suggest(f"tune-{n}")["trial"] for n in range(5)]  # type: ignore[index, call-overload]
    searcher.on_trial_complete("tune-0", result("complete", 3.0, 2.0))
    searcher.on_trial_complete("tune-1", result("running", 3.0))  # ASHA stopped it
    searcher.on_trial_complete("tune-2", result("diverged", 3.0, 2.5))  # a replicate diverged
    searcher.on_trial_complete("tune-3", result("diverged"))  # ... in the first epoch
    searcher.on_trial_complete("tune-4", result("running", 4.0), error=True)
    last = [50.0] if two else []
    assert outcome(searcher, names[0]) == ("complete", [2.0, *last], TrialState.COMPLETE)
    assert outcome(searcher, names[1]) == ("stopped", [3.0, *last], TrialState.PRUNED)
    assert outcome(searcher, names[2]) == ("stopped", [2.5, *last], TrialState.PRUNED)
    assert outcome(searcher, names[3]) == ("stopped", None, TrialState.PRUNED)
    assert searcher.proposals.all[names[4]].state is None, "the failure is recorded by who sees the error"
    assert closed == [names[1]], "only a trial that ASHA stopped left runs to put on record"
    again, _ = begin(objectives=objectives)
    states = [t.state for t in again.proposals.optuna.trials]
    assert states == [TrialState.COMPLETE] + [TrialState.PRUNED] * 3 + [TrialState.WAITING]
    if not two:
        lived = [t.intermediate_values for t in searcher.proposals.optuna.trials[:4]]
        assert lived == [t.intermediate_values for t in again.proposals.optuna.trials[:4]]
        assert lived == [{1: 3.0, 2: 2.0}, {1: 3.0}, {1: 3.0, 2: 2.5}, {}]


def test_a_trial_without_any_result_is_left_to_go_on(begin: Begin) -> None:
    searcher, _ = begin()
    searcher.suggest("tune-0")
    for nothing in (None, {}, {"done": True}):
        searcher.on_trial_complete("tune-0", nothing)
    assert [p.trial for p in begin()[0].proposals.pending] == ["t00000"]


def test_a_used_up_space_finishes_the_search(begin: Begin) -> None:
    searcher, _ = begin({"model.num_layers": {"int": [1, 2]}})
    assert [isinstance(searcher.suggest(str(n)), dict) for n in range(2)] == [True, True]
    assert searcher.suggest("2") == Searcher.FINISHED


def test_tune_may_pickle_what_lives_in_the_driver(begin: Begin) -> None:
    searcher, _ = begin()
    assert vars(pickle.loads(pickle.dumps(searcher))) == {}, "it holds a study and a store"
    pickle.dumps(RecordedASHA([], max_epochs=4, grace_epochs=1, reduction_factor=2))


# ASHA


class Ladder:
    """Trials that report to a RecordedASHA, as Tune lets them."""

    def __init__(self, proposals: list[Proposal], **settings: Any):
        self.asha = RecordedASHA(proposals, **settings)

    def add(self, proposal: Proposal) -> None:
        self.asha.on_trial_add(None, self._trial(proposal))

    def report(self, proposal: Proposal, done: bool = False) -> str:
        epoch, value = proposal.reports[-1]
        found = {"epoch": epoch, "value": value, "reports": list(proposal.reports)}
        decision = self.asha.on_trial_result(None, self._trial(proposal), found)
        if done or decision == "STOP":
            self.asha.on_trial_complete(None, self._trial(proposal), found)
        return decision

    def rungs(self) -> list[Any]:
        return [(milestone, dict(recorded)) for milestone, recorded in self.asha._brackets[0]._rungs]

    def _trial(self, proposal: Proposal) -> SimpleNamespace:
        return SimpleNamespace(
            trial_id=f"tune-{id(self)}-{proposal.trial}", config=TrialSpec((), "a", trial=proposal.trial).to_dict()
        )


@pytest.mark.parametrize("seed", range(12))
def test_asha_rebuilt_from_records_decides_like_the_one_that_lived(seed: int, tiny: Config) -> None:
    chance = random.Random(seed)
    last, patience = chance.randint(4, 12), chance.choice([0.0, 0.05])
    settings = {
        "max_epochs": last,
        "grace_epochs": chance.randint(1, 3),
        "reduction_factor": chance.choice([2, 3, 2.5]),
    }
    proposals: list[Proposal] = []
    lived, rebuilt = Ladder([], **settings), Ladder([], **settings)
    going: list[Proposal] = []
    stops = 0
    while len(proposals) < 25 or going:
        if chance.random() < 0.1:  # the driver is killed; another takes over
            rebuilt = Ladder(proposals, **settings)
            for proposal in going:
                rebuilt.add(proposal)
            assert rebuilt.rungs() == lived.rungs()
        if len(proposals) < 25 and len(going) < 3:
            proposal = Proposal(f"t{len(proposals):05d}", len(proposals), {}, tiny)
            proposals.append(proposal)
            going.append(proposal)
            for ladder in (lived, rebuilt):
                ladder.add(proposal)
            continue
        proposal = chance.choice(going)
        epoch = len(proposal.reports) + 1
        best = proposal.reports[-1][1] if proposal.reports else 10.0
        proposal.reports.append((epoch, min(best, chance.random() * 10)))
        done = epoch == last or chance.random() < patience
        decisions = [ladder.report(proposal, done) for ladder in (lived, rebuilt)]
        assert decisions[0] == decisions[1]
        if done or decisions[0] == "STOP":
            stops += decisions[0] == "STOP"
            going.remove(proposal)
    assert lived.rungs() == rebuilt.rungs() and 0 < stops < 25


def test_a_trial_is_judged_on_each_rung_once(tiny: Config) -> None:
    settings = {"max_epochs": 8, "grace_epochs": 2, "reduction_factor": 2}
    good, bad, resumed = (Proposal(f"t{n}", n, {}, tiny) for n in range(3))
    good.reports, bad.reports = [(1, 1.0), (2, 1.0), (3, 1.0)], [(1, 5.0), (2, 5.0)]
    resumed.reports = [(1, 3.0), (2, 3.0)]
    ladder = Ladder([good, bad, resumed], **settings)
    before = ladder.rungs()
    assert dict(before) == {8: {}, 4: {}, 2: {"t0": -1.0, "t1": -5.0, "t2": -3.0}}
    ladder.add(resumed)
    resumed.reports.append((3, 2.0))
    assert ladder.report(resumed) == "CONTINUE" and ladder.rungs() == before


def test_a_trial_whose_runs_are_all_on_record_fills_every_rung(tiny: Config) -> None:
    """Its first report is of its last epoch; a rebuilt ASHA sees the earlier ones in the records."""
    settings = {"max_epochs": 8, "grace_epochs": 1, "reduction_factor": 2}
    known = Proposal("t0", 0, {}, tiny, reports=[(n, 5.0 - n / 2) for n in range(1, 9)])
    live = Ladder([], **settings)
    live.add(known)
    live.report(known, done=True)
    assert live.rungs() == Ladder([known], **settings).rungs() and all(recorded for _, recorded in live.rungs())


def test_grace_longer_than_the_training_is_the_whole_training(tiny: Config) -> None:
    asha = RecordedASHA([], max_epochs=2, grace_epochs=4, reduction_factor=3)
    assert [milestone for milestone, _ in asha._brackets[0]._rungs] == [2]


# Who puts a stopped trial's runs on record: its process, the driver where that could not, or the next driver


class Trials:
    """Trials that were stopped after an epoch, as the driver has them."""

    def __init__(self, store: Results, tiny: Config):
        self.store, self.series = store, load_series(tiny.data)
        self.proposals = [
            Proposal(f"t{n}", n, {}, tiny.override({"training.seed": n}), state="stopped") for n in range(2)
        ]
        for proposal in self.proposals:
            self.run(proposal).step()

    def stacks(self, proposal: Proposal) -> list[Stack]:
        return [([proposal.config], self.series)]

    def run(self, proposal: Proposal) -> StackRun:
        return StackRun(self.store, [proposal.config], series=self.series)

    def stop(self, closing: Closing, answer: Callable[[Proposal], Any]) -> None:
        """As the searcher and Tune say it of each; a process answers so."""
        for proposal in self.proposals:
            closing.stopped(proposal)
            asked = SimpleNamespace(remote=lambda name, proposal=proposal: lambda: answer(proposal))
            process = SimpleNamespace(close_stopped=asked)
            trial = SimpleNamespace(
                config=TrialSpec((), "a", trial=proposal.trial).to_dict(),
                temporary_state=SimpleNamespace(ray_actor=process),
            )
            closing.on_trial_complete(1, [], trial)

    def on_record(self) -> list[tuple[str, int]]:
        assert not [path for path in self.store.storage.list("checkpoints") if "/runs/" not in path]
        return sorted((row["status"], row["attempt"]) for row in self.store.table("runs").to_pylist())


@pytest.fixture
def trials(store: Results, tiny: Config, monkeypatch: pytest.MonkeyPatch) -> Trials:
    monkeypatch.setattr(module.ray, "get", lambda answer: answer())
    return Trials(store, tiny)


def test_who_cannot_is_stood_in_for(trials: Trials, store: Results, caplog: pytest.LogCaptureFixture) -> None:
    """Processes that did it, died before, died in its middle, or had no room: each run is on record once."""

    def died(proposal: Proposal) -> None:
        if proposal.number:  # all but the last of its writes
            stack = trials.run(proposal)
            stack.finish = lambda: None  # type: ignore[method-assign]
            stack.close("stopped")
        raise ActorDiedError

    with Closing(store, trials.stacks) as closing:
        trials.stop(closing, died)
    assert trials.on_record() == [("stopped", 1)] * 2 and not caplog.text
    assert not closing.underway("t0")


def test_what_its_process_did_is_not_done_again(trials: Trials, store: Results, monkeypatch: Any) -> None:
    with Closing(store, trials.stacks) as closing:
        assert not closing.underway("t0")
        trials.stop(closing, lambda proposal: trials.run(proposal).close("stopped"))
    assert trials.on_record() == [("stopped", 1)] * 2


def test_a_storage_out_of_reach_is_said_tried_again_and_left_to_the_next_driver(
    trials: Trials, store: Results, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*arguments: Any) -> None:
        raise StorageError("no route to it")

    whole = module.stacks_run
    monkeypatch.setattr(module, "stacks_run", gone)
    with pytest.raises(StorageError, match="no route"), Closing(store, trials.stacks) as closing:
        trials.stop(closing, gone)
    assert caplog.text.count("could not put its runs on record: no route to it") == 2
    assert caplog.text.count("are not on record yet: no route to it") == 2
    assert store.table("runs").num_rows == 0, "nothing is lost: the checkpoints are there"
    # A driver that ends by an error, or has lost the study, writes nothing more.
    monkeypatch.setattr(module, "stacks_run", whole)
    with pytest.raises(DataError), Closing(store, trials.stacks) as closing:
        closing.stopped(trials.proposals[0])
        raise DataError
    with Closing(store, trials.stacks) as closing:
        closing.let_go()
        trials.stop(closing, gone)
    assert store.table("runs").num_rows == 0
    close_left_over(store, SimpleNamespace(outcomes=trials.proposals), trials.stacks)  # type: ignore[arg-type]
    assert trials.on_record() == [("stopped", 1)] * 2


def test_an_interrupted_driver_does_not_wait_for_a_storage_that_does_not_answer(
    trials: Trials, store: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    back, closing = threading.Event(), Closing(store, trials.stacks)

    def slow(proposal: Proposal) -> None:
        assert back.wait(30)
        trials.run(proposal).close("stopped")

    with closing:
        trials.stop(closing, slow)
        closing.patience = 0.0
    assert not closing.through and store.table("runs").num_rows == 0
    back.set()
    closing._thread.join()
    close_left_over(store, SimpleNamespace(outcomes=trials.proposals), trials.stacks)  # type: ignore[arg-type]
    assert trials.on_record() == [("stopped", 1)] * 2


def test_a_failed_trials_outcome_comes_after_its_runs(
    trials: Trials, store: Results, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[list[str]] = []

    def record() -> None:
        seen.append([row["status"] for row in store.runs().values()])

    whole, gone = module.stacks_run, [StorageError("no route to it"), None, DataError("no such series")]

    def stacks_run(*arguments: Any) -> Any:
        if (error := gone.pop(0)) is not None:
            raise error
        return whole(*arguments)

    monkeypatch.setattr(module, "stacks_run", stacks_run)
    proposal = trials.proposals[0]
    proposal.state, proposal.error = "failed", "boom"
    with Closing(store, trials.stacks) as closing:  # tried once more at the end
        closing.failed(proposal, record)
    assert seen == [["failed"]] and store.runs()[trials.run(proposal).ids[0]]["error"] == "boom"
    assert "its runs are not on record yet: no route to it" in caplog.text and not closing.underway("t0")
    with Closing(store, trials.stacks) as closing:
        closing.failed(proposal, record)
    assert len(seen) == 2 and "could not be recorded as failed: no such series" in caplog.text
    with Closing(store, trials.stacks) as closing:
        closing.let_go()
        closing.failed(proposal, record)
    assert len(seen) == 2, "another driver has the study"
