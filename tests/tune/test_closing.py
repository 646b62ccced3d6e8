"""Who puts the runs of a trial on record that ended early: its process, the driver where that could not, or the next
driver."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from dynonet.config import Config
from lab.errors import DataError
from lab.machines.trial import TrialSpec
from lab.series import load_series
from lab.store.tables import Results, StorageError
from lab.training.origins_run import Stack
from lab.training.stack_run import StackRun
from tune import searcher as module
from tune.proposals import Proposal
from tune.searcher import Closing, close_left_over


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


def test_what_its_process_did_is_not_done_again(trials: Trials, store: Results) -> None:
    with Closing(store, trials.stacks) as closing:
        assert not closing.underway("t0")
        trials.stop(closing, lambda proposal: trials.run(proposal).close("stopped"))
    assert trials.on_record() == [("stopped", 1)] * 2


def test_whose_process_was_not_asked_before_the_end_is_closed_here(trials: Trials, store: Results) -> None:
    with Closing(store, trials.stacks) as closing:
        closing.stopped(trials.proposals[0])
    assert trials.store.runs().keys() == set(trials.run(trials.proposals[0]).ids)


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
    ended = threading.Event()
    with pytest.raises(DataError), Closing(store, trials.stacks) as closing:
        trials.stop(closing, lambda proposal: ended.wait(30) and gone())
        raise DataError
    ended.set()
    closing._thread.join()
    with Closing(store, trials.stacks) as closing:
        closing.let_go()
        trials.stop(closing, gone)
    assert store.table("runs").num_rows == 0
    trials.proposals[0].state, trials.proposals[0].error = "failed", "boom"
    close_left_over(store, SimpleNamespace(outcomes=trials.proposals), trials.stacks)  # type: ignore[arg-type]
    assert trials.on_record() == [("failed", 1), ("stopped", 1)]


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
    closing = Closing(store, trials.stacks)
    closing.failed(proposal, record)
    assert closing.underway("t0")
    with closing:  # tried once more at the end
        pass
    assert seen == [["failed"]] and store.runs()[trials.run(proposal).ids[0]]["error"] == "boom"
    assert "its runs are not on record yet: no route to it" in caplog.text and not closing.underway("t0")
    with Closing(store, trials.stacks) as closing:
        closing.failed(proposal, record)
    assert len(seen) == 2 and "could not be recorded as failed: no such series" in caplog.text
    with Closing(store, trials.stacks) as closing:
        closing.let_go()
        closing.failed(proposal, record)
    assert len(seen) == 2, "another driver has the study"
