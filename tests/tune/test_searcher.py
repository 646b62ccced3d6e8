"""Where Tune meets Optuna: what Tune says of a trial goes on record, and ASHA is rebuilt from the records."""

import pickle
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from dynonet.config import Config
from lab.machines.queue import TrialQueue
from lab.machines.trial import TrialSpec
from lab.store.tables import Results
from tune.proposals import Proposal, Proposals
from tune.searcher import FailureRecorder, ProposalSearcher, RecordedASHA
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
    searcher, _ = begin({"model.worker_hidden": {"int": [2, 5]}})
    written: set[str] = set()
    looks = 0

    def look(trial: str, seconds: float) -> bool:
        nonlocal looks
        looks += seconds > 0
        if looks == 2:
            written.add("t00000")
        return trial in written

    monkeypatch.setattr(searcher.proposals.writer, "written", look)
    queue = TrialQueue(searcher, samples=4, limit=lambda: 3)
    assert queue.suggest("a")["trial"] == "t00000" and looks == 2, "waited for where nothing is under way"
    assert list(searcher.proposals.all) == ["t00000", "t00001", "t00002"], "as many as there are slots"
    assert [queue.suggest("b"), queue.suggest("b")] == [None, None]
    written.add("t00002")
    assert queue.suggest("b")["trial"] == "t00002" and queue.suggest("c") is None, "none waits for another"
    written.add("t00001")
    assert queue.suggest("c")["trial"] == "t00001" and len(searcher.proposals.all) == 3, "each once"
    queue.on_trial_complete("a", result("complete", 3.0))
    assert queue.suggest("d") is None and len(searcher.proposals.all) == 4
    for trial in ("b", "c"):
        queue.on_trial_complete(trial, result("complete", 3.0))
    searcher.over = lambda: True
    assert queue.suggest("d") == Searcher.FINISHED, "the command ends"
    assert len(searcher.proposals.all) == 4 and looks == 3, "no more than were asked for"


def test_what_is_chosen_ahead_is_trained_though_the_space_is_used_up(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher, _ = begin({"model.num_layers": {"int": [1, 2]}})
    written: set[str] = set()

    def look(trial: str, seconds: float) -> bool:
        written.update(["t00000"] if seconds else [])
        return trial in written

    monkeypatch.setattr(searcher.proposals.writer, "written", look)
    queue = TrialQueue(searcher, samples=4, limit=lambda: 3)
    assert queue.suggest("a")["trial"] == "t00000" and queue.suggest("b") is None
    written.add("t00001")
    assert queue.suggest("b")["trial"] == "t00001" and queue.suggest("c") is None
    for trial in ("a", "b"):
        queue.on_trial_complete(trial, result("complete", 3.0))
    assert queue.suggest("c") == Searcher.FINISHED


def test_no_more_are_chosen_ahead_once_one_can_begin(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher, _ = begin()
    known = searcher.proposals.all
    monkeypatch.setattr(searcher.proposals.writer, "written", lambda trial, seconds: trial not in list(known)[-2:])
    assert TrialQueue(searcher, samples=9, limit=lambda: 9).suggest("a")["trial"] == "t00000"
    assert list(known) == ["t00000", "t00001", "t00002"]


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
    searcher.on_trial_complete("tune-3", result("complete"))  # without a value
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


def test_a_failure_is_recorded_unless_it_is_forgiven(begin: Begin) -> None:
    searcher, _ = begin()
    trial = SimpleNamespace(config=searcher.suggest("tune-0"), last_result={"reports": [(1, 3.0)]}, error_file=None)
    forgiven, asked = [True, False], list[str]()
    failures = FailureRecorder(
        searcher.proposals, SimpleNamespace(forgives=lambda trial: forgiven.pop(0)),  # type: ignore[arg-type]
        SimpleNamespace(failed=lambda proposal, record: asked.append(proposal.trial)),  # type: ignore[arg-type]
    )  # fmt: skip
    failures.on_trial_error(1, [], trial)
    proposal = searcher.proposals.all["t00000"]
    assert (proposal.state, asked) == (None, []), "it goes on"
    failures.on_trial_error(2, [], trial)
    assert (proposal.state, proposal.reports, asked) == ("failed", [(1, 3.0)], ["t00000"]) and proposal.error


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
